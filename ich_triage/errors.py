"""Every error that this product raises by name.

IchTriageError
├── SettingsError          the configuration cannot be used
├── SpoolError             the spool cannot take or give a file
│   ├── SpoolFullError     free space is below the reserve
│   ├── ObjectTooLongError     an object is longer than is taken
│   └── SpoolAwayError     the object store of the spool does not do what it is asked
├── DicomReadError         a received object cannot be used
│   ├── HeaderError        an attribute is missing, malformed or absurd
│   └── PixelDataError     pixels are missing, truncated or cannot be decoded
├── NotAnalysedError       a study is outside what the model was made for
├── PackageError           a model package cannot be trusted or loaded
├── PromotionError         a model package was not put in force
├── EngineError            inference failed on the device
│   └── DeviceLostError        the device answers nobody in this process any more
├── AttemptEndedError      the queue has ended or given away what is being worked on
├── DeliveryError          a destination did not take an object
│   └── DeliveryRefusedError   it answered with a failure status
├── UnknownStudyError      no such study in the database
├── ImagesRemovedError     retention has removed the images of a study
├── RemovalError           a patient or a study cannot be erased or handed out as wanted
├── QueryError             another system's question or request cannot be answered as it is
├── FeedbackError          a reader's feedback cannot be taken as it is
├── AccountError           an account or a token cannot be made or changed as wanted
├── LoginError             a log-in failed
│   └── LoginLimitedError      too many failed before it
├── TrainingDataError      labelled data cannot be used for training
├── TrainingError          training cannot go on
└── DatabaseVersionError   the database schema is not the one this release needs

Each class's docstring is its default message. Messages carry UIDs and our own ids, never patient data.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any


class IchTriageError(Exception):
    """Something in ICH Triage went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SettingsError(IchTriageError):
    """The configuration cannot be used."""


class SpoolError(IchTriageError):
    """The spool cannot take or give a file."""


class SpoolFullError(SpoolError):
    """Free space on the spool is below its reserve."""


class ObjectTooLongError(SpoolError):
    """The data set is longer than [dicom] max_object_bytes."""


class SpoolAwayError(SpoolError, ConnectionError):
    """The object store of the spool does not answer.

    To whoever knows files only it is an error of the disk that passes.
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or "The object store of the spool does not answer.")
        self.errno = errno.EAGAIN

    def __str__(self) -> str:
        return str(self.args[0])


class DicomReadError(IchTriageError):
    """A received object cannot be used."""


class HeaderError(DicomReadError):
    """An attribute is missing, malformed or absurd."""

    def __init__(self, message: str | None = None, *, study_instance_uid: str | None = None) -> None:
        """`study_instance_uid`: the study that the object names, where that much can be read."""
        super().__init__(message)
        self.study_instance_uid = study_instance_uid


class PixelDataError(DicomReadError):
    """Pixel data are missing, truncated or cannot be decoded."""


class NotAnalysedError(IchTriageError):
    """The study is outside what the model was made for.

    ``code`` is a :class:`ich_triage.domain.states.ReasonCode` value.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PackageError(IchTriageError):
    """The model package cannot be trusted or loaded."""


class PromotionError(IchTriageError):
    """The model package was not put in force."""


class EngineError(IchTriageError):
    """Inference failed on the device."""


class DeviceLostError(EngineError):
    """The device failed and answers nobody in this process any more; only a new process can use it."""


class AttemptEndedError(IchTriageError):
    """The queue has ended this attempt at a study, or given it to another worker."""


class DeliveryError(IchTriageError):
    """The destination did not take the object."""


class DeliveryRefusedError(DeliveryError):
    """The destination answered with a failure status."""


class UnknownStudyError(IchTriageError):
    """No such study in the database."""


class ImagesRemovedError(IchTriageError):
    """Retention has removed the images of the study."""


class RemovalError(IchTriageError):
    """What is held cannot be erased or handed out as wanted."""


class QueryError(IchTriageError):
    """The question or request cannot be answered as it is.

    ``status`` is the DIMSE status that the peer is given.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FeedbackError(IchTriageError):
    """The feedback cannot be taken as it is."""


class AccountError(IchTriageError):
    """The account or token cannot be made or changed as wanted."""


class LoginError(IchTriageError):
    """The log-in failed."""


class LoginLimitedError(LoginError):
    """Too many log-ins failed; try again later."""

    def __init__(self, retry_after_s: int) -> None:
        """`retry_after_s`: when the next one is looked at."""
        super().__init__(f"Too many failed log-ins. Try again in {retry_after_s} seconds.")
        self.retry_after_s = retry_after_s


class TrainingDataError(IchTriageError):
    """Labelled data cannot be used for training."""


class TrainingError(IchTriageError):
    """Training cannot go on."""


class DatabaseVersionError(IchTriageError):
    """The database schema is not the one that this release needs; run `ich-triage db upgrade`."""


#: pydantic's error types that users meet most, in our words
_WORDS = {"missing": "missing", "extra_forbidden": "unknown key"}


def wrong_value(found: Mapping[str, Any]) -> str:
    """What is wrong with a value: one of a pydantic ValidationError's `errors()`, in words."""
    return _WORDS.get(found["type"], str(found["msg"]))
