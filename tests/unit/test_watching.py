"""Metrics, their documentation, the dashboard and the alert rules say the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ich_triage.settings import Settings, Spool
from ich_triage.store.database import Database
from ich_triage.telemetry import metrics
from ich_triage.worklist.app import create
from tests.peers import program
from tests.scrape import fill, read, receivers_own

REPOSITORY = Path(__file__).parents[2]
RULES = REPOSITORY / "deploy/prometheus/alerts.yml"
DASHBOARD = REPOSITORY / "deploy/grafana/ich-triage.json"
_NAME = re.compile(r"(?<![\w:])ich_triage_\w+(?![\w:])")
_PARTS = re.compile(r"_(bucket|gcount|gsum)$")


@pytest.fixture
def scraped(sqlite: Database, tmp_path: Path) -> bytes:
    """What the web process of a busy site tells."""
    fill(sqlite)
    app = create(Settings(spool=Spool(path=tmp_path)), sqlite)
    return metrics.encode(app.state.metrics, "")[0]


@pytest.fixture
def told(scraped: bytes) -> set[str]:
    """Names of all samples of ours that web process and receiver emit."""
    names = {*read(scraped.decode()), *read(receivers_own().decode())}
    return {name for name in names if name.startswith("ich_triage_")}


def _groups() -> list[dict[str, Any]]:
    return list(yaml.safe_load(RULES.read_text())["groups"])


def _dashboard_queries() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_every_metric_is_documented_and_every_documented_one_is_emitted(told: set[str]) -> None:
    """docs/metrics.md has a row for each, no other; a histogram has one for its three parts."""
    text = (REPOSITORY / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `(ich_triage_\w+)` \|", text, re.MULTILINE))
    assert documented == {_PARTS.sub("", name) for name in told}


def test_dashboard_and_rules_ask_for_what_there_is(told: set[str]) -> None:
    """No panel stays empty and no alert silent for want of a metric of that name."""
    recorded = {rule["record"] for group in _groups() for rule in group["rules"] if "record" in rule}
    asked = [rule["expr"] for group in _groups() for rule in group["rules"]] + list(_dashboard_queries())
    for query in asked:
        assert set(_NAME.findall(query)) <= told, query
        assert set(re.findall(r"package:\w+:\w+", query)) <= recorded, query


def test_every_alert_is_documented_and_names_its_remedy() -> None:
    """docs/metrics.md has each alert, no other; each says what is the matter and what to do."""
    alerts = [rule for group in _groups() for rule in group["rules"] if "alert" in rule]
    text = (REPOSITORY / "docs/metrics.md").read_text()
    assert set(re.findall(r"`(IchTriage\w+)`", text)) == {rule["alert"] for rule in alerts}
    for rule in alerts:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "remedy"}


@pytest.mark.peer
def test_prometheus_reads_rules_configuration_and_every_query(tmp_path: Path) -> None:
    """promtool takes all three; queries of the dashboard are checked as records."""
    promtool = program("promtool")
    rules = [{"record": f"r{n}", "expr": query} for n, query in enumerate(_dashboard_queries())]
    queries = tmp_path / "queries.yml"
    queries.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    subprocess.run([promtool, "check", "rules", RULES, queries], check=True, capture_output=True)
    config = RULES.with_name("prometheus.yml")
    subprocess.run([promtool, "check", "config", config], check=True, capture_output=True)


@pytest.mark.peer
@pytest.mark.risk("R-013")
def test_alerts_are_raised_when_they_should_be(tmp_path: Path) -> None:
    """promtool plays courses of figures: all well, all wrong, nothing scraped, another flag rate."""
    for file in (RULES, REPOSITORY / "tests/deploy/alerts_test.yml"):
        shutil.copy(file, tmp_path)
    command = [program("promtool"), "test", "rules", "alerts_test.yml"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.peer
def test_prometheus_has_nothing_against_names_and_types(scraped: bytes) -> None:
    """promtool's lint is content with what web process and receiver tell."""
    for each in (scraped, receivers_own()):
        ran = subprocess.run([program("promtool"), "check", "metrics"], input=each, capture_output=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
