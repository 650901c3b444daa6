"""What a protocol would do to an array, without doing it: time, pulses, stress, bytes.

A static protocol is compiled, checked and counted; nothing is simulated. An adaptive one decides
on its readings, so it runs on simulated arrays with several seeds and gives distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.backend import Backend
from hil.capabilities import Capabilities
from hil.control.bench import Planning
from hil.geometry import ArrayGeometry, PortLines
from hil.ledger import Ledger
from hil.procedure import ArrayContext, Procedure
from hil.program import READING_PHASES, LineState, Phase, Programme, PulseBlock, by_phase
from hil.template import BlockTemplate

#: Bytes of a recorded row after compression: the bulk figure of long runs of this store.
ROW_BYTES: Final = 26
#: Manifest, package list, events, stop record and configuration of any run.
FOLDER_BYTES: Final = 40_000
#: Seeds that an adaptive protocol is simulated with.
N_SEEDS: Final = 9


@dataclass(frozen=True, slots=True)
class WorstVoltage:
    """The largest |voltage| in volts that a device sees, and where."""

    v: float = 0.0
    row: int = -1
    col: int = -1
    phase: str = ""

    def worse(self, other: WorstVoltage) -> WorstVoltage:
        """Return the one with the larger magnitude."""
        return other if abs(other.v) > abs(self.v) else self


class Exposure:
    """Counts what blocks do to an array as they come; :meth:`numbers` sums up.

    Args:
        geometry: the array.
        capabilities: of the backend; its overheads enter the time.
        summarised: phases that are recorded per operation only, for the bytes.
    """

    def __init__(
        self,
        geometry: ArrayGeometry,
        capabilities: Capabilities,
        summarised: Collection[Phase] = (),
    ) -> None:
        self.geometry, self.capabilities = geometry, capabilities
        self._summarised = summarised
        self.ledger = Ledger(geometry)
        self.blocks = self.steps = self.readings = self.rows = 0
        self.seconds = 0.0
        self.selected = WorstVoltage()  #: of write pulses
        self.half_selected = WorstVoltage()
        self.read = WorstVoltage()  #: of reads, selected or not
        self._templates: set[BlockTemplate] = set()

    def add(self, block: PulseBlock) -> None:
        """Count one block."""
        self.blocks += 1
        self.steps += block.n_steps
        template = block.template
        n_readings = block.n_readings if template is None else template.n_readings
        self.readings += n_readings
        self.seconds += block.duration_s
        pulses = self.ledger.add(block)
        if block.phase not in self._summarised:
            self.rows += n_readings
            if pulses:
                self.rows += int(_selected_devices(self.geometry, block).sum())
        if block.phase is Phase.IDLE or not block.n_steps:
            return
        if template is None:
            self._stress(block)
        elif template not in self._templates:  # its corners hold the worst of all its blocks
            self._templates.add(template)
            for corner in template.corners or (template.block,):
                self._stress(corner)

    def _stress(self, block: PulseBlock) -> None:
        geometry = self.geometry
        erase = geometry.erase_lines
        block, reads = by_phase(block)
        if reads is not None:
            self._stress(reads)
        if block.phase in READING_PHASES:
            for found in worst_voltages(geometry, block, geometry.read_lines):
                self.read = self.read.worse(found)
            return
        erasing = block.phase is Phase.ERASE and erase is not None
        lines = geometry.write_lines if erase is None or not erasing else erase
        selected, half = worst_voltages(geometry, block, lines)
        self.selected = self.selected.worse(selected)
        self.half_selected = self.half_selected.worse(half)

    @property
    def bytes(self) -> int:
        """Bytes that a recording takes, about."""
        return FOLDER_BYTES + ROW_BYTES * (self.rows + self.blocks)

    def numbers(self) -> dict[str, float]:
        """Return totals and worst cases, units in the names."""
        caps = self.capabilities
        overhead_s = self.steps * caps.step_overhead_s + self.blocks * caps.block_overhead_s
        ledger = self.ledger.summary()
        # As in Ledger.energy_joule: a selected pulse is in both of its lines with half the voltage.
        v2s = (
            self.ledger.row_v2s[:, None]
            + self.ledger.col_v2s[None, :]
            + self.ledger.selected_v2s / 2
        )
        return {
            "seconds": self.seconds + overhead_s,
            "pulse_seconds": self.seconds,
            "blocks": self.blocks,
            "steps": self.steps,
            "readings": self.readings,
            "device_pulses": ledger["device_pulses"],
            "most_pulses_on_a_device": ledger["most_pulses_on_a_device"],
            "half_selects": ledger["half_selects"],
            "most_half_selects_on_a_device": ledger["most_half_selects_on_a_device"],
            "read_pulses": ledger["read_pulses"],
            "worst_v": self.selected.v,
            "worst_half_selected_v": self.half_selected.v,
            "worst_read_v": self.read.v,
            "worst_stress_v2s": float(v2s.max()),
            "bytes": self.bytes,
        }


def _selected_devices(geometry: ArrayGeometry, block: PulseBlock) -> NDArray[np.int64]:
    """Return (n_steps,) selected devices of each step that is driven: rows of the pulse table."""
    erase = geometry.erase_lines
    if block.phase is Phase.ERASE and erase is not None:
        rows = block.selected[:, erase.plus].sum(axis=1)
        cols = np.full(block.n_steps, geometry.n_cols)
    else:
        write = geometry.write_lines
        rows = block.selected[:, write.plus].sum(axis=1)
        cols = block.selected[:, write.minus].sum(axis=1)
    counts: NDArray[np.int64] = rows * cols * (block.repeat > 0)
    return counts


def worst_voltages(
    geometry: ArrayGeometry, block: PulseBlock, lines: PortLines
) -> tuple[WorstVoltage, WorstVoltage]:
    """Return the largest |voltage| of ``lines``' port on selected and on all other devices.

    A floating line is taken at the worst potential between the lowest and the highest driven level;
    a cell whose select transistor is off sees nothing.
    """
    driven = block.state == LineState.DRIVE
    level = np.where(driven, block.level_v, 0.0) * (block.repeat > 0)[:, None]
    read = geometry.read_lines
    conducting = np.unique(np.concatenate([read.plus, read.minus]))
    low = level[:, conducting].min(axis=1, initial=0.0)[:, None]
    high = level[:, conducting].max(axis=1, initial=0.0)[:, None]
    floating = block.state == LineState.FLOAT
    lo, hi = np.where(floating, low, level), np.where(floating, high, level)
    if lines.plus_by_row == lines.minus_by_row:
        across = np.maximum(hi[:, lines.plus] - lo[:, lines.minus], 0.0)
        under = np.minimum(lo[:, lines.plus] - hi[:, lines.minus], 0.0)
        v = np.where(across >= -under, across, under)
        at, n = divmod(int(np.abs(v).argmax()), v.shape[1])
        found = WorstVoltage(float(v[at, n]), n, -1, block.phase.name)
        return found, WorstVoltage()
    on = np.ones((block.n_steps, lines.plus.size), dtype=np.bool_)
    if geometry.cell.select is not None:
        gates = geometry.lines(geometry.cell.select)
        on = driven[:, gates] & (block.level_v[:, gates] > 0.0)
    picked = block.selected[:, lines.plus], block.selected[:, lines.minus]
    worst = [WorstVoltage(), WorstVoltage()]
    for want_plus in (True, False):
        for want_minus in (True, False):
            plus = on & (picked[0] == want_plus)
            minus = picked[1] == want_minus
            kind = 0 if want_plus and want_minus else 1
            for sign in (1.0, -1.0):
                # Lines that cross share a device, so the extremes of both sides are a device's.
                top = np.where(plus, (hi if sign > 0 else -lo)[:, lines.plus], -np.inf)
                bottom = np.where(minus, (lo if sign > 0 else -hi)[:, lines.minus], np.inf)
                gap = top.max(axis=1) - bottom.min(axis=1)
                step = int(gap.argmax())
                if np.isfinite(gap[step]) and gap[step] > abs(worst[kind].v):
                    a, b = int(top[step].argmax()), int(bottom[step].argmin())
                    row, col = (a, b) if lines.plus_by_row else (b, a)
                    worst[kind] = WorstVoltage(sign * float(gap[step]), row, col, block.phase.name)
    return worst[0], worst[1]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a protocol would do. Exactly known for a static one, else a distribution.

    Attributes:
        name, kind: of the protocol.
        adaptive: later pulses depend on readings; ``numbers`` are then medians.
        numbers: totals and worst cases, units in the names.
        low, high: 5 % and 95 % points of the simulated runs; empty for a static protocol.
        seeds: seeds that were simulated; empty for a static protocol.
        worst, worst_half: where the worst voltages are.
    """

    name: str
    kind: str
    adaptive: bool
    numbers: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    seeds: tuple[int, ...]
    worst: WorstVoltage
    worst_half: WorstVoltage

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        out: dict[str, Any] = {
            "protocol": self.name, "kind": self.kind, "adaptive": self.adaptive,
            "predicted": self.numbers,
            "worst_cell": [self.worst.row, self.worst.col],
            "worst_half_selected_cell": [self.worst_half.row, self.worst_half.col],
        }  # fmt: skip
        if self.adaptive:
            out["distribution"] = {
                name: {"median": self.numbers[name], "p5": self.low[name], "p95": self.high[name]}
                for name in self.numbers
            }
            out["seeds"] = list(self.seeds)
        return out


