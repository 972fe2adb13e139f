"""Every boundary between two stages at which something can go wrong, without a switch in the product.

A plan is a JSON file, boundary → faults that are to happen there, one each time. A process that comes by
crosses out the first one left: it kills itself with -9, or has the database or the disk taken away
(`tests.outages`) and goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Any

from pynetdicom.dimse_primitives import C_STORE

from ich_triage.domain.audit import AuditEvent
from ich_triage.intake import assembly, commitment, indexer, judge, scp, spool, stream
from ich_triage.intake import receiver as receivers
from ich_triage.keeping import aside, remove, retention
from ich_triage.outputs import commitments, courier, dicom_courier, masks, mllp
from ich_triage.pipeline import queue, stages, triage, worker
from ich_triage.query import reporter, step_actions, steps, watch
from ich_triage.storage import durable, folder
from ich_triage.store import database
from ich_triage.worklist import api, shared
from tests import outages

KILL, DATABASE, DISK = "kill", "database", "disk"
FAULTS = (KILL, DATABASE, DISK)
_STAGES = ("select", "analyse", "render", "store")

WORKER = (
    *(f"{side} {stage}" for stage in _STAGES for side in ("before", "after")),
    *(f"after the checkpoint of {stage}" for stage in _STAGES),
    *(
        "before enqueue",
        "after enqueue",
        "inside the transaction of enqueued",
        "inside the transaction of begin",
    ),
    *("before takeover", "after takeover", "inside the transaction of removal"),
    *("before masks", "after masks", "before object", "before replace of object"),
    *("after replace of object", "after object"),
    *("inside the transaction of store", "inside the transaction of claim", "after claim"),
    *("before C-STORE", "after C-STORE", "inside the transaction of sent", "after sent"),
    *("before commitment request", "after commitment request", "inside the transaction of request"),
    *("before message", "after message"),
    *("inside the transaction of announcement", "before aside", "after aside"),
    *("inside the transaction of study removal", "after study removal"),
    *("before deletion of aside", "after deletion of aside"),
    *("before telling elsewhere", "after telling elsewhere", "inside the transaction of told"),
)
RECEIVER = (
    *("inside object", "before sync of file", "after sync of file", "before sync of inbox"),
    *("after sync of inbox", "after put", "before answer", "after answer"),
    *("before place", "inside place", "after place"),
    *("before index", "inside the transaction of index", "after index"),
    *("before complete", "inside the transaction of complete", "after complete"),
    *("before commitment result", "inside the transaction of commitment result"),
    "after commitment result",
    *("before request", "inside the transaction of request taken", "after request"),
    *("before verdict", "inside the transaction of verdict", "before telling", "after telling"),
)
WEB = (
    *("before list", "after list", "before opinion", "inside the transaction of opinion"),
    *("after the transaction of opinion", "after audit of opinion"),
)
QUERY = (
    *("inside the transaction of steps", "after steps"),
    *("before find", "after find"),
    *("before change of step", "inside the transaction of change of step", "after change of step"),
    *("inside the transaction of news", "inside the transaction of claim of events"),
    *("before event", "after event", "inside the transaction of event told"),
)
#: role of `tests.roles` → its boundaries
OF_ROLES = {"receiver": RECEIVER, "worker": WORKER, "web": WEB, "query": QUERY}

_lock = Lock()


def write_plan(path: Path, boundaries: Iterable[str], faults: Sequence[str]) -> None:
    """Have each of `faults` happen at each boundary; which is the first there goes round."""
    plan = {}
    for number, name in enumerate(boundaries):
        turn = number % len(faults)
        plan[name] = [*faults[turn:], *faults[:turn]]
    path.write_text(json.dumps(plan))


def remaining(path: Path) -> dict[str, list[str]]:
    """What is left of a plan."""
    return {name: faults for name, faults in json.loads(path.read_text()).items() if faults}


def address(path: Path) -> Path:
    """Where a process with this plan asks for outages."""
    return path.parent / "outages"


class Plan:
    """The plan as a process sees it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def strike(self, boundary: str) -> None:
        """Let happen what the plan says."""
        # one process after the other, one thread after the other; the kernel unlocks for who dies
        with _lock, self._path.with_suffix(".lock").open("ab") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            left = json.loads(self._path.read_text())
            if not left.get(boundary):
                return
            fault = left[boundary].pop(0)
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(left))
            new.replace(self._path)
            os.write(1, f"{fault} {boundary}\n".encode())
            if fault == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
        outages.ask_for(address(self._path), fault)

    def around(
        self,
        owner: Any,
        attribute: str,
        *,
        before: str = "",
        after: str = "",
        when: Callable[..., object] = lambda *_: True,
    ) -> None:
        """Put boundaries before and after a function; `when` sees its result and arguments."""
        inner = getattr(owner, attribute)

        @wraps(inner)
        def outer(*arguments: Any, **named: Any) -> Any:
            if before and when(None, *arguments):
                self.strike(before)
            result = inner(*arguments, **named)
            if after and when(result, *arguments):
                self.strike(after)
            return result

        is_static = isinstance(vars(owner).get(attribute), staticmethod)
        setattr(owner, attribute, staticmethod(outer) if is_static else outer)


