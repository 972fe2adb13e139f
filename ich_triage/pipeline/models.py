"""Which model package is in force, and how a running worker comes to another one without dropping a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from ..errors import EngineError, IchTriageError, PackageError
from ..model.gate import Check
from ..model.package import Package
from ..model.registry import PackageFolder, Registry, shipped
from ..settings import Model
from ..store import promotions
from ..store.database import Database
from ..store.tables import Promotion

if TYPE_CHECKING:
    from ..inference.analyse import Analyser
    from ..inference.engine import Engine

log = structlog.get_logger(__name__)

#: how long a package that was not taken is left alone before it is tried again, s
RETRY_S = 300.0


@dataclass(frozen=True, kw_only=True)
class InForce:
    """What is in force at one moment of the history."""

    #: number of the history's last entry; 0 before the first
    number: int
    #: the package in force, then those that each rollback would give; the one that ships is the last
    packages: tuple[PackageFolder, ...]

    @property
    def package(self) -> PackageFolder:
        """The one that studies are to be analysed with."""
        return self.packages[0]


class Models:
    """The registry with its history, and the configuration that may overrule both."""

    def __init__(self, settings: Model, database: Database) -> None:
        self.registry = Registry(settings.registry)
        self._pinned = settings.package
        self._database = database

    @property
    def pinned(self) -> PackageFolder | None:
        """The package that the configuration names; whatever is promoted, workers keep to it."""
        return PackageFolder(name=str(self._pinned), path=self._pinned) if self._pinned else None

    def in_force(self) -> InForce:
        """By the configuration, else by the history. Folders are not looked at."""
        return InForce(number=0, packages=(self.pinned,)) if self.pinned else self.promoted()

    def promoted(self) -> InForce:
        """By the history alone."""
        with self._database.read() as session:
            number, standing = promotions.last_number(session), promotions.standing(session)
        return InForce(number=number, packages=(*map(self._folder, standing), shipped()))

    def history(self) -> Sequence[Promotion]:
        """Every promotion and rollback, oldest first."""
        with self._database.read() as session:
            return promotions.history(session)

    def promote(
        self, candidate: PackageFolder, checks: tuple[Check, ...], *, after: int, forced: str | None
    ) -> None:
        """Put `candidate` in force after the gate's `checks`, made when the history stood at `after`.

        `forced`: why it is promoted although not all of them passed. Raises PromotionError.
        """
        entry = Promotion(
            at=datetime.now(UTC),
            package=candidate.name,
            weights_sha256=candidate.manifest().weights_sha256,
            manifest_sha256=candidate.manifest_sha256,
            synthetic=candidate.synthetic,
            forced=None if all(each.passed for each in checks) else forced,
            checks=[asdict(each) for each in checks],
        )
        with self._database.write() as session:
            promotions.promote(session, entry, after=after)

    def roll_back(self) -> tuple[PackageFolder, PackageFolder]:
        """Which package was in force, and which is so again; what does not load is not put in force again.

        Raises PackageError, PromotionError.
        """
        before = self.promoted()
        for again in before.packages[1:2]:
            again.load()
        with self._database.write() as session:
            promotions.rollback(session, datetime.now(UTC), after=before.number)
        return before.packages[0], before.packages[1]

    def _folder(self, entry: Promotion) -> PackageFolder:
        assert entry.package is not None  # promotions name a package; rollbacks do not stand
        return PackageFolder(
            name=entry.package,
            path=self.registry.path(entry.package),
            manifest_sha256=entry.manifest_sha256,
            synthetic=entry.synthetic,
        )


def first_that_runs(
    packages: tuple[PackageFolder, ...], start: Callable[[Package], Analyser]
) -> tuple[Analyser, str | None]:
    """The analyser of the package in force; where that cannot be used, of the one before it, and why.

    A synthetic package never stands in for a real one. Raises what was wrong with the package in force
    when no other is left: a worker that cannot analyse ends, and the list says so.
    """
    first: IchTriageError | None = None
    for folder in packages:
        try:
            package = folder.load()
            if first and package.manifest.synthetic and not packages[0].synthetic:
                break
            return start(package), str(first) if first else None
        except (PackageError, EngineError) as error:
            log.error("package_refused", package=folder.name, error=str(error))
            first = first or error
    assert first is not None  # there is always the one that ships
    raise first


class ModelWatch:
    """Looks now and then whether another package is in force, and takes it between batches.

    Studies under way finish on the one that they began with. A package that cannot be used is not taken:
    the one before goes on, and `problem` says why.
    """

    def __init__(
        self,
        models: Models,
        analyser: Analyser,
        make_engine: Callable[[Package], Engine],
        *,
        seen: int,
        problem: str | None = None,
    ) -> None:
        """`seen`: the history's last number when `analyser` was started; `problem`: of that start."""
        self.problem = problem
        self._models = models
        self._analyser = analyser
        self._make_engine = make_engine
        self._seen = seen
        self._retry_at = monotonic() + RETRY_S

    @property
    def running(self) -> str:
        """The package that the next study will be analysed with."""
        return self._analyser.identity.key

    def look(self) -> None:
        """One small query, unless there is something to take."""
        found = self._models.in_force()
        if found.number == self._seen and not (self.problem and monotonic() >= self._retry_at):
            return
        self._seen = found.number
        self.problem = self._take(found.package)
        self._retry_at = monotonic() + RETRY_S

    def _take(self, folder: PackageFolder) -> str | None:
        """Load beside the engine in use, self-test, swap; says why not."""
        try:
            self._analyser.swap(self._make_engine(folder.load()))
        # broad, since this is the boundary to libraries fed with a new package: the old one must go on
        except Exception as error:
            log.exception("package_refused", package=folder.name)
            own = isinstance(error, IchTriageError)
            return str(error) if own else f"{folder.name} cannot be loaded ({type(error).__name__})"
        return None
