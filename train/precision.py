"""Which number format this machine trains fastest in."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


def fastest() -> Precision:
    """The format that the GPU, or else the CPU, computes in itself.

    A CPU without bfloat16 instructions emulates it: a step took ten times as long (train/LOG.md). An older
    GPU has float16 alone.
    """
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    known = torch.cpu.get_capabilities()
    return "bf16-mixed" if any(name.endswith("bf16") and has for name, has in known.items()) else "32-true"
