"""The small HTTP server of the processes without pages."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from ich_triage.settings import Metrics
from ich_triage.telemetry import metrics
from ich_triage.telemetry.probes import Probes
from ich_triage.telemetry.readiness import Check, Readiness
from tests.scrape import read


@contextmanager
def _served(checks: Mapping[str, Check], settings: Metrics | None = None) -> Iterator[httpx.Client]:
    registry = metrics.registry("worker")
    probes = Probes(settings or Metrics(), 0, registry=registry, readiness=Readiness(checks))
    probes.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{probes.port}") as client:
            yield client
    finally:
        probes.stop()


def test_metrics_health_and_readiness_are_served() -> None:
    """A process that cannot do its work says so with 503, and is alive."""
    with _served({"spool": lambda: "cannot be written"}) as client:
        assert client.get("/healthz").status_code == 200
        told = client.get("/readyz")
        assert told.status_code == 503
        assert json.loads(told.text) == {"ready": False, "checks": {"spool": "cannot be written"}}
        scraped = client.get("/metrics")
        assert scraped.headers["content-type"].startswith("text/plain")
        assert "ich_triage_build_info" in read(scraped.text)
        assert client.get("/").status_code == 404
        assert client.post("/healthz").status_code == 501


def test_metrics_are_for_listed_addresses_health_for_all() -> None:
    """Who starts processes anew need not be listed."""
    with _served({}, Metrics(allowed=("10.0.0.1",))) as client:
        assert client.get("/metrics").status_code == 403
        assert client.get("/readyz").status_code == 200


def test_a_port_that_is_taken_stops_nothing() -> None:
    """The process goes on without being watched: scanners come first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        probes = Probes(Metrics(), port, registry=metrics.registry("receiver"), readiness=Readiness({}))
        probes.start()
        probes.stop()


def test_bytes_that_are_no_http_end_their_connection_alone() -> None:
    """A port scanner gets nothing and breaks nothing."""
    with _served({}) as client:
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as odd:
            odd.sendall(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
            assert odd.recv(100)
        assert client.get("/healthz").status_code == 200
