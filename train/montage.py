"""Pictures of phantoms for docs/phantom.md: slices side by side, one row per window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from PIL import Image

from ich_triage.domain.input_spec import BONE, BRAIN, SUBDURAL, Window
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.records import PhantomSpec
from ich_triage.phantom.spec import draw

ROWS: tuple[tuple[str, Window], ...] = (("brain", BRAIN), ("subdural", SUBDURAL), ("bone", BONE))
_COLUMNS, _COLOURS = 6, 48


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One phantom to show."""

    #: seed of the draw
    seed: int
    #: volume of the bleed, mL
    volume_ml: float = 0.0
    #: HU of the bleed
    hu: float = 60.0
    #: place of the bleed
    site: str = ""


PICTURES: dict[Subtype, Picture] = {
    Subtype.EPIDURAL: Picture(seed=31, volume_ml=25, hu=62, site="temporal"),
    Subtype.INTRAPARENCHYMAL: Picture(seed=41, volume_ml=22, hu=58, site="ganglionic"),
    Subtype.INTRAVENTRICULAR: Picture(seed=39, volume_ml=9, hu=55, site="level"),
    Subtype.SUBARACHNOID: Picture(seed=38, volume_ml=6, hu=52, site="basal"),
    Subtype.SUBDURAL: Picture(seed=37, volume_ml=60, hu=60, site="convexity"),
}
NORMAL = Picture(seed=51)


def picture_spec(picture: Picture, subtype: Subtype | None) -> PhantomSpec:
    """The phantom of a picture; without a subtype a normal head that carries every harmless mimic."""
    spec = draw(picture.seed, bleeds=(subtype,) if subtype else None, slices=30, noise_hu=3.2)
    calm = spec.mimics.names - {"motion", "metal"}
    if subtype is None:
        calcified = {"pineal", "choroid", "falx", "ganglia", "carotid", "vertebral"}
        names = calcified | {"dense_sinus", "infarct", "white_matter"}
        return replace(spec, mimics=replace(spec.mimics, names=frozenset(names)))
    bleed = replace(spec.bleeds[0], volume_ml=picture.volume_ml, hu=picture.hu, site=picture.site, mixed=0.15)
    return replace(spec, bleeds=(bleed,), mimics=replace(spec.mimics, names=calm))


def montage(phantom: Phantom, *, title: str, columns: int = _COLUMNS) -> Figure:
    """Figure of ``columns`` slices in every window, spread over the bleed, or over the head without one."""
    positive = torch.nonzero(phantom.truth.slice_labels[:, 0]).flatten().tolist()
    first, last = (positive[0], positive[-1]) if positive else (3, len(phantom.hu) - 7)
    chosen = np.linspace(first, last, columns).round().astype(int)
    figure = Figure(figsize=(2.0 * columns, 2.0 * len(ROWS) + 0.3), facecolor="black")
    axes = figure.subplots(len(ROWS), columns)
    for row, (name, window) in zip(axes, ROWS, strict=True):
        for axis, index in zip(row, chosen, strict=True):
            low = window.level - window.width / 2
            axis.imshow(phantom.hu[index].numpy(), cmap="gray", vmin=low, vmax=low + window.width)
            axis.set_axis_off()
        words = f"{name} {window.level:g}/{window.width:g}"
        row[0].text(0.02, 0.96, words, transform=row[0].transAxes, color="yellow", fontsize=7, va="top")
    figure.suptitle(title, color="white", fontsize=9, y=0.995)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.955, wspace=0.01, hspace=0.01)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` as a PNG of few grey levels, so that it stays small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(path, optimize=True)


def main(out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("docs/img")) -> None:
    """Write one montage per subtype and one of a normal head with mimics."""
    matplotlib.use("Agg")
    for subtype in (*SUBTYPES, None):
        picture = PICTURES[subtype] if subtype else NORMAL
        phantom = generate(picture_spec(picture, subtype))
        words = f"normal, with {', '.join(sorted(phantom.spec.mimics.names))}".replace("_", " ")
        if subtype:
            words = "; ".join(f"{b.subtype.value}, {b.volume_ml:.1f} mL" for b in phantom.truth.bleeds)
        figure = montage(phantom, title=f"Synthetic head CT, seed {picture.seed}: {words}")
        save(figure, out / f"phantom-{subtype.value if subtype else 'normal'}.png")


if __name__ == "__main__":
    typer.run(main)
