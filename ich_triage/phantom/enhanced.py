"""The same series as one Enhanced CT object (PS3.3 A.38.1), for readers of multi-frame images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage

from .dicom import StudyIdentity, decimal, series_header, store_pixels
from .generate import Phantom
from .quirks import Representation, encode

_FORM = Representation(bits=16, signed=True, intercept=-1024)
#: attributes of the single-frame CT Image module that the functional groups carry instead
_MOVED = (
    "KVP", "XRayTubeCurrent", "ExposureTime", "ConvolutionKernel", "GantryDetectorTilt", "TableHeight",
    "RotationDirection", "DataCollectionDiameter", "ReconstructionDiameter", "FilterType", "BodyPartExamined",
    "PositionReferenceIndicator", "AcquisitionDate", "AcquisitionTime", "ContrastBolusAgent",
    "ContrastBolusRoute", "ContrastBolusVolume",
)  # fmt: skip


def enhanced_dataset(phantom: Phantom, *, fresh: bool = False) -> Dataset:
    """One Enhanced CT Image object of ``phantom``, a frame per slice."""
    identity = StudyIdentity.of(phantom.spec, fresh=fresh)
    ds = series_header(phantom, identity, 1, "soft")
    for keyword in _MOVED:
        if keyword in ds:
            del ds[keyword]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.SOPInstanceUID = identity.uid("enhanced")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.SeriesInstanceUID = identity.uid("enhanced series")
    hu = phantom.hu.cpu().numpy()
    _image(ds, hu, identity)
    ds.SharedFunctionalGroupsSequence = Sequence([_shared(phantom, identity.uid("irradiation"))])
    frames = [_frame(phantom, index, ds) for index in range(len(hu))]
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    _dimensions(ds, identity)
    ds.PositionReferenceIndicator = "OM"
    return ds


def write_enhanced(phantom: Phantom, path: Path | str, *, fresh: bool = False) -> Path:
    """Write :func:`enhanced_dataset` to ``path``."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    enhanced_dataset(phantom, fresh=fresh).save_as(target, enforce_file_format=True)
    return target


def _item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    return Sequence([_item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)])


def _image(ds: Dataset, hu: np.ndarray, identity: StudyIdentity) -> None:
    """Enhanced CT Image (C.8.15.2), Multi-frame Functional Groups (C.7.6.16), Image Pixel modules."""
    store_pixels(ds, hu[0], _FORM)
    for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth"):
        del ds[keyword]
    ds.PixelData = np.stack([encode(plane, _FORM) for plane in hu]).tobytes()
    ds.NumberOfFrames, ds.InstanceNumber = len(hu), 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.AcquisitionDateTime = identity.started.strftime("%Y%m%d%H%M%S")
    ds.AcquisitionDuration = 10.0
    ds.PixelPresentation, ds.VolumetricProperties = "MONOCHROME", "VOLUME"
    ds.VolumeBasedCalculationTechnique = "NONE"
    ds.ContentQualification, ds.BurnedInAnnotation, ds.LossyImageCompression = "PRODUCT", "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.MultienergyCTAcquisition = "NO"
    ds.AcquisitionContextSequence = Sequence([])


def _shared(phantom: Phantom, event: str) -> Dataset:
    """Functional groups that hold for every frame (PS3.3 Table A.38-2)."""
    shared = Dataset()
    for keyword, item in (_image_groups(phantom) | _acquisition_groups(phantom, event)).items():
        setattr(shared, keyword, Sequence([item]))
    return shared


