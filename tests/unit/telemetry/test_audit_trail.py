"""The audit trail's way to file and syslog: with servers of all kinds, and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from ich_triage.domain.audit import AuditEvent, AuditRecord
from ich_triage.errors import SettingsError
from ich_triage.settings import Audit
from ich_triage.telemetry import audit, audit_trail
from ich_triage.telemetry.audit_trail import Trail
from tests.audit_schema import check
from tests.certificates import make_certificates
from tests.syslogd import SYSLOG, Syslogd

Wait = Callable[..., None]
STUDY = "1.2.3.4"


def _record(actor: str = "reader", event: AuditEvent = AuditEvent.STUDY_VIEWED) -> AuditRecord:
    return AuditRecord(at=datetime.now(UTC), event=event, actor=actor, study_instance_uid=STUDY)


@contextmanager
def _open(settings: Audit, **more: Any) -> Iterator[Trail]:
    trail = Trail(settings, "web", **more)
    with audit.handed_to(trail):
        yield trail


def test_a_file_has_one_message_a_line(tmp_path: Path) -> None:
    """Told records are in the file, in order, when the process has ended; nobody else may read it."""
    path = tmp_path / "audit" / "trail.xml"
    with _open(Audit(file=path)):
        for number in range(50):
            audit.tell(_record(f"reader{number}"))
    messages = [fromstring(line) for line in path.read_bytes().splitlines()]
    for message in messages:
        check(message)
    assert [message[1].attrib["UserID"] for message in messages] == [f"reader{n}" for n in range(50)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_may_be_moved_away(tmp_path: Path, wait_until: Wait) -> None:
    """As log rotation does: the next message makes a new one."""
    path = tmp_path / "trail.xml"
    with _open(Audit(file=path)):
        audit.tell(_record("first"))
        wait_until(lambda: path.read_bytes().endswith(b"\n"))
        path.rename(tmp_path / "trail.1")
        audit.tell(_record("second"))
    assert b"second" in path.read_bytes()
    assert b"first" in (tmp_path / "trail.1").read_bytes()


def test_the_patient_is_looked_up_where_that_is_wanted(tmp_path: Path) -> None:
    """Off the path of who tells."""
    path = tmp_path / "trail.xml"
    with _open(Audit(file=path, patient_id=True), patient_of={STUDY: "ID7"}.get):
        audit.tell(_record())
    assert b'ParticipantObjectID="ID7"' in path.read_bytes()


def _parsed(server: Syslogd, wait_until: Wait, count: int = 1) -> list[dict[str, bytes]]:
    wait_until(lambda: len(server.heard) >= count, what="the messages")
    found = [SYSLOG.fullmatch(each) for each in server.heard]
    assert all(found)
    return [each.groupdict() for each in found if each]


def test_udp_tcp_and_tls_bring_the_same_message(tmp_path: Path, wait_until: Wait) -> None:
    """Header after RFC 5424, facility and MSGID after PS3.15 A.6; the server's certificate is checked."""
    certificates = make_certificates(tmp_path)
    tls = Syslogd(tls=certificates.server(asks_for_one=True))
    ours: dict[str, Any] = {"ca_file": certificates.authority, "certificate_file": certificates.signed}
    plain: dict[str, Any] = {}
    ways = ((Syslogd().by_udp, "udp", plain), (Syslogd().by_tcp, "tcp", plain), (tls.by_tcp, "tls", ours))
    for listen, scheme, files in ways:
        with listen() as server, _open(Audit(syslog=f"{scheme}://127.0.0.1:{server.port}", **files)):
            audit.tell(_record())
            audit.tell(_record("", AuditEvent.LOGIN_FAILED))
            viewed, failed = _parsed(server, wait_until, 2)
        assert (viewed["pri"], failed["pri"]) == (b"85", b"84")  # authpriv.notice, authpriv.warning
        assert (viewed["app"], viewed["msgid"]) == (b"ich-triage", b"DICOM+RFC3881")
        assert datetime.fromisoformat(viewed["at"].decode()).tzinfo is not None
        check(fromstring(viewed["xml"]))


