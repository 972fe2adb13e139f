"""`/metrics`: what the database knows, for Prometheus. Read when it is asked for (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from threading import Lock
from time import monotonic

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from ..settings import Settings
from ..settings.base import is_among
from ..store import figures
from ..store.database import Database
from ..store.figures import Figures
from ..telemetry import metrics
from .access import address, known
from .parts import parts

log = structlog.get_logger(__name__)
router = APIRouter(include_in_schema=False)

#: for so long figures are told again, s
_FRESH_S = 5.0
#: how long somebody waits for figures that another one reads, s
_PATIENCE_S = 5.0
#: upper bounds of stages and deliveries, s; 33.5 and 40 are the best published from last slice to flag
STAGE_BOUNDS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 33.5, 40.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
#: upper bounds of the probability of any bleed
SCORE_BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@router.get("/metrics")
def tell(request: Request) -> Response:
    """Figures of the whole service, for who watches over it."""
    if not _may(request):
        refusal = "this address is not in [metrics] allowed: show a service token\n"
        return PlainTextResponse(refusal, 401, headers={"WWW-Authenticate": "Bearer"})
    registry: CollectorRegistry = request.app.state.metrics
    body, media_type = metrics.encode(registry, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type})


def _may(request: Request) -> bool:
    """A listed address; through a proxy that is not trusted to name it, a token alone."""
    settings = parts(request).settings
    proxied = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    if is_among(address(request), settings.metrics.allowed) and not (
        proxied and not settings.web.trusted_proxies
    ):
        return True
    return known(request) is not None


class DatabaseFigures(Collector):
    """Reads the figures when asked, at most every few seconds; one reads, the others wait."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._window = timedelta(hours=settings.metrics.hours)
        self._dead_after_s = settings.worker.dead_after_s
        self._database = database
        self._lock = Lock()
        self._read_at = -_FRESH_S
        self._kept: Figures | None = None
        self._took_s = 0.0

    def describe(self) -> Sequence[Metric]:
        """None beforehand: registration must not read the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All figures; without a database, that it is away."""
        found = self._figures()
        yield _gauge("database_up", "Whether the database answered: 1, else 0.", float(found is not None))
        if found is not None:
            yield _gauge(
                "figures_read_seconds", "How long the database took for these figures.", self._took_s
            )
            yield from _studies(found)
            yield from _times(found)
            yield from _outbound(found)
            yield from _commitments(found)
            yield from _processes(found)

    def _figures(self) -> Figures | None:
        if not self._lock.acquire(timeout=_PATIENCE_S):
            return None
        try:
            begun = monotonic()
            if begun - self._read_at >= _FRESH_S:
                self._kept = self._read()
                self._read_at = monotonic()
                self._took_s = self._read_at - begun
            return self._kept
        finally:
            self._lock.release()

    def _read(self) -> Figures | None:
        now = datetime.now(UTC)
        try:
            with self._database.read() as session:
                return figures.read(
                    session, now=now, since=now - self._window, dead_after_s=self._dead_after_s
                )
        except SQLAlchemyError as error:
            log.error("figures_not_read", error=type(error).__name__)
            return None


def _studies(found: Figures) -> Iterator[Metric]:
    states = [((state,), count) for state, count in found.studies.items()]
    yield _gauges("studies", "Studies of the window, by state.", ("state",), states)
    words = "Studies of the window that were not analysed or failed, by reason."
    yield _gauges("studies_unanswered", words, ("state", "reason"), found.reasons.items())
    words = "Complete revisions without a result: waiting for the queue, queued, running."
    steps = [((step,), count) for step, count in found.unfinished.items()]
    yield _gauges("queue_revisions", words, ("step",), steps)
    words = "Since when the oldest revision without a result is complete; 0 without any."
    yield _gauge("queue_oldest_seconds", words, found.oldest_unfinished_s)
    yield _gauge("assembling_studies", "Studies with slices that no revision covers yet.", found.assembling)
    words = "Since when the oldest of these studies has such slices; 0 without any."
    yield _gauge("assembling_oldest_seconds", words, found.oldest_assembling_s)


def _times(found: Figures) -> Iterator[Metric]:
    words = "How long revisions of the window took, by stage; total is from last slice to stored result."
    yield _histogram("stage_seconds", words, "stage", found.stages, STAGE_BOUNDS_S)
    scores = {package: each.probabilities for package, each in found.answers.items()}
    words = "Probability of any bleed that studies of the window were given, by model package."
    yield _histogram("score", words, "package", scores, SCORE_BOUNDS)
    shares = [((package,), each.flagged / len(each.probabilities)) for package, each in found.answers.items()]
    words = "Share of the analysed studies of the window that were flagged, by model package."
    yield _gauges("flagged_ratio", words, ("package",), shares)


def _outbound(found: Figures) -> Iterator[Metric]:
    each = found.outbound.items()
    states = [((name, state), count) for name, one in each for state, count in one.states.items()]
    words = "Deliveries by destination and state: pending and dead of any age, others of the window."
    yield _gauges("deliveries", words, ("destination", "state"), states)
    oldest = [((name,), one.oldest_s) for name, one in each]
    words = "Since when the oldest pending delivery has its result; 0 without any."
    yield _gauges("deliveries_oldest_seconds", words, ("destination",), oldest)
    words = "From stored result to delivery, of the window."
    seconds = {name: one.seconds for name, one in each}
    yield _histogram("delivery_seconds", words, "destination", seconds, STAGE_BOUNDS_S)


def _commitments(found: Figures) -> Iterator[Metric]:
    words = "Storage commitment results that peers have asked for and not taken yet."
    yield _gauge("commitments_waiting", words, found.commitments)
    words = "Since when the oldest of them was asked for; 0 without any."
    yield _gauge("commitments_oldest_seconds", words, found.oldest_commitment_s)


def _processes(found: Figures) -> Iterator[Metric]:
    yield _gauge("receivers", "Receivers that live.", found.receivers)
    yield _gauge("workers", "Workers that live.", sum(found.workers.values()))
    packages = [((package,), count) for package, count in found.workers.items()]
    words = "Workers that live, by the package that they run."
    yield _gauges("workers_running", words, ("package",), packages)
    words = "Workers that live and could not take the model package in force."
    yield _gauge("workers_off_course", words, found.off_course)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"ich_triage_{name}", words, value=value)


def _gauges(
    name: str, words: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    family = GaugeMetricFamily(f"ich_triage_{name}", words, labels=labels)
    for key, value in values:
        family.add_metric([str(each) for each in key], value)
    return family


def _histogram(
    name: str, words: str, label: str, values: Mapping[str, Sequence[float]], bounds: Sequence[float]
) -> Metric:
    """A histogram of a window that moves: it goes down, too, so that no rate is taken of it."""
    family = GaugeHistogramMetricFamily(f"ich_triage_{name}", words, labels=[label])
    for key, found in values.items():
        counts = accumulate(
            sum(low < value <= high for value in found)
            for low, high in zip((float("-inf"), *bounds), (*bounds, float("inf")), strict=True)
        )
        ends = (*(f"{bound:g}" for bound in bounds), "+Inf")
        family.add_metric([key], list(zip(ends, map(float, counts), strict=True)), sum(found))
    return family
