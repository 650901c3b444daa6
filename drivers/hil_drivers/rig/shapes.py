"""What is remembered of blocks that were planned: their jobs, and the shapes that can be done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.program import LineState, Phase, PulseBlock
from hil_drivers.rig.job import Job, quantised
from hil_drivers.router.plan import RoutePlan, alike_steps
from hil_drivers.router.wiring import Wiring

_MOST_JOBS: Final = 256
_MOST_PATTERNS: Final = 32
_MOST_BYTES: Final = 64 << 20
_MOST_SHAPES: Final = 10_000
_ARRAYS: Final = ("state", "level_v", "width_s", "rise_s", "fall_s", "gap_s", "compliance_a",
                  "repeat", "sense", "selected", "target")  # fmt: skip


class Jobs:
    """Jobs of the last blocks, so that what was planned once is not planned again.

    The shots of a protocol are few blocks driven over and over, and a block is checked just before
    it is driven: those are known by their arrays, which are read-only. A train on another device is
    a block of the same shape: its job is that of the first with other lines.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._jobs: dict[tuple[object, ...], Job] = {}
        self._bytes = 0
        self._patterns: dict[bytes, _Pattern] = {}

    def get(self, block: PulseBlock, before: NDArray[np.int64], make: Callable[[], Job]) -> Job:
        """Return the job of ``block``, from ``make`` when it is not remembered."""
        arrays = tuple(id(getattr(block, name)) for name in _ARRAYS)
        key = (block.phase, block.sensing, before.tobytes(), *arrays)
        known = self._jobs.pop(key, None)
        if known is not None:
            self._jobs[key] = known  # the newest is last
            return known if known.asked is block else replace(known, asked=block)
        job = self._like_another(block, before, make)
        size = _size(block)
        if size > _MOST_BYTES:
            return job
        while self._jobs and (len(self._jobs) >= _MOST_JOBS or self._bytes + size > _MOST_BYTES):
            oldest = self._jobs.pop(next(iter(self._jobs)))
            self._bytes -= _size(oldest.asked)
        self._jobs[key] = job
        self._bytes += size
        return job

    def _like_another(
        self, block: PulseBlock, before: NDArray[np.int64], make: Callable[[], Job]
    ) -> Job:
        shape = None if block.phase is Phase.IDLE else self._shapes.of(block)
        if shape is None:
            return make()
        kind = self._shapes.kinds_before(before)
        counts = np.bincount(kind[~shape.used], minlength=self._shapes.n_kinds_before)
        key = shape.key + before[shape.used].tobytes() + counts.tobytes()
        pattern = self._patterns.get(key)
        if pattern is not None:
            return pattern.job(block, before, shape.used, kind)
        job = make()
        pattern = _Pattern.of(job, shape.used, kind, self._shapes.n_kinds_before)
        if pattern is not None:
            if len(self._patterns) >= _MOST_PATTERNS:
                self._patterns.pop(next(iter(self._patterns)))
            self._patterns[key] = pattern
        return job


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """A job that can be done on other lines.

    Attributes:
        first: the job it was made of.
        used: (n_lines,) mask of the lines that its block drives or senses.
        others: (n_stages, n_kinds) channel of the other lines, by their kind and channel before.
    """

    first: Job
    used: NDArray[np.bool_]
    others: NDArray[np.int64]

    @classmethod
    def of(
        cls, job: Job, used: NDArray[np.bool_], kind: NDArray[np.int64], n_kinds: int
    ) -> _Pattern | None:
        """Return the pattern; None when equal lines were treated differently, or steps changed."""
        if job.lowered.block is not job.asked:
            return None
        others = np.full((len(job.plan.stages), n_kinds), -2, dtype=np.int64)
        for row, stage in zip(others, job.plan.stages, strict=True):
            row[kind[~used]] = stage.channel_of_line[~used]
            if (row[kind[~used]] != stage.channel_of_line[~used]).any():
                return None
        return cls(job, used, others)

    def job(
        self, block: PulseBlock, before: NDArray[np.int64], used: NDArray[np.bool_],
        kind: NDArray[np.int64],
    ) -> Job:  # fmt: skip
        """Return the job of a block of the same shape."""
        first = self.first
        lines = np.arange(used.size)
        lines[self.used] = np.flatnonzero(used)
        stages = []
        for stage, others in zip(first.plan.stages, self.others, strict=True):
            channel = others[kind]
            channel[used] = stage.channel_of_line[self.used]
            stages.append(replace(stage, channel_of_line=channel))
        runs = tuple(
            tuple(
                replace(run, sensed={name: lines[sensed] for name, sensed in run.sensed.items()})
                for run in of_stage
            )
            for of_stage in first.runs
        )
        level, width = block.level_v.copy(), first.delivered.width_s
        level[:, used] = first.delivered.level_v[:, self.used]
        if width.ndim == 2:
            width = block.width_s.copy()
            width[:, used] = first.delivered.width_s[:, self.used]
        lowered = replace(first.lowered, block=block)
        return Job(block, lowered, RoutePlan(tuple(stages), before), runs,
                   quantised(block, level, width))  # fmt: skip


