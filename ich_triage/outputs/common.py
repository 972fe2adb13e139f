"""What all outputs have in common: words; and DICOM objects: patient, study, series, equipment, file meta."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from ..dicom.patient_study import copy_patient_study
from ..dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..domain.states import StudyState
from .report import MANUFACTURER, MODEL_NAME, Report


def ascii_text(text: str, *, limit: int | None = None) -> str:
    """`text` in the default repertoire, which every Specific Character Set of a source includes.

    A tilde and a backslash are replaced too: ISO_IR 13 has other characters there (PS3.3 Table C.12-2).
    """
    plain = text.encode("ascii", "replace").decode("ascii").translate({ord("\\"): "/", ord("~"): "-"})
    return plain[:limit] if limit else plain


def comments(report: Report) -> list[str]:
    """What a report says in words: the labels, why there is no analysis, what became of an earlier flag."""
    comments = list(report.labels)
    if report.analysis is None:
        word = "Not analysed" if report.state is StudyState.NOT_ANALYSED else "Analysis failed"
        comments.insert(0, f"{word}: {report.reason or report.reason_code or 'reason unknown'}")
    if report.takes_down_flag:
        comments.append("An earlier report flagged this study; this one replaces it, key images included.")
    if report.leaves_flag_up:
        comments.insert(0, "An earlier report flagged this study; that flag stands.")
    if report.series:
        description = report.series.description or "without description"
        comments.append(
            f"Analysed series: {description} (number {report.series.number or 'unknown'}, "
            f"{report.series.series_instance_uid})"
        )
    return comments


def local_time(report: Report, source: Dataset) -> datetime:
    """When the report was made, in the zone of the study's other dates and times.

    That is Timezone Offset From UTC (PS3.3 section C.12.1.1.8), which applies to the whole object, else
    this machine's zone, as scanners have it.
    """
    offset = str(source.get("TimezoneOffsetFromUTC") or "")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdigit():
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        if minutes < 24 * 60:
            return report.created_at.astimezone(
                timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
            )
    return report.created_at.astimezone()


def finish(ds: Dataset, report: Report, source: Dataset) -> None:
    """Overlay the source's patient and study, our equipment, the time of creation, and our file meta.

    Modules: PS3.3 C.7.1.1 and C.7.2.1 (copied), C.7.5.2 Enhanced General Equipment, C.12.1 SOP Common.
    """
    copy_patient_study(source, ds)
    ds.StudyInstanceUID = report.study_instance_uid
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MODEL_NAME
    ds.DeviceSerialNumber = report.device.ae_title
    ds.StationName = report.device.ae_title
    ds.SoftwareVersions = report.device.version
    created = local_time(report, source)
    for event in ("InstanceCreation", "Series", "Content"):
        setattr(ds, f"{event}Date", created.strftime("%Y%m%d"))
        setattr(ds, f"{event}Time", created.strftime("%H%M%S.%f"))
    ds.file_meta = _file_meta(ds)


def _file_meta(ds: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
