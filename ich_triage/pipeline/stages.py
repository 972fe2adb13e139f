"""What each stage of a revision does; see `triage` for their order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydicom import Dataset, dcmread
from sqlalchemy.orm import Session

from ..domain.finding import Analysis
from ..domain.states import ANALYSED_STATES, FINAL_STATES, CompletedBy, ReasonCode, StudyState
from ..errors import HeaderError
from ..imaging import gate, head
from ..imaging.attributes import MALFORMED
from ..imaging.header import SliceHeader, open_dataset, read_study
from ..imaging.select import Selection, Series, select
from ..imaging.volume import Volume, assemble
from ..outputs.masks import MaskFiles
from ..outputs.outbox import Outbox
from ..outputs.report import ChosenSeries, Device, DocumentReference, Report
from ..storage.files import Files
from ..store import deliveries, results, summary
from ..store.database import Database
from ..store.tables import Revision

if TYPE_CHECKING:
    from ..inference.analyse import Analyser

Json = dict[str, Any]

_ANALYSIS = TypeAdapter(Analysis)
#: objects that are tried for patient and study where no image can be read
_TRIED = 5


@dataclass(kw_only=True)
class _Kept:
    """What a revision's stages hand on within one process; after a takeover it is made again."""

    selection: Selection | None = None
    volume: Volume | None = None
    #: bool (5, Z, Y, X), in the order of SUBTYPES
    masks: NDArray[np.bool_] | None = None
    #: files of the spool that it reads
    paths: Sequence[str] = ()


