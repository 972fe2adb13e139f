"""Which engine runs a package on this machine."""

from __future__ import annotations

import torch

from ..errors import EngineError
from ..model.package import Package
from .engine import Engine, TorchEngine
from .openvino_engine import OpenVinoEngine


def make_engine(package: Package, *, device: str = "auto", threads: int = 0, batch: int = 32) -> Engine:
    """An engine for `device`: "cuda" is torch, "cpu" is OpenVINO, "auto" is CUDA where there is one.

    `threads` is for the CPU, 0 means all; `batch` is the most slices in one batch. Raises EngineError.
    """
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise EngineError('no CUDA device is available; set `[model] device` to "auto" or "cpu"')
    if device == "cuda" or (device == "auto" and cuda):
        return TorchEngine(package, device="cuda", batch=batch)
    return OpenVinoEngine(package, threads=threads, batch=batch)
