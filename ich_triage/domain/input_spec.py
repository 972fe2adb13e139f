"""What the network's input looks like; part of every package's manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Window:
    """A display window; HU below and above it saturate at 0 and 1."""

    #: centre, HU
    level: float
    #: full width, HU
    width: float


BRAIN = Window(level=40, width=80)
SUBDURAL = Window(level=80, width=200)
BONE = Window(level=600, width=2800)
SOFT = Window(level=40, width=380)
STROKE = Window(level=32, width=8)


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Channels: each of `windows` of the slice itself, then the first window at each neighbour offset."""

    #: pixels per side of the square input
    size: int = 256
    #: windows of the slice itself, one channel each
    windows: tuple[Window, ...] = (BRAIN, SUBDURAL, BONE)
    #: physical distance of the neighbour channels along the slice normal, mm; positive is towards the head
    neighbour_offsets_mm: tuple[float, ...] = (5.0, -5.0)
    #: margin added around the head, share of its size
    crop_margin: float = 0.05

    @property
    def channels(self) -> int:
        """Number of input channels."""
        return len(self.windows) + len(self.neighbour_offsets_mm)

    @property
    def channel_windows(self) -> tuple[Window, ...]:
        """Window of each channel."""
        return (*self.windows, *[self.windows[0]] * len(self.neighbour_offsets_mm))

    @property
    def channel_steps(self) -> tuple[int, ...]:
        """About which slice each channel shows: 0 its own, 1 the next one up, -1 the next one down."""
        return (*[0] * len(self.windows), *(1 if offset > 0 else -1 for offset in self.neighbour_offsets_mm))
