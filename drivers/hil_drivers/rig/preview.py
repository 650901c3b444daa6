"""The plan of a programme before it is run: what is batched, what is not, and how long it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hil.program import Phase, PulseBlock
from hil_drivers.rig.job import Job
from hil_drivers.router.wiring import Crosspoint

if TYPE_CHECKING:
    from hil_drivers.rig.backend import RigBackend


@dataclass
class Totals:
    """Sums over a programme; times in seconds."""

    blocks: int = 0
    pulses: int = 0
    readings: int = 0
    stages: int = 0
    moves: int = 0
    runs: int = 0
    transactions: int = 0
    pulse_s: float = 0.0
    run_s: float = 0.0
    relay_s: float = 0.0
    message_s: float = 0.0
    idle_s: float = 0.0
    unbatched: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """Predicted time of everything."""
        return self.run_s + self.relay_s + self.message_s + self.idle_s


def totals(rig: RigBackend, programme: Iterable[PulseBlock]) -> Totals:
    """Return the sums over ``programme``, from the closures of now on; nothing is driven.

    Raises:
        LimitError: the rig cannot do a block.
    """
    out = Totals()
    before = rig.closed_map
    for block in programme:
        job = rig.job(block, before)
        _add(rig, job, out)
        if block.phase is not Phase.IDLE:
            before = job.plan.after
    return out


def _add(rig: RigBackend, job: Job, out: Totals) -> None:
    out.blocks += 1
    if job.asked.phase is Phase.IDLE:
        out.idle_s += job.asked.duration_s
        return
    block = job.lowered.block
    out.pulses += block.n_pulses
    out.readings += job.asked.n_readings
    out.pulse_s += block.duration_s
    out.stages += len(job.plan.stages)
    out.moves += job.plan.moves
    out.runs += job.n_runs
    for note in job.notes:
        out.notes[note] = out.notes.get(note, 0) + 1
    before = rig.wiring.closures(job.plan.before)
    for stage, runs in zip(job.plan.stages, job.runs, strict=True):
        now = stage.closures
        _move(rig, before ^ now, out)
        before = now
        for run in runs:
            slowest, roles = 0.0, rig.rack.sync(run)
            for name, programs in run.programs.items():
                source = rig.rack.sources[name]
                estimate = source.estimate(programs, roles[name])
                slowest = max(slowest, estimate.duration_s)
                _send(rig, name, estimate.transactions, out)
                if not estimate.batched:
                    out.unbatched[name] = out.unbatched.get(name, 0) + run.n_pulses
            out.run_s += slowest
    for name, instrument in rig.rack.instruments.items():
        if not instrument.notices_reset:
            _send(rig, name, 1, out)  # asked after every block whether it was reset


def _move(rig: RigBackend, moved: frozenset[Crosspoint], out: Totals) -> None:
    counts = Counter(name for name, _ in moved)
    for name, matrix in rig.rack.matrices.items():
        n = counts[name]
        if n:
            out.relay_s += matrix.settle_s * (2 if matrix.parallel_moves else n)
            _send(rig, name, matrix.messages_per_move, out)


def _send(rig: RigBackend, name: str, messages: int, out: Totals) -> None:
    out.transactions += messages
    out.message_s += messages * rig.message_s.get(name, 0.0)


def lines(rig: RigBackend, programme: Iterable[PulseBlock]) -> list[str]:
    """Return the plan in words."""
    t = totals(rig, programme)
    per = 100 * t.transactions / t.pulses if t.pulses else 0.0
    text = [
        f"{rig.name}: {t.blocks} blocks, {t.pulses} pulses, {t.readings} readings",
        f"closures: {t.stages} sets, {t.moves} relay moves, about {t.relay_s:.3g} s",
        f"runs inside the instruments: {t.runs}, about {t.transactions} messages "
        f"({per:.3g} per 100 pulses, {t.message_s:.3g} s)",
        f"predicted time: {t.total_s:.3g} s (pulses {t.pulse_s:.3g} s, waiting {t.idle_s:.3g} s)",
    ]
    if t.unbatched:
        text += [f"not batched: {n} pulses of {name} are started one by one by the computer"
                 for name, n in sorted(t.unbatched.items())]  # fmt: skip
    else:
        text.append("batched: all pulses; the computer only moves relays and starts runs")
    text += [f"{note} ({n} blocks)" for note, n in sorted(t.notes.items())]
    return text
