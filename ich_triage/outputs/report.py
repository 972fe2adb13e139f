"""What an output needs to know of one revision of a study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom.uid import Comprehensive3DSRStorage

from ..dicom.uids import derived_uid, named_uid
from ..domain.finding import Analysis, Finding
from ..domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ..domain.priority import Rank, rank
from ..domain.states import FINAL_STATES, OutputKind, ReasonCode, StudyState

MANUFACTURER = "ICH Triage"
MODEL_NAME = "ICH Triage"


@dataclass(frozen=True, kw_only=True)
class Device:
    """Us, as the author of an object."""

    #: our AE title, also station name and serial number
    ae_title: str
    #: release of this product
    version: str

    @property
    def uid(self) -> str:
        """Device Observer UID: the same for every object of this installation."""
        return named_uid("device", self.ae_title)


@dataclass(frozen=True, kw_only=True)
class ChosenSeries:
    """The series that was analysed."""

    #: Series Instance UID
    series_instance_uid: str
    #: Series Description, as received
    description: str = ""
    #: Series Number, as received
    number: int | None = None


@dataclass(frozen=True, kw_only=True)
class DocumentReference:
    """A structured report that a later one replaces."""

    #: Series Instance UID
    series_instance_uid: str
    #: SOP Instance UID
    sop_instance_uid: str
    #: SOP Class UID
    sop_class_uid: str = Comprehensive3DSRStorage


@dataclass(frozen=True, kw_only=True)
class Report:
    """One revision in its final state: all that its outputs are made from.

    The same report always gives the same bytes, so nothing in it may be "now".
    """

    #: Study Instance UID
    study_instance_uid: str
    #: number of the revision, from 1
    revision: int
    #: hash of the objects that the revision covers: numbers begin again when the database is rebuilt
    objects_sha256: str = ""
    #: a final state
    state: StudyState
    #: of a study that was not analysed or failed
    reason_code: ReasonCode | None = None
    #: the same in words
    reason: str | None = None
    #: None when not analysed or failed
    analysis: Analysis | None = None
    #: None when none was chosen
    series: ChosenSeries | None = None
    #: from the ledger
    created_at: datetime
    #: the report that this one replaces
    predecessor: DocumentReference | None = None
    #: whether the study is flagged when this revision ends
    flag_stood: bool = False
    #: an urgent request
    stat: bool = False
    #: names of the destinations that have a report of an earlier revision
    predecessor_held_by: frozenset[str] = frozenset()
    #: us
    device: Device

    def __post_init__(self) -> None:
        """Refuse a report that would say what is not so."""
        if self.state not in FINAL_STATES:
            raise ValueError(f"a report needs a final state, not {self.state}")
        analysed = self.state in (StudyState.FLAGGED, StudyState.NOT_FLAGGED)
        if analysed != (self.analysis is not None):
            raise ValueError(f"state {self.state} and analysis contradict each other")
        if self.analysis and self.analysis.flagged != (self.state is StudyState.FLAGGED):
            raise ValueError(f"state {self.state} and the analysis's flag contradict each other")
        if self.created_at.tzinfo is None:
            raise ValueError("naive datetime")

    @property
    def flagged(self) -> bool:
        """Whether haemorrhage is suspected."""
        return self.state is StudyState.FLAGGED

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings that are told: those of a flagged study."""
        return self.analysis.findings if self.analysis is not None and self.flagged else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The honest labels that every output carries."""
        synthetic = self.analysis is not None and self.analysis.package.synthetic
        return (PRIORITISATION_ONLY, SYNTHETIC) if synthetic else (PRIORITISATION_ONLY,)

    def uid(self, kind: OutputKind, part: str) -> str:
        """The UID of `part` ("series", "instance") of this report's output of `kind`.

        It follows from the question and from what was decided, so that no other decision is ever taken for
        it; not from the probabilities, whose last digits may differ from one device to another.
        """
        said = self.analysis
        rule = (said.package.weights_sha256, said.operating_point, f"{said.threshold:.4f}") if said else ()
        decision = (self.state, self.reason_code or "", *rule)
        return derived_uid(self.study_instance_uid, self.revision, self.objects_sha256, *decision, kind, part)

    def message_uid(self, kind: OutputKind, destination: str) -> str:
        """The id of this report's message of `kind` to `destination`: a repeated one has the same."""
        return self.uid(kind, f"message/{destination}")

    @property
    def document(self) -> DocumentReference:
        """This report's own SR, as its successor must name it."""
        return DocumentReference(
            series_instance_uid=self.uid(OutputKind.SR, "series"),
            sop_instance_uid=self.uid(OutputKind.SR, "instance"),
        )

    @property
    def takes_down_flag(self) -> bool:
        """Whether an analysis finds nothing where the study is flagged."""
        return self.flag_stood and self.state is StudyState.NOT_FLAGGED

    @property
    def rank(self) -> Rank:
        """The study's place on the list with this report."""
        return rank(StudyState.FLAGGED if self.leaves_flag_up else self.state, stat=self.stat)

    @property
    def leaves_flag_up(self) -> bool:
        """Whether the study is flagged, and this report of no analysis says nothing against it."""
        return self.flag_stood and self.analysis is None