def _image_groups(phantom: Phantom) -> dict[str, Dataset]:
    spacing = [decimal(phantom.spacing[1]), decimal(phantom.spacing[2])]
    return {
        "PixelMeasuresSequence": _item(
            PixelSpacing=spacing,
            SliceThickness=decimal(phantom.spec.acquisition.thickness_mm),
            SpacingBetweenSlices=decimal(phantom.spacing[0]),
        ),
        "PlaneOrientationSequence": _item(
            ImageOrientationPatient=[decimal(round(float(v), 8)) for v in phantom.orientation]
        ),
        "FrameAnatomySequence": _item(
            FrameLaterality="U", AnatomicRegionSequence=_code("69536005", "SCT", "Head")
        ),
        "FrameVOILUTSequence": _item(WindowCenter="40", WindowWidth="80"),
        "PixelValueTransformationSequence": _item(
            RescaleIntercept=decimal(_FORM.intercept), RescaleSlope="1", RescaleType="HU"
        ),
        "CTImageFrameTypeSequence": _item(
            FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
        ),
    }


def _acquisition_groups(phantom: Phantom, event: str) -> dict[str, Dataset]:
    scan = phantom.spec.acquisition
    return {
        "IrradiationEventIdentificationSequence": _item(IrradiationEventUID=event),
        "CTTableDynamicsSequence": Dataset(),
        "CTAcquisitionTypeSequence": _item(
            AcquisitionType="SEQUENCED", ConstantVolumeFlag="NO", FluoroscopyFlag="NO"
        ),
        "CTAcquisitionDetailsSequence": _item(
            RotationDirection="CW",
            RevolutionTime=1.0,
            SingleCollimationWidth=0.625,
            TotalCollimationWidth=20.0,
            TableHeight="150",
            GantryDetectorTilt=decimal(scan.tilt_deg),
            DataCollectionDiameter="250",
        ),
        "CTReconstructionSequence": _item(
            ImageFilter="NONE",
            ReconstructionAngle=360.0,
            ReconstructionAlgorithm="FILTER_BACK_PROJ",
            ConvolutionKernel="STANDARD",
            ConvolutionKernelGroup="BRAIN",
            ReconstructionPixelSpacing=[phantom.spacing[1], phantom.spacing[2]],
            ReconstructionFieldOfView=[scan.fov_mm, scan.fov_mm],
        ),
        "CTXRayDetailsSequence": _item(
            KVP="120", FocalSpots=[0.7], FilterType="FLAT", FilterMaterial=["ALUMINUM"]
        ),
        "CTExposureSequence": _item(
            ExposureTimeInms=1000.0,
            XRayTubeCurrentInmA=220.0,
            ExposureInmAs=220.0,
            ExposureModulationType="NONE",
        ),
        "CTGeometrySequence": _item(
            DistanceSourceToDetector="949", DistanceSourceToDataCollectionCenter=541.0
        ),
    }


def _frame(phantom: Phantom, index: int, ds: Dataset) -> Dataset:
    """Functional groups of one frame."""
    position = [decimal(round(float(v), 6)) for v in phantom.positions[index]]
    content = _item(
        FrameAcquisitionDateTime=ds.AcquisitionDateTime,
        FrameReferenceDateTime=ds.AcquisitionDateTime,
        FrameAcquisitionDuration=300.0,
        FrameAcquisitionNumber=1,
        StackID="1",
        InStackPositionNumber=index + 1,
        DimensionIndexValues=[1, index + 1],
    )
    centre = [0.0, 0.0, float(phantom.positions[index][2])]
    table = _item(
        TablePosition=centre[2], DataCollectionCenterPatient=centre, ReconstructionTargetCenterPatient=centre
    )
    return _item(
        FrameContentSequence=Sequence([content]),
        PlanePositionSequence=Sequence([_item(ImagePositionPatient=position)]),
        CTPositionSequence=Sequence([table]),
    )


def _dimensions(ds: Dataset, identity: StudyIdentity) -> None:
    """Multi-frame Dimension module (C.7.6.17): stack, then position in it."""
    organisation = identity.uid("dimensions")
    ds.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID=organisation)])
    ds.DimensionOrganizationType = "3D"
    ds.DimensionIndexSequence = Sequence(list(_indices(organisation)))


def _indices(organisation: str) -> Iterable[Dataset]:
    for keyword in ("StackID", "InStackPositionNumber"):
        yield _item(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=tag_for_keyword(keyword),
            FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
            DimensionDescriptionLabel=keyword,
        )
