"""Which associations are open, and which studies each has touched; a shortcut for assembly, not kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import count
from threading import Lock

from pynetdicom import evt

from ..dicom.transport import on_rejection
from ..telemetry.refusals import Refusals
from .audited import Audited
from .counts import Counts

#: studies of which it is known how many objects came; of one that is forgotten, some count as another's
_REMEMBERED = 10_000


class Associations:
    """Open associations of this receiver, by our own number."""

    def __init__(
        self,
        counts: Counts | None = None,
        refusals: Refusals | None = None,
        *,
        on_end: Callable[[int], None] = lambda _number: None,
    ) -> None:
        """`on_end` is called with the number of each that is over."""
        #: what is told of them, and of what they bring
        self.counts = counts or Counts()
        self.counts.open.set_function(self.count_open)
        #: what the audit trail is told
        self.audited = Audited()
        #: what the audit trail is told of those that were turned away
        self.refusals = refusals or Refusals(lambda _records: None)
        self._on_end = on_end
        self._lock = Lock()
        self._numbers = count(1)
        self._open: set[int] = set()
        self._studies: dict[str, set[int]] = defaultdict(set)
        self._brought: Counter[str] = Counter()
        #: whether no other receiver lives, so that what is open here is all that is
        self.alone = True

    def begin(self) -> int:
        """Note a new association; returns its number."""
        with self._lock:
            number = next(self._numbers)
            self._open.add(number)
            return number

    def end(self, number: int) -> None:
        """Note that an association is over, however it ended."""
        with self._lock:
            self._open.discard(number)
        self.audited.end(number)
        self._on_end(number)

    def on_established(self, event: evt.Event) -> None:
        """Handler of EVT_ESTABLISHED."""
        self.counts.on_established(event)
        self.audited.on_established(event)

    def on_rejected(self, event: evt.Event) -> None:
        """Handler of EVT_REJECTED."""
        self.counts.on_rejected(event)
        on_rejection(self.refusals.association)(event)

    def count_open(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._open)

    def touched(self, number: int | None, study_uid: str) -> None:
        """Note that an association has brought an object of a study."""
        with self._lock:
            if len(self._brought) > _REMEMBERED:
                self._brought.clear()
            self._brought[study_uid] += 1
            if number in self._open and number is not None:
                self._studies[study_uid].add(number)

    def all_ended(self, study_uid: str, *, instances: int = 0) -> bool:
        """Whether no open association has brought anything of that study, as far as can be known.

        `instances`: how many it has. Where some came through another receiver, that one's associations may
        be open still.
        """
        with self._lock:
            if not self.alone and self._brought[study_uid] < instances:
                return False
            still_open = self._studies[study_uid] & self._open
            if still_open:
                self._studies[study_uid] = still_open
            else:
                del self._studies[study_uid]
            return not still_open
