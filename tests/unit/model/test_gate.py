"""The gate: who may take the place of the package in force, and what no reason can overrule."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ich_triage.errors import EngineError
from ich_triage.model import gate
from ich_triage.model.gate import COMPARED, Check
from ich_triage.model.manifest import Manifest, Metric, Rival
from ich_triage.model.package import MANIFEST, WEIGHTS, Package, embedded_path
from ich_triage.model.registry import PackageFolder, shipped
from tests.packages import TEST_DATA, good_figures, make_package, metric


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package folder with every figure that is compared; not to be changed."""
    return make_package(tmp_path_factory.mktemp("package") / "small")


def _with(small: Path, folder: Path, **changes: object) -> PackageFolder:
    """A copy with another manifest."""
    shutil.copytree(small, folder)
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_text()).model_copy(update=changes)
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return PackageFolder(name=folder.name, path=folder, synthetic=manifest.synthetic)


def _proven(_package: Package) -> None:
    """An engine that gives the golden answer."""


def _failed(checks: tuple[Check, ...]) -> list[str]:
    return [each.name for each in checks if not each.passed]


def _examine(candidate: PackageFolder, current: PackageFolder) -> tuple[Check, ...]:
    return gate.examine(candidate, current, prove=_proven)


def test_an_equal_package_passes_every_check(small: Path, tmp_path: Path) -> None:
    """Loads, answers, same kind of data, same test studies, each figure: all are listed, all pass."""
    one, other = _with(small, tmp_path / "one"), _with(small, tmp_path / "other")
    checks = _examine(one, other)
    names = [each.name for each in checks]
    assert names == ["package", "self-test", "training data", "test data", *COMPARED]
    assert gate.opens(checks, forced=False)


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.risk("R-014")
def test_each_figure_alone_closes_the_gate(small: Path, tmp_path: Path, name: str) -> None:
    """Upper bound below the current value is worse; within the interval is not."""
    current = _with(small, tmp_path / "current", metrics=good_figures(0.9))
    within = _with(small, tmp_path / "within", metrics=good_figures(0.9, **{name: metric(0.885)}))
    below = _with(small, tmp_path / "below", metrics=good_figures(0.9, **{name: metric(0.875)}))
    assert gate.opens(_examine(within, current), forced=False)
    checks = _examine(below, current)
    assert _failed(checks) == [name]
    assert not gate.opens(checks, forced=False)
    assert gate.opens(checks, forced=True)


def test_figures_that_are_missing_or_no_numbers_do_not_pass(small: Path, tmp_path: Path) -> None:
    """What was not measured is not known to be as good; where nothing was in force, nothing is lost."""
    current = _with(small, tmp_path / "current")
    nan = Metric(value=float("nan"), low=float("nan"), high=float("nan"), n=1)
    silent = good_figures()
    del silent["study_auc_any"]
    assert _failed(_examine(_with(small, tmp_path / "silent", metrics=silent), current)) == ["study_auc_any"]
    assert gate.worse(nan, metric(0.5)) and gate.worse(metric(0.5), nan)
    untested = _with(small, tmp_path / "untested", metrics={})
    assert gate.opens(_examine(current, untested), forced=False)


@pytest.mark.parametrize("data", [{}, {**TEST_DATA, "test_sha256": "cd" * 32}, {"test_studies": 200}])
def test_figures_on_other_studies_are_not_compared(
    small: Path, tmp_path: Path, data: dict[str, str | int | float]
) -> None:
    """A better figure on easier studies proves nothing; the reason says so and no figure is shown."""
    better = _with(small, tmp_path / "better", metrics=good_figures(0.99), data=data)
    checks = _examine(better, _with(small, tmp_path / "current"))
    assert _failed(checks) == ["test data"] == [checks[-1].name]
    assert gate.opens(checks, forced=True)


