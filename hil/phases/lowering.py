"""Equivalent programmes for backends that lack a feature; the record says which was used."""

from __future__ import annotations

import numpy as np

from hil.capabilities import Capabilities
from hil.program import LineState, PulseBlock


def slice_widths(block: PulseBlock) -> PulseBlock:
    """Return the block with every per-line width cut into slices of one width per step.

    Within a slice a line that has ended is grounded, so the charge of a step is the sum over its
    slices; ``target`` still names the step's target. A line of width 0 is grounded throughout.
    Edges and gap stay on the outer slices.
    """
    if block.width_s.ndim == 1:
        return block
    pieces: dict[str, list[np.ndarray]] = {}

    def put(name: str, value: np.ndarray) -> None:
        pieces.setdefault(name, []).append(value)

    for s in range(block.n_steps):
        driven = block.state[s] == LineState.DRIVE
        edges = np.unique(np.concatenate([[0.0], block.width_s[s][driven]]))
        begins, ends = (edges[:-1], edges[1:]) if edges.size > 1 else (edges, edges)
        n = ends.size
        on = driven & (block.width_s[s] >= ends[:, None]) & (ends[:, None] > 0)
        put("state", np.where(driven & ~on, LineState.GROUND, block.state[s]).astype(np.uint8))
        put("level_v", np.where(on, block.level_v[s], 0.0))
        put("width_s", ends - begins)
        put("rise_s", np.where(np.arange(n) == 0, block.rise_s[s], 0.0))
        put("fall_s", np.where(np.arange(n) == n - 1, block.fall_s[s], 0.0))
        put("gap_s", np.where(np.arange(n) == n - 1, block.gap_s[s], 0.0))
        put("repeat", np.full(n, block.repeat[s]))
        put("sense", np.broadcast_to(block.sense[s], (n, block.n_lines)))
        put("selected", np.broadcast_to(block.selected[s], (n, block.n_lines)) & (on | ~driven))
        put("target", np.full(n, block.target[s]))
    columns = {name: np.concatenate(parts) for name, parts in pieces.items()}
    return PulseBlock.build(
        block.phase, compliance_a=block.compliance_a, sensing=block.sensing, **columns
    )


def serial_sense(block: PulseBlock) -> PulseBlock:
    """Return the block with one sensed line per step; each step is driven once per sensed line."""
    counts = block.sense.sum(axis=1)
    if (counts <= 1).all():
        return block
    source = np.repeat(np.arange(block.n_steps), np.maximum(counts, 1))
    sense = np.zeros((source.size, block.n_lines), dtype=np.bool_)
    at = 0
    for s in range(block.n_steps):
        for line in np.flatnonzero(block.sense[s]):
            sense[at, line] = True
            at += 1
        at += int(counts[s] == 0)
    return PulseBlock.build(
        block.phase, block.state[source], block.level_v[source], block.width_s[source],
        rise_s=block.rise_s[source], fall_s=block.fall_s[source], gap_s=block.gap_s[source],
        compliance_a=block.compliance_a, repeat=block.repeat[source], sense=sense,
        selected=block.selected[source], sensing=block.sensing, target=block.target[source],
    )  # fmt: skip


def lower_for(block: PulseBlock, capabilities: Capabilities) -> tuple[PulseBlock, tuple[str, ...]]:
    """Return an equivalent block that ``capabilities`` can run, and what was done to it."""
    done: list[str] = []
    if block.width_s.ndim == 2 and not capabilities.per_line_width:
        block = slice_widths(block)
        done.append("width-sliced")
    if not capabilities.parallel_sense and bool((block.sense.sum(axis=1) > 1).any()):
        block = serial_sense(block)
        done.append("one line sensed at a time")
    return block, tuple(done)
