"""The audit of dependencies, against a service on this machine that knows a weakness, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from supply.audit import audit

pytest.importorskip("pip_audit")
Serve = Callable[[int, object], str]


@pytest.fixture
def pin(tmp_path: Path) -> Path:
    """A hashed pin of one package."""
    path = tmp_path / "requirements.txt"
    path.write_text(f"made-up==1.0 --hash=sha256:{'0' * 64}\n")
    return path


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a service that gives everybody one answer; returns its address."""
    running: list[ThreadingHTTPServer] = []

    def start(status: int, answer: object) -> str:
        body = json.dumps(answer).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert asked["package"]["name"] == "made-up"
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1/query"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.mark.risk("R-120")
def test_a_known_weakness_fails(pin: Path, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """Package, name of the weakness and the release that mends it are told."""
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}]
    affected = [{"package": {"name": "made-up", "ecosystem": "PyPI"}, "ranges": ranges}]
    url = serve(
        200, {"vulns": [{"id": "GHSA-1", "aliases": ["CVE-1"], "summary": "bad", "affected": affected}]}
    )
    assert audit(pin, osv_url=url) == 1
    assert "made-up 1.0: CVE-1, GHSA-1; mended in 1.1" in capsys.readouterr().out


def test_nothing_known_passes(pin: Path, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """And says how many packages were looked at."""
    assert audit(pin, osv_url=serve(200, {})) == 0
    assert "1 packages audited, 0 known weaknesses" in capsys.readouterr().out


def test_a_service_that_cannot_be_asked_is_no_finding_and_no_clean_bill(
    pin: Path, serve: Serve, capsys: pytest.CaptureFixture[str], dead_port: int
) -> None:
    """Nobody listens, or it answers with an error: that is said, and the build goes on."""
    for url in (f"http://127.0.0.1:{dead_port}/", serve(503, {})):
        assert audit(pin, osv_url=url) == 0
        assert "not audited" in capsys.readouterr().out


def test_a_pin_without_a_hash_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is never taken for audited."""
    path = tmp_path / "requirements.txt"
    path.write_text("made-up==1.0\n")
    assert audit(path, osv_url="http://127.0.0.1:9/") == 2
    assert "pip-audit failed" in capsys.readouterr().out
