"""A run: a checked sequence on its way, its readings, and what is known of it."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hil.measurement import MeasurementBlock
from hil.program import Phase, PulseBlock, SensePlan
from hil_sim.virtual_bench.board.codes import (
    LIMITED,
    OVER_RANGE,
    READING,
    SIMULATED,
    Can,
    Features,
    State,
)  # fmt: skip
from hil_sim.virtual_bench.board.sequence import Loaded

_SLICE_S = 4e-3
_FIRST_SLICE, _MOST = 512, 1 << 20
_BITS = LIMITED | 0x0002 | 0x0200


class Pins(Protocol):
    """What a board's lines lead to."""

    tripped_steps: tuple[int, ...]  #: steps of the last block that limited a line not sensed

    def run(self, block: PulseBlock) -> MeasurementBlock:
        """Drive a block of the board's lines; return what its meters see, by board line."""


class Run:
    """One run; drives itself slice by slice.

    Attributes:
        number: of the request that began it.
        ended: steps that are over; pulses: of the next one; begun: a pulse is under way.
        readings: all that are promised; ``taken`` of them are there.
        step_status: (n_steps,) status bits.
        reached_ns: virtual time of the pulses that are over.
    """

    def __init__(self, loaded: Loaded, number: int, features: Features) -> None:
        self.loaded, self.number, self.features = loaded, number, features
        steps = loaded.steps
        self.state = State.RUNNING
        self.ended, self.pulses, self.begun = 0, 0, False
        self.readings = np.zeros(loaded.readings, dtype=READING)
        self.taken = 0
        self.base = SIMULATED if features.can & Can.SIMULATED else 0
        self.step_status = np.zeros(steps.n_steps, dtype="<u2")
        self.limited: tuple[int, int] | None = None
        period = loaded.period * steps.repeat
        self._start = np.cumsum(period) - period
        self._changes = _changes(loaded)
        self._slice = _FIRST_SLICE
        self.reached_ns = 0
        self._finish_empty()

    @property
    def over(self) -> bool:
        """Whether it has ended or was stopped."""
        return self.state is not State.RUNNING

    @property
    def status(self) -> int:
        """Status bits of the whole run."""
        return int(np.bitwise_or.reduce(self.step_status, initial=0))

    def stop(self) -> None:
        """End it here."""
        if not self.over:
            self.state = State.STOPPED

    def advance(self, pins: Pins, until_ns: float) -> None:
        """Drive a slice of what is left, as far as pulses end before ``until_ns`` of the run."""
        begin = time.perf_counter()
        budget = self._slice
        while budget > 0 and not self.over:
            stop, count = self._next(budget, until_ns)
            if count == 0:
                self.begun = until_ns > self.reached_ns
                return
            self.begun = False
            self._drive(pins, stop, count)
            budget -= count
        took = time.perf_counter() - begin
        self._slice = min(max(int(self._slice * min(_SLICE_S / max(took, 1e-6), 2.0)), 1), _MOST)

    def _next(self, budget: int, until_ns: float) -> tuple[int, int]:
        """Return where the next piece stops (exclusive) and its pulses: of one step, or whole ones.

        A piece has one compliance per line and one way of sensing.
        """
        steps = self.loaded.steps
        at, repeat = self.ended, steps.repeat
        left = int(repeat[at]) - self.pulses
        period = int(self.loaded.period[at])
        if until_ns < np.inf:
            left = min(left, max(int((until_ns - self.reached_ns) // max(period, 1)), 0))
            return at + 1, min(left, budget)
        if self.pulses or left >= budget:
            return at + 1, min(left, budget)
        last = int(self._changes[np.searchsorted(self._changes, at, side="right")])
        fits = int(np.searchsorted(np.cumsum(repeat[at:last]), budget, side="right"))
        stop = at + max(fits, 1)
        return stop, int(repeat[at:stop].sum())

    def _drive(self, pins: Pins, stop: int, count: int) -> None:
        loaded, steps, at = self.loaded, self.loaded.steps, self.ended
        part = slice(at, stop)
        one = stop == at + 1
        repeat = np.array([count]) if one else steps.repeat[part]
        width = steps.width[part]
        same = bool((width == width[:, :1]).all())
        delay, aperture = steps.window[at].tolist()
        range_a = float(steps.range_a[at]) or self.features.current_max
        block = PulseBlock.build(
            Phase.UPDATE, steps.state[part], steps.level_v[part],
            (width[:, 0] if same else width) * 1e-9, rise_s=steps.timing[part, 0] * 1e-9,
            fall_s=steps.timing[part, 1] * 1e-9, gap_s=steps.timing[part, 2] * 1e-9,
            compliance_a=steps.compliance_a[at], repeat=repeat, sense=steps.sense[part],
            sensing=SensePlan(range_a, aperture * 1e-9 or None, delay_s=delay * 1e-9),
        )  # fmt: skip
        seen = pins.run(block)
        self.step_status[part] |= np.where(repeat > 0, self.base, 0).astype(np.uint16)
        self._note(seen, at, range_a)
        for step in pins.tripped_steps:
            self.step_status[at + step] |= LIMITED
            self._limit(at + step, 0xFFFF)
        self.reached_ns += int((loaded.period[part] * repeat).sum())
        if one and self.pulses + count < steps.repeat[at]:
            self.pulses += count
        else:
            self.ended, self.pulses = stop, 0
        self._finish_empty()

    def _finish_empty(self) -> None:
        """Pass over steps without pulses; end the run after the last."""
        repeat = self.loaded.steps.repeat
        while self.ended < len(repeat) and repeat[self.ended] == 0:
            self.ended += 1
        if self.ended == len(repeat) and not self.over:
            self.state, self.begun = State.DONE, False

    def _note(self, seen: MeasurementBlock, at: int, range_a: float) -> None:
        """Keep readings as the board's converter sees them."""
        n = len(seen)
        if not n:
            return
        step, features = seen.step + at, self.features
        pulse = seen.pulse + self.pulses * (step == at)
        out = self.readings[self.taken : self.taken + n]
        # A step without width drives nothing.
        seen.current_a[self.loaded.step_width[step] == 0] = 0.0
        count = np.rint(seen.current_a / features.current_step)
        over = ~(np.abs(seen.current_a) <= range_a)
        out["current"] = np.where(over, np.nan, count * features.current_step)
        out["level"] = self.loaded.steps.level_v[step, seen.line]
        out["range"] = range_a
        out["width"] = self.loaded.step_width[step]
        out["t"] = self._start[step] + pulse * self.loaded.period[step]
        out["line"] = seen.line
        status = (seen.status & _BITS) | np.where(over, OVER_RANGE, 0) | self.base
        out["status"] = status
        np.bitwise_or.at(self.step_status, step, status.astype("<u2"))
        self.taken += n
        limited = np.flatnonzero(status & LIMITED)
        if limited.size:
            self._limit(int(step[limited[0]]), int(seen.line[limited[0]]))

    def _limit(self, step: int, line: int) -> None:
        if self.limited is None or step < self.limited[0]:
            self.limited = step, line

    def records(self) -> NDArray[np.void]:
        """Return the readings that are there."""
        return self.readings[: self.taken]


def _changes(loaded: Loaded) -> NDArray[np.int64]:
    """Return where compliance or sensing differ from the step before, and the number of steps."""
    steps = loaded.steps
    same = (steps.compliance_a[1:] == steps.compliance_a[:-1]).all(axis=1)
    same &= (steps.window[1:] == steps.window[:-1]).all(axis=1)
    same &= steps.range_a[1:] == steps.range_a[:-1]
    return np.append(np.flatnonzero(~same) + 1, steps.n_steps)
