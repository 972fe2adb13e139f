"""HL7 messages travel to real MLLP listeners, whatever those do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from ich_triage.domain.states import StudyState
from ich_triage.settings import DicomDestination
from ich_triage.store import deliveries
from ich_triage.store.database import Database
from tests.certificates import make_certificates
from tests.hooks import SECRET, HookServer
from tests.messages import STUDY, delivering, desk, his, plan, plan_later, rows, settings, states
from tests.mllp import LOOPBACK, MllpListener, acknowledge, block
from tests.peers import Archive, probe_port

Wait = Callable[..., None]


@pytest.fixture
def listener() -> Iterator[MllpListener]:
    """A listener that is not yet listening."""
    return MllpListener()


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has the secret of the destination `desk`."""
    monkeypatch.setenv("ICH_TRIAGE_WEBHOOK_SECRET_DESK", SECRET)


def test_a_listener_gets_each_message_once(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """Acknowledged messages count as sent; the bytes are those of the outbox."""
    with listener.serve():
        using = settings(tmp_path, his(listener.port))
        for number in range(20):
            plan(sqlite, using, study=f"1.2.3.{number}")
        with delivering(using, sqlite):
            wait_until(lambda: all(states(sqlite, f"1.2.3.{n}") == ["sent"] for n in range(20)))
    assert sorted(listener.heard) == sorted(path.read_bytes() for path in tmp_path.rglob("*.hl7"))
    assert len(set(listener.control_ids())) == 20


def test_two_deliverers_send_each_message_once(
    database: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """On SQLite and PostgreSQL, two processes' worth of couriers share the work without repeating it."""
    with listener.serve():
        using = settings(tmp_path, his(listener.port))
        for number in range(10):
            plan(database, using, study=f"1.2.3.{number}")
        with delivering(using, database), delivering(using, database):
            wait_until(lambda: all(states(database, f"1.2.3.{n}") == ["sent"] for n in range(10)))
    assert len(listener.heard) == len(set(listener.heard)) == 10


def test_a_listener_that_never_acknowledges_is_seen_and_tried_again(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """Silence is a failed attempt with its reason; when the listener speaks, the same bytes are accepted."""
    listener.manner = lambda _: None
    with listener.serve():
        using = settings(tmp_path, his(listener.port), timeout_s=0.2)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: rows(sqlite)[0].attempts >= 2, what="two attempts")
            assert rows(sqlite)[0].last_error == "no acknowledgement within 0.2 s"
            listener.manner = acknowledge("AA")
            wait_until(lambda: states(sqlite) == ["sent"], what="the acknowledgement")
    assert len(listener.heard) >= 3 and len(set(listener.heard)) == 1


def test_a_silent_listener_delays_no_other_destination(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """PACS and webhook are served while a listener takes the connection and never says a word."""
    archive, hooks = Archive(), HookServer()
    pacs = DicomDestination(
        name="pacs", host=LOOPBACK, port=archive.peer.port, ae_title=archive.peer.ae_title, outputs=("sr",)
    )
    listener.manner = lambda _: None
    with listener.serve(), archive.serve(), hooks.serve():
        using = settings(tmp_path, his(listener.port), pacs, desk(hooks.url), timeout_s=2.0)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: len(archive.stored) == len(hooks.got) == 1, what="the others")
            assert [row.state for row in rows(sqlite) if row.destination == "his"] == ["pending"]


@pytest.mark.parametrize(
    ("answer", "cuts", "error"),
    [
        (block(b"hello"), False, "no HL7 acknowledgement"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n\x1c\r", False, "no HL7 acknowledgement"),
        (block(b"MSH|^~\\&|HIS\rMSA|AA|ANOTHER\r"), False, "for another message"),
        (block(b"MSH|^~\\&|HIS\rMSA|AA\r"), False, "no HL7 acknowledgement"),
        (b"\x0bMSH|^~\\&|HIS\rMSA|A", True, "closed within an acknowledgement"),
        (None, True, "closed without an acknowledgement"),
        (b"\x0b" + b"x" * 200_000, False, "too long"),
    ],
)
def test_what_is_no_acknowledgement_is_tried_again(
    sqlite: Database,
    tmp_path: Path,
    wait_until: Wait,
    listener: MllpListener,
    answer: bytes | None,
    cuts: bool,
    error: str,
) -> None:
    """Garbage, half an answer, an answer to something else, a cut connection: never taken for success."""
    listener.manner, listener.cuts = (lambda _: answer), cuts
    with listener.serve():
        using = settings(tmp_path, his(listener.port))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: rows(sqlite)[0].attempts >= 2, what="two attempts")
            assert error in (rows(sqlite)[0].last_error or "")
            listener.manner, listener.cuts = acknowledge("AA"), False
            wait_until(lambda: states(sqlite) == ["sent"], what="the acknowledgement")
    assert len(set(listener.heard)) == 1


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_acceptance_ends_a_delivery(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener, code: str
) -> None:
    """Application and commit acceptance both count."""
    listener.manner = acknowledge(code)
    with listener.serve():
        using = settings(tmp_path, his(listener.port))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["sent"])


@pytest.mark.parametrize("code", ["AE", "CE"])
def test_an_error_is_tried_again_until_the_dead_letter(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener, code: str
) -> None:
    """The listener may be mended: its error is retried as the policy says, and its words are kept."""
    listener.manner = acknowledge(code, "ERR||||E|||table is locked")
    with listener.serve():
        using = settings(tmp_path, his(listener.port), max_attempts=3)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["dead"], what="the dead letter")
    assert len(listener.heard) == 3
    assert rows(sqlite)[0].last_error == f"acknowledged with {code}: table is locked"


