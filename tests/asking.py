"""A query service in this process, a list of studies for it, and peers that ask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import TypeAdapter
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StudyRootQueryRetrieveInformationModelFind,
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    Verification,
)

from ich_triage.dicom.requestor import in_step
from ich_triage.domain.finding import Analysis
from ich_triage.domain.priority import rank
from ich_triage.domain.states import ANALYSED_STATES, FINAL_STATES, CompletedBy, ReasonCode, StudyState
from ich_triage.query.service import QueryService
from ich_triage.settings import Settings
from ich_triage.store.database import Database
from ich_triage.store.tables import Instance, Revision, Study
from tests.reports import analysis_of, made_headers

AE_TITLE = "ICH_TEST"
STUDY_ROOT = StudyRootQueryRetrieveInformationModelFind
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def settings(database: Database, **query: Any) -> Settings:
    """Loopback, ports that the system chooses, and no step too old to be shown; `query` overrides."""
    url = database.url.render_as_string(hide_password=False)
    delivery = {"backoff_s": 0.1, "backoff_max_s": 0.3, "timeout_s": 5.0}
    worklist = {"hours": query.pop("hours", 1e6)}
    peers = query.pop("peers", ())
    section = {"ae_title": AE_TITLE, "host": "127.0.0.1", "port": 0, "tls_port": 0, "sweep_s": 0.05} | query
    sections: dict[str, Any] = {"query": section, "worklist": worklist, "delivery": delivery, "peers": peers}
    return Settings(database={"url": url}, **sections)  # type: ignore[arg-type]


@contextmanager
def answering(database: Database, **query: Any) -> Iterator[QueryService]:
    """A running query service."""
    service = QueryService(settings(database, **query), database)
    service.start()
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def asking(
    port: int, *sop_classes: str, calling: str = "READER", called: str = AE_TITLE
) -> Iterator[Association]:
    """An association of a peer, released at the end; it may have been rejected."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    for sop_class in (Verification, *sop_classes):
        ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    with in_step(association):
        yield association


def answered_values(told: str, tag: str) -> list[str]:
    """Of one attribute, in each answer that a findscu of DCMTK prints."""
    return [value.strip(" \0") for value in re.findall(rf"{re.escape(tag)} \w\w \[?([^\]#]*?)\]? *#", told)]


def identifier(**keys: Any) -> Dataset:
    """The keys of a question."""
    ds = Dataset()
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def find(association: Association, question: Dataset, model: str = STUDY_ROOT) -> tuple[int, list[Dataset]]:
    """The final status of a C-FIND, and its matches."""
    found, last = [], 0
    for status, match in association.send_c_find(question, model):
        last = status.Status
        if match is not None:
            found.append(match)
    return last, found


def steps(association: Association, **keys: Any) -> list[Dataset]:
    """C-FIND of procedure steps; it must succeed."""
    asked = {"SOPInstanceUID": "", "ProcedureStepState": ""} | keys
    status, found = find(association, identifier(**asked), UnifiedProcedureStepPull)
    assert status == 0
    return found


def get(association: Association, uid: str, *keywords: str) -> tuple[int, Dataset | None]:
    """N-GET of a procedure step: status and attributes."""
    wanted = [tag_for_keyword(keyword) or 0 for keyword in keywords]
    status, ds = association.send_n_get(
        wanted, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
    )
    return int(status.Status), ds


def act(association: Association, action: int, uid: str, **information: Any) -> int:
    """N-ACTION on a procedure step; its status."""
    status, _ = association.send_n_action(
        identifier(**information), action, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
    )
    return int(status.Status)


def change(association: Association, uid: str, state: str, transaction: str | None) -> int:
    """Change UPS State; its status."""
    key = {} if transaction is None else {"TransactionUID": transaction}
    return act(association, 1, uid, ProcedureStepState=state, **key)


def set_performed(association: Association, uid: str, **modifications: Any) -> int:
    """N-SET of a procedure step; its status."""
    status, _ = association.send_n_set(
        identifier(**modifications), UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
    )
    return int(status.Status)


class Watcher:
    """An AE that listens for events of procedure steps."""

    def __init__(self, ae_title: str, port: int) -> None:
        self.ae_title = ae_title
        self.port = port
        #: (step, event type, information) of each event, in order
        self.events: list[tuple[str, int, Dataset]] = []
        #: what it answers
        self.answer = 0x0000

    @property
    def table(self) -> dict[str, Any]:
        """Its entry in the configuration."""
        return {"name": self.ae_title, "host": "127.0.0.1", "port": self.port, "ae_title": self.ae_title}

    def of(self, uid: str) -> list[tuple[int, str]]:
        """Type and state of each event about one step."""
        return [
            (kind, str(ds.get("ProcedureStepState", ""))) for step, kind, ds in self.events if step == uid
        ]

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Listen until the block ends."""
        ae = AE(ae_title=self.ae_title)
        ae.require_called_aet = True
        ae.add_supported_context(UnifiedProcedureStepEvent, scu_role=False, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            server.shutdown()

    def _take(self, event: evt.Event) -> tuple[int, None]:
        if self.answer == 0:
            uid = str(event.request.AffectedSOPInstanceUID)
            self.events.append((uid, int(event.event_type or 0), event.event_information))
        return self.answer, None


def add_study(
    database: Database,
    uid: str,
    state: StudyState,
    *,
    minutes: float = 1.0,
    series: Sequence[str] = (),
    **values: Any,
) -> int:
    """A study that came `minutes` ago, with a revision where it is final, two CT images in each series."""
    with database.write() as session:
        stat = values.pop("stat", False)
        when = NOW - timedelta(minutes=minutes)
        study = Study(study_instance_uid=uid, state=state, stat=stat, rank=rank(state, stat=stat), **values)
        study.first_slice_at = study.last_slice_at = when
        study.instance_count = 2 * len(series)
        session.add(study)
        session.flush()
        if state in FINAL_STATES:
            session.add(add_revision(study, state))
        for number, series_uid in enumerate(series * 2):
            session.add(_instance(study, series_uid, number))
        return study.id


def add_revision(study: Study, state: StudyState) -> Revision:
    """The study's next revision, in its final state."""
    study.revision = (study.revision or 0) + 1
    revision = Revision(study_id=study.id, number=study.revision, state=state)
    revision.completed_by = CompletedBy.GEOMETRY
    revision.last_instance_id = 0
    revision.first_slice_at = revision.last_slice_at = revision.complete_at = study.first_slice_at
    if state in ANALYSED_STATES:
        answer = analysis_of(made_headers(8), flagged=state is StudyState.FLAGGED)
        revision.analysis = TypeAdapter(Analysis).dump_python(answer, mode="json")
    else:
        study.reason_code, study.reason = ReasonCode.GAPS, "slices are missing"
    return revision


def _instance(study: Study, series_uid: str, number: int) -> Instance:
    uid = f"{series_uid}.{number + 1}"
    instance = Instance(study_id=study.id, series_instance_uid=series_uid, sop_instance_uid=uid)
    instance.sop_class_uid, instance.path, instance.size = CTImageStorage, f"{study.id}/{uid}", 1
    instance.sha256, instance.received_at = f"{number:064d}", study.first_slice_at
    return instance
