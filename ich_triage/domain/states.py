"""The states of a study and the reasons for which it was not analysed or failed."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """Where a study stands. The last four are final; `not_analysed` is never a negative."""

    #: slices are still coming in
    RECEIVING = "receiving"
    #: complete, waiting for or under analysis
    IN_PROGRESS = "in_progress"
    #: haemorrhage suspected
    FLAGGED = "flagged"
    #: analysed, below the operating point; not the same as normal
    NOT_FLAGGED = "not_flagged"
    #: outside what the model was made for; see the reason
    NOT_ANALYSED = "not_analysed"
    #: analysis was tried and did not succeed; see the reason
    FAILED = "failed"


FINAL_STATES = frozenset(
    {StudyState.FLAGGED, StudyState.NOT_FLAGGED, StudyState.NOT_ANALYSED, StudyState.FAILED}
)
#: a model has answered
ANALYSED_STATES = frozenset({StudyState.FLAGGED, StudyState.NOT_FLAGGED})


class ReasonCode(StrEnum):
    """Why a study was not analysed or failed; also why a series was not chosen."""

    # of a study or series, not analysed
    #: no CT images in the study at all
    NO_CT_IMAGES = "no_ct_images"
    #: scout, topogram
    LOCALIZER = "localizer"
    #: contrast agent was given
    CONTRAST = "contrast"
    #: CT angiography or perfusion
    ANGIOGRAPHY = "angiography"
    #: sharp reconstruction kernel, for bone
    BONE_KERNEL = "bone_kernel"
    #: not axial, or derived from another series (reformat, MIP, secondary)
    NOT_AXIAL_ORIGINAL = "not_axial_original"
    #: the body part or the pixels are not a head
    NOT_A_HEAD = "not_a_head"
    #: fewer slices, or less coverage, than a head needs
    TOO_FEW_SLICES = "too_few_slices"
    #: slices are missing in the middle
    GAPS = "gaps"
    #: position, orientation or pixel spacing missing
    NO_GEOMETRY = "no_geometry"
    #: pixels cannot be decoded, or are not there
    UNREADABLE_PIXELS = "unreadable_pixels"
    #: header cannot be used
    UNREADABLE_HEADER = "unreadable_header"
    #: good, but another series of the study suits better
    BETTER_SERIES = "better_series"

    # of a study, failed
    #: an error inside the analysis
    ANALYSIS_ERROR = "analysis_error"
    #: the worker died again and again on this study
    WORKER_DIED = "worker_died"


class CompletedBy(StrEnum):
    """What made a revision of a study ready for analysis."""

    #: a head series is geometrically whole
    GEOMETRY = "geometry"
    #: no new instance for the quiet time
    QUIET = "quiet"
    #: the cap on waiting was reached
    CAP = "cap"
    #: a person asked for it again
    REPROCESS = "reprocess"


class DeliveryState(StrEnum):
    """Where one object for one destination stands."""

    #: waits for its next attempt
    PENDING = "pending"
    #: stored or acknowledged by the destination, no commitment asked or still awaited
    SENT = "sent"
    #: the destination has committed to keep it
    COMMITTED = "committed"
    #: gave up; `ich-triage redeliver` tries again
    DEAD = "dead"
    #: not sent, since a later revision's message to the same destination says what holds now
    SUPERSEDED = "superseded"


class OutputKind(StrEnum):
    """What a destination can be sent."""

    #: Comprehensive 3D SR, TID 1500
    SR = "sr"
    #: key-image secondary capture
    CAPTURE = "capture"
    #: HL7 v2 message, ORU^R01
    HL7 = "hl7"
    #: signed JSON
    WEBHOOK = "webhook"


#: messages: whoever gets several of them about one study takes the last for what holds
MESSAGE_KINDS = frozenset({OutputKind.HL7, OutputKind.WEBHOOK})
#: each says the result of a revision, whether or not anything else is sent
REPORT_KINDS = MESSAGE_KINDS | {OutputKind.SR}
