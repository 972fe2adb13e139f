"""Engines agree with each other and survive a lack of memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ich_triage.errors import DeviceLostError, EngineError
from ich_triage.inference.engine import SliceOutput, TorchEngine, in_batches, is_out_of_memory, self_test
from ich_triage.inference.openvino_engine import OpenVinoEngine
from ich_triage.model.package import Package


def _input(package: Package, slices: int) -> Tensor:
    spec = package.manifest.input_spec
    return torch.rand(slices, spec.channels, spec.size, spec.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("slices", [1, 7, 33])
@pytest.mark.risk("R-016")
def test_openvino_says_what_torch_says(
    torch_engine: TorchEngine, openvino_engine: OpenVinoEngine, slices: int
) -> None:
    """Masks and logits of both agree to 1e-3 for any number of slices."""
    x = _input(torch_engine.package, slices)
    height = np.linspace(0, 1, slices, dtype=np.float32)
    expected, found = torch_engine.slices(x), openvino_engine.slices(x)
    np.testing.assert_allclose(found.mask_logits, expected.mask_logits, atol=1e-3)
    study = openvino_engine.study(found.embedding, height)
    reference = torch_engine.study(expected.embedding, height)
    np.testing.assert_allclose(study.slice_logits, reference.slice_logits, atol=1e-3)
    np.testing.assert_allclose(study.study_logits, reference.study_logits, atol=1e-3)


def test_self_test_passes_on_both(torch_engine: TorchEngine, openvino_engine: OpenVinoEngine) -> None:
    """The golden question is answered rightly."""
    self_test(torch_engine)
    self_test(openvino_engine)


@pytest.mark.risk("R-016")
def test_self_test_refuses_an_engine_that_answers_otherwise(package: Package) -> None:
    """A package whose golden answer is not the engine's is not used."""
    wrong = dataclasses.replace(package.golden, study_logits=package.golden.study_logits + 0.1)
    with pytest.raises(EngineError, match="study logits differ"):
        self_test(TorchEngine(dataclasses.replace(package, golden=wrong)))


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    """A device that takes three slices at most still answers for ten, each in its place."""
    sizes: list[int] = []

    def forward(x: Tensor) -> SliceOutput:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(x))
        return SliceOutput(embedding=x.numpy(), mask_logits=x.numpy())

    parts, batch = in_batches(forward, torch.arange(10.0)[:, None], 8)
    assert np.concatenate([part.embedding for part in parts])[:, 0].tolist() == list(range(10))
    assert batch == 2
    assert max(sizes) == 2


@pytest.mark.risk("R-017")
def test_one_slice_too_many_for_memory_is_an_error() -> None:
    """Where not even one slice fits, the study fails; nothing loops for ever."""

    def forward(x: Tensor) -> SliceOutput:
        raise MemoryError

    with pytest.raises(EngineError):
        in_batches(forward, torch.zeros(4, 1), 4)


def test_an_error_of_cuda_means_that_the_device_is_lost() -> None:
    """But for want of memory: no later call of the process would succeed, so nobody tries one."""

    def fails(words: str) -> Callable[[torch.Tensor], SliceOutput]:
        def forward(_: torch.Tensor) -> SliceOutput:
            raise torch.AcceleratorError(words)

        return forward

    with pytest.raises(DeviceLostError, match="illegal memory access"):
        in_batches(fails("CUDA error: an illegal memory access was encountered"), torch.zeros(4, 1), 2)
    with pytest.raises(EngineError, match="out of memory") as caught:
        in_batches(fails("CUDA error: out of memory"), torch.zeros(1, 1), 2)
    assert not isinstance(caught.value, DeviceLostError)


def test_other_errors_are_not_taken_for_lack_of_memory(openvino_engine: OpenVinoEngine) -> None:
    """A wrong shape is an error at once, in one line."""
    with pytest.raises(EngineError, match="slice network") as caught:
        openvino_engine.slices(torch.zeros(2, 3, 8, 8))
    assert "\n" not in str(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_answers_the_golden_question(package: Package) -> None:
    """Mixed precision stays within the engine's own tolerance."""
    self_test(TorchEngine(package, device="cuda"))