class Stages:
    """Select, analyse, render, store. Each takes and gives JSON, and may be run again."""

    def __init__(
        self, *, database: Database, spool: Files, analyser: Analyser, outbox: Outbox, device: Device
    ) -> None:
        self._database = database
        self._spool = spool
        self._analyser = analyser
        self._outbox = outbox
        self._device = device
        self._masks = MaskFiles(spool)
        self._kept: defaultdict[int, _Kept] = defaultdict(_Kept)

    def select(self, revision_id: int) -> Json:
        """Choose the series; the outcome is final when there is none, or nothing new to be analysed."""
        selection = self._selection(revision_id)
        told = _selection_json(selection) | {
            "fingerprint": _fingerprint(self._analyser.fingerprint, selection.chosen)
        }
        with self._database.write() as session:
            revision = results.get(session, revision_id)
            revision.selection = told
            previous = results.previous(session, revision)
            same = previous is not None and _same_question(previous, revision)
            removed_at = revision.study.images_removed_at
        if selection.chosen is None:
            reason = selection.reason
            if removed_at is not None:
                reason += (
                    f" Retention removed earlier images of it on {removed_at:%Y-%m-%d}; send them again."
                )
            return _final(StudyState.NOT_ANALYSED, code=selection.code, reason=reason)
        if previous is not None and same:
            return _final(
                StudyState(previous.state),
                code=previous.reason_code,
                reason=previous.reason,
                analysis=previous.analysis,
                same_as=previous.same_as or previous.number,
            )
        return {"state": None}

    def analyse(self, revision_id: int) -> Json:
        """Read the chosen series and ask the model.

        Raises DicomReadError when pixels cannot be read, NotAnalysedError when it is not a whole head.
        """
        volume = self._volume(revision_id)
        found = head.find(volume)
        gate.check(volume, found)
        answer = self._analyser.analyse(volume, head=found)
        with self._database.read() as session:
            revision = results.get(session, revision_id)
            study_instance_uid, number = revision.study.study_instance_uid, revision.number
        self._masks.save(study_instance_uid, number, answer.masks)
        self._kept[revision_id].masks = answer.masks
        state = StudyState.FLAGGED if answer.analysis.flagged else StudyState.NOT_FLAGGED
        outcome = _final(state, analysis=_ANALYSIS.dump_python(answer.analysis, mode="json"))
        # The model may be another one than when the series was selected.
        asked = _fingerprint(answer.fingerprint, self._selection(revision_id).chosen)
        return outcome | {"fingerprint": asked}

    def render(self, revision_id: int, outcome: Json) -> list[Json]:
        """Make the report's objects; returns the deliveries that they call for."""
        if outcome["same_as"] is not None:
            return []
        report = self._report(revision_id, outcome)
        planned = self._outbox.render(
            report,
            self._sources(revision_id),
            volume=self._volume(revision_id) if report.flagged else None,
            masks=self._masks_of(revision_id) if report.flagged else None,
        )
        return [asdict(each) for each in planned]

    def store(self, revision_id: int, outcome: Json, planned: list[Json]) -> None:
        """Write the result and its deliveries in one transaction; none for a result that does not hold."""
        self.forget(revision_id)
        with self._database.write() as session:
            revision = results.unfinished(session, revision_id)
            if revision is None:
                return
            revision.analysis = outcome["analysis"]
            revision.summary = summary.make(outcome["analysis"]) if outcome["analysis"] else None
            revision.same_as = outcome["same_as"]
            if outcome.get("fingerprint"):  # checkpoints of earlier releases have none
                revision.selection = (revision.selection or {}) | {"fingerprint": outcome["fingerprint"]}
            revision.inferred_at = datetime.fromisoformat(outcome["at"]) if outcome["analysis"] else None
            revision.stored_at = datetime.now(UTC)
            code = ReasonCode(outcome["code"]) if outcome["code"] else None
            state = StudyState(outcome["state"])
            if results.finish(session, revision, state, code=code, reason=outcome["reason"]):
                deliveries.plan(session, revision, [deliveries.Planned(**each) for each in planned])
            elif revision.same_as is None:
                # Nobody was told this answer, so the next revision must not point at it and be silent.
                revision.selection = (revision.selection or {}) | {"fingerprint": None}

    def forget(self, revision_id: int) -> None:
        """Drop what is kept in memory of a revision that ended, or that another worker may take."""
        kept = self._kept.pop(revision_id, None)
        if kept is not None:
            self._spool.release(kept.paths)

    def _selection(self, revision_id: int) -> Selection:
        kept = self._kept[revision_id]
        if kept.selection is None:
            series = self._files(revision_id)
            headers, unreadable = read_study(series)
            named = [replace(file, series_instance_uid=series[file.path]) for file in unreadable]
            kept.selection = select(headers, unreadable=named)
        return kept.selection

    def _volume(self, revision_id: int) -> Volume:
        kept = self._kept[revision_id]
        if kept.volume is None:
            chosen = self._selection(revision_id).chosen
            assert chosen is not None  # the stage before has ended the revision otherwise
            kept.volume = assemble(chosen)
        return kept.volume

    def _masks_of(self, revision_id: int) -> NDArray[np.bool_]:
        kept = self._kept[revision_id]
        if kept.masks is None:
            with self._database.read() as session:
                revision = results.get(session, revision_id)
                kept.masks = self._masks.load(revision.study.study_instance_uid, revision.number)
        return kept.masks

    def _files(self, revision_id: int) -> dict[Path, str]:
        """Every file that the revision covers, with its Series Instance UID."""
        with self._database.read() as session:
            revision = results.get(session, revision_id)
            instances = results.instances(session, revision)
        paths = [each.path for each in instances]
        self._kept[revision_id].paths = paths
        local = self._spool.local(paths)
        return {path: each.series_instance_uid for path, each in zip(local, instances, strict=True)}

    def _sources(self, revision_id: int) -> list[Dataset]:
        """Headers of the analysed images in order; of one object when none was analysed.

        That one is preferably an image that can be used; a patient and a study every indexed object has.
        """
        chosen = self._selection(revision_id).chosen
        if chosen:
            paths = [header.path for header in chosen.headers]
        else:
            every = list(self._files(revision_id))
            headers, _ = read_study(every)
            paths = [header.path for header in headers[:1]]
            if not paths:
                return _first_readable(every)
        return [_without_pixels(path) for path in dict.fromkeys(paths)]

    def _report(self, revision_id: int, outcome: Json) -> Report:
        with self._database.read() as session:
            revision = results.get(session, revision_id)
            # What the list shows, which an earlier answer that did not hold has left as it was.
            flag_stood = revision.study.state == StudyState.FLAGGED
            # A flag is replaced by what takes it down or renews it, never by a look that came to nothing.
            replaceable = FINAL_STATES if not flag_stood else ANALYSED_STATES if outcome["analysis"] else ()
            replaced = results.reported_before(session, revision, states=replaceable)
            chosen = (revision.selection or {}).get("chosen")
            return Report(
                study_instance_uid=revision.study.study_instance_uid,
                revision=revision.number,
                objects_sha256=results.objects_sha256(session, revision),
                state=StudyState(outcome["state"]),
                reason_code=ReasonCode(outcome["code"]) if outcome["code"] else None,
                reason=outcome["reason"],
                analysis=_ANALYSIS.validate_python(outcome["analysis"]) if outcome["analysis"] else None,
                series=ChosenSeries(
                    series_instance_uid=chosen["series_instance_uid"],
                    description=chosen["description"],
                    number=chosen["number"],
                )
                if chosen and outcome["analysis"]
                else None,
                created_at=datetime.fromisoformat(outcome["at"]),
                predecessor=self._predecessor(session, replaced) if replaced else None,
                flag_stood=flag_stood,
                stat=revision.study.stat,
                predecessor_held_by=results.report_holders(session, revision),
                device=self._device,
            )

    def _predecessor(self, session: Session, revision: Revision) -> DocumentReference:
        """The report of an earlier revision, rebuilt from its rows: its UIDs are derived."""
        return Report(
            study_instance_uid=revision.study.study_instance_uid,
            revision=revision.number,
            objects_sha256=results.objects_sha256(session, revision),
            state=StudyState(revision.state),
            reason_code=ReasonCode(revision.reason_code) if revision.reason_code else None,
            reason=revision.reason,
            analysis=_ANALYSIS.validate_python(revision.analysis) if revision.analysis else None,
            created_at=revision.stored_at or revision.complete_at,
            device=self._device,
        ).document


