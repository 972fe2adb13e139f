"""A study for those who look into a problem: images and result, without what identifies the patient."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from ..errors import DicomReadError, HeaderError, RemovalError
from ..imaging.attributes import MALFORMED
from ..imaging.header import CT_IMAGE_CLASSES, open_dataset
from .deidentify import Replacement, deidentify, meaning

Json = dict[str, Any]

#: what of a study's document names neither person, place nor time
_TOLD = (
    "label", "state", "reason", "priority", "place", "stat", "instances", "revision", "reported_revision",
    "analysis", "slices",
)  # fmt: skip
_OF_REVISION = ("number", "state", "reason", "same_as", "attempts")
_OF_FEEDBACK = ("agrees", "sees_bleed", "subtypes", "revision", "weights_sha256")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export holds."""

    #: images in it
    images: int
    #: why objects were left out → how many
    left_out: dict[str, int]


def export(document: Json, paths: Sequence[Path], out: Path) -> Exported:
    """Write the new file `out`, a ZIP, of a study's document (docs/json.md) and its objects.

    Raises RemovalError where no image could be written, OSError.
    """
    if out.exists():
        raise RemovalError(f"{out} is there already: name a new file")
    replacement = Replacement()
    left_out: dict[str, int] = {}
    part = out.with_name(f"{out.name}.part")
    images = 0
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for found in _images(paths):
                if isinstance(found, str):
                    left_out[found] = left_out.get(found, 0) + 1
                    continue
                images += 1
                # an entry's time would be that of the export; ZipInfo's own is 1980
                archive.writestr(zipfile.ZipInfo(f"images/{images:05}.dcm"), _file(found, replacement))
            told = replacement.everywhere(_result(document)) | {"left_out": left_out}
            archive.writestr(zipfile.ZipInfo("result.json"), json.dumps(told, indent=2))
        if not images:
            why = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it has none"
            raise RemovalError(f"no image of the study can be exported: {why}")
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return Exported(images=images, left_out=left_out)


def _images(paths: Sequence[Path]) -> Iterator[Dataset | str]:
    """Each object that may go out, or why it may not."""
    for path in paths:
        try:
            with open_dataset(path) as file:
                ds = dcmread(file)
        except (OSError, DicomReadError, HeaderError, *MALFORMED):
            yield "cannot be read"
            continue
        if str(ds.get("SOPClassUID", "")) not in CT_IMAGE_CLASSES:
            yield "no CT image: its text cannot be cleared"
        elif str(ds.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            yield "text is burned into its pixels"
        else:
            yield ds


def _file(ds: Dataset, replacement: Replacement) -> bytes:
    buffer = BytesIO()
    deidentify(ds, replacement).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _result(document: Json) -> Json:
    """Times are seconds from the last slice: when it was would tell whose it is."""
    series = document["series"] or {"chosen": None, "rejected": []}
    return {key: document[key] for key in _TOLD} | {
        "series": {
            "chosen": _series(series["chosen"]) if series["chosen"] else None,
            "rejected": [_series(each) for each in series["rejected"]],
        },
        "revisions": [
            {key: each[key] for key in _OF_REVISION}
            | {"ledger": {key: value for key, value in each["ledger"].items() if key.endswith("_s")}}
            for each in document["revisions"]
        ],
        "feedback": [{key: each[key] for key in _OF_FEEDBACK} for each in document["feedback"]],
    }


def _series(told: Json) -> Json:
    return told | {"description": meaning(told["description"])}
