"""The gate: what a package must show before it takes the place of the one in force.

1. It loads, its hashes are right, and this machine's engine gives its golden answer.
2. A package trained on synthetic data never replaces one trained on real data.
3. It is not worse than the one in force. Both were measured on the same test studies, as their manifests
   say or side by side when the candidate was made, and for no figure of `COMPARED` the upper bound of the
   candidate's 95% interval lies below the value of the one in force and the candidate's value below its
   interval.

A person may overrule the third alone, with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..domain.labels import LABELS
from ..errors import EngineError, PackageError
from .manifest import Manifest, Metric, Rival
from .package import Package
from .registry import PackageFolder

#: Figures of the manifest that must not be worse: larger is better for each.
COMPARED = (*(f"study_auc_{label}" for label in LABELS), "sensitivity_balanced")


#: Studies from which on figures measured side by side may open the gate.
LEAST_BESIDE = 50


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that the gate looked at."""

    #: what
    name: str
    #: whether it speaks for the candidate
    passed: bool
    #: what was seen, one line
    reason: str
    #: whether a person may overrule it, with a reason
    forcible: bool = False


def examine(
    candidate: PackageFolder, current: PackageFolder, *, prove: Callable[[Package], None]
) -> tuple[Check, ...]:
    """Hold `candidate` against the package in force.

    `prove` asks a package's golden question of this machine's engine and raises EngineError where the answer
    is another.
    """
    try:
        package = candidate.load()
    except PackageError as error:
        return (Check(name="package", passed=False, reason=str(error)),)
    whole = f"whole; weights {package.manifest.weights_sha256[:12]} as its manifest says"
    return (
        Check(name="package", passed=True, reason=whole),
        _self_test(package, prove),
        _training_data(package.manifest, current),
        *_figures(package.manifest, current),
    )


def opens(checks: tuple[Check, ...], *, forced: bool) -> bool:
    """Whether the candidate may pass; `forced`: a person overrules what may be overruled."""
    return all(each.passed or (forced and each.forcible) for each in checks)


def worse(candidate: Metric, current: Metric) -> bool:
    """Whether each value lies beyond the other's 95% interval, the candidate's below.

    One of the two alone would not do: no share with a miss has an interval up to 1, so
    nothing could follow a perfect one.
    """
    within = candidate.high >= current.value or candidate.value >= current.low
    return not within  # also where either is not a number


def _self_test(package: Package, prove: Callable[[Package], None]) -> Check:
    try:
        prove(package)
    except EngineError as error:
        return Check(name="self-test", passed=False, reason=str(error))
    return Check(name="self-test", passed=True, reason="gives its golden answer on this machine")


def _training_data(candidate: Manifest, current: PackageFolder) -> Check:
    name = "training data"
    if not candidate.synthetic:
        return Check(name=name, passed=True, reason="real")
    if _is_synthetic(current):
        return Check(name=name, passed=True, reason=f"synthetic, as that of {current.name}")
    reason = f"synthetic, and {current.name} was trained on real data"
    return Check(name=name, passed=False, reason=reason)


def _is_synthetic(current: PackageFolder) -> bool:
    """What cannot be read any more counts as real."""
    if current.synthetic is not None:
        return current.synthetic
    try:
        return current.manifest().synthetic
    except PackageError:
        return False


def _figures(candidate: Manifest, current: PackageFolder) -> tuple[Check, ...]:
    name = "test data"
    try:
        reference = current.manifest()
    except PackageError as error:
        return (Check(name=name, passed=False, reason=f"nothing to compare with: {error}", forcible=True),)
    rival = candidate.rival
    if rival and rival.key == reference.identity.key:
        return (
            _measured_beside(candidate, current),
            *(_figure(each, candidate.metrics, _known(rival, reference)) for each in COMPARED),
        )
    if reason := incomparable(candidate, reference):
        return (Check(name=name, passed=False, reason=reason, forcible=True),)
    same = Check(name=name, passed=True, reason=f"the same as those of {current.name}")
    return (same, *(_figure(each, candidate.metrics, reference.metrics) for each in COMPARED))


def incomparable(one: Manifest, other: Manifest) -> str | None:
    """Why the figures of two packages say nothing about each other; None where they do."""
    if not one.test_data or not other.test_data:
        silent = one if not one.test_data else other
        return f"{silent.identity.key} does not say which studies it was tested on"
    differing = sorted(
        key
        for key in one.test_data.keys() | other.test_data.keys()
        if one.test_data.get(key) != other.test_data.get(key)
    )
    if differing:
        return f"tested on other studies ({', '.join(differing)} differ): the figures are not comparable"
    return None


def _measured_beside(candidate: Manifest, current: PackageFolder) -> Check:
    """Whether the studies that both were measured on are enough to see a harm."""
    told = candidate.metrics.get("study_auc_any")
    n = told.n if told else 0
    reason = f"{current.name} was measured beside the candidate, on the same {n} studies"
    if n < LEAST_BESIDE:
        reason += f"; with fewer than {LEAST_BESIDE} no harm would be seen"
    return Check(name="test data", passed=n >= LEAST_BESIDE, reason=reason, forcible=True)


def _known(rival: Rival, reference: Manifest) -> dict[str, Metric]:
    """Its figures beside the candidate; of a label that could not be measured there, its own from before."""
    return {**reference.metrics, **rival.metrics}


def _figure(name: str, candidate: Mapping[str, Metric], current: Mapping[str, Metric]) -> Check:
    ours, theirs = candidate.get(name), current.get(name)
    if theirs is None:
        return Check(name=name, passed=True, reason="not measured of the one in force", forcible=True)
    if ours is None:
        return Check(name=name, passed=False, reason="not measured of the candidate", forcible=True)
    told = f"{ours.value:.3f} ({ours.low:.3f} to {ours.high:.3f}), in force {theirs.value:.3f}"
    return Check(name=name, passed=not worse(ours, theirs), reason=told, forcible=True)
