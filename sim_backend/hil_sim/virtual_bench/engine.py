"""Runs: the sweeps that are armed, the timers and wires between them, and what they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench import discrete as ds
from hil_sim.virtual_bench.frames import Train
from hil_sim.virtual_bench.physics import Physics, Sensed
from hil_sim.virtual_bench.terminal import SourceMeter, Terminal

FloatArray = NDArray[np.float64]
_POINT = 2  # of the columns that a simulation fills: source, measurement, its point, end
EVENTS = ("armed", "source", "measure", "pulse", "sweep", "idle")


class RunAborted(Exception):
    """A run was aborted from another session."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Readings that a sweep hands to its instrument; columns.

    Attributes:
        point: ordinal of the point within the sweep (arms continue the count).
        time_s: start of the measurement, seconds from the start of the run.
        source_v: level programmed; level_v: level at the terminal; current_a: true current.
    """

    point: NDArray[np.int64]
    time_s: FloatArray
    source_v: FloatArray
    level_v: FloatArray
    current_a: FloatArray
    limited: NDArray[np.bool_]


@dataclass(eq=False)
class Sweep:
    """One channel's armed trigger model.

    Attributes:
        level_v: (points,) programmed levels; amperes where ``limit_v`` is given.
        stimuli: events of arm, source, measure and end; 0 = do not wait.
        events: events that the sweep gives, in the order of ``EVENTS``; 0 = nobody listens.
        end_idle: a pulse ends at ``idle_v``; False holds the level.
        idle_a: as idle_v, of a sweep of currents.
        idle_when_done: a sweep that holds its levels goes to ``idle_v`` after the last.
        width_s: time from source to end where no event ends the pulse.
    """

    terminal: Terminal
    level_v: FloatArray
    arms: int
    stimuli: tuple[int, int, int, int]
    events: tuple[int, ...]
    deliver: Callable[[Reading], None]
    idle_v: float = 0.0
    end_idle: bool = True
    measures: bool = False
    asynchronous: bool = False
    source_delay_s: float = 0.0
    measure_delay_s: float = 0.0
    aperture_s: float = 0.0
    width_s: float = 0.0
    limit_a: float = float("inf")
    limit_v: float | None = None
    idle_when_done: bool = False
    aborted: bool = False
    row: NDArray[np.int64] = field(init=False)
    consumed: int = field(init=False, default=0)
    idle_a: float = 0.0

    def __post_init__(self) -> None:
        self.row = np.zeros(ds.SWEEP_INTS, dtype=np.int64)
        r = self.row
        r[ds.POINTS], r[ds.ARMS] = self.level_v.size, self.arms
        r[[ds.STIM_ARM, ds.STIM_SOURCE, ds.STIM_MEASURE, ds.STIM_END]] = self.stimuli
        r[ds.EV_ARMED : ds.EV_IDLE + 1] = self.events
        r[ds.HAS_MEASURE], r[ds.ASYNC] = self.measures, self.asynchronous
        r[ds.HAS_END] = self.stimuli[3] != 0

    @property
    def done(self) -> bool:
        """Whether the sweep has run to its end or was aborted."""
        return self.aborted or int(self.row[ds.STATE]) == ds.DONE

    @property
    def within_arm(self) -> bool:
        """Whether the sweep has left the arm layer and not come back."""
        return int(self.row[ds.STATE]) not in (ds.WAIT_ARM, ds.DONE)

    @property
    def times(self) -> list[float]:
        """Delays as ``discrete`` wants them."""
        return [self.source_delay_s, self.measure_delay_s, self.aperture_s, self.width_s]


@dataclass(frozen=True, slots=True)
class Timer:
    """``stimulus`` starts ``count`` delays (0 = for ever), each of which ends in ``event``."""

    stimulus: int
    event: int
    delays_s: tuple[float, ...]
    count: int = 1
    passthrough: bool = False


class Engine:
    """Keeps what is armed and runs it when somebody waits for it.

    Attributes:
        wires: by owner, (event, event that it gives).
        blenders: by owner, (event, the stimuli that all have to come before it is given).
    """

    def __init__(self) -> None:
        self.sweeps: list[Sweep] = []
        self.timers: dict[object, list[Timer]] = {}
        self.wires: dict[object, list[tuple[int, int]]] = {}
        self.blenders: dict[object, list[tuple[int, tuple[int, ...]]]] = {}
        self.fired: list[int] = []
        self._events = 0
        self._shared: dict[tuple[str, int], int] = {}
        self._counts = np.zeros(1, dtype=np.int64)
        self._latches: dict[int, NDArray[np.int64]] = {}
        self.events_delivered = 0

    def new_event(self) -> int:
        """Return a new event number."""
        self._events += 1
        self._counts = np.append(self._counts, 0)
        return self._events

    def shared_event(self, bus: str, line: int) -> int:
        """Return the event of a line that several instruments are wired to, such as TSP-Link."""
        if (bus, line) not in self._shared:
            self._shared[bus, line] = self.new_event()
        return self._shared[bus, line]

    def count(self, event: int) -> int:
        """Return how often an event was delivered so far."""
        return int(self._counts[event])

    def listen(self, event: int) -> Sweep:
        """Arm a sweep on no terminal that is done when ``event`` comes: it lets time pass to it."""
        nowhere = Terminal("", "", SourceMeter((1.0,), (1.0,), 1.0, 1.0, 1.0, 0.0))
        sweep = Sweep(nowhere, np.zeros(1), 1, (event, 0, 0, 0), (0,) * len(EVENTS), _ignore)
        self.arm(sweep)
        return sweep

    def drop(self, sweep: Sweep) -> None:
        """Take an armed sweep away."""
        sweep.aborted = True
        self.sweeps = [s for s in self.sweeps if s is not sweep]

    def arm(self, sweep: Sweep) -> None:
        """Add a sweep; it starts when the engine runs next."""
        self.sweeps.append(sweep)

    def fire(self, event: int) -> None:
        """Give an event by hand at the next run."""
        self.fired.append(event)

    @property
    def pending(self) -> bool:
        """Whether running would do something."""
        return bool(self.sweeps) or bool(self.fired)

    def abort(self, terminals: set[int]) -> None:
        """Drop the sweeps of the terminals with these ids."""
        for sweep in self.sweeps:
            if id(sweep.terminal) in terminals:
                sweep.aborted = True
        self.sweeps = [s for s in self.sweeps if not s.aborted]

    def run(
        self, physics: Physics, clock_ns: int,
        proceed: Callable[[float, float], bool] | None = None,
    ) -> float:  # fmt: skip
        """Run until nothing moves; return the seconds it took.

        ``proceed`` is handed to :meth:`Physics.run`. Sweeps that wait for an event stay armed.
        """
        sweeps = [s for s in self.sweeps if not s.done]
        fired, self.fired = self.fired, []
        if not sweeps and not fired:
            return 0.0
        size = [int(s.row[ds.POINTS]) * s.arms for s in sweeps]
        offset = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        columns: list[NDArray[Any]] = [np.full(int(offset[-1]), np.nan) for _ in range(4)]
        columns[_POINT] = np.zeros(int(offset[-1]), dtype=np.int64)
        rows = np.array([s.row for s in sweeps], dtype=np.int64).reshape(-1, ds.SWEEP_INTS)
        rows[:, ds.OFFSET] = offset[:-1]
        times = np.array([s.times for s in sweeps], dtype=np.float64).reshape(-1, ds.SWEEP_FLOATS)
        blenders = self._blender_table()
        took, events = ds.simulate(
            0.0, np.array(fired, dtype=np.int64), self._wire_table(), blenders, self._counts,
            *self._timer_tables(), rows, times, *columns,
        )  # fmt: skip
        self.events_delivered += int(events)
        self._latches = {int(row[ds.B_EVENT]): row for row in blenders}
        for sweep, row in zip(sweeps, rows, strict=True):
            sweep.row[:] = row
        self._drive(physics, sweeps, offset, columns, float(took), clock_ns, proceed)
        self.sweeps = [s for s in self.sweeps if not s.done]
        return float(took)

    def _wire_table(self) -> NDArray[np.int64]:
        wires = [w for table in self.wires.values() for w in table]
        return np.array(wires, dtype=np.int64).reshape(-1, 2)

    def _blender_table(self) -> NDArray[np.int64]:
        """Return the blenders; latches stay while the stimuli are the same."""
        every = [b for table in self.blenders.values() for b in table]
        rows = np.zeros((len(every), ds.BLENDER_INTS), dtype=np.int64)
        for row, (event, stimuli) in zip(rows, every, strict=True):
            row[ds.B_EVENT] = event
            row[ds.B_STIM : ds.B_STIM + len(stimuli)] = stimuli
            before = self._latches.get(event)
            if before is not None and (before[: ds.B_LATCH] == row[: ds.B_LATCH]).all():
                row[ds.B_LATCH :] = before[ds.B_LATCH :]
        return rows

    def _timer_tables(self) -> tuple[NDArray[np.int64], FloatArray]:
        timers = [t for table in self.timers.values() for t in table if t.stimulus]
        ints = np.zeros((len(timers), ds.TIMER_INTS), dtype=np.int64)
        delays: list[float] = []
        for row, timer in zip(ints, timers, strict=True):
            row[ds.T_STIM], row[ds.T_EVENT] = timer.stimulus, timer.event
            row[ds.T_COUNT], row[ds.T_PASS] = timer.count, timer.passthrough
            row[ds.T_FIRST], row[ds.T_DELAYS] = len(delays), len(timer.delays_s)
            delays.extend(timer.delays_s)
        return ints, np.array(delays or [0.0])

    def _drive(
        self, physics: Physics, sweeps: list[Sweep], offset: NDArray[np.int64],
        columns: list[NDArray[Any]], took_s: float, clock_ns: int,
        proceed: Callable[[float, float], bool] | None,
    ) -> None:  # fmt: skip
        parts = [
            _train(sweep, [c[offset[k] : offset[k + 1]] for c in columns], took_s)
            for k, sweep in enumerate(sweeps)
        ]
        moved = [p for p in parts if p is not None]
        if not moved:
            return
        sensed = physics.run([train for train, _ in moved], took_s, clock_ns, proceed)
        by_train = {id(s.train.terminal): s for s in sensed}
        for sweep, part in zip(sweeps, parts, strict=True):
            if part is None:
                continue
            train, points = part
            _hand_over(sweep, by_train[id(train.terminal)], points)
            sweep.consumed += int(train.start_s.size)
            _leave(sweep)


def _ignore(_: Reading) -> None:
    """Take a reading that nobody wants."""


class Detector:
    """Latches an event until it is cleared, as ``wait`` of every trigger object does."""

    def __init__(self, engine: Engine, event: int) -> None:
        self.engine, self.event = engine, event
        self._seen = engine.count(event)

    @property
    def detected(self) -> bool:
        """Whether the event came since the detector was cleared."""
        return self.engine.count(self.event) > self._seen

    @property
    def overrun(self) -> bool:
        """Whether it came more than once."""
        return self.engine.count(self.event) > self._seen + 1

    def clear(self) -> None:
        """Forget what came, also what was given by hand and not delivered yet."""
        pending = self.engine.fired.count(self.event)
        self._seen = self.engine.count(self.event) + pending


def _train(
    sweep: Sweep, times: list[NDArray[Any]], took_s: float
) -> tuple[Train, NDArray[np.int64]] | None:
    """Return what a sweep drove in this run and the points it measured; None when it did not."""
    t_source, t_measure, p_measure, t_end = times
    # A pulse that waited for its end through an earlier run goes on from the start of this one.
    t_source = np.where(np.isnan(t_source) & np.isfinite(t_end), 0.0, t_source)
    points = np.flatnonzero(np.isfinite(t_source))
    if not points.size:
        return None
    start, end = t_source[points], t_end[points]
    if sweep.end_idle:
        stop = np.where(np.isfinite(end), end, took_s)
    else:
        stop = np.append(start[1:], took_s)
    levels = sweep.terminal.delivered(sweep.level_v[points % sweep.level_v.size])
    currents = None
    if sweep.limit_v is not None:
        # A current source is a voltage source at its limit that limits at the current.
        currents = sweep.level_v[points % sweep.level_v.size]
        levels = np.where(currents == 0.0, 0.0, np.copysign(sweep.limit_v, currents))
    if not sweep.terminal.on:
        levels = np.zeros(points.size)
    idle = 0.0
    if sweep.idle_v and sweep.terminal.on:
        idle = float(sweep.terminal.delivered(np.array([sweep.idle_v]))[0])
    taken = np.isfinite(t_measure) if sweep.measures else np.zeros(t_measure.size, dtype=np.bool_)
    aperture = np.full(int(taken.sum()), sweep.aperture_s)
    train = Train(sweep.terminal, start, stop, levels, idle, sweep.limit_a,
                  t_measure[taken], aperture, currents)  # fmt: skip
    return train, p_measure[taken]


def _hand_over(sweep: Sweep, sensed: Sensed, points: NDArray[np.int64]) -> None:
    n = sensed.count
    if not n:
        return
    programmed = sweep.level_v[points[:n] % sweep.level_v.size]
    limited = sensed.limited
    if sweep.limit_v is not None:
        limited = ~limited & (programmed != 0.0)
    sweep.terminal.limited = bool(limited[-1])
    sweep.deliver(Reading(points[:n], sensed.train.window_s, programmed, sensed.level_v,
                          sensed.current_a, limited))  # fmt: skip


def _leave(sweep: Sweep) -> None:
    """Leave the terminal at the level at which its sweep stands."""
    state = int(sweep.row[ds.STATE])
    within = ds.SOURCING <= state <= ds.ENDING
    stays = not sweep.end_idle and not (sweep.done and sweep.idle_when_done)
    if sweep.limit_v is not None:
        last = float(sweep.level_v[(sweep.consumed - 1) % sweep.level_v.size])
        sweep.terminal.level_a = last if within or stays else sweep.idle_a
    elif within or stays:
        sweep.terminal.set_level_v(float(sweep.level_v[(sweep.consumed - 1) % sweep.level_v.size]))
    else:
        sweep.terminal.set_level_v(sweep.idle_v)
