"""Small model packages with random weights, made in a moment: real networks, whatever they answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from ich_triage.domain.input_spec import InputSpec
from ich_triage.model.calibration import Calibration, OperatingPoint, Platt
from ich_triage.model.gate import COMPARED
from ich_triage.model.manifest import Manifest, Metric
from ich_triage.model.network import ArchitectureSpec, IchNet
from ich_triage.model.package import GOLDEN, Golden, pack_weights, save, unpack_weights

SIZE = 64
#: says which studies the figures of these packages would have been measured on
TEST_DATA: Mapping[str, str | int | float] = {"test_studies": 200, "test_sha256": "ab" * 32}
#: logits are moved apart, so that two packages never give the same probabilities
_OFFSETS = (0.0, 2.0, 4.0, 6.0)


def metric(value: float, margin: float = 0.02, n: int = 200) -> Metric:
    """A figure with a symmetric interval."""
    return Metric(value=value, low=value - margin, high=value + margin, n=n)


def good_figures(value: float = 0.9, **others: Metric) -> dict[str, Metric]:
    """Every figure that the gate compares; `others` are put in their place."""
    return dict.fromkeys(COMPARED, metric(value)) | others


def make_package(
    folder: Path,
    *,
    name: str = "small",
    version: str = "1",
    seed: int = 0,
    synthetic: bool = True,
    metrics: Mapping[str, Metric] | None = None,
    data: Mapping[str, str | int | float] = TEST_DATA,
    points: tuple[str, ...] = ("balanced", "high_sensitivity"),
) -> Path:
    """Write a package folder and return it; another `seed` is another network."""
    torch.manual_seed(seed)
    spec = InputSpec(size=SIZE)
    architecture = ArchitectureSpec(backbone="regnetx_002", decoder=16, embedding=32, hidden=16)
    weights = pack_weights(IchNet(architecture))
    network = unpack_weights(IchNet(architecture), weights)
    x = np.random.default_rng(seed).integers(0, 256, (3, spec.channels, SIZE, SIZE), np.uint8)
    golden = Golden.make(network, x, np.linspace(0, 1, 3, dtype=np.float32))
    manifest = Manifest(
        name=name,
        version=version,
        created=datetime(2026, 1, 2, tzinfo=UTC),
        synthetic=synthetic,
        architecture=architecture,
        input_spec=spec,
        calibration=Calibration(study=Platt(offset=(_OFFSETS[seed % len(_OFFSETS)],) * 6)),
        operating_points={
            point: OperatingPoint(threshold=0.999, sensitivity=0.9, specificity=0.9) for point in points
        },
        metrics=dict(good_figures() if metrics is None else metrics),
        data=dict(data),
        code_version="0.1.0",
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    save(folder, manifest=manifest, weights=weights, golden=golden, card=f"card of {name} {version}\n")
    return folder


def spoil_golden(folder: Path) -> None:
    """The package stays whole, but its network no longer gives the stored answer."""
    path = folder / GOLDEN
    arrays = load_file(path)
    path.chmod(0o644)
    save_file({key: value + 1 if key == "study_logits" else value for key, value in arrays.items()}, path)
