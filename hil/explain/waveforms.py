"""Waveforms of compiled blocks, on an axis that keeps short and long steps legible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hil.errors import ProtocolError
from hil.geometry import ArrayGeometry
from hil.program import FloatArray, LineState, Phase, PulseBlock, by_phase

#: Steps whose durations differ by more than this are not drawn to scale.
LINEAR_RATIO = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class Pulse:
    """One pulse of one step, placed on the display axis.

    ``x`` is its start and ``scale`` display units per second; with a linear axis both are seconds.
    """

    block: PulseBlock
    number: int
    step: int
    t_s: float
    duration_s: float
    x: float
    scale: float

    @property
    def end_x(self) -> float:
        """Display coordinate of the end of the step."""
        return self.x + self.duration_s * self.scale

    def shape(self, line: int) -> tuple[list[float], list[float]]:
        """Return (x, volts) corners of the pulse on ``line``, 0 V before and after.

        Edges are centred so that the full width at half maximum is the width of the line.
        """
        block, s = self.block, self.step
        widths = block.widths_2d[s]
        width = float(widths[line] if widths.size > 1 else widths[0])
        level = float(block.level_v[s, line])
        if block.state[s, line] != LineState.DRIVE or level == 0.0 or width == 0.0:
            return [self.x, self.end_x], [0.0, 0.0]
        rise, fall = float(block.rise_s[s]), float(block.fall_s[s])
        t = np.array([0.0, rise, width + (rise - fall) / 2, width + (rise + fall) / 2])
        x = self.x + np.minimum(np.maximum.accumulate(t), self.duration_s) * self.scale
        return [float(x[0]), *map(float, x), self.end_x], [0.0, 0.0, level, level, 0.0, 0.0]

    def on_x(self, line: int | None = None) -> tuple[float, float]:
        """Return the display span in which the step (or the line) is driven."""
        block, s = self.block, self.step
        widths = block.widths_2d[s]
        width = float(widths.max() if line is None or widths.size == 1 else widths[line])
        start = self.x + float(block.rise_s[s]) / 2 * self.scale
        return start, start + width * self.scale


@dataclass(frozen=True, slots=True, eq=False)
class Waveforms:
    """The pulses that are drawn.

    ``linear`` says whether the display axis is time in seconds; ``left_out`` whether the programme
    goes on after the last pulse.
    """

    pulses: list[Pulse]
    linear: bool
    left_out: bool


def waveforms(blocks: Iterable[PulseBlock], max_pulses: int) -> Waveforms:
    """Return the first ``max_pulses`` pulses of a programme, placed on the display axis."""
    taken: list[tuple[PulseBlock, int, int, float]] = []
    t_s, left_out = 0.0, False
    for number, driven in enumerate(blocks):
        writes, reads = by_phase(driven)
        for step in range(driven.n_steps):
            block = writes if reads is None or writes.repeat[step] else reads
            for _ in range(min(int(driven.repeat[step]), max_pulses + 1)):
                if len(taken) >= max_pulses:
                    left_out = True
                    break
                taken.append((block, number, step, t_s))
                t_s += float(block.period_s[step])
            if left_out:
                break
        if left_out:
            break
    durations = np.array([float(b.period_s[s]) for b, _, s, _ in taken])
    active = durations[durations > 0]
    linear = active.size == 0 or float(active.max() / active.min()) <= LINEAR_RATIO
    return Waveforms(_placed(taken, durations, linear), linear, left_out)


def _placed(
    taken: Sequence[tuple[PulseBlock, int, int, float]], durations: FloatArray, linear: bool
) -> list[Pulse]:
    shown = durations
    if not linear:
        busy = np.array([b.phase is not Phase.IDLE for b, _, _, _ in taken])
        longest = float(durations[busy].max()) if busy.any() else float(durations.max())
        shown = np.clip(durations, longest / LINEAR_RATIO, 2 * longest)
    out, x = [], 0.0
    for (block, number, step, t_s), duration, width in zip(taken, durations, shown, strict=True):
        scale = float(width / duration) if duration > 0 else 0.0
        out.append(Pulse(block, number, step, t_s, float(duration), x, scale))
        x += float(width) if duration > 0 else 0.0
    return out


def chosen_lines(
    found: Waveforms,
    geometry: ArrayGeometry,
    wanted: Sequence[str | int] | None,
    first: Sequence[int],
    max_lines: int,
) -> tuple[list[int], int]:
    """Return the lines to draw, ascending, and how many active ones are left out.

    Lines that are driven, sensed or floating somewhere are active; ``first`` go before others.

    Raises:
        ProtocolError: a wanted index is no line. GeometryError: a wanted name is none.
    """
    if wanted is not None:
        lines = [geometry.line_index(w) if isinstance(w, str) else int(w) for w in wanted]
        for line in lines:
            if not 0 <= line < geometry.n_lines:
                raise ProtocolError(
                    f"line {line} is not within 0 … {geometry.n_lines - 1}", field="lines"
                )
        return lines, 0
    active = np.zeros(geometry.n_lines, dtype=np.bool_)
    for pulse in found.pulses:
        block, s = pulse.block, pulse.step
        active |= (block.state[s] == LineState.DRIVE) & (block.level_v[s] != 0.0)
        active |= (block.state[s] == LineState.FLOAT) | block.sense[s]
    active[list(first)] = True
    order = [*first, *(int(k) for k in np.flatnonzero(active) if k not in first)]
    return sorted(order[:max_lines]), max(len(order) - max_lines, 0)