def check_and_count(
    procedure: Procedure,
    context: ArrayContext,
    backend: Backend,
    progress: Callable[[Exposure], None] | None = None,
) -> Exposure:
    """Compile a static protocol, check it whole against ``backend``, and count what it would do.

    Nothing is driven; the backend need not be open. ``progress`` is called after every block.

    Raises:
        ProtocolError: it does not fit the array. LimitError: a step is out of range.
    """
    programme = procedure.programme(context)
    exposure = Exposure(context.geometry, context.capabilities)
    walks = 0

    def counted() -> Iterator[PulseBlock]:
        nonlocal walks
        walks += 1  # the pulse budget may need a second walk, which must not count again
        for block in programme:
            yield block
            if walks == 1:
                exposure.add(block)
            if progress is not None:
                progress(exposure)

    backend.check(Programme(counted, procedure.name))
    return exposure


def forecast_static(
    procedure: Procedure,
    context: ArrayContext,
    backend: Backend,
    progress: Callable[[Exposure], None] | None = None,
) -> Forecast:
    """Return what a static protocol would do; see :func:`check_and_count`."""
    exposure = check_and_count(procedure, context, backend, progress)
    numbers = exposure.numbers()
    if isinstance(backend, Planning):  # it knows its relays and messages; one time for all to show
        numbers["seconds"] = backend.predicted_s(procedure.programme(context))
    return Forecast(procedure.name, procedure.kind, False, numbers, {}, {}, (),
                    exposure.selected, exposure.half_selected)  # fmt: skip