def _size(block: PulseBlock) -> int:
    """Return about how many bytes a job of the block holds on to: levels twice."""
    return 2 * block.level_v.nbytes + block.state.nbytes * 3


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What a block is apart from its lines; ``used`` is (n_lines,) those it drives or senses."""

    key: bytes
    used: NDArray[np.bool_]


class Shapes:
    """Shapes of blocks that the rig can do.

    Two blocks have one shape when they differ only in which of the lines that are wired alike they
    use: a train on another device of the array.
    """

    def __init__(self, wiring: Wiring) -> None:
        groups = list(wiring.geometry.groups.values())
        side = [next(k for k, s in enumerate(groups) if s.start <= n < s.stop)
                for n in range(wiring.n_lines)]  # fmt: skip
        rows = np.column_stack([side, wiring.direct, wiring.reach])
        self._kind: NDArray[np.int64] = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
        self._n_kinds, self._n_channels = int(self._kind.max()) + 1, len(wiring.channels)
        self._known: set[bytes] = set()
        self._last: tuple[PulseBlock, Shape | None] | None = None

    @property
    def n_kinds_before(self) -> int:
        """Kinds of lines, each with every channel that may be before."""
        return self._n_kinds * (self._n_channels + 1)

    def kinds_before(self, before: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (n_lines,) kind of every line together with its channel before a block."""
        return self._kind * (self._n_channels + 1) + before + 1

    def of(self, block: PulseBlock) -> Shape | None:
        """Return the shape; None when the block has too many different steps for it to be worth."""
        if self._last is None or self._last[0] is not block:
            self._last = block, self._shape(block)
        return self._last[1]

    def _shape(self, block: PulseBlock) -> Shape | None:
        live = np.flatnonzero(block.repeat > 0)
        of, first = alike_steps(block, live)
        if first.size == live.size and live.size > 1:
            return None
        steps = live[first]
        state, sense = block.state[steps], block.sense[steps]
        selected = block.selected[steps]
        used: NDArray[np.bool_] = ((state != LineState.GROUND) | sense | selected).any(axis=0)
        others = np.bincount(self._kind[~used], minlength=self._n_kinds)
        width = block.width_s[steps] if block.width_s.ndim == 1 else block.width_s[steps][:, used]
        parts = (
            live, of, self._kind[used], others > 0, state[:, used], block.level_v[steps][:, used],
            sense[:, used], selected[:, used], width, block.compliance_a[used],
            block.repeat[live], block.rise_s[live], block.fall_s[live], block.gap_s[live],
        )  # fmt: skip
        head = f"{block.phase}|{block.sensing}|{[p.shape for p in parts]}".encode()
        return Shape(head + b"".join(np.ascontiguousarray(p).tobytes() for p in parts), used)

    def __contains__(self, shape: Shape | None) -> bool:
        return shape is not None and shape.key in self._known

    def add(self, shape: Shape | None) -> None:
        """Remember a shape that can be done."""
        if shape is None:
            return
        if len(self._known) >= _MOST_SHAPES:
            self._known.clear()
        self._known.add(shape.key)
