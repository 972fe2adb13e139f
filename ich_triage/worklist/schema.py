"""The types of the JSON that `document` makes, for the API's own description (OpenAPI)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..domain.finding import Side
from ..domain.labels import Subtype
from ..domain.states import CompletedBy, DeliveryState, StudyState

#: PostgreSQL keeps no such character
NO_NUL = r"^[^\x00]*$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Reason(_Part):
    """Why there is no answer."""

    #: for programs
    code: str
    #: for people
    text: str


class Package(_Part):
    """Which model said it."""

    name: str
    version: str
    weights_sha256: str
    synthetic: bool


class Image(_Part):
    """One image, or one frame of it."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None


class KeySlice(Image):
    """The slice that shows a finding best."""

    index: int


class Finding(_Part):
    """One suspected haemorrhage; volumes mL, positions mm, LPS."""

    subtype: Subtype
    probability: float
    volume_ml: float | None
    volume_interval_ml: tuple[float, float] | None
    abc2_ml: float | None
    side: Side | None
    centroid_lps: tuple[float, float, float] | None
    key_slice: KeySlice
    slice_range: tuple[int, int]


class Analysis(_Part):
    """What a model said."""

    #: of which revision
    revision: int
    #: whether it is about all slices; else some came since, and another revision is to follow
    covers_all: bool
    package: Package
    #: the synthetic stamp
    warning: str | None
    operating_point: str
    threshold: float
    flagged: bool
    #: `any`, then each subtype
    probabilities: dict[str, float]
    findings: list[Finding]


class Ledger(_Part):
    """When each stage was reached."""

    first_slice: datetime | None
    last_slice: datetime | None
    complete: datetime | None = None
    completed_by: CompletedBy | None = None
    started: datetime | None = None
    inferred: datetime | None = None
    stored: datetime | None = None
    last_slice_to_stored_s: float | None = None
    sent: datetime | None = None
    committed: datetime | None = None
    last_slice_to_sent_s: float | None = None


class Delivery(_Part):
    """One object on its way to one destination."""

    id: int
    destination: str
    kind: str
    sop_instance_uid: str
    path: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    sent_at: datetime | None
    committed_at: datetime | None


class Opinion(_Part):
    """What one reader says."""

    reader: str
    agrees: bool
    sees_bleed: bool
    subtypes: list[Subtype] | None
    note: str
    at: datetime
    revision: int
    weights_sha256: str


class Summary(_Part):
    """One line of the list."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    accession_number: str
    study_description: str
    study_date: str
    calling_ae_title: str
    instances: int
    #: when retention removed its images; null where it has not
    images_removed_at: datetime | None
    state: StudyState
    reason: Reason | None
    #: 1 is read first; by state alone
    priority: int
    #: the same, waiting counted
    place: int
    stat: bool
    waiting_s: float
    revision: int
    analysis: Analysis | None
    ledger: Ledger
    deliveries: list[Delivery]
    feedback: list[Opinion]


class Worklist(_Part):
    """Studies in reading order."""

    #: for prioritisation only; not flagged is not negative
    label: str
    generated_at: datetime
    #: how many are alive; with 0 no scanner can send
    receivers: int
    #: how many are alive; with 0 nothing is analysed
    workers: int
    counts: dict[StudyState, int]
    studies: list[Summary]


class ChosenSeries(_Part):
    """What was analysed."""

    series_instance_uid: str
    description: str
    number: int | None
    images: int
    reason: str


class RejectedSeries(_Part):
    """What was not, and why."""

    series_instance_uid: str
    description: str
    images: int
    code: str
    reason: str


class SeriesChoice(_Part):
    """Which series was analysed and why no other."""

    chosen: ChosenSeries | None
    rejected: list[RejectedSeries]


class SliceScore(Image):
    """The probabilities of one slice."""

    index: int
    #: along the slice normal, mm
    position_mm: float
    probabilities: dict[str, float]


class Revision(_Part):
    """One look at the study."""

    number: int
    state: StudyState
    reason: Reason | None
    same_as: int | None
    attempts: int
    ledger: Ledger
    deliveries: list[Delivery]


class ReceiptProblem(_Part):
    """What went wrong while the study was received."""

    at: datetime
    kind: str
    detail: str


class Study(Summary):
    """Everything known of one study."""

    label: str
    #: the revision whose report holds
    reported_revision: int | None
    series: SeriesChoice | None
    slices: list[SliceScore]
    revisions: list[Revision]
    problems: list[ReceiptProblem]


class Answer(BaseModel):
    """A reader's answer to the present result."""

    model_config = ConfigDict(extra="forbid")

    #: number of the revision that the reader has seen; another one has other results
    revision: int = Field(ge=1, le=2**31 - 1)
    #: whether the reader, too, sees a bleed where one was flagged, and none where none was
    agrees: bool
    #: which subtypes there are; null where the reader does not say
    subtypes: list[Subtype] | None = Field(default=None, max_length=len(Subtype))
    #: free text; what is left out stays as it was while `agrees` does
    note: str = Field(default="", max_length=4000, pattern=NO_NUL)


class Outline(_Part):
    """A line around a bleed."""

    #: index of the slice
    slice: int
    subtype: Subtype
    #: x, y, x, y, … in pixels, 0 at the centre of the first
    line: list[float]


class Pictures(_Part):
    """The images that a reader scrolls through."""

    #: names this very stack: what other images or another analysis make of the study has another name
    stack: str
    #: how many
    slices: int
    #: whether they are the analysed ones; else the largest stack of the study
    analysed: bool
    #: around what was found
    outlines: list[Outline]


class Share(_Part):
    """A share of a count with its exact 95% interval."""

    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None


class Tally(_Part):
    """What a package said, and what readers said to it."""

    analysed: int
    answered: int
    flag_rate: Share
    agreement: Share
    positive_predictive_value: Share


class WeekTally(Tally):
    """The same of the studies received in one week."""

    monday: date


class PackageQuality(_Part):
    """One model package."""

    name: str
    weights_sha256: str
    total: Tally
    by_week: list[WeekTally]


class Quality(_Part):
    """How the model does here."""

    weeks: int
    packages: list[PackageQuality]


class Problem(_Part):
    """Why a request was refused (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    #: what happened and what to do
    detail: str
