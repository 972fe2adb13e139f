"""What `deploy/` holds is what the programs that read it take, and keeps to our rules of hardening."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from ich_triage.settings import load

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "ich-triage.yaml").read_text()))
KUBERNETES = "1.36"
#: what `systemd-analyze security` calls it: 0 is closed, 10 open
EXPOSURE = {
    "ich-triage-receiver@.service": 20,
    "ich-triage-web.service": 20,
    "ich-triage-query.service": 20,
    "ich-triage-worker.service": 30,
}


def test_units_are_what_systemd_takes(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, but that we are not installed where the units run us."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here: apt-get install systemd")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/ich-triage/.venv/bin/ich-triage", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))]
    told = subprocess.run(command, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize("name", EXPOSURE)
def test_units_are_hardened(name: str) -> None:
    """systemd's own measure of what a unit may still do stays low."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here: apt-get install systemd")
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE[name]}"]
    told = subprocess.run([*command, str(DEPLOY / "systemd" / name)], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout[-300:]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_manifests_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    """Against the schemas of Kubernetes itself; an unknown key is an error."""
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def _pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for each in MANIFESTS:
        if "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


@pytest.mark.parametrize(("name", "pod"), list(_pods()))
def test_pods_may_do_no_more_than_they_must(name: str, pod: dict[str, Any]) -> None:
    """No root, no privilege, nothing writable but what is meant for it, and memory that is bounded."""
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        allowed = container["securityContext"]
        assert allowed["readOnlyRootFilesystem"] and not allowed["allowPrivilegeEscalation"]
        assert allowed["capabilities"]["drop"] == ["ALL"]
        assert container["resources"]["limits"]["memory"]
        assert name == "schema" or {"livenessProbe", "readinessProbe"} <= container.keys()


def test_the_configurations_that_we_ship_can_be_read(tmp_path: Path) -> None:
    """That of units and containers, and that within the Kubernetes manifests."""
    assert load(DEPLOY / "site.toml").dicom.share_ports
    (config,) = (each["data"]["site.toml"] for each in MANIFESTS if each["kind"] == "ConfigMap")
    (tmp_path / "site.toml").write_text(config)
    loaded = load(tmp_path / "site.toml")
    ports = {
        (name, port["name"]): port["containerPort"]
        for name, pod in _pods()
        for each in pod["containers"]
        for port in each.get("ports", ())
    }
    assert ports == {
        ("receiver", "dicom"): loaded.dicom.port,
        ("receiver", "dicom-tls"): loaded.dicom.tls_port,
        ("receiver", "health"): loaded.metrics.receiver_port,
        ("worker", "health"): loaded.metrics.worker_port,
        ("web", "http"): loaded.web.port,
        ("query", "query"): loaded.query.port,
        ("query", "query-tls"): loaded.query.tls_port,
        ("query", "health"): loaded.metrics.query_port,
    }
    assert loaded.peers


def test_every_port_of_a_pod_is_let_through_and_no_other() -> None:
    """The network policy names what the pods listen on."""
    (policy,) = (each["spec"] for each in MANIFESTS if each["kind"] == "NetworkPolicy")
    named = {each["port"] for rule in policy["ingress"] for each in rule["ports"]}
    listened = {
        port["name"] for _, pod in _pods() for each in pod["containers"] for port in each.get("ports", ())
    }
    assert named == listened


def _compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text()))


def test_compose_is_what_docker_takes(tmp_path: Path) -> None:
    """`docker compose config` reads it, where that is installed."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not here: see docs.docker.com")
    for name in ("site.toml", "secrets.env"):
        (tmp_path / name).touch()
    shutil.copy(DEPLOY / "compose" / "compose.yaml", tmp_path)
    command = [docker, "compose", "--file", str(tmp_path / "compose.yaml"), "config", "--quiet"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def test_containers_of_compose_may_do_no_more_than_they_must() -> None:
    """No root, nothing writable but volumes and /tmp, images by tag, no secret in the file."""
    services = _compose()["services"]
    assert {"database", "receiver-1", "receiver-2", "worker", "web", "query"} <= services.keys()
    for name, service in services.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert re.search(r":[\w.-]*\d", service["image"].removeprefix("${ICH_TRIAGE_IMAGE:-")), name
        assert service.get("user", "nobody") not in ("root", "0")
        assert not any("PASSWORD" in key for key in service.get("environment", {})), name


def test_the_image_is_pinned_and_runs_without_root() -> None:
    """A base by its full version, another user than root, a look at its health."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases) and len(bases) == 1
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert any(line.startswith("HEALTHCHECK ") for line in lines)


def test_the_image_holds_what_we_need_as_the_tests_have_it() -> None:
    """Its requirements are those of pyproject.toml without the tests', in the tested versions."""

    def pins(path: Path) -> dict[str, str]:
        found = (line.split(" ;")[0].rstrip(" \\") for line in path.read_text().splitlines() if "==" in line)
        return dict(line.split("==") for line in found if not line.startswith((" ", "#")))

    ours, all_of_them = pins(DEPLOY / "requirements.txt"), pins(DEPLOY.parent / "requirements.txt")
    assert ours.items() <= all_of_them.items()
    project = (DEPLOY.parent / "pyproject.toml").read_text()
    wanted = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert wanted
    names = {Requirement(each).name for each in re.findall(r'^  "([^"]+)"', wanted[1], re.MULTILINE)}
    assert names <= ours.keys()
