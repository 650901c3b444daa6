"""Refresh: give unidirectional pairs their range back without changing their weights.

Potentiation alone drives both devices of a pair to the upper end of their range. Every n samples
the pairs are read; where the further device is beyond a threshold and the nearer one beyond a
floor, D = u⁺ − u⁻ is kept, both are reset, and |D| is programmed again on the right side. For
depression alone (M3′) everything is mirrored. u is the share of the conductance window.

Write-verify reads the pairs again and corrects their *difference*: what is missing is given to one
device, what is too much to the other, always in the method's own direction. So it needs no pulse
that takes an overshoot back, and a device that is stuck is made up for by its partner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil.control.array import SynapseArray
from hil.control.preparation import (
    as_shares,
    group_by_array,
    pair_targets,
    raise_counts,
    reset_counts,
    shares,
    starts_high,
    target_counts,
)
from hil.control.response import ResponseCurve, erases
from hil.control.roles import ExchangingArray
from hil.control.states import State
from hil.errors import ConfigError
from hil.learning.methods import Method
from hil.program import BoolArray, FloatArray, Phase

Counts = NDArray[np.int64]
#: Refreshes in a row after which a pair that is still due is left alone: its devices do not move.
MOST_IN_A_ROW = 4
#: Share of the difference that the first pass of write-verify aims at: an overshoot is made up for
#: on the other device, which uses up range.
FIRST_AIM = 0.85


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What refreshes did: pairs programmed again, and every pulse that it cost."""

    pairs: int = 0
    pulses: int = 0

    def __add__(self, other: Refreshed) -> Refreshed:
        return Refreshed(self.pairs + other.pairs, self.pulses + other.pulses)


