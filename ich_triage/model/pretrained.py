"""Pretrained weights: of a local file, or of timm's hub where it can be reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
import timm
from safetensors import SafetensorError
from torch import nn

from ..errors import PackageError

log = structlog.get_logger(__name__)


def pretrained(backbone: str, weights: Path | None, **options: Any) -> nn.Module | None:
    """timm's `backbone`, made with `options`, with pretrained weights.

    Never required: where the hub cannot be reached, or has none, it says so in the log and returns None.
    Raises PackageError where a file was named and cannot be used.
    """
    overlay = {"file": str(weights)} if weights else None
    try:
        found: nn.Module = timm.create_model(
            backbone, pretrained=True, pretrained_cfg_overlay=overlay, **options
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        if weights:
            raise PackageError(
                f"{weights} cannot be used as pretrained weights of {backbone} ({type(error).__name__}); "
                "give a timm checkpoint of that name, .safetensors or .pth"
            ) from error
        log.warning(
            "pretrained_unreachable", backbone=backbone, error=type(error).__name__, start="random weights"
        )
        return None
    return found
