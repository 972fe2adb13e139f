"""Batches of several studies: each gets its own, fails alone, and the engine can be exchanged."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from ich_triage.errors import DeviceLostError, EngineError
from ich_triage.inference.batcher import Batcher
from ich_triage.inference.engine import Floats, SliceOutput, StudyOutput, TorchEngine
from ich_triage.model.package import Package


@dataclass
class EchoEngine:
    """A real engine of the simplest network: the embedding is the first pixel, NaN is not digestible."""

    package: Package
    device: str = "echo"
    tolerance: float = 0.0
    sizes: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    breaks: Exception | None = None

    def slices(self, x: Tensor) -> SliceOutput:
        """Says what it was shown."""
        self.gate.wait(10)
        self.sizes.append(len(x))
        if self.breaks:
            raise self.breaks
        if bool(x.isnan().any()):
            raise EngineError("not a number")
        first = x[:, 0, 0, :1].numpy()
        return SliceOutput(embedding=first, mask_logits=first)

    def study(self, embedding: Floats, height: Floats) -> StudyOutput:
        """Sums up."""
        return StudyOutput(slice_logits=embedding, study_logits=embedding.sum(axis=0))


def _study(value: float, slices: int) -> tuple[Tensor, Floats]:
    return torch.full((slices, 1, 1, 1), value), np.linspace(0, 1, slices, dtype=np.float32)


@pytest.fixture
def echo(package: Package) -> EchoEngine:
    """Waits until its gate is opened, so that a test decides what stands in the queue."""
    return EchoEngine(package)


@pytest.mark.risk("R-003")
def test_concurrent_studies_share_batches_and_keep_their_own(echo: EchoEngine) -> None:
    """Slices of five studies fill full batches, and every study gets exactly its own back."""
    batcher = Batcher(echo, batch=8, wait_s=0.05)
    futures = [batcher.submit(*_study(value, 6)) for value in range(5)]
    echo.gate.set()
    for value, future in enumerate(futures):
        output = future.result(10)
        assert output.slices.embedding[:, 0].tolist() == [value] * 6
        assert output.study.study_logits[0] == value * 6
    batcher.stop()
    assert sum(echo.sizes) == 30
    assert echo.sizes.count(8) >= 3


@pytest.mark.risk("R-116")
def test_poison_study_fails_alone(echo: EchoEngine) -> None:
    """A study that the engine refuses gets its error; those in the same batch get their results."""
    batcher = Batcher(echo, batch=16, wait_s=0.05)
    good = batcher.submit(*_study(1.0, 4))
    bad = batcher.submit(*_study(float("nan"), 4))
    also_good = batcher.submit(*_study(2.0, 4))
    echo.gate.set()
    assert good.result(10).study.study_logits[0] == 4
    assert also_good.result(10).study.study_logits[0] == 8
    with pytest.raises(EngineError, match="not a number"):
        bad.result(10)
    batcher.stop()


def test_a_lost_device_is_asked_once(echo: EchoEngine) -> None:
    """All studies of the batch hear of it, and none is tried again on a device that answers nobody."""
    echo.breaks = DeviceLostError("slice network: CUDA error: unspecified launch failure")
    batcher = Batcher(echo, batch=8, wait_s=0.05)
    futures = [batcher.submit(*_study(value, 4)) for value in range(2)]
    echo.gate.set()
    for future in futures:
        with pytest.raises(DeviceLostError):
            future.result(10)
    assert echo.sizes == [8]
    batcher.stop()


def test_swap_takes_effect_from_the_next_study(echo: EchoEngine, package: Package) -> None:
    """A study that was queued before the swap finishes on the engine that it was prepared for."""
    batcher = Batcher(echo, batch=8, wait_s=0.0)
    before = batcher.submit(*_study(1.0, 20))
    new = EchoEngine(package)
    new.gate.set()
    batcher.swap(new)
    after = batcher.submit(*_study(2.0, 3))
    echo.gate.set()
    assert len(before.result(10).slices.embedding) == 20
    assert len(after.result(10).slices.embedding) == 3
    batcher.stop()
    assert (sum(echo.sizes), sum(new.sizes)) == (20, 3)


def test_stop_fails_what_waits_and_refuses_more(echo: EchoEngine) -> None:
    """Nobody waits for ever on a batcher that has stopped."""
    batcher = Batcher(echo, batch=2, wait_s=0.0)
    waiting = [batcher.submit(*_study(1.0, 4)) for _ in range(3)]
    stopper = threading.Thread(target=batcher.stop)
    stopper.start()
    echo.gate.set()
    stopper.join(10)
    assert isinstance(waiting[-1].exception(10), EngineError)
    with pytest.raises(EngineError, match="stopped"):
        batcher.submit(*_study(1.0, 1))


def test_study_without_slices_is_refused(echo: EchoEngine) -> None:
    """An empty study is an error at once, not a future that never comes."""
    batcher = Batcher(echo)
    with pytest.raises(EngineError, match="without slices"):
        batcher.submit(*_study(0.0, 0))
    batcher.stop()


def test_progress_counts_up_to_all_slices(batcher: Batcher, package: Package) -> None:
    """Whoever waits sees how far it is, and the end."""
    said: list[tuple[int, int]] = []
    x = package.golden.tensor.repeat(7, 1, 1, 1)
    height = np.linspace(0, 1, len(x), dtype=np.float32)
    batcher.submit(x, height, progress=lambda done, total: said.append((done, total))).result(60)
    assert said[-1] == (len(x), len(x))
    assert [done for done, _ in said] == sorted(done for done, _ in said)


def test_a_batched_study_is_the_same_as_one_alone(batcher: Batcher, torch_engine: TorchEngine) -> None:
    """Sharing batches with others changes no result, with the real network, from several threads."""
    golden = torch_engine.package.golden
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: batcher.submit(golden.tensor, golden.height).result(60), range(8)))
    for output in outputs:
        np.testing.assert_allclose(output.study.study_logits, golden.study_logits, atol=1e-3)