def test_a_server_that_nobody_trusts_hears_nothing(tmp_path: Path, wait_until: Wait) -> None:
    """A wrong certificate is told in the log, and no message goes out."""
    right, wrong = make_certificates(tmp_path / "right"), make_certificates(tmp_path / "wrong")
    with capture_logs() as logs, Syslogd(tls=wrong.server()).by_tcp() as server:
        with _open(Audit(syslog=f"tls://127.0.0.1:{server.port}", ca_file=right.authority)):
            audit.tell(_record())
            wait_until(lambda: any(each["event"] == "audit_not_written" for each in logs))
        assert server.heard == []
    assert any(each["event"] == "audit_dropped" for each in logs)


@pytest.mark.risk("R-119")
def test_a_server_that_comes_back_gets_what_waited(
    wait_until: Wait, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages wait, in order, while it is away at first and when it was restarted."""
    monkeypatch.setattr(audit_trail, "_BACKOFF_S", (0.02, 0.1))
    with _open(Audit(syslog=f"tcp://127.0.0.1:{free_port}")):
        audit.tell(_record("a"))
        audit.tell(_record("b"))
        with Syslogd().by_tcp(free_port) as server:
            assert [b'"a"' in each["xml"] for each in _parsed(server, wait_until, 2)] == [True, False]
        audit.tell(_record("c"))
        with Syslogd().by_tcp(free_port) as server:
            assert b'"c"' in _parsed(server, wait_until)[0]["xml"]


def test_a_slow_server_holds_nobody_up(tmp_path: Path) -> None:
    """Records are taken at once while the server reads nothing, and the file has them all the same."""
    path, server = tmp_path / "trail.xml", Syslogd()
    server.reads.clear()
    with server.by_tcp(), _open(Audit(syslog=f"tcp://127.0.0.1:{server.port}", file=path)) as trail:
        begun = monotonic()
        for _ in range(2000):
            trail.put(_record())
        assert monotonic() - begun < 1
    assert len(path.read_bytes().splitlines()) == 2000


def test_what_does_not_fit_is_counted_in_the_log(monkeypatch: pytest.MonkeyPatch, dead_port: int) -> None:
    """Nothing is lost in silence: with no server, the log tells how many records were dropped."""
    monkeypatch.setattr(audit_trail, "LIMIT", 10)
    monkeypatch.setattr(audit_trail, "PATIENCE_S", 0.2)
    with capture_logs() as logs, _open(Audit(syslog=f"tcp://127.0.0.1:{dead_port}")) as trail:
        for _ in range(100):
            trail.put(_record())
    assert any(each["event"] == "audit_not_written" for each in logs)
    dropped = [each["records"] for each in logs if each["event"] == "audit_dropped"]
    told = sum(each["dropped"] for each in logs if each["event"] == "audit_not_written")
    assert sum(dropped) + told == 100


def test_an_end_does_not_wait_for_a_server_that_is_away(
    monkeypatch: pytest.MonkeyPatch, dead_port: int
) -> None:
    """A process leaves after its patience."""
    monkeypatch.setattr(audit_trail, "PATIENCE_S", 0.3)
    with _open(Audit(syslog=f"tcp://127.0.0.1:{dead_port}")):
        audit.tell(_record())
        begun = monotonic()
    assert monotonic() - begun < 2


def test_a_start_and_an_end_are_told(tmp_path: Path) -> None:
    """Of a process, around all else."""
    path = tmp_path / "trail.xml"
    with audit.kept("receiver", Trail(Audit(file=path), "receiver")):
        audit.tell(_record())
    codes = [fromstring(line)[0][-1].get("csd-code") for line in path.read_bytes().splitlines()]
    assert codes == ["110120", "110103", "110121"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"syslog": "http://h"}, "not of the form"),
        ({"syslog": "tls://"}, "not of the form"),
        ({"syslog": "tcp://h/path"}, "not of the form"),
        ({"syslog": "tcp://h:99999"}, "syslog"),
        ({"syslog": "tcp://h", "ca_file": "ca.pem"}, "need syslog"),
        ({"syslog": "tls://h", "key_file": "key.pem"}, "needs certificate_file"),
    ],
)
def test_what_cannot_be_used_is_refused(values: dict[str, str], said: str) -> None:
    """By the configuration, with the reason."""
    with pytest.raises(ValidationError, match=said):
        Audit.model_validate(values)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """At the start, since nobody would notice later."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=r"\[audit\] file .*folder cannot be written"):
        Trail(Audit(file=tmp_path / "folder"), "web")
    with pytest.raises(SettingsError, match="ca_file"):
        Trail(Audit(syslog="tls://h", ca_file=tmp_path / "none.pem"), "web")