def hurry() -> None:
    """Shorten the waits that are no setting, so that faults can be many."""
    database.BUSY_TIMEOUT_MS = outages.BUSY_TIMEOUT_MS
    worker.RECONCILE_S = 0.5
    retention.PERIOD_S = 0.5
    retention.HALVES_S = 10.0
    retention.Retention.__init__.__kwdefaults__["grace_s"] = 0.0
    commitment.HOLD_S = judge.HOLD_S = 0.5
    judge.POLL_S = commitments.POLL_S = 0.2


def arm(role: str, path: Path) -> None:
    """Every boundary of a role, in this process."""
    {"receiver": _arm_receiver, "worker": _arm_worker, "web": _arm_web, "query": _arm_query}[role](Plan(path))


def _arm_worker(plan: Plan) -> None:
    for stage in _STAGES:
        plan.around(stages.Stages, stage, before=f"before {stage}", after=f"after {stage}")
        plan.around(
            triage,
            "step",
            after=f"after the checkpoint of {stage}",
            when=lambda _result, name, *_, stage=stage: name == stage,
        )
    plan.around(queue.TriageQueue, "enqueue", before="before enqueue", after="after enqueue")
    plan.around(worker.results, "mark_enqueued", after="inside the transaction of enqueued")
    plan.around(triage.results, "begin", after="inside the transaction of begin")
    plan.around(
        queue.TriageQueue,
        "queue_again",
        before="before takeover",
        after="after takeover",
        when=lambda _result, _queue, orphans: orphans,
    )
    plan.around(worker.workers, "remove", after="inside the transaction of removal")
    plan.around(masks.MaskFiles, "save", before="before masks", after="after masks")
    plan.around(
        folder.Folder,
        "write",
        before="before object",
        after="after object",
        when=lambda _result, _files, path, *_: path.startswith("outbox/"),
    )
    durable.os = _replacing(plan)  # type: ignore[assignment]
    plan.around(stages.deliveries, "plan", after="inside the transaction of store")
    plan.around(
        courier.deliveries,
        "claim_due",
        after="inside the transaction of claim",
        when=lambda claimed, *_: claimed,
    )
    plan.around(dicom_courier.DicomCourier, "_associate", before="after claim")
    plan.around(dicom_courier.Link, "store", before="before C-STORE", after="after C-STORE")
    plan.around(mllp.MllpLink, "send", before="before message", after="after message")
    plan.around(courier.deliveries, "mark_sent", after="inside the transaction of sent")
    plan.around(dicom_courier.DicomCourier, "_sent", after="after sent")
    plan.around(
        dicom_courier.Link,
        "request_commitment",
        before="before commitment request",
        after="after commitment request",
    )
    plan.around(courier.deliveries, "commitment_requested", after="inside the transaction of request")
    plan.around(remove.removal, "mark_images", after="inside the transaction of announcement")
    plan.around(aside.Aside, "_move", before="before aside", after="after aside")
    plan.around(remove.removal, "drop_study", after="inside the transaction of study removal")
    plan.around(retention, "remove_study", after="after study removal")
    plan.around(aside.Aside, "_settle", before="before deletion of aside", after="after deletion of aside")
    plan.around(
        commitments.Link,
        "report_commitment",
        before="before telling elsewhere",
        after="after telling elsewhere",
    )
    plan.around(commitments.commitments, "drop", after="inside the transaction of told")


