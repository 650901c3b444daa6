"""From frames to the simulated arrays and back: pulse blocks in, readings of every meter out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.measurement import Status
from hil.program import LineState, Phase, PulseBlock
from hil_sim.kernels.law import P_MAX, phi
from hil_sim.sim_array import SimArray
from hil_sim.virtual_bench.frames import Frames, Train, cut, weights
from hil_sim.virtual_bench.network import Network
from hil_sim.virtual_bench.readout import BenchReadout, Feed
from hil_sim.virtual_bench.terminal import Terminal

FloatArray = NDArray[np.float64]
Span = tuple[NDArray[np.int64], NDArray[np.int64]]  #: first and after-last frame per reading
_CHUNK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Sensed:
    """True readings of one train: mean current out of the terminal, its voltage, and compliance.

    ``count`` readings are complete when a run was cut short; the columns hold that many.
    """

    train: Train
    current_a: FloatArray
    level_v: FloatArray
    limited: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Number of readings."""
        return int(self.current_a.size)


class Physics:
    """Drives the arrays of a bench.

    Attributes:
        conflicts: places where two terminals that were on met on one line.
    """

    def __init__(self, arrays: list[SimArray], network: Network) -> None:
        self.arrays, self.network = list(arrays), network
        self.conflicts: list[str] = []
        for number, array in enumerate(arrays):
            self.put(number, array)

    def put(self, number: int, array: SimArray) -> None:
        """Connect ``array`` in the place ``number``."""
        array.readout = BenchReadout(*array.geometry.shape)
        self.arrays[number] = array

    def run(
        self, trains: list[Train], end_s: float, clock_ns: int,
        proceed: Callable[[float, float], bool] | None = None,
    ) -> list[Sensed]:  # fmt: skip
        """Drive ``trains`` for ``end_s`` seconds; return the readings of each.

        ``proceed(from, to)`` is asked before each chunk of frames; False cuts the run short there.
        """
        trains = [*trains, *self._standing(trains)]
        frames, spans = cut(trains, end_s)
        n_trains = len(trains)
        current = np.zeros((frames.edge_s.size, n_trains))
        volts = np.array(frames.level_v)
        limited = np.zeros((frames.edge_s.size, n_trains), dtype=np.bool_)
        done = 0
        for chunk in self._chunks(frames, proceed is not None):
            stop_s = end_s if chunk.stop >= frames.edge_s.size else float(frames.edge_s[chunk.stop])
            if proceed is not None and not proceed(float(frames.edge_s[chunk.start]), stop_s):
                break
            self._drive(frames, trains, spans, chunk, clock_ns, current, volts, limited)
            done = chunk.stop
        for array in self.arrays:
            array.clock_ns = clock_ns + round(end_s * 1e9)
        return [
            self._read(frames, train, k, spans[k], done, current, volts, limited)
            for k, train in enumerate(trains)
        ]

    def _standing(self, trains: list[Train]) -> list[Train]:
        """Return trains of the terminals that hold a level while others run."""
        moving = {id(train.terminal) for train in trains}
        none = np.empty(0)
        out = []
        for terminal in self.network.terminals.values():
            if id(terminal) in moving or not terminal.low_impedance:
                continue
            level, limit = terminal.drive()
            out.append(Train(terminal, none, none, none, level, limit, none, none))
        return out

    def _chunks(self, frames: Frames, paced: bool) -> Iterator[slice]:
        size = 16 if paced else _CHUNK
        n, limit = frames.edge_s.size, frames.limit_a
        cuts = np.arange(0, n, size)
        if limit is not None:
            # A block has one limit per line.
            changes = np.flatnonzero((limit[1:] != limit[:-1]).any(axis=1)) + 1
            cuts = np.union1d(cuts, changes)
        for start, stop in zip(cuts, [*cuts[1:], n], strict=True):
            yield slice(int(start), int(stop))

    def _drive(
        self, frames: Frames, trains: list[Train], spans: list[Span],
        chunk: slice, clock_ns: int, current: FloatArray, volts: FloatArray,
        limited: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        n = chunk.stop - chunk.start
        wanted = np.zeros((n, len(trains)), dtype=np.bool_)
        for k, (first, after) in enumerate(spans):
            low, high = np.maximum(first, chunk.start), np.minimum(after, chunk.stop)
            one = high - low == 1
            wanted[low[one] - chunk.start, k] = True
            several = high - low > 1
            for x, y in zip(low[several], high[several], strict=True):
                wanted[x - chunk.start : y - chunk.start, k] = True
        index = {id(train.terminal): k for k, train in enumerate(trains)}
        links: dict[int, list[tuple[int, int]]] = {}
        for terminal, (array, line) in self.network.links():
            at = index.get(id(terminal))
            if at is not None:
                links.setdefault(array, []).append((at, line))
        for number, lines in links.items():
            self._block(
                number, lines, frames, trains, chunk, wanted, clock_ns, current, volts, limited
            )

    def _block(
        self, number: int, links: list[tuple[int, int]], frames: Frames, trains: list[Train],
        chunk: slice, wanted: NDArray[np.bool_], clock_ns: int, current: FloatArray,
        volts: FloatArray, limited: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        array = self.arrays[number]
        n, n_lines = chunk.stop - chunk.start, array.geometry.n_lines
        owner = np.full(n_lines, -1)
        for k, line in links:
            if owner[line] >= 0:
                self._conflict(trains[owner[line]].terminal, trains[k].terminal, number, line)
                continue
            owner[line] = k
        driven = np.flatnonzero(owner >= 0)
        of = owner[driven]
        level = np.zeros((n, n_lines))
        width = np.zeros((n, n_lines))
        sense = np.zeros((n, n_lines), dtype=np.bool_)
        state = np.full((n, n_lines), LineState.FLOAT, dtype=np.uint8)
        level[:, driven] = frames.level_v[chunk][:, of]
        width[:, driven] = frames.width_s[chunk][:, of]
        sense[:, driven] = wanted[:, of]
        state[:, driven] = LineState.DRIVE
        longest = width.max(axis=1)
        active = width > 0.0
        if not sense.any() and not active.any():
            return
        idle = longest <= 0.0
        longest = np.where(idle, frames.length_s[chunk], longest)
        same = bool((np.where(active, width, longest[:, None]) == longest[:, None]).all())
        limits = [train.limit_a for train in trains]
        if frames.limit_a is not None:
            limits = frames.limit_a[chunk.start].tolist()
        compliance = self.line_limits(array, limits, owner, level)
        block = PulseBlock.build(
            Phase.UPDATE, state, level, longest if same else np.where(active, width, 0.0),
            gap_s=np.maximum(frames.length_s[chunk] - longest, 0.0), compliance_a=compliance,
            sense=sense, selected=active,
        )  # fmt: skip
        array.clock_ns = clock_ns + round(float(frames.edge_s[chunk.start]) * 1e9)
        readings = array.run(block, block.n_readings)
        if not len(readings):
            return
        step, train = readings.step + chunk.start, owner[readings.line]
        np.add.at(current, (step, train), readings.current_a)
        hit = (readings.status & Status.I_COMPLIANCE) != 0
        limited[step[hit], train[hit]] = True
        volts[step[hit], train[hit]] = readings.level_v[hit]

    def line_limits(self, array: SimArray, limits: list[float], owner: NDArray[np.int64],
                level: FloatArray) -> FloatArray:  # fmt: skip
        """Return (n_lines,) compliance and tell the read-out about paths and shared sources."""
        readout = array.readout
        if not isinstance(readout, BenchReadout):
            raise TypeError("an array of the bench has lost its read-out")
        number = self.arrays.index(array)
        nodes = np.concatenate([array.read_rows, array.col_lines])
        readout.ohm = self.network.resistance_ohm(number, nodes)
        compliance = np.full(owner.size, np.inf)
        feeds = []
        for k in np.unique(owner[owner >= 0]):
            limit = limits[k]
            lines = np.flatnonzero(owner == k)
            if not math.isfinite(limit):
                continue
            if lines.size == 1 and not readout.ohm.any():
                compliance[lines] = limit
                continue
            if limit < self._most_current(array, lines, level):
                feeds.append(Feed(np.flatnonzero(np.isin(nodes, lines)), limit))
        readout.feeds = tuple(f for f in feeds if f.nodes.size)
        readout.lines_are_nodes = not (readout.feeds or readout.ohm.any())
        return compliance

    def _most_current(self, array: SimArray, lines: NDArray[np.int64], level: FloatArray) -> float:
        """Return a bound in amperes of what the devices on ``lines`` can draw."""
        span = float(level.max(initial=0.0) - level.min(initial=0.0))
        law = array.population.law[0]
        volts = max(abs(phi(span, law)), abs(phi(-span, law)))
        top = np.maximum(array.population.params[..., P_MAX], array.g)
        rows, cols = np.isin(array.read_rows, lines), np.isin(array.col_lines, lines)
        return float(volts * (top[rows].sum() + top[:, cols].sum()))

    def _conflict(self, one: Terminal, other: Terminal, number: int, line: int) -> None:
        if one.on and other.on:
            name = self.arrays[number].geometry.line_name(line)
            self.conflicts.append(f"{one.name} and {other.name} both drive {name}")

    def _read(
        self, frames: Frames, train: Train, k: int, span: Span, done: int,
        current: FloatArray, volts: FloatArray, limited: NDArray[np.bool_],
    ) -> Sensed:  # fmt: skip
        first, after = span
        whole = after <= done
        first, after = first[whole], after[whole]
        if not first.size:
            return Sensed(train, np.empty(0), np.empty(0), np.empty(0, dtype=np.bool_))
        part = Train(train.terminal, train.start_s, train.stop_s, train.level_v, train.idle_v,
                     train.limit_a, train.window_s[whole], train.aperture_s[whole])  # fmt: skip
        out = current[first, k] * weights(frames, part, first, after)
        shown = volts[first, k].copy()
        hit = limited[first, k].copy()
        for r in np.flatnonzero(after - first > 1):
            covers = slice(int(first[r]), int(after[r]))
            width = frames.width_s[covers].max(axis=1)
            share = np.where(width > 0.0, width, frames.length_s[covers])
            aperture = float(frames.length_s[covers].sum())
            out[r] = float((current[covers, k] * share).sum() / aperture)
            hit[r] = bool(limited[covers, k].any())
        return Sensed(part, out, shown, hit)
