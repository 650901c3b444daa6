"""Folds a stream of events: equal steps, scans over rows, and rounds that repeat."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from hil.explain.event import Event

MAX_ROUND = 32  #: longest round of events whose repetition is recognised


def folded(stream: Iterator[Event]) -> Iterator[Event]:
    """Yield the events with equal steps, row scans and rounds folded, in bounded memory."""
    return _rounds(_scans(_equal(stream)))


def _near(a_s: float, b_s: float) -> bool:
    return abs(a_s - b_s) <= 1e-6 * max(abs(a_s), abs(b_s))


def _equal(stream: Iterator[Event]) -> Iterator[Event]:
    return _joined(stream, "runs", lambda a, b: (a.signature, a.row) == (b.signature, b.row))


def _scans(stream: Iterator[Event]) -> Iterator[Event]:
    def is_next_row(held: Event, event: Event) -> bool:
        return (
            held.row is not None
            and event.runs == held.runs == 1
            and held.signature == event.signature
            and event.row == held.row + held.rows
        )

    return _joined(stream, "rows", is_next_row)


def _joined(
    stream: Iterator[Event], counter: str, goes_on: Callable[[Event, Event], bool]
) -> Iterator[Event]:
    """Yield events, those at even distances that go on from each other as one.

    ``counter`` is the field that says how many it stands for.
    """
    held: Event | None = None
    for event in stream:
        if held is not None and goes_on(held, event):
            count: int = getattr(held, counter)
            gap_s = event.t_s - held.t_s - held.every_s * (count - 1)
            if count == 1 or _near(gap_s, held.every_s):
                more: dict[str, Any] = {counter: count + 1}
                more["every_s"] = gap_s if count == 1 else held.every_s
                held = dataclasses.replace(held, **more)
                continue
        if held is not None:
            yield held
        held = event
    if held is not None:
        yield held


def _rounds(stream: Iterator[Event]) -> Iterator[Event]:
    ahead: deque[Event] = deque()

    def fill(count: int) -> bool:
        while len(ahead) < count:
            event = next(stream, None)
            if event is None:
                return False
            ahead.append(event)
        return True

    while fill(1):
        fill(2 * MAX_ROUND)
        length = _round_length(ahead)
        if length == 0:
            yield ahead.popleft()
            continue
        first = [ahead.popleft() for _ in range(length)]
        every_s = ahead[0].t_s - first[0].t_s
        yield from first
        start_s, times = ahead[0].t_s, 0
        while fill(length) and _follows(first, list(ahead)[:length], every_s * (times + 1)):
            for _ in range(length):
                ahead.popleft()
            times += 1
        yield Event(
            start_s, first[0].block, first[0].step, first[0].phase, runs=times, every_s=every_s,
            of=length,
        )  # fmt: skip


def _round_length(ahead: deque[Event]) -> int:
    """Return the length of a round at the front that the events after it repeat, 0 for none."""
    events = list(ahead)
    for length in range(1, min(MAX_ROUND, len(events) // 2) + 1):
        if events[0].same_as(events[length]):
            later_s = events[length].t_s - events[0].t_s
            if not _follows(events[:length], events[length : 2 * length], later_s):
                continue
            # A single event that comes twice is more likely the seam of two longer rounds.
            if length > 1 or (len(events) > 2 and _follows(events[:1], events[2:3], 2 * later_s)):
                return length
    return 0


def _follows(first: list[Event], then: list[Event], later_s: float) -> bool:
    return all(
        a.same_as(b) and _near(b.t_s - a.t_s, later_s) for a, b in zip(first, then, strict=True)
    )
