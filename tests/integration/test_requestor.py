"""The threads of an association that we open do not get in each other's way."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from threading import Event, Thread
from time import sleep

import pytest
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from ich_triage.dicom.commitment import event_information
from ich_triage.dicom.scu import Link, commitment_context
from ich_triage.domain.commitment import CommitmentResult
from tests.pacs import counting_pacs
from tests.peers import Archive

Wait = Callable[..., None]


class _Unpaused(Association):
    """Its reactor says that it has paused, and has not."""

    _is_paused = property(lambda _self: True, lambda _self, _value: None)  # type: ignore[assignment]


def test_no_answer_is_lost_to_a_thread_that_should_have_paused() -> None:
    """pynetdicom's own reactor competes for every response here, as it does at times on a busy machine."""
    contexts = [build_context(Verification)]
    with counting_pacs() as pacs, Link(pacs.peer, calling="TEST", contexts=contexts, timeout_s=5) as link:
        link._association.__class__ = _Unpaused
        link._association._reactor_checkpoint.wait = lambda _=None: True
        for _ in range(100):
            link.echo()


@pytest.mark.timeout(60)
def test_a_result_that_is_served_while_the_reactor_rests_holds_up_nobody(wait_until: Wait) -> None:
    """The next request does not wait for ever for the reactor to rest: it does, whatever the flag said."""
    archive, results = Archive(), list[CommitmentResult]()
    contexts = [commitment_context(), build_context(Verification)]
    with (
        archive.serve(commitment=True),
        Link(
            archive.peer, calling="US", contexts=contexts, timeout_s=5, on_commitment=results.append
        ) as link,
    ):
        association = link._association
        association._reactor_checkpoint.clear()
        wait_until(lambda: association._is_paused, what="the reactor's rest")
        serving = Thread(target=association._serve_request, args=_result(association))
        serving.start()
        serving.join()
        link.echo()
    assert len(results) == 1


def test_a_result_is_answered_before_we_leave(wait_until: Wait) -> None:
    """A PACS that reports on our own association hears that we have it, though its result ends our wait."""
    archive, heard = Archive(), Event()

    def record(_result: CommitmentResult) -> None:
        heard.set()
        sleep(0.2)  # a database that takes its time

    with archive.serve(commitment=True):
        contexts = [commitment_context()]
        with Link(archive.peer, calling="US", contexts=contexts, timeout_s=5, on_commitment=record) as link:
            link.request_commitment(generate_uid(), [(CTImageStorage, "1.2.3")])
            assert heard.wait(30)
        wait_until(lambda: archive.told, what="the answer to the result")
    assert archive.told == [0x0000]


def _result(association: Association) -> tuple[N_EVENT_REPORT, int]:
    """A result as it comes from a peer, and the presentation context that it comes over."""
    (context,) = [
        each for each in association.accepted_contexts if each.abstract_syntax == StorageCommitmentPushModel
    ]
    syntax = context.transfer_syntax[0]
    event_type, information = event_information(generate_uid(), [])
    report = N_EVENT_REPORT()
    report.MessageID = 1
    report.AffectedSOPClassUID = StorageCommitmentPushModel
    report.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
    report.EventTypeID = event_type
    encoded = encode(information, syntax.is_implicit_VR, syntax.is_little_endian)
    report.EventInformation = BytesIO(encoded or b"")
    return report, context.context_id or 0
