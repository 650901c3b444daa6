"""How long a training takes on the rig that a station describes, from the blocks that it drives.

A training has far too many blocks to plan each on a rig. They are counted by kind (array, phase,
number of steps to a factor of two), a few of each kind are kept, each with the block before it, and
the rig plans those: relays, runs inside the instruments, messages. What a kind takes goes with its
steps. Reads that the simulator took at once are planned as the rig takes them: line by line, say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hil.backend import Backend
from hil.capabilities import Capabilities
from hil.control.bench import Planning
from hil.control.opening import make_backend
from hil.control.recorder import Recorder
from hil.errors import BackendUnavailable, ConfigError, LimitError
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.phases.lowering import lower_for
from hil.program import READING_PHASES, Phase, PulseBlock

if TYPE_CHECKING:
    from hil.config.station import Station
    from hil.control.session import Session

#: The first block of a kind is kept, the 16th, the 256th, and so on: the course of a training.
_EVERY: Final = 16
_MOST: Final = 4
#: Longer blocks take long to plan: one is kept, and so many of its steps are planned.
_LONG: Final = 96


@dataclass
class _Kind:
    """Blocks of one kind: how many, their steps in all, and some of them with those before."""

    count: int = 0
    steps: int = 0
    next_kept: int = 1
    kept: list[tuple[PulseBlock | None, PulseBlock]] = field(default_factory=list)

    def add(self, before: PulseBlock | None, block: PulseBlock) -> None:
        self.count += 1
        self.steps += block.n_steps
        most = _MOST if block.n_steps <= _LONG else 1
        if self.count == self.next_kept and len(self.kept) < most:
            self.kept.append((before, block))
            self.next_kept *= _EVERY


@dataclass(frozen=True, slots=True)
class RigTime:
    """What a rig would take.

    Attributes:
        seconds: in all; None where the rig cannot do it.
        by_phase: the same by phase, in seconds.
        why: why it is not known, "" where it is.
    """

    seconds: float | None
    by_phase: Mapping[str, float] = field(default_factory=dict)
    why: str = ""


class RigClock:
    """Counts the blocks of a run and lets a rig plan some of each kind.

    Args:
        rigs: by array, backends that plan; they need not be open.
        names: of the arrays that are driven.
    """

    def __init__(self, rigs: Mapping[str, Backend], names: Mapping[Backend, str]) -> None:
        self._rigs, self._names = dict(rigs), dict(names)
        self._kinds: dict[tuple[Backend, int, int], _Kind] = {}
        self._before: dict[Backend, PulseBlock] = {}

    @classmethod
    def of(cls, session: Session) -> RigClock | None:
        """Return the clock of a simulated session whose station describes a rig, else None."""
        if not session.station.instrument or session.virtual or not session.simulated:
            return None
        try:
            rigs = planning_rigs(session.station, set(session.backends))
        except (BackendUnavailable, ConfigError):
            return None  # the wiring is for another day: nothing on instruments was asked for
        return cls(rigs, session.names) if rigs else None

    def add(self, backend: Backend, block: PulseBlock) -> None:
        """Count a block that was driven."""
        key = backend, int(block.phase), block.n_steps.bit_length()
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind()
        kind.add(self._before.get(backend), block)
        self._before[backend] = block

    def time(self) -> RigTime:
        """Return what the rigs would take for all blocks so far, one array after the other."""
        by_phase: dict[str, float] = {}
        for (backend, phase, _), kind in self._kinds.items():
            rig = self._rigs.get(self._names[backend])
            if rig is None or not isinstance(rig, Planning):
                return RigTime(None, why=f"array {self._names[backend]!r} has no instruments")
            planned_s, steps = 0.0, 0
            for before, block in kind.kept:
                try:
                    planned_s += _planned_s(rig, rig.capabilities, before, block)
                except LimitError as exc:
                    return RigTime(None, why=f"{Phase(phase).name.lower()}: {exc}")
                steps += block.n_steps
            seconds = planned_s * (kind.steps / steps if steps else kind.count / len(kind.kept))
            name = Phase(phase).name.lower()
            by_phase[name] = by_phase.get(name, 0.0) + seconds
        return RigTime(sum(by_phase.values()), by_phase)


class ClockedRecorder(Recorder):
    """A recorder that also shows every block to a clock."""

    clock: RigClock

    def block(
        self, backend: Backend, op_point: OperatingPoint, op_id: int, ordinal: int, layer: int,
        start_ns: int, n_pulses: int, block: PulseBlock, readings: MeasurementBlock, *,
        ends: bool = False, status: int = 0,
    ) -> None:  # fmt: skip
        """Record a block that was driven, and count it."""
        super().block(
            backend, op_point, op_id, ordinal, layer, start_ns, n_pulses, block, readings,
            ends=ends, status=status,
        )  # fmt: skip
        self.clock.add(backend, block)


def planning_rigs(station: Station, arrays: set[str]) -> dict[str, Backend]:
    """Return the backends of a station's arrays that can plan; none is opened.

    Raises:
        BackendUnavailable, ConfigError: the station's own backend cannot be made.
    """
    made = {
        table.name: make_backend(station, table, sim=False)[0]
        for table in station.array if table.name in arrays
    }  # fmt: skip
    return {name: backend for name, backend in made.items() if isinstance(backend, Planning)}


def _first_steps(able: Capabilities, block: PulseBlock) -> tuple[PulseBlock, float]:
    """Return the first steps of a block as the rig takes them, and the share of all that they are.

    Only reads are made anew: a write that senses several lines would be given once for each.
    """
    sensed = int(block.sense.sum(axis=1).max(initial=1))
    at_once = block.phase not in READING_PHASES or able.parallel_sense
    first = _short(block, _LONG if at_once else max(_LONG // sensed, 1))
    share = first.n_steps / max(block.n_steps, 1)
    if block.phase not in READING_PHASES:
        return first, share
    lowered, _ = lower_for(first, able)
    short = _short(lowered, _LONG)
    return short, share * short.n_steps / max(lowered.n_steps, 1)


def _short(block: PulseBlock, n_steps: int) -> PulseBlock:
    """Return the first ``n_steps`` of a longer block, and any other as it is."""
    return block if block.n_steps <= n_steps else block.steps(0, n_steps)


def _planned_s(
    rig: Planning, able: Capabilities, before: PulseBlock | None, block: PulseBlock
) -> float:
    """Return what ``block`` takes after ``before``, in seconds.

    Of a long block the first steps are planned twice: relays that the block before left elsewhere
    move once, and what the steps take after themselves goes on for all that are left.
    """
    first, share = _first_steps(able, block)
    parts = [first] if before is None else [_first_steps(able, before)[0], first]
    first_s = _last_s(rig, parts)
    return first_s if share == 1.0 else first_s + (1 / share - 1) * _last_s(rig, [*parts, first])


def _last_s(rig: Planning, blocks: list[PulseBlock]) -> float:
    """Return what the last block takes after the others, in seconds."""
    return rig.predicted_s(blocks) - rig.predicted_s(blocks[:-1])