def _fingerprint(model: str, chosen: Series | None) -> str | None:
    """Same images, same model and same rule give the same answer."""
    if chosen is None:
        return None
    images = (f"{each.sop_instance_uid}/{each.frame_number or ''}" for each in chosen.headers)
    return _hash([model, *images])


def _without_pixels(path: Path) -> Dataset:
    """Raises HeaderError, and what pydicom raises for malformed data."""
    with open_dataset(path) as file:  # bounded, where pydicom's own inflating is not
        return dcmread(file, stop_before_pixels=True)


def _first_readable(paths: Sequence[Path]) -> list[Dataset]:
    """Patient and study of the first object that gives them, among a few; none where all are broken."""
    for path in paths[:_TRIED]:
        with suppress(HeaderError, *MALFORMED):
            return [_without_pixels(path)]
    return []


def _final(
    state: StudyState,
    *,
    code: str | None = None,
    reason: str | None = None,
    analysis: Json | None = None,
    same_as: int | None = None,
) -> Json:
    """The outcome of a revision, as the checkpoint keeps it."""
    return {
        "state": state.value,
        "code": code,
        "reason": reason,
        "analysis": analysis,
        "same_as": same_as,
        "at": datetime.now(UTC).isoformat(),
    }


def failed(code: ReasonCode, reason: str) -> Json:
    """The outcome of a revision that broke off."""
    return _final(StudyState.FAILED, code=code, reason=reason)


def not_analysed(code: ReasonCode, reason: str) -> Json:
    """The outcome of a revision that the model was not made for."""
    return _final(StudyState.NOT_ANALYSED, code=code, reason=reason)


def _same_question(previous: Revision, revision: Revision) -> bool:
    """Late objects changed nothing that is analysed; a person who asks again gets a new answer."""
    before = (previous.selection or {}).get("fingerprint")
    now = (revision.selection or {}).get("fingerprint")
    return (
        now is not None
        and now == before
        and previous.analysis is not None
        and revision.completed_by != CompletedBy.REPROCESS
    )


def _selection_json(selection: Selection) -> Json:
    return {
        "chosen": _chosen_json(selection.chosen, selection.reason) if selection.chosen else None,
        "rejected": [asdict(each) for each in selection.rejected],
    }


def _chosen_json(series: Series, reason: str) -> Json:
    first: SliceHeader = series.first
    return {
        "series_instance_uid": series.series_instance_uid,
        "description": first.series_description,
        "number": first.series_number,
        "images": len(series.headers),
        "reason": reason,
    }


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
