"""What runs the network: one interface, torch behind it on CUDA and as the reference on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DeviceLostError, EngineError
from ..model.package import Package

log = structlog.get_logger(__name__)

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SliceOutput:
    """What the slice part says."""

    #: (N, D)
    embedding: Floats
    #: (N, 5, S/4, S/4)
    mask_logits: Floats


@dataclass(frozen=True, kw_only=True)
class StudyOutput:
    """What the sequence part says."""

    #: (Z, 6)
    slice_logits: Floats
    #: (6,)
    study_logits: Floats


class Engine(Protocol):
    """One resident network. Used by one thread at a time."""

    #: the model package that it runs
    package: Package
    #: where it runs, for logs
    device: str
    #: torch device that its input is prepared on
    input_device: str
    #: how far its logits may lie from those of torch in float32
    tolerance: float

    def slices(self, x: Tensor) -> SliceOutput:
        """Slices (N, C, S, S), float32 in 0..1, on any device. Raises EngineError."""

    def study(self, embedding: Floats, height: Floats) -> StudyOutput:
        """One study's embeddings (Z, D), from feet to head, and relative heights (Z,). Raises EngineError."""


class TorchEngine:
    """Eager torch: mixed precision and channels-last on CUDA, plain float32 on the CPU."""

    def __init__(self, package: Package, *, device: str = "cpu", batch: int = 32) -> None:
        self.package = package
        self.device = self.input_device = device
        self._cuda = torch.device(device).type == "cuda"
        # Logits of half-precision convolutions; measured on the embedded package they stay within a tenth.
        self.tolerance = 0.25 if self._cuda else 1e-3
        self._batch = batch
        network = copy.deepcopy(package.network).to(device)
        self._slices = network.slice_net.to(memory_format=torch.channels_last)
        self._sequence = network.sequence_net

    def slices(self, x: Tensor) -> SliceOutput:
        """See `Engine.slices`."""
        parts, self._batch = in_batches(self._forward, x, self._batch)
        return join(parts)

    def _forward(self, x: Tensor) -> SliceOutput:
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16, enabled=self._cuda):
            batch = x.to(self.device, memory_format=torch.channels_last, non_blocking=True)
            embedding, mask = self._slices(batch)
        return SliceOutput(embedding=embedding.float().cpu().numpy(), mask_logits=mask.float().cpu().numpy())

    def study(self, embedding: Floats, height: Floats) -> StudyOutput:
        """See `Engine.study`."""
        try:
            with torch.inference_mode():
                slices, study = self._sequence(
                    torch.from_numpy(embedding)[None].to(self.device),
                    torch.from_numpy(height)[None, :, None].to(self.device),
                )
        except RuntimeError as error:
            raise _named("sequence network", error) from error
        return StudyOutput(slice_logits=slices[0].cpu().numpy(), study_logits=study[0].cpu().numpy())


def in_batches(
    forward: Callable[[Tensor], SliceOutput], x: Tensor, batch: int
) -> tuple[list[SliceOutput], int]:
    """Run `forward` over `x` in batches; where memory does not suffice, halve the batch and go on.

    Returns the parts and the batch size that worked. Raises EngineError, DeviceLostError.
    """
    parts: list[SliceOutput] = []
    start = 0
    while start < len(x):
        try:
            parts.append(forward(x[start : start + batch]))
        except (MemoryError, RuntimeError) as error:
            size = min(batch, len(x) - start)
            if not is_out_of_memory(error) or size == 1:
                raise _named("slice network", error) from error
            batch = size // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            log.warning("batch_halved", batch=batch)
        else:
            start += batch
    return parts, batch


def _named(where: str, error: Exception) -> EngineError:
    """What a library has raised, as an error of ours.

    After an error of CUDA other than want of memory every further call in the process fails alike
    (CUDA Runtime API, `cudaErrorIllegalAddress` and others: "the process must be terminated and relaunched").
    """
    lost = "CUDA error" in str(error) and not is_out_of_memory(error)
    return (DeviceLostError if lost else EngineError)(f"{where}: {first_line(error)}")


def is_out_of_memory(error: Exception) -> bool:
    """Whether the error says that memory did not suffice, in the words of torch, oneDNN, OpenVINO or C++."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(
        words in text for words in ("out of memory", "bad_alloc", "can't allocate memory", "cannot allocate")
    )


def join(parts: list[SliceOutput]) -> SliceOutput:
    """The parts as one."""
    return SliceOutput(
        embedding=np.concatenate([part.embedding for part in parts]),
        mask_logits=np.concatenate([part.mask_logits for part in parts]),
    )


def first_line(error: Exception) -> str:
    """What an error says, without the native stack traces that some libraries append."""
    lines = [
        line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")
    ]
    return (lines[0] if lines else type(error).__name__)[:300]


def self_test(engine: Engine) -> None:
    """Ask the package's golden question; an answer off by more than the tolerance raises EngineError."""
    golden = engine.package.golden
    slices = engine.slices(golden.tensor)
    compare(engine, slices, engine.study(slices.embedding, golden.height))


def compare(engine: Engine, slices: SliceOutput, study: StudyOutput) -> None:
    """Hold an engine's answers to the golden question against the package's. Raises EngineError."""
    golden = engine.package.golden
    pairs = (
        ("mask", slices.mask_logits, golden.mask_logits),
        ("slice", study.slice_logits, golden.slice_logits),
        ("study", study.study_logits, golden.study_logits),
    )
    for name, found, expected in pairs:
        difference = float(np.abs(found - expected).max())
        if not difference <= engine.tolerance:
            raise EngineError(
                f"self-test on {engine.device}: {name} logits differ by {difference:.2g} "
                f'(allowed {engine.tolerance:g}); reinstall the package or set `[model] device = "cpu"`'
            )