@pytest.mark.parametrize("code", ["AR", "CR"])
@pytest.mark.risk("R-111")
def test_a_rejection_is_final_and_its_words_stay_out_of_the_log(
    sqlite: Database,
    tmp_path: Path,
    wait_until: Wait,
    listener: MllpListener,
    capfd: pytest.CaptureFixture[str],
    code: str,
) -> None:
    """Dead at once, with the listener's words cleaned and cut; redelivery then sends the same message."""
    words = "unknown patient Doe\x1b[2J " + "x" * 500
    listener.manner = acknowledge(code, f"ERR||||E||||{words}")
    with listener.serve():
        using = settings(tmp_path, his(listener.port))
        plan(sqlite, using)
        with delivering(using, sqlite) as deliverer:
            wait_until(lambda: states(sqlite) == ["dead"], what="the dead letter")
            error = rows(sqlite)[0].last_error or ""
            assert error.startswith(f"acknowledged with {code}: unknown patient Doe [2J xxx")
            assert len(error) < 250 and error.isprintable()
            listener.manner = acknowledge("AA")
            with sqlite.write() as session:
                assert deliveries.redeliver(session, STUDY, destination="his", now=datetime.now(UTC)) == 1
            deliverer.wake()
            wait_until(lambda: states(sqlite) == ["sent"], what="redelivery")
    assert len(listener.heard) == 2 and len(set(listener.heard)) == 1
    logged = capfd.readouterr()
    assert "Doe" not in logged.out + logged.err


