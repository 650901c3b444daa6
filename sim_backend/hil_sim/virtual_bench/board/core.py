"""The board without its protocol: armed or safe, the run under way, sequence memory, watchdog."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from hil_sim.virtual_bench.board.codes import (
    ALL,
    STATUS,
    Armed,
    Can,
    Code,
    Features,
    Refused,
    State,
    Why,
)  # fmt: skip
from hil_sim.virtual_bench.board.run import Pins, Run
from hil_sim.virtual_bench.board.sequence import Loaded

WATCHDOG_MS = 1000


class Core:
    """State of a board and what changes it.

    Args:
        features: what the board can do.
        pins: what its lines lead to.
        outputs: told when the outputs go on or off.
        pace: returns virtual seconds per second, 0 = runs take no time.
        edges: counts edges at the trigger input; pulse: gives one at the output.
        clock: seconds, of the watchdog.

    Attributes:
        identity: what it calls itself. fault: of the hardware, told with the next request.
        memory: the sequence memory; ``loaded`` is its checked content, None = not runnable.
    """

    def __init__(
        self, features: Features, pins: Pins, *, outputs: Callable[[bool], None],
        pace: Callable[[], float], edges: Callable[[], int], pulse: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.features, self.pins, self.clock = features, pins, clock
        self.outputs, self.pace, self.edges, self.pulse = outputs, pace, edges, pulse
        self.memory = bytearray(features.seq_bytes)
        self.identity = features.identity
        self.fault: str | None = None
        self.reset()

    @property
    def run_s(self) -> float:
        """Virtual seconds of the run under way."""
        return 0.0 if self.run is None else self.run.reached_ns * 1e-9

    def reset(self) -> None:
        """Go to the state after power-on."""
        self.armed: Armed | None = None
        self.run: Run | None = None
        self.loaded: Loaded | None = None
        self.state, self.why = State.SAFE, Why.NONE
        self.watchdog_ms, self.fed = WATCHDOG_MS, self.clock()
        self.edges_before = self.edges()
        self.errors, self.latest = 0, (0, "")
        self._trigger: tuple[int, float] | None = None
        self._begun_at = 0.0
        self.outputs(False)

    def hello(self) -> None:
        """Begin afresh for a new session."""
        self.go_safe(Why.ASKED)
        count, latest = self.errors, self.latest
        self.reset()
        self.errors, self.latest, self.why = count, latest, Why.ASKED

    @property
    def running(self) -> bool:
        """Whether a run is under way (or waits for its trigger)."""
        return self.run is not None and not self.run.over

    @property
    def waiting(self) -> bool:
        """Whether a run waits for its trigger."""
        return self.running and self._trigger is not None

    def go_safe(self, why: Why) -> None:
        """Switch the outputs off, end a run."""
        self.outputs(False)
        if self.armed is not None:
            self.why = why
        self.armed = None
        if self.run is not None and not self.run.over:
            self.run.stop()
            self.state = State.STOPPED
        elif self.state is not State.STOPPED:
            self.state = State.SAFE

    def arm(self, wanted: Armed) -> Armed:
        """Arm with the stricter of ``wanted`` and the board's limits; return those in force."""
        features = self.features
        if not wanted.level_min <= 0.0 <= wanted.level_max or math.isnan(wanted.compliance_max):
            raise Refused(Code.LIMIT, 0, "level_min <= 0 <= level_max")
        limit = wanted.compliance_max
        if math.isfinite(limit):
            if not features.can & Can.COMPLIANCE:
                raise Refused(Code.UNSUPPORTED, 0, "currents cannot be limited")
            limit = min(limit, features.compliance_max)
        self.armed = Armed(
            max(wanted.level_min, features.level_min), min(wanted.level_max, features.level_max),
            min(wanted.width_max, features.width_max), limit,
        )  # fmt: skip
        if self.state in (State.SAFE, State.STOPPED):
            self.state = State.ARMED
        self.fed = self.clock()
        self.outputs(True)
        return self.armed

    def need_armed(self) -> Armed:
        """Return the limits of ARM; raise Refused(UNARMED) without."""
        if self.armed is None:
            raise Refused(Code.UNARMED)
        return self.armed

    def begin(self, loaded: Loaded, number: int, wait_s: float | None = None) -> Run:
        """Begin a run, or let it wait for the next edge of the trigger input for ``wait_s``."""
        loaded.allow(self.need_armed())
        self.run = Run(loaded, number, self.features)
        self.state = State.DONE if self.run.over else State.RUNNING
        self._trigger = None if wait_s is None else (self.edges(), self.clock() + wait_s)
        self._begun_at = self.clock()
        return self.run

    def advance(self) -> bool:
        """Drive a slice of the run; return whether one is under way and not only waiting."""
        if not self.running or self.run is None or not self._triggered():
            return False
        pace = self.pace()
        until = math.inf if pace <= 0.0 else (self.clock() - self._begun_at) * pace * 1e9
        self.run.advance(self.pins, until)
        if self.run.over:
            self.state = State.DONE
        return pace <= 0.0

    def _triggered(self) -> bool:
        if self._trigger is None:
            return True
        edges, deadline = self._trigger
        if self.edges() != edges:
            self._trigger, self._begun_at = None, self.clock()
            return True
        if self.clock() >= deadline:
            self.go_safe(Why.NO_TRIGGER)
        return False

    @property
    def watchdog_left_s(self) -> float:
        """Seconds until the watchdog bites, infinite while it does not run."""
        if self.armed is None:
            return math.inf
        return self.fed + self.watchdog_ms * 1e-3 - self.clock()

    def watch(self) -> None:
        """Go safe when the watchdog's time is over."""
        if self.watchdog_left_s <= 0.0:
            self.go_safe(Why.WATCHDOG)

    def status_block(self) -> bytes:
        """Return the status block."""
        run = self.run
        if run is None:
            return STATUS.pack(self.state, self.why, 0, 0, 0, 0, 0, 0, ALL, 0xFFFF)
        step, line = run.limited or (ALL, 0xFFFF)
        return STATUS.pack(self.state, self.why, run.number, run.ended, run.pulses, run.begun,
                           run.status, run.taken, step, line)  # fmt: skip