def _arm_receiver(plan: Plan) -> None:
    plan.around(stream.IncomingObject, "write", after="inside object")
    spool.os = _syncing(plan)  # type: ignore[assignment]
    plan.around(receivers.Receiver, "_arrived", after="after put")
    plan.around(
        stream.SpoolingProvider,
        "send_msg",
        before="before answer",
        after="after answer",
        when=lambda _result, _provider, message, *_: isinstance(message, C_STORE),
    )
    plan.around(indexer.Indexer, "_place", before="before place", after="after place")
    plan.around(spool.Spool, "_move", after="inside place")
    plan.around(indexer.Indexer, "_write_once", before="before index", after="after index")
    plan.around(indexer, "index", after="inside the transaction of index")
    plan.around(assembly.Assembly, "_complete", before="before complete", after="after complete")
    plan.around(assembly, "open_revision", after="inside the transaction of complete")
    plan.around(
        scp.Listener,
        "_commitment_result",
        before="before commitment result",
        after="after commitment result",
    )
    plan.around(courier.deliveries, "commitment_result", after="inside the transaction of commitment result")
    plan.around(commitment.Commitments, "_keep", before="before request", after="after request")
    plan.around(commitment.commitments, "add", after="inside the transaction of request taken")
    plan.around(judge, "judge", before="before verdict")
    plan.around(judge.commitments, "judged", after="inside the transaction of verdict")
    plan.around(judge.Judge, "_send", before="before telling", after="after telling")


def _arm_web(plan: Plan) -> None:
    plan.around(api.document, "worklist", before="before list", after="after list")
    plan.around(api.feedback, "give", before="before opinion", after="inside the transaction of opinion")
    plan.around(shared.Shared, "forget", before="after the transaction of opinion")
    plan.around(
        api,
        "audited",
        after="after audit of opinion",
        when=lambda _result, _request, _who, event: event is AuditEvent.FEEDBACK_GIVEN,
    )


def _arm_query(plan: Plan) -> None:
    plan.around(watch.ups, "make", after="inside the transaction of steps")
    plan.around(watch.Watch, "_cover", after="after steps", when=lambda made, *_: made)
    plan.around(watch.ups, "mark_reported", after="inside the transaction of news")
    plan.around(steps.Steps, "find", before="before find", after="after find")
    plan.around(
        step_actions.StepActions,
        "change_state",
        before="before change of step",
        after="after change of step",
    )
    plan.around(step_actions.StepActions, "_publish", after="inside the transaction of change of step")
    plan.around(
        reporter.ups_events,
        "claim_due",
        after="inside the transaction of claim of events",
        when=lambda claimed, *_: claimed,
    )
    plan.around(reporter.Link, "report", before="before event", after="after event")
    plan.around(reporter.ups_events, "arrived", after="inside the transaction of event told")


class _Os:
    """The module `os` as one module of the product sees it, with boundaries of its own."""

    def __init__(self, **functions: Callable[..., None]) -> None:
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def _syncing(plan: Plan) -> _Os:
    def fsync(descriptor: int) -> None:
        what = "inbox" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        plan.strike(f"before sync of {what}")
        os.fsync(descriptor)
        plan.strike(f"after sync of {what}")

    return _Os(fsync=fsync)


def _replacing(plan: Plan) -> _Os:
    def replace(source: str, target: Path) -> None:
        object_of_ours = "outbox" in target.parts
        if object_of_ours:
            plan.strike("before replace of object")
        os.replace(source, target)
        if object_of_ours:
            plan.strike("after replace of object")

    return _Os(replace=replace)
