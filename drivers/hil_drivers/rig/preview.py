"""The plan of a programme before it is run: what is batched, what is not, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hil.program import Phase, PulseBlock
from hil_drivers.rig.job import Job

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
    idle_s: float = 0.0
    unbatched: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """Predicted time of everything."""
        return self.run_s + self.relay_s + self.idle_s


def totals(rig: RigBackend, programme: Iterable[PulseBlock]) -> Totals:
    """Return the sums over ``programme``; nothing is driven.

    Raises:
        LimitError: the rig cannot do a block.
    """
    out = Totals()
    for block in programme:
        _add(rig, rig.job(block), out)
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
    for note in job.lowered.notes:
        out.notes[note] = out.notes.get(note, 0) + 1
    matrices = rig.rack.matrices
    before = rig.wiring.closures(job.plan.before)
    for stage, runs in zip(job.plan.stages, job.runs, strict=True):
        now = stage.closures
        for name in {m for m, _ in before ^ now}:
            matrix = matrices[name]
            n = sum(m == name for m, _ in before ^ now)
            out.relay_s += matrix.settle_s * (2 if matrix.parallel_moves else n)
            out.transactions += 1
        before = now
        for run in runs:
            slowest = 0.0
            for name, programs in run.programs.items():
                estimate = rig.rack.sources[name].estimate(programs)
                slowest = max(slowest, estimate.duration_s)
                out.transactions += estimate.transactions
                if not estimate.batched:
                    out.unbatched[name] = out.unbatched.get(name, 0) + run.n_pulses
            out.run_s += slowest


def lines(rig: RigBackend, programme: Iterable[PulseBlock]) -> list[str]:
    """Return the plan in words."""
    t = totals(rig, programme)
    per = t.pulses / t.transactions if t.transactions else 0.0
    text = [
        f"{rig.name}: {t.blocks} blocks, {t.pulses} pulses, {t.readings} readings",
        f"closures: {t.stages} sets, {t.moves} relay moves, about {t.relay_s:.3g} s",
        f"runs inside the instruments: {t.runs}, about {t.transactions} messages "
        f"({per:.3g} pulses per message)",
        f"predicted time: {t.total_s:.3g} s (pulses {t.pulse_s:.3g} s, waiting {t.idle_s:.3g} s)",
    ]
    if t.unbatched:
        text += [f"not batched: {n} pulses of {name} are started one by one by the computer"
                 for name, n in sorted(t.unbatched.items())]  # fmt: skip
    else:
        text.append("batched: all pulses; the computer only moves relays and starts runs")
    text += [f"{note} ({n} blocks)" for note, n in sorted(t.notes.items())]
    return text
