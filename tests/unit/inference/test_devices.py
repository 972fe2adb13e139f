"""Which engine is chosen."""

from __future__ import annotations

import pytest
import torch

from ich_triage.errors import EngineError
from ich_triage.inference.devices import make_engine
from ich_triage.inference.openvino_engine import OpenVinoEngine
from ich_triage.model.package import Package


def test_cpu_means_openvino(package: Package) -> None:
    """On a CPU the fast engine is the default."""
    assert isinstance(make_engine(package, device="cpu", threads=1), OpenVinoEngine)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_device_says_what_to_set(package: Package) -> None:
    """Asking for CUDA where there is none names the setting to change."""
    with pytest.raises(EngineError, match="device"):
        make_engine(package, device="cuda")
