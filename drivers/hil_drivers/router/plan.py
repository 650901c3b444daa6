"""Plan the relays of a whole block: fewest moves, never two sources on one line.

A step uses as few instruments as it can (one needs no common start, and a meter reads with its own
source), and the block then moves as few relays as that allows.

Three steps. Every step of the block is reduced to its demands (:mod:`.demand`); steps with equal
demands share their candidates (:mod:`.candidates`). A shortest path over the candidates of all
steps picks the ways with the fewest relay moves, and a second one lets each line stay where it is
when a spare channel can hold it. Steps keep their order: only neighbours with equal closures are
grouped, because the readings of a block are promised in the order of its steps.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.program import LineState, PulseBlock
from hil_drivers.router.candidates import Candidate, StepKey, candidates
from hil_drivers.router.demand import Demands, able, demands_of, refuse, within
from hil_drivers.router.direct import check_direct
from hil_drivers.router.errors import RouteRefused
from hil_drivers.router.exact import best_map
from hil_drivers.router.slots import Slots, slots_of
from hil_drivers.router.wiring import Crosspoint, Wiring

if TYPE_CHECKING:
    from hil_drivers.router.wiring import ChannelSpec

_WORK = 40_000_000  # line comparisons of the path search that a plan may take (about 50 ms)
_ALIKE = 32  # different steps of a block up to which equal ones are planned as one
_GROUND_SLOT = 1 << 14  # stands for "grounded" until the number of slots is known


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Steps ``start`` to ``stop`` (exclusive) of a block that run with one set of closures.

    ``channel_of_line`` is (n_lines,) channel index, −1 = the line floats.
    """

    start: int
    stop: int
    channel_of_line: NDArray[np.int64]
    wiring: Wiring

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.stop - self.start

    @property
    def closures(self) -> frozenset[Crosspoint]:
        """Relays that are closed during the stage, all others are open."""
        return self.wiring.closures(self.channel_of_line)


@dataclass(frozen=True, slots=True, eq=False)
class RoutePlan:
    """The stages of a block, in order; ``before`` is (n_lines,) the map before the first."""

    stages: tuple[Stage, ...]
    before: NDArray[np.int64]

    @property
    def after(self) -> NDArray[np.int64]:
        """(n_lines,) channel of every line after the last stage."""
        return self.stages[-1].channel_of_line if self.stages else self.before

    @property
    def stage_moves(self) -> NDArray[np.int64]:
        """(n_stages,) relays that open or close before each stage."""
        if not self.stages:
            return np.zeros(0, dtype=np.int64)
        lines = self.stages[0].wiring.switched
        maps = np.stack([self.before, *(s.channel_of_line for s in self.stages)])[:, lines]
        closed, differ = maps >= 0, maps[1:] != maps[:-1]
        moves = (differ & closed[1:]).sum(axis=1) + (differ & closed[:-1]).sum(axis=1)
        return np.asarray(moves, dtype=np.int64)

    @property
    def moves(self) -> int:
        """Relays that open or close before and between the stages."""
        return int(self.stage_moves.sum())


