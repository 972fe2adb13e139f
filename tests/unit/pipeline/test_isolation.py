"""Many together or one alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from ich_triage.pipeline.isolation import Isolation

Wait = Callable[..., None]


def test_who_wants_to_be_alone_waits_for_all_and_goes_before_newcomers(wait_until: Wait) -> None:
    """Two run together; the one alone begins when both have ended; who came later begins after it."""
    isolation, order = Isolation(), []
    go = {name: Event() for name in ("first", "second", "alone", "later")}

    def run(name: str) -> None:
        with isolation.alone() if name == "alone" else isolation.together():
            order.append(f"+{name}")
            assert go[name].wait(10)
            order.append(f"-{name}")

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run, "first"), pool.submit(run, "second")]
        wait_until(lambda: len(order) == 2)
        running.append(pool.submit(run, "alone"))
        wait_until(lambda: isolation._want_alone == 1)
        running.append(pool.submit(run, "later"))
        for name in ("first", "second", "alone", "later"):
            wait_until(lambda: running[-1].running())
            go[name].set()
            wait_until(lambda name=name: f"-{name}" in order)
        for each in running:
            each.result()
    assert order[:2] == ["+first", "+second"]
    assert order[4:] == ["+alone", "-alone", "+later", "-later"]


def test_an_error_lets_the_next_one_in() -> None:
    """Whatever breaks off inside, nobody waits for it."""
    isolation = Isolation()
    for enter in (isolation.alone, isolation.together):
        try:
            with enter():
                raise FloatingPointError
        except FloatingPointError:
            pass
    with isolation.alone():
        pass
