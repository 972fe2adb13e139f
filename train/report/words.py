"""Sentences that the model card and the evaluation share."""

from __future__ import annotations

from ich_triage.model.manifest import Manifest, Metric

#: What the parts of drawn studies are called, and that of studies from data sources.
PARTS = {"test": "test (style a)", "held_out": "held-out style (b)"}
PATIENTS = "test studies that training never saw"

#: Intended use.
USE = (
    "To show, test and develop this software. It re-sorts a reading list; it is no diagnosis, and "
    '"not flagged" is not "negative".'
)
#: What a package that never saw a patient says beside it.
NO_PATIENT = "It has never seen a patient: its figures say how well it reads phantoms, nothing about people."

#: What no figure here covers.
LIMITS = (
    "Trained on procedural phantoms only; real anatomy, disease and artefacts are wider than they are.",
    "Not made for children, contrast-enhanced series, bone kernels or post-operative heads.",
    "Volumes of subarachnoid blood and of bleeds below 1 mL are rough; see the interval of each finding.",
)


def use(manifest: Manifest) -> str:
    """Intended use, with what a synthetic package must add."""
    return f"{USE} {NO_PATIENT}" if manifest.synthetic else USE


def limits(manifest: Manifest) -> tuple[str, ...]:
    """Limits of the package; the first holds for synthetic training data alone."""
    return LIMITS if manifest.synthetic else LIMITS[1:]


def in_words(metric: Metric | None) -> str:
    """A figure with its interval and n."""
    return "–" if metric is None else f"{metric.value:.3f} ({metric.low:.3f}–{metric.high:.3f}), n {metric.n}"
