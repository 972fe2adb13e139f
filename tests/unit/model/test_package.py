"""Packages: only whole, unaltered ones of this release load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from ich_triage.errors import PackageError
from ich_triage.model.manifest import MaskRule
from ich_triage.model.package import CARD, GOLDEN, MANIFEST, WEIGHTS, Golden, Package, embedded_path, save

MAX_BYTES = 16 * 1024**2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded package to damage."""
    return Path(shutil.copytree(embedded_path(), tmp_path / "package"))


def _edit(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


@pytest.mark.risk("R-012")
def test_embedded_package_is_small_and_says_that_it_is_synthetic() -> None:
    """What ships in the wheel fits its limit and carries the stamp in manifest and card."""
    package = Package.embedded()
    stamp = package.manifest.stamp
    assert package.identity.synthetic
    assert stamp == "synthetic training data: not for clinical use"
    assert stamp in (embedded_path() / CARD).read_text()
    assert sum(file.stat().st_size for file in embedded_path().iterdir()) < MAX_BYTES
    assert {"balanced", "high_sensitivity"} <= package.manifest.operating_points.keys()


@pytest.mark.parametrize("threshold", [{"threshold": 0.3}, {"thresholds": (0.3,) * 5}])
def test_a_rule_with_mask_thresholds_is_still_read(threshold: dict[str, object]) -> None:
    """As the manifests of earlier packages have it; what volumes erred by then is not claimed of now."""
    rule = MaskRule.model_validate({**threshold, "min_part_ml": 0.1, "volume_error": ((-0.1, 0.1),) * 5})
    assert rule == MaskRule(min_part_ml=0.1)


def test_network_gives_the_golden_answer() -> None:
    """Weights, architecture and code together still say what they said when the package was made."""
    package = Package.embedded()
    golden = package.golden
    again = Golden.make(package.network, golden.x, golden.height)
    torch.testing.assert_close(again.study_logits, golden.study_logits, atol=1e-3, rtol=0)
    torch.testing.assert_close(again.mask_logits, golden.mask_logits, atol=1e-3, rtol=0)


def test_saved_package_loads_as_the_same(folder: Path, tmp_path: Path) -> None:
    """Save and load are inverse."""
    package = Package.load(folder)
    weights = (folder / WEIGHTS).read_bytes()
    save(tmp_path / "new", manifest=package.manifest, weights=weights, golden=package.golden, card="card")
    assert Package.load(tmp_path / "new").manifest == package.manifest


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST, GOLDEN])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    """A package without one of its files is refused by the file's name."""
    (folder / name).unlink()
    with pytest.raises(PackageError, match=name):
        Package.load(folder)


@pytest.mark.risk("R-113")
def test_altered_weights_are_refused(folder: Path) -> None:
    """One flipped bit in the weights is found by the hash."""
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(PackageError, match="SHA-256"):
        Package.load(folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": 2}, "format"),
        ({"labels": ["any"]}, "labels"),
        ({"operating_points": {}}, "operating point"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_manifest_of_another_release_is_refused(folder: Path, changes: dict[str, object], named: str) -> None:
    """The error names what in the manifest this release does not understand."""
    _edit(folder, **changes)
    with pytest.raises(PackageError, match=named):
        Package.load(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    """A manifest whose architecture the weights do not fit gives a package error, not a crash of torch."""
    manifest = json.loads((folder / MANIFEST).read_text())
    _edit(folder, architecture=manifest["architecture"] | {"embedding": 64})
    with pytest.raises(PackageError, match="does not fit"):
        Package.load(folder)
