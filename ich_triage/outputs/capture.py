"""The key-image page as Secondary Capture (PS3.3 section A.8.1), for viewers that cannot show SR.

One single-frame RGB image, uncompressed, rather than multi-frame true colour: there is no viewer and no
PACS that does not show it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from pydicom.uid import SecondaryCaptureImageStorage

from ..dicom import codes
from ..domain.finding import Analysis, ImageReference
from ..domain.states import OutputKind
from ..imaging.volume import Volume
from .common import ascii_text, finish
from .picture import choose_panels, render
from .report import Report

SERIES_NUMBER = 9702
SERIES_DESCRIPTION = "ICH Triage key images: for prioritisation only"


def build_capture(report: Report, source: Dataset, *, volume: Volume, masks: NDArray[np.bool_]) -> Dataset:
    """Secondary Capture Image IOD: the key images of a flagged study.

    `source` is the header of an analysed image; `masks` is bool (5, Z, Y, X) on the volume's grid, in the
    order of SUBTYPES. Same input, same bytes. Raises ValueError when the study is not flagged.
    """
    if not report.flagged or report.analysis is None:
        raise ValueError("only a flagged study has key images")
    ds = Dataset()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = report.uid(OutputKind.CAPTURE, "instance")
    _set_series_and_image(ds, report)
    _set_derivation(ds, report, source)
    _set_pixels(ds, render(report, report.analysis, volume=volume, masks=masks))
    finish(ds, report, source)
    return ds


def _set_series_and_image(ds: Dataset, report: Report) -> None:
    """General Series, SC Equipment and General Image (PS3.3 Tables C.7-5a, C.8-24, C.7-9)."""
    ds.Modality = "OT"
    ds.BodyPartExamined = "HEAD"
    ds.ConversionType = "WSD"
    ds.SeriesInstanceUID = report.uid(OutputKind.CAPTURE, "series")
    ds.SeriesNumber = SERIES_NUMBER
    ds.SeriesDescription = SERIES_DESCRIPTION
    ds.InstanceNumber = 1
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = None
    ds.BurnedInAnnotation = "NO"  # nothing that identifies the patient
    ds.ImageComments = " ".join(report.labels)


def _set_derivation(ds: Dataset, report: Report, source: Dataset) -> None:
    """Which images the page shows, and how it was made of them."""
    analysis = report.analysis
    assert analysis is not None  # build_capture has refused the rest
    package = analysis.package
    ds.DerivationDescription = ascii_text(
        f"Key slices in brain window 40/80 with outlines of suspected haemorrhage by {package.name} "
        f"{package.version}, weights SHA-256 {package.weights_sha256}. {' '.join(report.labels)}"
    )
    ds.SourceImageSequence = Sequence([_source_image(image) for image in shown_images(analysis)])
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in source and str(source.get("LossyImageCompression")) == "01":
            ds[keyword] = source[keyword]


def shown_images(analysis: Analysis) -> list[ImageReference]:
    """The images on the page, each once, in reading order."""
    panels = choose_panels(analysis)
    return list(dict.fromkeys(analysis.slices[panel.slice_index].image for panel in panels))


def _source_image(image: ImageReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.sop_class_uid
    item.ReferencedSOPInstanceUID = image.sop_instance_uid
    if image.frame_number is not None:
        item.ReferencedFrameNumber = image.frame_number
    item.PurposeOfReferenceCodeSequence = Sequence([_code(codes.SOURCE_IMAGE_FOR_PROCESSING)])
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _set_pixels(ds: Dataset, page: NDArray[np.uint8]) -> None:
    """Image Pixel module (PS3.3 Table C.7-11a) from RGB (Rows, Columns, 3)."""
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = page.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    ds.add_new("PixelData", "OB", page.tobytes())