def test_figures_measured_beside_the_candidate_are_compared(small: Path, tmp_path: Path) -> None:
    """Whatever studies the one in force was tested on before; another package's figures do not count."""
    current = _with(small, tmp_path / "current", data={"test_sha256": "of other studies"})
    key = current.manifest().identity.key
    for value, failed in ((0.5, []), (0.99, list(COMPARED))):
        rival = Rival(key=key, metrics=good_figures(value))
        candidate = _with(small, tmp_path / f"candidate-{value}", rival=rival)
        assert _failed(_examine(candidate, current)) == failed
    stranger = Rival(key="stranger", metrics=good_figures(0.5))
    candidate = _with(small, tmp_path / "candidate", rival=stranger)
    assert _failed(_examine(candidate, current)) == ["test data"]


def test_few_studies_or_unmeasured_subtypes_do_not_open_the_gate(small: Path, tmp_path: Path) -> None:
    """Five studies would show no harm; a subtype that could not be measured there is held to what it had."""
    current = _with(small, tmp_path / "current")
    rival = Rival(key=current.manifest().identity.key, metrics={})
    few = {name: metric(0.9, n=5) for name in COMPARED}
    assert _failed(_examine(_with(small, tmp_path / "few", rival=rival, metrics=few), current)) == [
        "test data"
    ]
    silent = {name: found for name, found in good_figures().items() if name != "study_auc_epidural"}
    candidate = _with(small, tmp_path / "silent", rival=rival, metrics=silent)
    assert _failed(_examine(candidate, current)) == ["study_auc_epidural"]


def test_phantoms_are_the_same_only_if_drawn_by_the_same_code(small: Path, tmp_path: Path) -> None:
    """The generator is part of what a test set of phantoms is; how many were trained on is not."""
    data = Package.embedded().manifest.data
    same = _with(small, tmp_path / "same", data={**data, "train_studies": 7})
    other = _with(small, tmp_path / "other", data={**data, "generator_sha256": "00"})
    assert gate.incomparable(same.manifest(), shipped().manifest()) is None
    assert "generator_sha256" in (gate.incomparable(other.manifest(), shipped().manifest()) or "")


@pytest.mark.risk("R-012")
def test_synthetic_never_replaces_real(small: Path, tmp_path: Path) -> None:
    """No reason overrules it; nor does it help that the real one cannot be read any more."""
    real = _with(small, tmp_path / "real", synthetic=False)
    candidate = _with(small, tmp_path / "candidate", metrics=good_figures(0.99))
    checks = _examine(candidate, real)
    assert _failed(checks) == ["training data"]
    assert not gate.opens(checks, forced=True)
    gone = PackageFolder(name="gone", path=tmp_path / "gone")
    assert "training data" in _failed(_examine(candidate, gone))
    assert gate.opens(_examine(real, _with(small, tmp_path / "old")), forced=False)


def test_a_broken_package_in_force_can_be_replaced_by_force(small: Path, tmp_path: Path) -> None:
    """There is nothing to compare with: that is a reason to be asked for one, not a dead end."""
    gone = PackageFolder(name="gone", path=tmp_path / "gone", synthetic=True)
    checks = _examine(_with(small, tmp_path / "candidate"), gone)
    assert _failed(checks) == ["test data"]
    assert gate.opens(checks, forced=True)


def test_a_candidate_that_does_not_load_stops_at_the_first_check(small: Path, tmp_path: Path) -> None:
    """Altered weights are never forced through."""
    candidate = _with(small, tmp_path / "candidate")
    (candidate.path / WEIGHTS).write_bytes(b"other weights")
    checks = _examine(candidate, candidate)
    assert [(each.name, each.passed) for each in checks] == [("package", False)]
    assert "SHA-256" in checks[0].reason
    assert not gate.opens(checks, forced=True)


@pytest.mark.risk("R-014")
def test_a_failed_self_test_is_never_forced(small: Path, tmp_path: Path) -> None:
    """A machine that does not give the golden answer must not answer for patients."""

    def refuse(_package: Package) -> None:
        raise EngineError("study logits differ by 1")

    candidate = _with(small, tmp_path / "candidate")
    checks = gate.examine(candidate, candidate, prove=refuse)
    assert _failed(checks) == ["self-test"]
    assert not gate.opens(checks, forced=True)


def test_the_shipped_package_passes_against_itself() -> None:
    """Its own figures name their test studies and have intervals: it can be compared with what comes."""
    assert embedded_path().is_dir()
    assert gate.opens(_examine(shipped(), shipped()), forced=False)