def test_a_listener_that_was_down_gets_it_later(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """While nothing listens the reason is visible and it is tried again; then it is delivered, once."""
    port = probe_port()
    using = settings(tmp_path, his(port))
    plan(sqlite, using)
    with delivering(using, sqlite):
        wait_until(lambda: rows(sqlite)[0].attempts >= 2, what="two attempts")
        assert f"no connection to {LOOPBACK}:{port}" in (rows(sqlite)[0].last_error or "")
        with listener.serve(port=port):
            wait_until(lambda: states(sqlite) == ["sent"], what="delivery")
    assert len(listener.heard) == 1


def test_a_listener_that_dribbles_is_not_waited_for_longer(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """A byte now and then does not keep a courier: the time-out is for the whole answer."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def dribble() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(0.05)
                    for _ in range(200):
                        try:
                            connection.sendall(b"\x0b")
                            if not connection.recv(4096):
                                break
                        except TimeoutError:
                            continue
                        except OSError:
                            break

        thread = Thread(target=dribble, daemon=True)
        thread.start()
        using = settings(tmp_path, his(server.getsockname()[1]), timeout_s=0.3, max_attempts=2)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["dead"], limit_s=6, what="the dead letter")
        assert rows(sqlite)[0].last_error == "no acknowledgement within 0.3 s"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.risk("R-102")
def test_messages_travel_encrypted_between_those_who_know_each_other(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """Both sides show a certificate of the same authority; the message arrives."""
    ours = make_certificates(tmp_path / "certificates")
    listener = MllpListener(tls=ours.server(asks_for_one=True))
    with listener.serve():
        to = his(listener.port, tls=True, ca_file=ours.authority, certificate_file=ours.signed)
        using = settings(tmp_path / "spool", to)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["sent"])
    assert len(listener.heard) == 1


@pytest.mark.risk("R-103")
def test_nothing_is_sent_to_a_stranger(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """A listener whose certificate another authority has signed gets not a byte of a message."""
    ours, theirs = (make_certificates(tmp_path / each) for each in ("ours", "theirs"))
    listener, hooks = MllpListener(tls=theirs.server()), HookServer(tls=theirs.server())
    with listener.serve(), hooks.serve():
        mllp = his(listener.port, tls=True, ca_file=ours.authority)
        using = settings(tmp_path / "spool", mllp, desk(hooks.url, ca_file=ours.authority), max_attempts=2)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["dead", "dead"])
    assert all("certificate" in (row.last_error or "") for row in rows(sqlite))
    assert listener.heard == [] and hooks.paths == []


def test_an_obsolete_message_is_not_sent(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """While the listener is away the study is analysed again: it then hears what holds now, and no more."""
    using = settings(tmp_path, his(probe_port()))
    plan(sqlite, using, state=StudyState.NOT_FLAGGED)
    plan_later(sqlite, using, StudyState.FLAGGED, predecessor_held_by=frozenset({"his"}))
    with listener.serve():
        using = settings(tmp_path, his(listener.port))
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["superseded", "sent"])
            with sqlite.write() as session:
                deliveries.redeliver(session, STUDY, destination=None, now=datetime.now(UTC))
            wait_until(lambda: states(sqlite) == ["superseded", "sent"] and len(listener.heard) == 2)
    assert all("FLAGGED^Flagged" in str(each) for each in listener.messages())


def test_a_look_that_came_to_nothing_silences_no_flag(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """The first message flags, the second says that a second look failed: both are sent."""
    using = settings(tmp_path, his(probe_port()))
    plan(sqlite, using)
    plan_later(
        sqlite,
        using,
        StudyState.NOT_ANALYSED,
        flag_stood=True,
        predecessor_held_by=frozenset({"his"}),
    )
    with listener.serve():
        using = settings(tmp_path, his(listener.port))
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["sent", "sent"])
    assert "that flag stands" in str(listener.messages()[1])


def test_a_name_that_was_a_pacs_gets_no_objects_as_messages(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """What was planned for the PACS of that name ends, visibly; the listener hears nothing of it."""
    pacs = DicomDestination(name="his", host=LOOPBACK, port=probe_port(), ae_title="PACS")
    plan(sqlite, settings(tmp_path, pacs))
    with listener.serve(), delivering(settings(tmp_path, his(listener.port)), sqlite):
        wait_until(lambda: states(sqlite) == ["dead"])
    assert "is of kind mllp now" in (rows(sqlite)[0].last_error or "")
    assert listener.heard == []


def test_a_message_that_is_gone_is_a_dead_letter(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """A file deleted from the outbox cannot be sent, and says so."""
    with listener.serve():
        using = settings(tmp_path, his(listener.port))
        plan(sqlite, using)
        (tmp_path / rows(sqlite)[0].path).unlink()
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["dead"])
    assert "outbox" in (rows(sqlite)[0].last_error or "")


def test_one_study_reaches_every_kind_of_destination(
    sqlite: Database, tmp_path: Path, wait_until: Wait, listener: MllpListener
) -> None:
    """PACS, listener and webhook get the same result of the same study."""
    archive, hooks = Archive(), HookServer()
    pacs = DicomDestination(
        name="pacs", host=LOOPBACK, port=archive.peer.port, ae_title=archive.peer.ae_title, outputs=("sr",)
    )
    with listener.serve(), archive.serve(), hooks.serve():
        using = settings(tmp_path, his(listener.port), pacs, desk(hooks.url))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["sent"] * 3)
    assert len(archive.stored) == 1
    assert hooks.bodies()[0]["data"]["state"] == "flagged"
    (message,) = listener.messages()
    assert [message.extract_field("OBX", number, 5) for number in (1, 2)] == [STUDY, "FLAGGED"]
