"""The embedded package and its engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ich_triage.inference.batcher import Batcher
from ich_triage.inference.engine import TorchEngine
from ich_triage.inference.openvino_engine import OpenVinoEngine
from ich_triage.model.package import Package


@pytest.fixture(scope="session")
def package() -> Package:
    """The package shipped with the product."""
    return Package.embedded()


@pytest.fixture(scope="session")
def torch_engine(package: Package) -> TorchEngine:
    """The reference."""
    return TorchEngine(package)


@pytest.fixture(scope="session")
def openvino_engine(package: Package) -> OpenVinoEngine:
    """What runs on a CPU."""
    return OpenVinoEngine(package)


@pytest.fixture(scope="module")
def batcher(openvino_engine: OpenVinoEngine) -> Iterator[Batcher]:
    """A running batcher, stopped at the end."""
    running = Batcher(openvino_engine, batch=8, wait_s=0.02)
    yield running
    running.stop()