class Refresh:
    """Refreshes all layers of a network through pulses.

    Cells with a block erase lose whole blocks: every pair in an erased block, of any tile, is
    programmed again.

    Args:
        layers: the network's arrays; :meth:`exchange` needs
            :class:`~hil.control.roles.ExchangingArray`.
        curves: measured response, one per layer.
        method: ``M3`` or ``M3'``.
        threshold: share of the window beyond which a pair is refreshed.
        floor: share of the window that the nearer device must have used up for it to pay.
        mode: ``open-loop`` programs counts of the measured response, ``write-verify`` reads the
            pairs and corrects them.
        passes: of write-verify, at most.
        margin: reset pulses as a multiple of those of a mean device.
        base: share of the window that both devices of a pair are brought to besides their
            difference; where the response saturates, steps are finer there.

    Raises:
        ConfigError: a method that moves devices both ways.
    """

    def __init__(
        self,
        layers: Sequence[SynapseArray],
        curves: Sequence[ResponseCurve],
        method: Method,
        *,
        threshold: float = 0.5,
        floor: float = 0.2,
        mode: Literal["open-loop", "write-verify"] = "open-loop",
        passes: int = 6,
        margin: float = 1.5,
        base: float = 0.0,
    ) -> None:
        if method not in ("M3", "M3'"):
            raise ConfigError(f"method {method} has no refresh", field="refresh")
        self.method, self.mode, self.passes = method, mode, passes
        self.threshold, self.floor, self.margin, self.base = threshold, floor, margin, base
        self._groups = [
            [(layer, curves[list(layers).index(layer)]) for layer in group]
            for group in group_by_array(layers)
        ]
        #: (layer, curve, output) of every column pair, in the order of their exchanges.
        self._columns = [
            (layer, curve, j)
            for group in self._groups
            for layer, curve in group
            for j in range(layer.n_outputs)
        ]
        self._turn = 0
        self._in_a_row = {
            layer: np.zeros((layer.n_inputs, layer.n_outputs), dtype=np.int64) for layer in layers
        }

    def state(self) -> State:
        """Return whose turn it is, and how often pairs were due in a row."""
        return {"turn": self._turn, "in_a_row": [n.copy() for n in self._in_a_row.values()]}

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`."""
        self._turn = state["turn"]
        for mine, kept in zip(self._in_a_row.values(), state["in_a_row"], strict=True):
            mine[...] = kept

    def run(self) -> Refreshed:
        """Refresh all layers now; return what was done."""
        done = Refreshed()
        for group in self._groups:
            read = [shares(layer) for layer, _ in group]
            due = [
                self._due(layer, plus, minus)
                for (layer, _), (plus, minus) in zip(group, read, strict=True)
            ]
            done += self._group(group, read, due)
        return done

    def exchange(self) -> Refreshed:
        """Exchange the devices of the next column pair and program its weights again (M3c).

        Cells with a block erase exchange all columns of their array in one go, when the first of
        them has its turn: an erase spares no column.
        """
        layer, curve, j = self._columns[self._turn]
        self._turn = (self._turn + 1) % len(self._columns)
        if not isinstance(layer, ExchangingArray):
            raise ConfigError("these pairs cannot exchange their devices", field="rule.method")
        if not self._erases(layer):
            return self._exchange_column(layer, curve, np.array([j]))
        group = next(g for g in self._groups if g[0][0].backend is layer.backend)
        if j or layer is not group[0][0]:
            return Refreshed()
        read = [shares(member) for member, _ in group]
        for member, _ in group:
            if isinstance(member, ExchangingArray):
                member.exchange(np.arange(member.n_outputs))
        due = [np.ones(plus.shape, dtype=np.bool_) for plus, _ in read]
        return self._group(group, read, due)

    def _erases(self, layer: SynapseArray) -> bool:
        return erases(layer.context) and not starts_high(self.method)

    def _exchange_column(
        self, layer: ExchangingArray, curve: ResponseCurve, outputs: NDArray[np.int64]
    ) -> Refreshed:
        plus, minus = _column_shares(layer, outputs)
        layer.exchange(outputs)
        u = (minus, plus)  # of the devices in their new roles
        due = np.ones(plus.shape, dtype=np.bool_)
        pulses = _drive_columns(layer, outputs, self._reset_counts(curve, u, due))
        target = np.clip(plus - minus, -1.0, 1.0)
        if self.mode == "open-loop":
            counts = self._first_counts(curve, target, due)
            return Refreshed(due.size, pulses + _drive_columns(layer, outputs, counts))
        for number in range(self.passes):
            plus, minus = (side.ravel() for side in _column_shares(layer, outputs))
            counts = self._missing(curve, target.ravel(), (plus, minus), number)
            if not (counts[0].any() or counts[1].any()):
                break
            pulses += _drive_columns(layer, outputs, counts)
        return Refreshed(due.size, pulses)

    def _due(self, layer: SynapseArray, plus: FloatArray, minus: FloatArray) -> BoolArray:
        """Return the pairs that are due now; one that always is does not move and is left alone."""
        from hil.learning.kernels import find_due

        due: BoolArray = np.empty(plus.shape, dtype=np.bool_)
        find_due(plus, minus, starts_high(self.method), self.threshold, self.floor,
                 self._in_a_row[layer], MOST_IN_A_ROW, due)  # fmt: skip
        return due

    def _group(
        self,
        group: list[tuple[SynapseArray, ResponseCurve]],
        read: list[tuple[FloatArray, FloatArray]],
        due: list[BoolArray],
    ) -> Refreshed:
        if not any(d.any() for d in due):
            return Refreshed()
        pulses = 0
        if self._erases(group[0][0]):
            due, rows = _whole_blocks([layer for layer, _ in group], due)
            pulses += group[0][0].erase(rows)
        else:
            for (layer, curve), u, d in zip(group, read, due, strict=True):
                if d.any():
                    counts = self._reset_counts(curve, u, d)
                    pulses += layer.program_some(d, *counts, phase=Phase.REFRESH)
        for (layer, curve), (plus, minus), d in zip(group, read, due, strict=True):
            if d.any():
                pulses += self._program(layer, curve, np.clip(plus - minus, -1.0, 1.0), d)
        return Refreshed(sum(int(d.sum()) for d in due), pulses)

    def _program(
        self, layer: SynapseArray, curve: ResponseCurve, target: FloatArray, due: BoolArray
    ) -> int:
        if self.mode == "open-loop":
            counts = self._first_counts(curve, target, due)
            return layer.program_some(due, *counts, phase=Phase.REFRESH)
        pulses, aim = 0, target[due]
        read = layer.reader_of(due)
        for number in range(self.passes):
            counts = self._missing(curve, aim, as_shares(layer, *read()), number)
            if not (counts[0].any() or counts[1].any()):
                break
            pulses += layer.program_some(due, *counts, phase=Phase.REFRESH)
        return pulses

    def _reset_counts(
        self, curve: ResponseCurve, u: tuple[FloatArray, FloatArray], due: BoolArray
    ) -> tuple[Counts, Counts]:
        """Return the pulses that take both devices of the pairs to their end of the range.

        They are listed for the pairs that are due, in order. With write-verify a device that is
        there already, by its reading, gets none.
        """
        step = curve.step_up if self.mode == "write-verify" else -np.inf
        counts = []
        for side in u:
            at = side[due]
            if starts_high(self.method):
                pulses, away = raise_counts(curve, at, self.margin), curve.high - at
            else:
                pulses, away = -reset_counts(curve, at, self.margin), at - curve.low
            counts.append(np.where(away > step, pulses, 0))
        return counts[0], counts[1]

    def _first_counts(
        self, curve: ResponseCurve, target: FloatArray, due: BoolArray
    ) -> tuple[Counts, Counts]:
        """Return the pulses of a mean device that was reset."""
        plus, minus = (
            target_counts(curve, self.method, side)
            for side in pair_targets(self.method, target[due], self.base)
        )
        return plus, minus

    def _missing(
        self,
        curve: ResponseCurve,
        target: FloatArray,
        u: tuple[FloatArray, FloatArray],
        number: int,
    ) -> tuple[Counts, Counts]:
        """Return the pulses of mean devices that make up for what the differences are off by.

        ``target`` and both sides of ``u`` list the pairs.
        """
        plus, minus = u
        if number == 0 and self.base:
            aim = target if self.passes == 1 else FIRST_AIM * target
            ends = pair_targets(self.method, aim, self.base)
            if starts_high(self.method):
                return -curve.pulses_down(plus, ends[0]), -curve.pulses_down(minus, ends[1])
            return curve.pulses_up(plus, ends[0]), curve.pulses_up(minus, ends[1])
        missing = target - (plus - minus)
        if number == 0 and self.passes > 1:
            missing *= FIRST_AIM
        more, less = np.maximum(missing, 0.0), np.maximum(-missing, 0.0)
        if starts_high(self.method):  # a lower G⁻ is a larger weight
            counts = -curve.pulses_down(plus, plus - less), -curve.pulses_down(minus, minus - more)
        else:
            counts = curve.pulses_up(plus, plus + more), curve.pulses_up(minus, minus + less)
        return counts


def _drive_columns(
    layer: ExchangingArray, outputs: NDArray[np.int64], counts: tuple[Counts, Counts]
) -> int:
    """Give all pairs of ``outputs`` their pulses, which are listed row after row."""
    plus, minus = (side.reshape(-1, outputs.size) for side in counts)
    return layer.program_columns(outputs, plus, minus)


def _column_shares(
    layer: ExchangingArray, outputs: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    return as_shares(layer, *layer.read_columns(outputs))


def _whole_blocks(
    layers: Sequence[SynapseArray], due: list[BoolArray]
) -> tuple[list[BoolArray], np.ndarray]:
    """Return ``due`` widened to every pair in a block with a due pair, and the rows to erase."""
    geometry = layers[0].geometry
    erase = geometry.erase_lines
    if erase is None:
        return due, np.zeros(0, dtype=np.int64)
    block_of = erase.plus
    rows = [layer.context.pairs.rows if layer.context.pairs else None for layer in layers]
    hit = np.unique(
        np.concatenate(
            [block_of[r[d.any(axis=1)]] for r, d in zip(rows, due, strict=True) if r is not None]
        )
    )
    wide = [
        d if r is None else np.broadcast_to(np.isin(block_of[r], hit)[:, None], d.shape)
        for r, d in zip(rows, due, strict=True)
    ]
    return wide, np.flatnonzero(np.isin(block_of, hit))
