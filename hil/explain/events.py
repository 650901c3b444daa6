"""The human event list of compiled blocks: what is driven when, runs of equal steps folded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from hil.explain.device import Seen, check_cell, seen, start_times_s
from hil.explain.event import Event
from hil.explain.folding import folded
from hil.geometry import ArrayGeometry
from hil.program import READING_PHASES, LineState, Phase, PulseBlock, by_phase

_MAX_KNOWN = 4096  # different steps whose description is kept


def line_spans(geometry: ArrayGeometry, lines: NDArray[np.int64]) -> str:
    """Return line names with runs folded, e.g. ``WL0…3 WL7``."""
    out: list[str] = []
    for group, span in geometry.groups.items():
        mine = lines[(lines >= span.start) & (lines < span.stop)] - span.start
        out += [f"{group}{run}" for run in _runs(mine)]
    return " ".join(out)


def _runs(numbers: NDArray[np.int64]) -> list[str]:
    if not numbers.size:
        return []
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    parts = np.split(numbers, cuts)
    return [str(p[0]) if p.size == 1 else f"{p[0]}…{p[-1]}" for p in parts]


def events(
    blocks: Iterable[PulseBlock],
    geometry: ArrayGeometry,
    cell: tuple[int, int] | None = None,
) -> Iterator[Event]:
    """Yield the events of ``blocks`` in order, runs of equal steps folded into one.

    With ``cell`` only the steps in which that device sees a voltage (or floats) are kept, and each
    says what it sees.

    Raises:
        GeometryError: the array has no such cell.
    """
    if cell is not None:
        check_cell(geometry, cell)
    return folded(_unfolded(blocks, geometry, cell))


def _unfolded(
    blocks: Iterable[PulseBlock], geometry: ArrayGeometry, cell: tuple[int, int] | None
) -> Iterator[Event]:
    t_s = 0.0
    known: dict[tuple[object, ...], Event | None] = {}  # equal steps are described once
    for number, driven in enumerate(blocks):
        starts = start_times_s(driven)
        widths, periods = driven.widths_2d, driven.period_s
        compliance = driven.compliance_a.tobytes()
        writes, reads = by_phase(driven)
        for step in range(driven.n_steps):
            if driven.repeat[step] == 0:
                continue
            block = writes if reads is None or writes.repeat[step] else reads
            key = (
                block.phase, compliance, block.state[step].tobytes(), block.level_v[step].tobytes(),
                widths[step].tobytes(), block.sense[step].tobytes(),
                block.selected[step].tobytes(), int(block.repeat[step]), float(periods[step]),
            )  # fmt: skip
            if key not in known:
                if len(known) >= _MAX_KNOWN:
                    known.clear()
                known[key] = _described(geometry, block, step, cell)
            event = known[key]
            if event is not None:
                yield dataclasses.replace(
                    event, t_s=t_s + float(starts[step]), block=number, step=step
                )
        t_s += driven.duration_s


def _described(
    geometry: ArrayGeometry, block: PulseBlock, step: int, cell: tuple[int, int] | None
) -> Event | None:
    """Return the event of a step at time 0, None when the chosen cell sees nothing of it."""
    what = None if cell is None else seen(geometry, block, step, cell)
    idle = block.phase is Phase.IDLE
    if what is not None and not (what.spans or what.selection == "floating" or idle):
        return None
    return _event(geometry, block, 0, step, 0.0, what, cell)


def _event(
    geometry: ArrayGeometry,
    block: PulseBlock,
    number: int,
    step: int,
    t_s: float,
    what: Seen | None,
    cell: tuple[int, int] | None,
) -> Event:
    state, level = block.state[step], block.level_v[step]
    widths = block.widths_2d[step]
    width = np.broadcast_to(widths, (block.n_lines,))
    shown = np.ones(block.n_lines, dtype=np.bool_)
    if cell is not None:
        shown = np.zeros(block.n_lines, dtype=np.bool_)
        shown[lines_of_cell(geometry, cell)] = True
    on = (state == LineState.DRIVE) & (width > 0) & shown
    driven: list[tuple[str, float, float]] = []
    pairs = np.stack([level[on], width[on]], axis=1)
    for v, w in np.unique(pairs, axis=0)[::-1]:
        group = np.flatnonzero(on & (level == v) & (width == w))
        driven.append((line_spans(geometry, group), float(v), float(w)))
    limit = block.compliance_a[(state == LineState.DRIVE)]
    row, signature = _signature(geometry, block, step, shown)
    return Event(
        t_s, number, step, Phase(block.phase).name, tuple(driven),
        line_spans(geometry, np.flatnonzero((state == LineState.FLOAT) & shown)),
        line_spans(geometry, np.flatnonzero(block.sense[step] & shown)),
        "" if cell is not None else _selected(geometry, block, step),
        int(block.repeat[step]), float(block.period_s[step]),
        float(limit.min()) if limit.size else float("inf"), what, row, signature=signature,
    )  # fmt: skip


def _signature(
    geometry: ArrayGeometry, block: PulseBlock, step: int, shown: NDArray[np.bool_]
) -> tuple[int | None, bytes]:
    """Return the one row that differs from the others, and bytes that tell steps apart."""
    n_lines = block.n_lines
    columns = np.stack(
        [
            block.state[step], block.level_v[step],
            np.broadcast_to(block.widths_2d[step], (n_lines,)), block.sense[step],
            block.selected[step], np.broadcast_to(block.compliance_a, (n_lines,)),
        ]
    )  # fmt: skip
    head = np.array([block.phase, block.repeat[step], block.period_s[step], 0.0])
    columns = columns[:, shown]
    if not shown.all():
        return None, head.tobytes() + columns.tobytes()
    row_lines = [geometry.groups[t.group] for t in geometry.cell.terminals if t.axis == "row"]
    by_row = np.concatenate([columns[:, span] for span in row_lines])
    different = [k for k in range(geometry.n_rows) if (by_row[:, k] != by_row[:, k - 1]).any()]
    # A single odd row differs from the one before it, and the one after differs from it.
    if geometry.n_rows > 2 and len(different) == 2:
        first, second = different
        row = first if second - first == 1 else None
        if (first, second) == (0, geometry.n_rows - 1):
            row = second
        if row is not None:
            usual = by_row[:, row - 1]
            others = np.ones(n_lines, dtype=np.bool_)
            for span in row_lines:
                others[span] = False
            return row, b"".join(
                part.tobytes() for part in (head, by_row[:, row], usual, columns[:, others])
            )
    return None, head.tobytes() + columns.tobytes()


def lines_of_cell(geometry: ArrayGeometry, cell: tuple[int, int]) -> list[int]:
    """Return the lines that the terminals of ``cell`` are wired to, in the cell kind's order."""
    row, col = cell
    rows_per_block = geometry.block_rows or geometry.n_rows
    index = {"row": row, "col": col, "block": row // rows_per_block}
    return [int(geometry.groups[t.group].start) + index[t.axis] for t in geometry.cell.terminals]


def _selected(geometry: ArrayGeometry, block: PulseBlock, step: int) -> str:
    chosen = block.selected[step]
    if not chosen.any() or block.phase in READING_PHASES:
        return ""
    if block.phase is Phase.ERASE and geometry.erase_lines is not None:
        rows = np.flatnonzero(chosen[geometry.erase_lines.plus])
        return f"erases rows {', '.join(_runs(rows))}"
    lines = geometry.write_lines
    rows = np.flatnonzero(chosen[lines.plus])
    cols = np.flatnonzero(chosen[lines.minus])
    if not rows.size or not cols.size:
        return "nothing fully selected"
    return f"rows {', '.join(_runs(rows))} × cols {', '.join(_runs(cols))}"


def render_events(
    blocks: Iterable[PulseBlock],
    geometry: ArrayGeometry,
    cell: tuple[int, int] | None = None,
    max_events: int | None = None,
) -> Iterator[str]:
    """Yield the event list as lines of text, a heading first.

    After ``max_events`` lines the rest is not walked, and a last line says so.
    """
    title = "what the cell sees" if cell is not None else "what is driven"
    yield f"{'time':>10}  {'phase':<9} {'step':<6} {title} (lines not named are grounded)"
    for n, event in enumerate(events(blocks, geometry, cell)):
        if max_events is not None and n >= max_events:
            yield f"… more than {max_events} events; the rest is not shown"
            return
        yield event.to_text()
