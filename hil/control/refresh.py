"""Refresh: give unidirectional pairs their range back without changing their weights.

Potentiation alone drives both devices of a pair to the upper end of their range. Every n samples
the pairs are read; where the further device is beyond a threshold and the nearer one beyond a
floor, D = u⁺ − u⁻ is kept, both are reset, and |D| is programmed again on the right side. For
depression alone (M3′) everything is mirrored. u is the share of the conductance window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hil.control.array import SynapseArray
from hil.control.preparation import (
    group_by_array,
    pair_targets,
    raise_counts,
    reset_counts,
    shares,
    starts_high,
    target_counts,
)
from hil.control.response import ResponseCurve, erases
from hil.errors import ConfigError, RunInterrupted
from hil.learning.methods import Method
from hil.program import BoolArray, FloatArray, Phase

#: Share of the pulses that all passes but the last aim at: what was overshot cannot be taken back.
FIRST_AIM = 0.85


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What one refresh did: pairs programmed again, and every pulse that it cost."""

    pairs: int = 0
    pulses: int = 0

    def __add__(self, other: Refreshed) -> Refreshed:
        return Refreshed(self.pairs + other.pairs, self.pulses + other.pulses)


class Refresh:
    """Refreshes all layers of a network through pulses.

    Cells with a block erase lose whole blocks: every pair in an erased block, of any tile, is
    programmed again.

    Args:
        layers: the network's arrays.
        curves: measured response, one per layer.
        method: ``M3`` or ``M3'``.
        threshold: share of the window beyond which a pair is refreshed.
        floor: share of the window that the nearer device must have used up for it to pay.
        mode: ``open-loop`` programs counts of the measured response, ``write-verify`` every device
            until it reads right.
        passes: of open-loop programming; each after the first reads and tops up.
        margin: reset pulses as a multiple of those of a mean device.

    Raises:
        ConfigError: a method that moves devices both ways, or write-verify with pairs on two
            arrays.
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
        passes: int = 1,
        margin: float = 1.5,
    ) -> None:
        if method not in ("M3", "M3'"):
            raise ConfigError(f"method {method} has no refresh", field="refresh")
        if mode == "write-verify" and any(_minus_array(layer) for layer in layers):
            raise ConfigError("write-verify needs pairs on one array", field="refresh.mode")
        self.method, self.mode, self.passes = method, mode, passes
        self.threshold, self.floor, self.margin = threshold, floor, margin
        self._groups = [
            [(layer, curves[list(layers).index(layer)]) for layer in group]
            for group in group_by_array(layers)
        ]

    def run(self) -> Refreshed:
        """Refresh all layers now; return what was done."""
        done = Refreshed()
        for group in self._groups:
            done += self._group(group)
        return done

    def _due(self, plus: FloatArray, minus: FloatArray) -> BoolArray:
        if starts_high(self.method):
            plus, minus = 1.0 - plus, 1.0 - minus
        far, near = np.maximum(plus, minus), np.minimum(plus, minus)
        due: BoolArray = (far > self.threshold) & (near > self.floor)
        return due

    def _group(self, group: list[tuple[SynapseArray, ResponseCurve]]) -> Refreshed:
        read = [shares(layer) for layer, _ in group]
        due = [self._due(plus, minus) for plus, minus in read]
        if not any(d.any() for d in due):
            return Refreshed()
        context = group[0][0].context
        pulses = 0
        if erases(context) and not starts_high(self.method):
            due, rows = _whole_blocks([layer for layer, _ in group], due)
            pulses += group[0][0].erase(rows)
        else:
            for (layer, curve), (plus, minus), d in zip(group, read, due, strict=True):
                pulses += self._reset(layer, curve, plus, minus, d)
        for (layer, curve), (plus, minus), d in zip(group, read, due, strict=True):
            if d.any():
                pulses += self._program(layer, curve, plus - minus, d)
        return Refreshed(sum(int(d.sum()) for d in due), pulses)

    def _reset(
        self, layer: SynapseArray, curve: ResponseCurve, plus: FloatArray, minus: FloatArray,
        due: BoolArray,
    ) -> int:  # fmt: skip
        if not due.any():
            return 0
        if starts_high(self.method):
            counts = [np.where(due, raise_counts(curve, u, self.margin), 0) for u in (plus, minus)]
        else:
            counts = [-np.where(due, reset_counts(curve, u, self.margin), 0) for u in (plus, minus)]
        return layer.program_pairs(*counts, phase=Phase.REFRESH)

    def _program(
        self, layer: SynapseArray, curve: ResponseCurve, d: FloatArray, due: BoolArray
    ) -> int:
        targets = pair_targets(self.method, np.clip(d, -1.0, 1.0))
        if self.mode == "write-verify":
            return _write_verify(layer, targets, due)
        aims = [target_counts(curve, self.method, u) for u in targets]
        share = FIRST_AIM if self.passes > 1 else 1.0
        first = [np.where(due, np.rint(share * n), 0).astype(np.int64) for n in aims]
        pulses = layer.program_pairs(*first, phase=Phase.REFRESH)
        for number in range(1, self.passes):
            share = FIRST_AIM if number < self.passes - 1 else 1.0
            missing = []
            for aim, u in zip(aims, shares(layer), strict=True):
                left = np.rint(share * (aim - target_counts(curve, self.method, u)))
                towards = np.sign(aim) * left > 0
                missing.append(np.where(due & towards, left, 0).astype(np.int64))
            pulses += layer.program_pairs(*missing, phase=Phase.REFRESH)
        return pulses


def _minus_array(layer: SynapseArray) -> int:
    return 0 if layer.pairs is None else layer.pairs.minus_array


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


def _write_verify(
    layer: SynapseArray, targets: tuple[FloatArray, FloatArray], due: BoolArray
) -> int:
    pairs = layer.context.pairs
    if pairs is None:
        return 0
    before = layer.backend.ledger.device_pulses
    siemens = np.zeros(layer.geometry.shape)
    mask = np.zeros(layer.geometry.shape, dtype=np.bool_)
    low = layer.op.g_min_siemens
    for u, cols in zip(targets, (pairs.plus_cols, pairs.minus_cols), strict=True):
        siemens[np.ix_(pairs.rows, cols)] = low + layer.window_siemens * u
        mask[np.ix_(pairs.rows, cols)] = due
    if layer.write(siemens, mask=mask).interrupted:
        raise RunInterrupted("stopped on request, in the safe state")
    return layer.backend.ledger.device_pulses - before
