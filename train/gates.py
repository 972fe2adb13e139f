"""Honesty gates of the synthetic data: what must *not* be enough to tell a bleed (clinical report, gates).

A metadata-only model and an outside-the-skull model should stand at AUC .5; counting 50–90 HU voxels inside
the skull should stay below .85, or the phantom is too easy. ``python -m train.gates --n 200`` prints them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from ich_triage.domain.labels import LABELS, Subtype
from ich_triage.imaging.volume import Volume
from ich_triage.model.manifest import Metric
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.records import PhantomSpec, Style
from ich_triage.phantom.spec import VENDORS, draw

from .metrics import auc
from .parallel import one_thread
from .progress import watched

#: Folds, draws of them, trees of a forest, and permutations that say what chance does.
_FOLDS, _DRAWS, _TREES, _PERMUTATIONS = 5, 4, 50, 16
_EPIDURAL = LABELS.index(Subtype.EPIDURAL)
_BANDS_HU = (-300, -150, -60, 0, 30, 50, 70, 100, 200, 300, 600, 1000, 4000)


@dataclass(frozen=True, kw_only=True)
class GateFeatures:
    """What the baselines may look at in one study."""

    #: whether the study has a visible bleed
    any_bleed: bool
    #: labels of each slice in the order of `LABELS`, (Z, 6)
    slice_labels: np.ndarray
    #: header fields as numbers, (F,)
    metadata: np.ndarray
    #: volume in HU bands in the outermost 5 mm of the head and beyond, left and right, mL, (B,)
    outside: np.ndarray
    #: volume of 50–90 HU inside the skull, mL
    hyperdense_ml: float
    #: keyed hash of the patient's id; empty for a phantom
    patient: str = ""


def features(phantom: Phantom) -> GateFeatures:
    """Features of one phantom."""
    hu = phantom.hu.cpu().numpy()
    voxel_ml = float(np.prod(phantom.spacing)) / 1e3
    inside = inside_skull(hu, phantom.spacing[1])
    half = hu.shape[-1] // 2
    outside = np.where(_deep(hu, phantom.spacing[1]), -2000.0, hu)
    bands = [
        np.histogram(part, _BANDS_HU)[0] * voxel_ml for part in (outside[..., :half], outside[..., half:])
    ]
    return GateFeatures(
        any_bleed=bool(phantom.truth.slice_labels[:, 0].any()),
        slice_labels=phantom.truth.slice_labels.cpu().numpy(),
        metadata=_metadata(phantom),
        outside=np.concatenate([*bands, np.abs(bands[0] - bands[1])]),
        hyperdense_ml=float(((hu >= 50) & (hu <= 90) & inside).sum()) * voxel_ml,
    )


def inside_skull(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """(Z, Y, X) bool: enclosed by bone in its slice, a pixel of partial volume left out."""
    inside = np.zeros(hu.shape, bool)
    reach = max(1, round(3.0 / pixel_mm))
    for index, plane in enumerate(hu):
        bone = ndimage.binary_closing(plane > 180.0, iterations=reach)
        room = ndimage.binary_fill_holes(bone) & ~bone & (plane > -100.0)
        inside[index] = ndimage.binary_opening(ndimage.binary_erosion(room), iterations=2)
    return inside


def hyperdense_ml(volume: Volume) -> float:
    """Volume of 50–90 HU inside the skull, mL, of any study: the baseline that needs no training."""
    dense = (volume.hu >= 50) & (volume.hu <= 90)
    return volume.volume_ml(dense & inside_skull(volume.hu, volume.pixel_spacing[0]))


def _deep(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """(Z, Y, X) bool: more than 5 mm under the skin, so no scalp, and no bleed outside of it."""
    deep = np.zeros(hu.shape, bool)
    for index, plane in enumerate(hu):
        head = ndimage.binary_fill_holes(ndimage.binary_opening(plane > -300.0, iterations=2))
        deep[index] = ndimage.distance_transform_edt(head) * pixel_mm > 5.0
    return deep


def _metadata(phantom: Phantom) -> np.ndarray:
    scan = phantom.spec.acquisition
    values = (
        scan.slices, scan.spacing_mm, scan.thickness_mm, scan.fov_mm, scan.tilt_deg,
        VENDORS.index(scan.vendor), *phantom.positions[0], *phantom.positions[-1],
    )  # fmt: skip
    return np.asarray(values, dtype=np.float64)


def measure(studies: Sequence[GateFeatures], *, seed: int = 0) -> dict[str, Metric]:
    """Every gate by name; left out where one of the two classes has too few studies to tell."""
    drawn = [each for each in studies if each.metadata.size]
    # Most epidurals come with fracture and swelling, in the phantom as in life: no leak, yet seen outside.
    others = [each for each in drawn if not each.slice_labels[:, _EPIDURAL].any()]
    measured = {
        "gate_metadata_only_auc": metadata_only_auc(drawn, seed=seed),
        "gate_outside_skull_auc": outside_skull_auc(drawn, seed=seed),
        "gate_outside_skull_without_epidural_auc": outside_skull_auc(others, seed=seed),
        "gate_hyperdense_count_auc": hyperdense_count_auc(studies, seed=seed),
    }
    return {name: metric for name, metric in measured.items() if metric}


def metadata_only_auc(studies: Sequence[GateFeatures], *, seed: int = 0) -> Metric | None:
    """A random forest on header fields; .5 means that headers do not give the label away."""
    return _forest_auc([s.metadata for s in studies], _labels(studies), seed)


def outside_skull_auc(studies: Sequence[GateFeatures], *, seed: int = 0) -> Metric | None:
    """A random forest on scalp, face, outer table and head rest."""
    return _forest_auc([s.outside for s in studies], _labels(studies), seed)


def hyperdense_count_auc(studies: Sequence[GateFeatures], *, seed: int = 0) -> Metric | None:
    """The count of 50–90 HU voxels inside the skull as a score, no training."""
    patients = np.array([s.patient for s in studies], dtype=str)
    return auc(np.array([s.hyperdense_ml for s in studies]), _labels(studies), patients=patients, seed=seed)


def _labels(studies: Sequence[GateFeatures]) -> np.ndarray:
    return np.array([s.any_bleed for s in studies], bool)


def _forest_auc(rows: Sequence[np.ndarray], y: np.ndarray, seed: int) -> Metric | None:
    """Area under the ROC of a forest's out-of-fold scores; None with fewer studies of a class than folds.

    Value: mean over draws of the folds. Interval: 1.96 deviations of what the same forest gives for permuted
    labels. A bootstrap of the scores would leave out what chance does between folds, the larger part here.
    """
    if not len(y) or min(y.sum(), (~y).sum()) < _FOLDS:
        return None
    x = np.stack(rows)
    value = float(np.mean([_out_of_fold_auc(x, y, seed + draw) for draw in range(_DRAWS)]))
    rng = np.random.default_rng(seed)
    chance = [_out_of_fold_auc(x, rng.permutation(y), seed + draw) for draw in range(_PERMUTATIONS)]
    reach = 1.96 * float(np.std(chance, ddof=1))
    return Metric(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach), n=len(y))


def _out_of_fold_auc(x: np.ndarray, y: np.ndarray, seed: int) -> float:
    forest = RandomForestClassifier(_TREES, min_samples_leaf=3, random_state=seed)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(forest, x, y, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, scores))


def label_mix(studies: Iterable[GateFeatures]) -> dict[str, float]:
    """Share of each label among positive slices, and "labels per slice" among them."""
    rows = np.concatenate([s.slice_labels for s in studies])
    positive = rows[rows[:, 0]]
    mix = dict(zip(LABELS[1:], positive[:, 1:].mean(axis=0).tolist(), strict=True))
    return mix | {"labels per slice": float(positive[:, 1:].sum(axis=1).mean())}


def _study(job: tuple[PhantomSpec, int]) -> GateFeatures:
    spec, matrix = job
    with one_thread():
        return features(generate(spec, matrix=matrix))


def draw_features(n: int, *, first_seed: int, style: Style = "a", matrix: int = 256) -> list[GateFeatures]:
    """Features of ``n`` randomly drawn studies, on half of the machine's cores."""
    jobs = [(draw(seed, style=style), matrix) for seed in range(first_seed, first_seed + n)]
    workers = max(1, (os.cpu_count() or 2) // 2)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(watched(pool.map(_study, jobs), "phantoms", total=n))


def main(
    n: Annotated[int, typer.Option(help="Studies to draw.")] = 200,
    seed: Annotated[int, typer.Option(help="First seed.")] = 900_000,
    style: Annotated[str, typer.Option(help="Generator style, a or b.")] = "a",
    matrix: Annotated[int, typer.Option(help="Pixels per side.")] = 256,
) -> None:
    """Draw studies and print every gate."""
    console = Console()
    studies = draw_features(n, first_seed=seed, style="b" if style == "b" else "a", matrix=matrix)
    console.print("studies", dict(Counter(s.any_bleed for s in studies)))
    console.print("positive slices", {k: round(v, 3) for k, v in label_mix(studies).items()})
    for name, found in measure(studies).items():
        console.print(f"{name:42s} {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")


if __name__ == "__main__":
    typer.run(main)
