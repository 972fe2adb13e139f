"""The JSON for scripts, from rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter

from ich_triage.domain.finding import Analysis
from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.labels import LABELS
from ich_triage.domain.states import DeliveryState, OutputKind, StudyState
from ich_triage.settings import Worklist
from ich_triage.store import summary
from ich_triage.store.alive import Alive
from ich_triage.store.tables import Delivery, Revision, Study
from ich_triage.store.worklist import Row
from ich_triage.worklist import document
from ich_triage.worklist.order import reading_order
from tests.reports import analysis_of, made_headers

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORDER = reading_order(Worklist(), NOW)


def _delivery(sent_after_s: float | None, state: DeliveryState = DeliveryState.SENT) -> Delivery:
    sent = None if sent_after_s is None else NOW + timedelta(seconds=sent_after_s)
    return Delivery(id=1, destination="pacs", kind=OutputKind.SR, state=state, attempts=1, sent_at=sent)


def _row(*deliveries: Delivery, analysed: bool = True) -> Row:
    study = Study(study_instance_uid="1.2", state=StudyState.FLAGGED, rank=2, stat=False, revision=1)
    study.first_slice_at = study.last_slice_at = NOW - timedelta(seconds=30)
    revision = Revision(number=1, state=StudyState.FLAGGED, completed_by="geometry", attempts=1)
    revision.first_slice_at, revision.last_slice_at, revision.complete_at = NOW, NOW, NOW
    revision.study, revision.deliveries = study, list(deliveries)
    revision.selection = {"chosen": None, "rejected": [], "fingerprint": "secret of the pipeline"}
    if analysed:
        answer = analysis_of(made_headers(8))
        revision.analysis = TypeAdapter(Analysis).dump_python(answer, mode="json")
    return Row(study=study, newest=revision, decided=revision, reported=revision)


def test_it_is_json_and_carries_the_honest_labels() -> None:
    """Plain types only; the label always, the synthetic stamp where the model is synthetic."""
    told = document.study(_row(_delivery(2.0)), [], [], ORDER)
    assert json.loads(json.dumps(told)) == told
    assert told["label"] == PRIORITISATION_ONLY
    assert told["analysis"]["warning"] == SYNTHETIC
    assert document.worklist([], {}, ORDER, Alive(receivers=1, workers=1))["label"] == PRIORITISATION_ONLY


def test_probabilities_have_names_and_key_slices_have_uids() -> None:
    """Nobody has to know the order of the labels or of the slices."""
    told = document.study(_row(), [], [], ORDER)
    assert tuple(told["analysis"]["probabilities"]) == LABELS
    key = told["analysis"]["findings"][0]["key_slice"]
    assert key["sop_instance_uid"] == told["slices"][key["index"]]["sop_instance_uid"]
    assert set(told["series"]) == {"chosen", "rejected"}


def test_a_row_of_an_earlier_release_says_the_same() -> None:
    """It has no summary yet; whoever reads the document notices nothing."""
    old, new = _row(), _row()
    assert new.decided is not None
    assert new.decided.analysis is not None
    new.decided.summary = summary.make(new.decided.analysis)
    assert document.summary(new, ORDER) == document.summary(old, ORDER)
    new.decided.analysis = None  # as a list reads it
    assert document.summary(new, ORDER) == document.summary(old, ORDER)


def test_sent_means_everything_that_can_still_be_sent() -> None:
    """The slowest counts; one that still waits leaves it open; a dead letter does not hold it back."""

    def ledger(*deliveries: Delivery) -> dict[str, object]:
        return dict(document.summary(_row(*deliveries), ORDER)["ledger"])

    assert ledger(_delivery(2.0), _delivery(3.5))["last_slice_to_sent_s"] == 3.5
    assert ledger(_delivery(2.0), _delivery(None, DeliveryState.PENDING))["sent"] is None
    assert ledger(_delivery(2.0), _delivery(None, DeliveryState.DEAD))["last_slice_to_sent_s"] == 2.0
    assert ledger(_delivery(None, DeliveryState.DEAD))["sent"] is None
    assert ledger()["sent"] is None


def test_a_study_without_a_revision_is_told_too() -> None:
    """While the first slices arrive there is no analysis, no delivery, and a short ledger."""
    row = _row()
    told = document.summary(Row(study=row.study, newest=None, decided=None, reported=None), ORDER)
    assert told["analysis"] is None
    assert told["deliveries"] == []
    assert set(told["ledger"]) == {"first_slice", "last_slice"}
    assert told["waiting_s"] == 30.0


def test_times_carry_their_zone() -> None:
    """ISO 8601, so that a script far away reads the same moment."""
    told = document.summary(_row(_delivery(1.0)), ORDER)
    assert datetime.fromisoformat(told["ledger"]["complete"]).tzinfo in (UTC, UTC)
