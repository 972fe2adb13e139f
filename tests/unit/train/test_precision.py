"""The number format follows from what the machine can compute in."""

from __future__ import annotations

import pytest
import torch

from train.loop import Hardware
from train.precision import fastest


def _capabilities(monkeypatch: pytest.MonkeyPatch, **known: object) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "EPYC", "avx2": True, **known})


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_with_bfloat16_uses_it(monkeypatch: pytest.MonkeyPatch, instructions: str) -> None:
    """x86 names two sets of instructions, Arm one."""
    _capabilities(monkeypatch, **{"avx512_bf16": False, "amx_bf16": False, instructions: True})
    assert fastest() == "bf16-mixed"


def test_a_cpu_without_bfloat16_does_not_emulate_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX2 alone: emulated, a step took ten times as long."""
    _capabilities(monkeypatch, avx512_bf16=False, amx_bf16=False)
    assert fastest() == "32-true"


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_gpu_uses_the_half_that_it_has(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    """Before Ampere, CUDA emulates bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native)
    assert fastest() == expected


def test_what_is_set_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has; left alone, it is the machine's."""
    _capabilities(monkeypatch, amx_bf16=False)
    assert Hardware(precision="bf16-mixed").number_format == "bf16-mixed"
    assert Hardware().number_format == "32-true"
