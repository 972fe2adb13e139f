"""The registry: whole packages that never change, found again by name."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ich_triage.errors import PackageError
from ich_triage.model.package import MANIFEST, WEIGHTS, embedded_path
from ich_triage.model.registry import SHIPPED, Registry
from tests.packages import make_package


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package folder; not to be changed."""
    return make_package(tmp_path_factory.mktemp("package") / "small")


@pytest.fixture
def source(small: Path, tmp_path: Path) -> Path:
    """A copy of it to publish or damage."""
    return Path(shutil.copytree(small, tmp_path / "source"))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path / "registry")


def _edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    told = json.loads(path.read_text()) | changes
    path.chmod(0o644)
    path.write_text(json.dumps(told))


def test_published_package_is_named_by_what_it_is_and_loads(registry: Registry, source: Path) -> None:
    """The folder says name, version and hash; the copy outlives its source and cannot be written."""
    published = registry.publish(source)
    shutil.rmtree(source)
    package = published.load()
    assert published.name == f"small-1-{package.manifest.weights_sha256[:12]}" == package.identity.key
    assert published.synthetic
    assert {path.stat().st_mode & 0o777 for path in published.path.iterdir()} == {0o444}
    assert registry.names() == [published.name]
    assert registry.get("small-1") == registry.get(published.name) == published


def test_publishing_twice_is_once(registry: Registry, source: Path) -> None:
    """Also from several hands at the same time, and nothing half copied stays behind."""
    with ThreadPoolExecutor(4) as pool:
        published = list(pool.map(lambda _: registry.publish(source), range(4)))
    assert len(set(published)) == 1
    assert [each.name for each in published[0].path.parent.iterdir()] == [published[0].name]


def test_same_name_with_other_calibration_is_refused(registry: Registry, source: Path) -> None:
    """A published package never changes, not even in its manifest alone."""
    published = registry.publish(source)
    _edit(source, operating_points={"balanced": {"threshold": 0.1, "sensitivity": 1.0, "specificity": 0.0}})
    with pytest.raises(PackageError, match="another version"):
        registry.publish(source)
    assert registry.get(published.name) == published


@pytest.mark.risk("R-113")
def test_a_package_that_is_not_whole_is_not_published(registry: Registry, source: Path) -> None:
    """What does not load leaves no trace in the registry."""
    (source / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(PackageError, match="SHA-256"):
        registry.publish(source)
    assert registry.names() == []


@pytest.mark.parametrize(
    "changes", [{"name": "../up"}, {"version": "1/2"}, {"name": ""}, {"name": ".hidden"}]
)
def test_a_name_that_cannot_be_a_folder_is_refused(
    registry: Registry, source: Path, changes: dict[str, str]
) -> None:
    """Names come from other people's manifests: none may point out of the registry."""
    _edit(source, **changes)
    with pytest.raises(PackageError, match=f"model package's {next(iter(changes))}"):
        registry.publish(source)


def test_unknown_and_ambiguous_names_say_what_there_is(registry: Registry, source: Path) -> None:
    """A beginning that fits two packages is as useless as one that fits none."""
    first = registry.publish(source)
    _edit(source, version="2")
    second = registry.publish(source)
    for name in ("small", "nothing", "..", ""):
        with pytest.raises(PackageError, match=first.name) as raised:
            registry.get(name)
        assert second.name in str(raised.value)
    assert registry.get("small-2") == second


def test_the_package_that_ships_has_a_name_too(registry: Registry) -> None:
    """So that it can be compared with published ones."""
    assert registry.get(SHIPPED).path == embedded_path()


@pytest.mark.risk("R-113")
def test_an_altered_package_is_noticed(registry: Registry, source: Path) -> None:
    """By the hash that was noted of its manifest, and by the name of its folder."""
    published = registry.publish(source)
    _edit(published.path, created="2026-02-03T00:00:00Z")
    with pytest.raises(PackageError, match="another SHA-256 than when it was promoted"):
        published.load()
    _edit(published.path, version="3")
    with pytest.raises(PackageError, match="altered in the registry"):
        registry.get(published.name)