def forecast_adaptive(
    procedure: Procedure,
    geometry: ArrayGeometry,
    capabilities: Capabilities,
    simulate: Callable[[int, Callable[[PulseBlock], None]], None],
    seeds: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> Forecast:
    """Run an adaptive protocol on a simulated array per seed and return the distributions.

    Args:
        procedure: the protocol.
        geometry: the array.
        capabilities: of its backend; the overheads enter the time.
        simulate: runs the protocol on the simulated array of a seed and calls back every block.
        seeds: at least one.
        progress: called with the number of runs done.

    Raises:
        ProtocolError: it does not fit the array. LimitError: a step is out of range.
    """
    runs: list[Exposure] = []
    for done, seed in enumerate(seeds, start=1):
        exposure = Exposure(geometry, capabilities)
        simulate(seed, exposure.add)
        runs.append(exposure)
        if progress is not None:
            progress(done)
    return distribution(
        procedure.name, procedure.kind, seeds, [run.numbers() for run in runs], runs
    )


def distribution(
    name: str,
    kind: str,
    seeds: Sequence[int],
    table: Sequence[dict[str, float]],
    exposures: Sequence[Exposure],
) -> Forecast:
    """Return the forecast of simulated runs: medians, 5 % and 95 % points of their numbers."""
    low, middle, high = (
        {name: float(np.percentile([row[name] for row in table], q)) for name in table[0]}
        for q in (5, 50, 95)
    )
    worst, worst_half = WorstVoltage(), WorstVoltage()
    for run in exposures:
        worst, worst_half = worst.worse(run.selected), worst_half.worse(run.half_selected)
    return Forecast(name, kind, True, middle, low, high, tuple(seeds), worst, worst_half)