class Router:
    """Plans the closures of blocks on one wiring; pure, nothing is driven."""

    def __init__(self, wiring: Wiring, synced: Collection[str] | None = None) -> None:
        """Take the wiring and the instruments that share a trigger line (None = all of them)."""
        self.wiring = wiring
        self._lines = wiring.switched
        self._channels = wiring.switched_channels
        reach = wiring.reach[np.ix_(self._lines, self._channels)]
        weights = np.int64(1) << np.arange(self._channels.size, dtype=np.int64)
        self._reach_mask = (reach * weights).sum(axis=1).astype(np.int64)
        self._types, self._type_of = np.unique(self._reach_mask, return_inverse=True)
        self._owners = wiring.owners(self._channels, synced)
        self._known: dict[StepKey, list[Candidate]] = {}

    def plan(self, block: PulseBlock, before: NDArray[np.int64] | None = None) -> RoutePlan:
        """Return the stages of ``block``.

        Args:
            block: what is to be driven.
            before: (n_lines,) channel of every line before the block, −1 = open; None = all open.

        Raises:
            RouteRefused: the wiring cannot do a step; names step, line and reason.
        """
        start = np.full(self.wiring.n_lines, -1, dtype=np.int64) if before is None else before
        live = np.flatnonzero(block.repeat > 0)
        of, first = alike_steps(block, live)
        if first.size == live.size:
            return self._plan(block, start, live, live, np.arange(live.size))
        try:
            return self._plan(block, start, live, live[first], of)
        except RouteRefused:
            # Once more step by step, so that the first step that cannot be done is the one named.
            return self._plan(block, start, live, live, np.arange(live.size))

    def _plan(
        self, block: PulseBlock, start: NDArray[np.int64], live: NDArray[np.int64],
        kinds: NDArray[np.int64], of: NDArray[np.int64],
    ) -> RoutePlan:  # fmt: skip
        """Plan the ``live`` steps, each of which is like the step ``kinds[of]`` of the block."""
        wiring = self.wiring
        different = block if kinds.size == live.size else _steps(block, kinds)
        at = kinds if different is block else np.arange(kinds.size)
        demands = demands_of(different, wiring)
        floating = (different.state == LineState.FLOAT) & ~different.sense
        check_direct(different, demands, floating, wiring)
        full = np.where(floating[at], -1, wiring.direct)
        full = full if of.size == at.size else full[of]
        if self._lines.size and live.size:
            full[:, self._lines] = self._switched_map(different, demands, floating, at, of, start)
        return RoutePlan(_stages(full, live, wiring), start)

    # -- the lines on matrices --------------------------------------------------------------

    def _switched_map(
        self, block: PulseBlock, demands: Demands, floating: NDArray[np.bool_],
        live: NDArray[np.int64], of: NDArray[np.int64], start: NDArray[np.int64],
    ) -> NDArray[np.int64]:  # fmt: skip
        """Return (n_steps, n_switched) channel indices of the lines that go through a matrix.

        ``live`` are the steps of the block, ``of`` which of them follow each other.
        """
        from hil_drivers.router.kernels import choose, place, settle_lines

        slots = slots_of(demands, self._masks(demands), self._lines, live, block.n_steps)
        floats = floating[np.ix_(live, self._lines)]
        keys, key_of = self._keys(slots, floats)
        options = [self._options(k) for k in keys]
        for k, option in enumerate(options):
            if not option:
                raise self._too_many(demands, slots, int(np.flatnonzero(key_of == k)[0]), live)
        begin = self._local(start[self._lines])
        slot, mask = self._dense(slots, floats)
        exact = best_map(slot, mask, of, begin, self._owners)
        if exact is None:
            if of.size != len(slot):
                slot, mask, key_of = slot[of], mask[of], key_of[of]
            most = max(1, int(np.sqrt(_WORK / max(slot.size, 1))))
            options = [o[:most] for o in options]
            counts = np.array([len(o) for o in options], dtype=np.int64)[key_of]
            own, wide = _tables(options, self._owners.of)
            slot = np.where(slot == _GROUND_SLOT, own.shape[2] - 1, slot).astype(np.int16)
            picked = choose(key_of, counts, own, wide, slot, mask, begin)
            exact = place(key_of, picked, own, slot, mask)
            if (own != wide).any() or (own & (own - 1)).any():
                allowed = wide[key_of, picked][np.arange(of.size)[:, None], slot] & mask
                allowed[slot < 0] = 0
                settle_lines(allowed, begin, self._channels.size, exact)
        out: NDArray[np.int64] = np.where(exact < 0, -1, self._channels[exact])
        return out

    def _dense(
        self, slots: Slots, floats: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Return (n_live, n_switched) slot of every line, −1 = open, and its channel bits."""
        slot = np.where(floats, np.int16(-1), np.int16(_GROUND_SLOT))
        slot[slots.row, slots.position] = slots.slot
        mask = np.repeat(self._reach_mask[None], len(floats), axis=0)
        mask[slots.row, slots.position] = slots.mask
        return slot, mask

    def _local(self, channels: NDArray[np.int64]) -> NDArray[np.int8]:
        at = np.searchsorted(self._channels, channels).astype(np.int8)
        return np.where(channels < 0, np.int8(-1), at)

    def _masks(self, demands: Demands) -> NDArray[np.int64]:
        """Return (n_entries,) bits of the switched channels that can serve each entry."""
        position = np.full(self.wiring.n_lines, -1, dtype=np.int64)
        position[self._lines] = np.arange(self._lines.size)
        at = position[demands.line]
        masks = np.zeros(len(demands), dtype=np.int64)
        for bit, channel in enumerate(self._channels):
            ok = able(demands, self.wiring.channels[channel])
            masks |= ok.astype(np.int64) << bit
        masks &= np.where(at >= 0, self._reach_mask[at], 0)
        stuck = np.flatnonzero((masks == 0) & (at >= 0))
        if stuck.size:
            raise refuse(demands, int(stuck[0]), self.wiring)
        return masks

    def _keys(
        self, slots: Slots, floats: NDArray[np.bool_]
    ) -> tuple[list[StepKey], NDArray[np.int64]]:
        n_live = floats.shape[0]
        present = np.zeros((n_live, self._types.size), dtype=np.int64)
        present += np.bincount(self._type_of, minlength=self._types.size)
        step, line = np.nonzero(floats)
        np.subtract.at(present, (step, self._type_of[line]), 1)
        np.subtract.at(present, (slots.row, self._type_of[slots.position]), 1)
        grounded = present > 0
        found: dict[tuple[object, bytes], int] = {}
        keys: list[StepKey] = []
        key_of = np.empty(n_live, dtype=np.int64)
        types = [int(t) for t in self._types]
        packed = np.ascontiguousarray(grounded)
        for s in range(n_live):
            signature = (slots.signatures[s], packed[s].tobytes())
            at = found.get(signature)
            if at is None:
                at = found[signature] = len(keys)
                ground = tuple(t for t, on in zip(types, grounded[s], strict=True) if on)
                keys.append(StepKey(slots.signatures[s], ground))
            key_of[s] = at
        return keys, key_of

    def _options(self, key: StepKey) -> list[Candidate]:
        if key not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[key] = candidates(key, self._owners)
        return self._known[key]

    def _too_many(
        self, demands: Demands, slots: Slots, row: int, live: NDArray[np.int64]
    ) -> RouteRefused:
        step = int(live[row])
        entries = slots.entry[slots.row == row]
        first = {int(s): int(e) for s, e in zip(slots.slot[slots.row == row][::-1], entries[::-1],
                                                strict=True)}  # fmt: skip
        names = [demands.name(e, self.wiring) for _, e in sorted(first.items())]
        specs: list[ChannelSpec] = [self.wiring.channels[c] for c in self._channels]
        where = self.wiring.geometry.line_name(int(demands.line[entries[-1]]))
        shown = ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
        return RouteRefused(
            "separate potentials at once", len(names) + 1, len(specs), "channels", step=step,
            where=where, too_many=True,
            note=f"{shown} and the other lines at 0 V cannot be shared out among "
            f"{', '.join(s.name for s in specs)}"
            + ("" if self._owners.all_synced else " (instruments without a common trigger line do "
               "not take part in one step)"),
        )  # fmt: skip


def alike_steps(
    block: PulseBlock, live: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (which of the different steps each live step is, first of each among the live)."""
    from hil_drivers.router.kernels import alike

    width = block.width_s if block.width_s.ndim == 2 else block.width_s[:, None]
    state, level_v, width_s, sense, selected = (
        _words(rows) for rows in (block.state, block.level_v, width, block.sense, block.selected)
    )
    of, first = alike(live, state, level_v, width_s, sense, selected, _ALIKE)
    if of.size == live.size:
        return of, first
    return np.arange(live.size), np.arange(live.size)


def _words(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the bytes of each row as 64-bit words, filled up with zeros."""
    size = rows.shape[1] * rows.itemsize
    if size % 8 == 0 and rows.flags.c_contiguous:
        return rows.view(np.uint64)
    out = np.zeros((len(rows), -(-size // 8) * 8), dtype=np.uint8)
    out[:, :size] = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), size)
    return out.view(np.uint64)


def _steps(block: PulseBlock, steps: NDArray[np.int64]) -> PulseBlock:
    """Return the given steps of a block, once each."""
    return PulseBlock(
        block.phase, block.state[steps], block.level_v[steps], block.width_s[steps],
        block.rise_s[steps], block.fall_s[steps], block.gap_s[steps], block.compliance_a,
        np.ones(steps.size, dtype=np.int64), block.sense[steps], block.selected[steps],
        block.sensing, block.target[steps],
    )  # fmt: skip


def _tables(
    options: list[list[Candidate]], instruments: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (n_keys, n_candidates, n_slots) channel bits, without and with spare channels.

    Spare channels of instruments that take part anyway, and the rail, join the grounded lines, so
    that a line on one of them need not move.
    """
    width = max(len(c) for o in options for c in o)
    own = np.zeros((len(options), max(len(o) for o in options), width), dtype=np.int64)
    wide = own.copy()
    for k, option in enumerate(options):
        for c, candidate in enumerate(option):
            used = [sum(1 << b for b in channels) for channels in candidate]
            active = {instruments[b] for channels in candidate for b in channels} | {-1}
            everything = sum(1 << b for b, i in enumerate(instruments) if i in active)
            own[k, c, : len(used) - 1] = wide[k, c, : len(used) - 1] = used[:-1]
            own[k, c, -1] = used[-1]
            wide[k, c, -1] = everything & ~sum(used[:-1])
    return own, wide


def _stages(full: NDArray[np.int64], live: NDArray[np.int64], wiring: Wiring) -> tuple[Stage, ...]:
    if not live.size:
        return ()
    cut = np.flatnonzero((full[1:] != full[:-1]).any(axis=1)) + 1
    begins = [0, *cut.tolist()]
    ends = [*cut.tolist(), live.size]
    return tuple(
        Stage(int(live[b]), int(live[e - 1]) + 1, full[b], wiring)
        for b, e in zip(begins, ends, strict=True)
    )


__all__ = ["RoutePlan", "Router", "Stage", "alike_steps", "within"]
