"""Protocols of the write phases of learning: ``update`` and ``refresh``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from hil.config.quantities import Count, Siemens
from hil.errors import ProtocolError
from hil.phases.cells import CellRead
from hil.phases.schemes import worst_half_select_v
from hil.phases.verify import write_verify
from hil.phases.writing import CoincidenceUpdate, erase_rows
from hil.procedure import ArrayContext, Steps
from hil.program import FloatArray, Phase
from hil_protocols.base import WriteTable, field_error, window
from hil_protocols.compile import Reader, can_erase, depression
from hil_protocols.cycling import Depression
from hil_protocols.fields import Share, ShareList
from hil_protocols.pairing import pair_mask, pairs_of
from hil_protocols.plan import CurveRecord, Plan, Shot
from hil_protocols.products import SignedList
from hil_protocols.selection import Cells
from hil_protocols.writing import VerifyTable

_SLOTS_PER_BLOCK = 4096


class Update(WriteTable):
    """Coincidence pulses: stochastic bits of activities and errors meet at the devices.

    In each slot row i is selected with probability ``x[i]`` and output j with probability
    ``|d[j]|``; a device that has both lines selected sees the whole write voltage. One value
    stands for all rows or outputs. ``method``: ``potentiate`` (unidirectional: the plus device for
    d > 0, the minus device for d < 0), ``depress`` (the opposite devices are depressed) or
    ``both`` (bidirectional: two phases). Bits are drawn by the run's seed.

    Outcome axis ``slot``: conductances of the pair devices before, after every ``read_every``
    slots (0 = only at the end) and at the end; with the worst half-select voltage of the scheme.
    """

    kind: Literal["update"]
    x: ShareList = (0.5,)
    d: SignedList = (0.5,)
    slots: Annotated[int, Field(strict=True, ge=1, le=10**9)] = 100
    read_every: Annotated[int, Field(strict=True, ge=0)] = 0
    method: Literal["potentiate", "depress", "both"] = "potentiate"

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        if self.cells != "all" or self.sample is not None:
            raise field_error("cells", "an update acts on all pairs of the array")
        if context.op.inhibit == "ground":
            raise field_error("inhibit", "the ground scheme cannot write coincidences")
        geometry = context.geometry
        pairs = pairs_of(context)
        x = self._sized("x", self.x, pairs.n_inputs)
        d = self._sized("d", self.d, pairs.n_outputs)
        update = CoincidenceUpdate(geometry, context.op, pairs.rows)
        plus_lines = update.col_lines(pairs.plus_cols)
        minus_lines = update.col_lines(pairs.minus_cols)
        used = np.nonzero(pair_mask(context, pairs))
        cells = Cells(used[0], used[1])
        reader = Reader(context, cells, self.read_repeat)
        period_s = context.op.write_s + context.op.gap_s
        period_s += (context.op.rise_s + context.op.fall_s) / 2
        most = min(
            _SLOTS_PER_BLOCK, context.capabilities.max_steps,
            max(int(context.capabilities.max_block_s / period_s), 1),
        )  # fmt: skip
        polarities = {"potentiate": (1,), "depress": (-1,), "both": (1, -1)}[self.method]

        def columns(
            polarity: int, n: int, rng: np.random.Generator
        ) -> tuple[np.ndarray, np.ndarray]:
            on = rng.random((n, d.size)) < np.abs(d)
            return on & (d * polarity > 0), on & (d * polarity < 0)

        def shots() -> Iterator[Shot]:
            rng = np.random.default_rng([context.seed, 0xBD])
            every = self.read_every or self.slots
            yield from reader.at(0)
            done = 0
            while done < self.slots:
                until = min((done // every + 1) * every, self.slots)
                while done < until:
                    n = min(most, until - done)
                    rows = rng.random((n, x.size)) < x
                    for polarity in polarities:
                        plus, minus = columns(polarity, n, rng)
                        block = update.block(
                            polarity,
                            rows,
                            (plus, plus_lines),
                            (minus, minus_lines),
                            every_slot=True,
                        )
                        if block is not None:
                            yield Shot(block)
                    done += n
                yield from reader.at(done)

        def record() -> _UpdateRecord:
            return _UpdateRecord(reader.read, cells.rows, cells.cols, context)

        return Plan(shots, record)

    @staticmethod
    def _sized(field: str, values: tuple[float, ...], n: int) -> FloatArray:
        if len(values) not in (1, n):
            raise field_error(field, f"has {len(values)} values, the array takes 1 or {n}")
        return np.broadcast_to(np.array(values), (n,))


class _UpdateRecord(CurveRecord):
    def __init__(
        self, read: CellRead, rows: np.ndarray, cols: np.ndarray, context: ArrayContext
    ) -> None:
        super().__init__(read, rows, cols, ("slot",))
        op = context.op
        v = max(op.potentiate_v, -op.depress_v)
        self._worst_v = worst_half_select_v(op.inhibit, v)

    def outcome(self) -> dict[str, object]:
        """Return the curve and the worst half-select voltage."""
        return super().outcome() | {"worst_half_select_v": self._worst_v}


class Refresh(VerifyTable):
    """Bring pairs back from the upper end of the window, keeping their difference.

    The pairs are read; where the larger device is above ``threshold`` (part of the window), both
    are re-programmed: one to the base, the other to the base plus the difference. With a block
    erase (``reset``) all pairs of the erased blocks are re-programmed, the others to what they
    were.

    Outcome: that of write-verify, and ``refreshed`` (n_inputs, n_outputs), ``n_refreshed``,
    ``n_clipped`` (differences that did not fit into the window), ``difference_before_siemens`` and
    ``difference_after_siemens``.
    """

    kind: Literal["refresh"]
    threshold: Share = 0.5
    base: Siemens | None = None  #: conductance of the lower device, g_min by default
    reset: Depression = "auto"
    read_repeat: Count = 1

    def start(self, context: ArrayContext) -> Steps:
        """Check the settings and return the steps."""
        low, high = window(context, "threshold")
        base = low if self.base is None else self.base
        if not low <= base < high:
            raise field_error("base", f"{base:g} S is not within the window {low:g} … {high:g} S")
        if self.erase_first:
            raise field_error("erase_first", 'say `reset = "erase"` instead')
        pairs = pairs_of(context)
        mask = pair_mask(context, pairs)
        erasing = depression(self.reset, context) == "erase" and can_erase(context)
        settings = self.settings()
        write_verify(context, base, mask, settings)  # wrong settings show before any pulse
        geometry = context.geometry
        plus, minus = np.ix_(pairs.rows, pairs.plus_cols), np.ix_(pairs.rows, pairs.minus_cols)

        def steps() -> Steps:
            read = CellRead(
                geometry, context.op, context.capabilities, mask, repeat=self.read_repeat
            )
            for block in read.blocks:
                read.add(block, (yield block))
            g = read.siemens()
            unread = mask & ~np.isfinite(g)
            if unread.any():
                row, col = np.argwhere(unread)[0]
                raise ProtocolError(
                    f"cell ({row}, {col}) cannot be read; its pair would be lost", field="kind"
                )
            difference = g[plus] - g[minus]
            over = np.maximum(g[plus], g[minus]) > low + self.threshold * (high - low)
            room = high - base
            n_clipped = int((over & (np.abs(difference) > room)).sum())
            targets = np.clip(g, low, high)
            size = np.minimum(np.abs(difference), room)
            targets[plus] = np.where(over, base + np.where(difference > 0, size, 0), targets[plus])
            targets[minus] = np.where(
                over, base + np.where(difference < 0, size, 0), targets[minus]
            )
            rewritten = np.zeros(geometry.shape, dtype=np.bool_)
            rewritten[plus] = over
            rewritten[minus] |= over
            rows = np.flatnonzero(rewritten.any(axis=1))
            if erasing and rows.size:
                block = erase_rows(geometry, context.op, rows)
                lines = geometry.erase_lines
                if lines is not None:
                    erased = block.selected[0][lines.plus]
                    rewritten = mask & erased[:, None]
                yield block
            result = dict(
                (
                    yield from write_verify(
                        context, targets, rewritten, settings, phase=Phase.REFRESH
                    )
                )
            )
            after = np.where(np.isfinite(result["g_final_siemens"]), result["g_final_siemens"], g)
            return result | {
                "refreshed": over,
                "n_refreshed": int(over.sum()),
                "n_clipped": n_clipped,
                "difference_before_siemens": difference,
                "difference_after_siemens": after[plus] - after[minus],
            }

        return steps()
