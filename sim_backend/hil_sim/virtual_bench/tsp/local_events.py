"""Events inside a 2450: notifications, timers, blenders and lines to other instruments."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hil_sim.virtual_bench.engine import Detector

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.front_node import FrontNode

NONE: Final = "trigger.EVENT_NONE"
COMMAND: Final = "trigger.EVENT_COMMAND"
_MOST_EVENTS: Final = 10_000  # of free-running timers, before somebody else has a turn
N_TIMERS, N_BLENDERS, N_DIGIO, N_TSPLINK, N_NOTIFY = 4, 2, 6, 3, 8


def event(kind: str, number: int) -> str:
    """Return the constant of an event, such as ``trigger.EVENT_TIMER1``."""
    return f"trigger.EVENT_{kind}{number}"


@dataclass(slots=True)
class LocalTimer:
    """``stimulus`` starts ``count`` delays (0 = for ever); ``generate`` gives an event at once."""

    number: int
    delays_s: tuple[float, ...] = (10e-6,)
    count: int = 1
    enabled: bool = False
    stimulus: str = NONE
    generate: bool = False
    started: int = 0  # how often; what an earlier start has scheduled no longer counts


@dataclass(slots=True)
class LocalBlender:
    """Gives its event when one (``or_mode``) or all of its stimuli have come."""

    number: int
    stimuli: list[str] = field(default_factory=lambda: [NONE] * 4)
    or_mode: bool = True
    came: set[str] = field(default_factory=set)


class LocalEvents:
    """Counts events, and keeps those that timers will give in time order.

    Attributes:
        outputs: stimulus of every output line, by (kind, line).
    """

    def __init__(self, owner: FrontNode) -> None:
        self.owner = owner
        engine = owner.bench.engine
        self._lines = {
            **{("DIGIO", n): owner.bench.bus[n] for n in range(1, N_DIGIO + 1)},
            **{("TSPLINK", n): engine.shared_event("tsplink", n) for n in range(1, N_TSPLINK + 1)},
        }
        self._inputs = {key: Detector(engine, line) for key, line in self._lines.items()}
        self.reset()

    def reset(self) -> None:
        """Return everything to its default."""
        self.timers = {n: LocalTimer(n) for n in range(1, N_TIMERS + 1)}
        self.blenders = {n: LocalBlender(n) for n in range(1, N_BLENDERS + 1)}
        self.outputs: dict[tuple[str, int], str] = {}
        self._counts: dict[str, int] = {}
        self._schedule: list[tuple[int, int, int, int, int]] = []
        self._order = 0
        for detector in self._inputs.values():
            detector.clear()

    # What came.

    def latched(self, name: str) -> bool:
        """Whether an event came since it was cleared; what other instruments sent is looked at."""
        for (kind, line), detector in self._inputs.items():
            if detector.detected:
                detector.clear()
                self.post(event(kind, line))
        return self._counts.get(name, 0) > 0

    def overrun(self, name: str) -> bool:
        """Whether an event came more than once since it was cleared."""
        return self.latched(name) and self._counts[name] > 1

    def clear(self, name: str) -> None:
        """Forget an event."""
        self.latched(name)
        self._counts.pop(name, None)

    def post(self, name: str) -> None:
        """Give an event now: latch it, start timers, pass it on."""
        self._counts[name] = self._counts.get(name, 0) + 1
        now = self.owner.bench.clock_ns
        for timer in self.timers.values():
            if timer.enabled and timer.stimulus == name:
                timer.started += 1
                self._plan(timer, now, 0)
                if timer.generate:
                    self.post(event("TIMER", timer.number))
        for blender in self.blenders.values():
            if name in blender.stimuli:
                blender.came.add(name)
                wanted = {s for s in blender.stimuli if s != NONE}
                if blender.or_mode or wanted <= blender.came:
                    blender.came.clear()
                    self.post(event("BLENDER", blender.number))
        self._send(name)

    def _send(self, name: str) -> None:
        fired = [key for key, stimulus in self.outputs.items() if stimulus == name]
        for key in fired:
            self.assert_line(key)

    def assert_line(self, key: tuple[str, int]) -> None:
        """Give the event of an output line to the other instruments; they run at once."""
        bench = self.owner.bench
        bench.engine.fire(self._lines[key])
        bench.run(self.owner)
        self._inputs[key].clear()  # an instrument does not trigger itself through its own line
        bench.changed.notify_all()

    # What will come.

    def _plan(self, timer: LocalTimer, from_ns: int, done: int) -> None:
        if timer.count and done >= timer.count:
            return
        delay_s = timer.delays_s[done % len(timer.delays_s)]
        self._order += 1
        due = from_ns + round(delay_s * 1e9)
        heapq.heappush(self._schedule, (due, self._order, timer.number, timer.started, done))

    def _skip_stopped(self) -> None:
        while self._schedule:
            _, _, number, started, _ = self._schedule[0]
            timer = self.timers[number]
            if timer.enabled and timer.started == started:
                return
            heapq.heappop(self._schedule)

    def next_ns(self) -> int | None:
        """Return the time of the next timer event on the bench's clock, None when there is none."""
        self._skip_stopped()
        return self._schedule[0][0] if self._schedule else None

    def give_due(self) -> None:
        """Give the timer events whose time has come."""
        while (due := self.next_ns()) is not None and due <= self.owner.bench.clock_ns:
            _, _, number, _, done = heapq.heappop(self._schedule)
            self._plan(self.timers[number], due, done + 1)
            self.post(event("TIMER", number))

    def dwell(self, seconds: float) -> None:
        """Let time pass, giving timer events on the way."""
        end = self.owner.bench.clock_ns + round(seconds * 1e9)
        while (due := self.next_ns()) is not None and due <= end:
            self.owner.pass_time((due - self.owner.bench.clock_ns) * 1e-9)
            self.give_due()
        self.owner.pass_time((end - self.owner.bench.clock_ns) * 1e-9)

    def advance(self, wanted: Callable[[], bool]) -> bool:
        """Let time pass from timer event to timer event until ``wanted``; return whether it is."""
        for _ in range(_MOST_EVENTS):
            if wanted():
                return True
            due = self.next_ns()
            if due is None:
                return False
            self.owner.pass_time(max(due - self.owner.bench.clock_ns, 0) * 1e-9)
            self.give_due()
        return wanted()

    def waiting(self, name: str) -> dict[str | int, Any]:
        """Return ``wait`` and ``clear`` of the object that gives ``name``."""
        return {
            "wait": lambda seconds, *_: self.owner.wait_event(name, float(seconds)),
            "clear": lambda *_: self.clear(name),
        }
