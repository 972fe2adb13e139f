"""Writes the report: JSON, and the page beside it."""

from __future__ import annotations

import json
from pathlib import Path

from .content import Material, content
from .page import page


def write(path: Path, material: Material) -> None:
    """The evaluation as JSON at `path` and as a page beside it."""
    told = content(material)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".html").write_text(page(told, material))
    # Last, so that where the figures are, the page is.
    path.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
