"""Pretrained weights: of a local file, or of timm's hub where it can be reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
import timm
from torch import nn

log = structlog.get_logger(__name__)


def pretrained(backbone: str, weights: Path | None, **options: Any) -> nn.Module | None:
    """timm's `backbone`, made with `options`, with pretrained weights.

    Never required: where the hub cannot be reached, or has none, it says so in the log and returns None. A
    file that was named and cannot be used raises OSError, RuntimeError or ValueError.
    """
    overlay = {"file": str(weights)} if weights else None
    try:
        found: nn.Module = timm.create_model(
            backbone, pretrained=True, pretrained_cfg_overlay=overlay, **options
        )
    except (OSError, RuntimeError, ValueError) as error:
        if weights:
            raise
        log.warning(
            "pretrained_unreachable", backbone=backbone, error=type(error).__name__, start="random weights"
        )
        return None
    return found
