"""A volume in, an analysis out: prepare, run, calibrate, measure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from ..domain.finding import Analysis, Finding, PackageIdentity, SliceScore
from ..domain.input_spec import InputSpec
from ..domain.labels import SUBTYPES
from ..errors import EngineError
from ..imaging import head as heads
from ..imaging.prepare import Prepared, prepare, unproject
from ..imaging.volume import Volume
from ..model.calibration import OperatingPoint, at_prevalence
from ..model.manifest import Manifest, MaskRule
from ..model.masks import marked
from ..model.network import relative_height
from . import findings
from .batcher import Batcher, NetworkOutput, Progress
from .engine import Engine, compare, self_test

log = structlog.get_logger(__name__)

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class AnalysisResult:
    """An analysis with the masks that it was measured on."""

    #: the numbers
    analysis: Analysis
    #: masks of the subtypes found, in the order of `SUBTYPES`, (5, Z, Y, X); all false where not flagged
    masks: Bools
    #: `Analyser.fingerprint` of the package that really ran
    fingerprint: str


class Analyser:
    """Analyses volumes on the batcher's engine; any number of threads may call it at once."""

    def __init__(
        self, batcher: Batcher, *, operating_point: str = "balanced", prevalence: float | None = None
    ) -> None:
        """`prevalence`: the site's share of studies with a bleed, to which probabilities are corrected.

        Raises EngineError when the package does not have the operating point.
        """
        self._batcher = batcher
        self._prevalence = prevalence
        self._operating_point = operating_point
        _point(batcher.engine.package.manifest, operating_point)

    @property
    def identity(self) -> PackageIdentity:
        """The package that the next study will be analysed with."""
        return self._batcher.engine.package.identity

    def analyse(
        self, volume: Volume, *, head: heads.Head | None = None, progress: Progress | None = None
    ) -> AnalysisResult:
        """Analyse one volume; `head` saves finding it again. Raises EngineError."""
        engine = self._batcher.engine
        manifest = engine.package.manifest
        prepared = _prepared(volume, manifest.input_spec, engine.input_device)
        height = relative_height(volume.positions_mm)
        future = self._batcher.submit(prepared.tensor, height, engine=engine, progress=progress)
        output = future.result()
        study, slices = self._probabilities(output, manifest)
        if not all(np.isfinite(each).all() for each in (study, slices, output.slices.mask_logits)):
            # No comparison with a threshold is true of NaN: it would pass for "not flagged".
            raise EngineError("the network's answer is not a number; the study is not analysed")
        threshold = self._threshold(manifest)
        flagged = bool(study[0] >= threshold)
        masks = np.zeros((len(SUBTYPES), *volume.hu.shape), bool)
        found: tuple[Finding, ...] = ()
        if flagged:
            midline = (head or heads.find(volume)).midline
            scene = findings.Scene(volume=volume, midline=midline, rule=self._rule(manifest))
            for k in scene.rule.reported(study):
                masks[k] = _mask(output, k, prepared, scene)
            found = findings.measure(masks, study, slices, scene)
        analysis = Analysis(
            package=engine.package.identity,
            operating_point=self._operating_point,
            threshold=threshold,
            probabilities=tuple(study.tolist()),
            flagged=flagged,
            slices=_scores(volume, slices),
            findings=found,
        )
        return AnalysisResult(analysis=analysis, masks=masks, fingerprint=self._fingerprint(manifest))

    def self_test(self) -> None:
        """Ask the engine its package's golden question, before the first study. Raises EngineError."""
        engine = self._batcher.engine
        golden = engine.package.golden
        output = self._batcher.submit(golden.tensor, golden.height, engine=engine).result()
        compare(engine, output.slices, output.study)

    def swap(self, engine: Engine) -> None:
        """Use `engine` from the next study on, once it has proved itself beside the one in use.

        Studies under way finish on the engine that they began with. Raises EngineError.
        """
        prove(engine, self._operating_point)
        self._batcher.swap(engine)

    @property
    def fingerprint(self) -> str:
        """What decides besides the pixels: package with its calibration, operating point, prevalence."""
        return self._fingerprint(self._batcher.engine.package.manifest)

    def _fingerprint(self, manifest: Manifest) -> str:
        told = f"{manifest.model_dump_json()}/{self._operating_point}/{self._prevalence}"
        return hashlib.sha256(told.encode()).hexdigest()

    def _rule(self, manifest: Manifest) -> MaskRule:
        """The package's rule, its thresholds at the site's prevalence as the probabilities are."""
        thresholds = at_prevalence(
            np.array(manifest.mask.subtype_thresholds), manifest.calibration.prevalence, self._prevalence
        )
        return manifest.mask.model_copy(update={"subtype_thresholds": tuple(thresholds.tolist())})

    def _threshold(self, manifest: Manifest) -> float:
        threshold = np.array(_point(manifest, self._operating_point).threshold)
        return float(at_prevalence(threshold, manifest.calibration.prevalence, self._prevalence))

    def _probabilities(
        self, output: NetworkOutput, manifest: Manifest
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Study (6,) and slices (Z, 6)."""
        calibration = manifest.calibration
        study = calibration.study.probabilities(output.study.study_logits)
        slices = calibration.slices.probabilities(output.study.slice_logits)
        return (
            at_prevalence(study, calibration.prevalence, self._prevalence),
            at_prevalence(slices, calibration.prevalence, self._prevalence),
        )


def prove(engine: Engine, operating_point: str) -> None:
    """Raise EngineError unless the engine gives its package's golden answer and has the operating point."""
    _point(engine.package.manifest, operating_point)
    self_test(engine)


def _point(manifest: Manifest, name: str) -> OperatingPoint:
    point = manifest.operating_points.get(name)
    if point is None:
        raise EngineError(
            f"package {manifest.name} has no operating point {name!r}; "
            f"set `[model] operating_point` to one of {', '.join(sorted(manifest.operating_points))}"
        )
    return point


def _prepared(volume: Volume, spec: InputSpec, device: str) -> Prepared:
    """On `device`; a study too large for its memory is prepared on the CPU, whose slices any engine takes."""
    hu = torch.from_numpy(volume.hu)
    try:
        return prepare(hu.to(device), volume.positions_mm, volume.pixel_spacing, spec)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        log.warning("prepared_on_cpu", slices=len(volume.hu))
        return prepare(hu, volume.positions_mm, volume.pixel_spacing, spec)


def _mask(output: NetworkOutput, subtype: int, prepared: Prepared, scene: findings.Scene) -> Bools:
    """One subtype's mask at the resolution of the volume, (Z, Y, X)."""
    logits = torch.from_numpy(output.slices.mask_logits[:, subtype : subtype + 1])
    probabilities = unproject(torch.sigmoid(logits), prepared)[:, 0]
    return marked(probabilities.numpy(), scene.voxel_ml(), min_part_ml=scene.rule.min_part_ml)


def _scores(volume: Volume, slices: NDArray[np.float64]) -> tuple[SliceScore, ...]:
    return tuple(
        SliceScore(image=image, position_mm=float(position), probabilities=tuple(row.tolist()))
        for image, position, row in zip(volume.images, volume.positions_mm, slices, strict=True)
    )
