"""The simulated array: conductances, their history, and what a block of pulses does to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import ConfigError, GeometryError
from hil.geometry import ArrayGeometry
from hil.measurement import COLUMNS, MeasurementBlock
from hil.program import LineState, Phase, PulseBlock
from hil_sim.dense import DenseStep
from hil_sim.kernels import crossings, philox, solved, steps
from hil_sim.kernels import law as lw
from hil_sim.models.device import Device
from hil_sim.population import populate
from hil_sim.readout import IdealReadout, Readout
from hil_sim.readplan import ProductPlan, ReadPlan, plan_products, plan_reads
from hil_sim.updateplan import UpdatePlan, plan_updates

if TYPE_CHECKING:
    from hil.template import BlockTemplate

FloatArray = NDArray[np.float64]
_NONE = MeasurementBlock.empty(0)
_ALL = 2**62
_DRIVEN = bytes([LineState.DRIVE])
_DTYPES = [dtype for dtype, _, _ in COLUMNS.values()]


def _uninitialised(n_readings: int) -> MeasurementBlock:
    return MeasurementBlock(*[np.empty(n_readings, dtype) for dtype in _DTYPES])


def _rows_of(geometry: ArrayGeometry) -> NDArray[np.int64]:
    """Return (4, n_rows) lines of each row: read plus, write plus, erase plus, erase minus."""
    read, write, erase = geometry.read_lines, geometry.write_lines, geometry.erase_lines
    sides = (read.plus_by_row, not read.minus_by_row, write.plus_by_row, not write.minus_by_row)
    if not all(sides) or geometry.cell.read.minus != geometry.cell.write.minus:
        raise GeometryError(
            f"cell kind {geometry.cell.name}: the simulator needs ports from a row line to the "
            "same column line"
        )
    none = np.full(geometry.n_rows, -1)
    return np.ascontiguousarray(
        np.vstack([
            read.plus, write.plus,
            none if erase is None else erase.plus, none if erase is None else erase.minus,
        ])
    )  # fmt: skip


class SimArray:
    """Devices of one array and their state.

    Attributes (arrays are (n_rows, n_cols) unless said otherwise):
        g: conductance in siemens as of the step at hand.
        ordinal: pulses that have acted on each device; the third counter word of its noise.
        pristine: devices that are not formed yet.
        reads: (n_lines,) readings taken of each line.
        clock_ns: the virtual clock.
        work: scratch of the compiled loops.
        version: of the devices' parameters, which forming and snapshots change.
    """

    def __init__(
        self, geometry: ArrayGeometry, device: Device, seed: int, readout: Readout | None = None,
        g0: FloatArray | float | None = None,
    ) -> None:  # fmt: skip
        self.geometry, self.device = geometry, device
        self.readout: Readout = IdealReadout() if readout is None else readout
        self.key = philox.key_of(seed)
        self.population = populate(device, geometry, seed)
        self.rows = _rows_of(geometry)
        self.read_rows = self.rows[steps.READ]
        self.col_lines = np.ascontiguousarray(geometry.read_lines.minus)
        self.gates = np.empty(0, dtype=np.int64)
        if device.transistor is not None and geometry.cell.select is not None:
            span = geometry.lines(geometry.cell.select)
            self.gates = np.arange(span.start, span.stop)
        self.erases = device.erase is not None
        self.ordinal = np.zeros(geometry.shape, dtype=np.uint32)
        self.reads = np.zeros(geometry.n_lines, dtype=np.uint64)
        self.clock_ns = 0
        self.g = self._initial(g0)
        self.pristine = np.zeros(geometry.shape, dtype=np.bool_)
        self._start_pristine()
        self._drifts = device.drift is not None
        if self._drifts:
            self.written = self.g.copy()
            self.written_ns = np.zeros(geometry.shape, dtype=np.int64)
        self.step_overhead_s = 0.0  #: what a mimicked rig adds to every pulse
        self._taken, self._reached = _NONE, (0, 0, 0)
        self.tripped: set[int] = set()  #: steps of the last block that limit a line not sensed
        self.work = steps.workspace(geometry.n_lines)
        self.version = 0
        self._tables: dict[tuple[float, float], tuple[NDArray[Any], ...]] = {}

    def _initial(self, g0: FloatArray | float | None) -> FloatArray:
        p = self.population
        low, high = p.full_min, p.full_max
        if g0 is None:
            return low.copy()
        g = np.asarray(g0, dtype=np.float64)
        if g.shape not in ((), self.geometry.shape):
            raise ConfigError(f"shape {g.shape}, the array has {self.geometry.shape}", field="g0")
        if not np.isfinite(g).all() or (g <= 0.0).any():
            raise ConfigError("conductances must be finite and above 0 S", field="g0")
        nominal = self.device.range
        if (g < nominal.g_min).any() or (g > nominal.g_max).any():
            raise ConfigError(
                f"conductances from {g.min():g} to {g.max():g} S, the device has "
                f"{nominal.g_min:g} to {nominal.g_max:g} S", field="g0",
            )  # fmt: skip
        # A device's own range (d2d, stuck) wins: it cannot be where it cannot be programmed.
        return np.clip(np.broadcast_to(g, self.geometry.shape), low, high)

    def _start_pristine(self) -> None:
        forming = self.device.forming
        if forming is None or forming.formed:
            self.population.law[0]["v_form_min"] = np.inf
            return
        params = self.population.params
        self.pristine[...] = params[..., lw.P_MAX] > params[..., lw.P_MIN]
        self.g[self.pristine] = forming.g_pristine
        # Without a range a device does not answer pulses; forming gives it its range.
        params[..., lw.P_MIN][self.pristine] = forming.g_pristine
        params[..., lw.P_MAX][self.pristine] = forming.g_pristine

    def _state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays, not copied, that decide what the devices do from now on."""
        params = self.population.params
        state: dict[str, NDArray[Any]] = {
            "g": self.g, "ordinal": self.ordinal, "reads": self.reads, "pristine": self.pristine,
            "g_low": params[..., lw.P_MIN], "g_high": params[..., lw.P_MAX],
        }  # fmt: skip
        if self._drifts:
            state |= {"written": self.written, "written_ns": self.written_ns}
        return state

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return a copy of all that changes: the devices, their counters and the clock."""
        clock = np.array(self.clock_ns, dtype=np.int64)
        return {name: array.copy() for name, array in self._state().items()} | {"clock_ns": clock}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a snapshot of an array with the same seed, device and size.

        Raises:
            ConfigError: it is that of another array.
        """
        for name, mine in self._state().items():
            given = arrays.get(name)
            if given is None or given.shape != mine.shape:
                raise ConfigError("is not a snapshot of this simulated array", field=name)
        for name, mine in self._state().items():
            mine[...] = arrays[name]
        self.clock_ns = int(arrays["clock_ns"])
        self._note_forming()
        self._changed()

    def _note_forming(self) -> None:
        p = self.population
        if p.v_form.size:
            left = p.v_form[self.pristine]
            p.law[0]["v_form_min"] = left.min() if left.size else np.inf

    def form(self, forming: NDArray[np.bool_], limit_a: FloatArray) -> None:
        """Form devices under a current limit per device; see ``models.electrical.FormingTable``."""
        table = self.device.forming
        if table is None:
            return
        p = self.population
        wanted = limit_a / table.compliance_voltage
        low, high = p.full_min, p.full_max
        broken = forming & (wanted > table.overshoot * high)
        whole = forming & ~broken
        self.g[whole] = np.clip(wanted, low, high)[whole]
        self.g[broken] = high[broken]
        p.params[..., lw.P_MIN][whole], p.params[..., lw.P_MAX][whole] = low[whole], high[whole]
        p.params[..., lw.P_MIN][broken] = p.params[..., lw.P_MAX][broken] = high[broken]
        self.ordinal[forming] += np.uint32(1)
        self.pristine &= ~forming
        self._note_forming()
        self._changed()

    def run(self, block: PulseBlock, n_readings: int) -> MeasurementBlock:
        """Drive a block, return its readings, advance the clock."""
        self.tripped.clear()
        if block.switched and block.template is not None:
            update = self._update_plan(block.template)
            if update is not None:
                self._taken, self._reached = _NONE, (0, 0, 0)
                update.run(self, block)
                self._reached = (block.n_steps, 0, 0)
                return _NONE
        if not n_readings and (block.phase is Phase.IDLE or _DRIVEN not in block.state.tobytes()):
            self._wait(block)
            return _NONE
        plan = self._plan(block) if n_readings and block.template is not None else None
        if plan is not None:
            self._taken, self._reached = _NONE, (0, 0, 0)
            readings = plan.run(self, block)
            self._taken, self._reached = readings, (block.n_steps, 0, n_readings)
            return readings
        readings = _uninitialised(n_readings) if n_readings else _NONE
        self._taken, self._reached = readings, (0, 0, 0)
        out = (
            readings.step, readings.line, readings.pulse, readings.t_ns, readings.level_v,
            readings.width_s, readings.current_a, readings.executed, readings.status,
        )  # fmt: skip
        if self._drifts:
            self._run_drifting(block, out)
        else:
            self._drive(block, 0, block.n_steps, range(_ALL), 0, out)
        readings.range_a[:] = np.nan if block.sensing.range_a is None else block.sensing.range_a
        return readings

    def _update_plan(self, template: BlockTemplate) -> UpdatePlan | None:
        plans = template.plans
        plan: UpdatePlan | None = plans.get(self)
        if self not in plans or (
            plan is not None
            and (plan.version != self.version or plan.overhead_s != self.step_overhead_s)
        ):
            plan = plans[self] = None if self._drifts else plan_updates(self, template)
        if plan is None or plan.highest_v >= self.population.law[0]["v_form_min"]:
            return None
        return plan

    def pulse_table(self, v: float, tau: float) -> tuple[NDArray[Any], ...]:
        """Return what one pulse does to each device, see ``kernels.crossings``; kept.

        ``v`` is the device voltage along its polarity, ``tau`` the pulse's length in nominal ones.
        """
        key = v, tau
        if key not in self._tables:
            law = self.population.law
            table = crossings.new_table(*self.geometry.shape, bool(law[0]["noisy"]))
            crossings.pulse_table(v, tau, v > 0.0, law, self.population.params, table)
            self._tables[key] = table
        return self._tables[key]

    def _changed(self) -> None:
        """Forget what was made from parameters of the devices."""
        self.version += 1
        self._tables.clear()

    def _plan(self, block: PulseBlock) -> ReadPlan | ProductPlan | None:
        """Return how to run a block that only reads, if it is one that was looked at before."""
        template = block.template
        if template is None or self._drifts:
            return None
        base, plans = template.block, template.plans
        if block.level_v is not base.level_v or block.state is not base.state:
            return None
        plan: ReadPlan | ProductPlan | None
        if block.width_s is base.width_s:
            read: ReadPlan | None = plans.get(self)
            stale = read is not None and read.overhead_s != self.step_overhead_s
            if stale or self not in plans:
                read = plans[self] = plan_reads(self, block)
            plan = read
        else:
            key = self, "products"
            plan = plans[key] if key in plans else plans.setdefault(key, plan_products(self, block))
        if plan is None or plan.highest_v >= self.population.law[0]["v_form_min"]:
            return None
        return plan

    def salvage(self) -> tuple[int, int, MeasurementBlock]:
        """Return how far the last :meth:`run` came when it failed, and its readings until then.

        All pulses of the steps before the first number have run, and of that step as many as the
        second says.
        """
        step, pulse, at = self._reached
        columns = {name: column[:at] for name, column in self._taken.columns().items()}
        columns["range_a"] = np.full(at, np.nan, np.float32)
        return step, pulse, MeasurementBlock(**columns)

    def _drive(
        self, block: PulseBlock, step: int, last: int, pulses: range, at: int, out: Any
    ) -> int:
        """Drive the given repeats of steps up to ``last``; return the next free reading row."""
        p, width = self.population, block.widths_2d
        while step < last:
            if self.readout.lines_are_nodes:
                step, self.clock_ns, at = steps.run_steps(
                    step, last, block.state, block.level_v, width, block.rise_s, block.fall_s,
                    block.gap_s, self.step_overhead_s, block.repeat, block.sense,
                    block.compliance_a, self.rows, self.col_lines, self.gates, p.law, p.nodes_up,
                    p.nodes_down, p.params, self.g, self.ordinal, self.reads, self.key,
                    self.clock_ns, at, out, pulses.start, pulses.stop, self.work,
                )  # fmt: skip
            if step < last:
                now = range(pulses.start, min(pulses.stop, int(block.repeat[step])))
                self.clock_ns, at = DenseStep(self, block, step).run(now, self.clock_ns, at, out)
                step += 1
            if pulses.stop == _ALL:
                self._reached = step, 0, at
        return at

    def _run_drifting(self, block: PulseBlock, out: Any) -> None:
        """Drive a block pulse by pulse; every pulse finds the conductances as old as they are."""
        at = 0
        for step in range(block.n_steps):
            for pulse in range(int(block.repeat[step])):
                self._age()
                before = self.ordinal.copy()
                self._reached = step, pulse, at
                at = self._drive(block, step, step + 1, range(pulse, pulse + 1), at, out)
                solved.stamp_written(
                    before, self.ordinal, self.g, self.clock_ns, self.written, self.written_ns
                )

    def _wait(self, block: PulseBlock) -> None:
        """Advance the clock by a block that drives nothing."""
        for width, rise, fall, gap, repeat in zip(
            block.step_width_s.tolist(), block.rise_s.tolist(), block.fall_s.tolist(),
            block.gap_s.tolist(), block.repeat.tolist(), strict=True,
        ):  # fmt: skip
            period_s = width + 0.5 * (rise + fall) + gap + self.step_overhead_s
            self.clock_ns += max(round(period_s * 1e9), 1) * repeat

    def _age(self) -> None:
        """Let the conductances drift up to now."""
        if self.device.drift is not None:
            p = self.population
            solved.drifted(self.written, self.written_ns, p.nu, self.device.drift.t0,
                           self.clock_ns, p.full_max - p.full_min, self.g)  # fmt: skip

    def conductance_siemens(self) -> FloatArray:
        """Return a copy of the conductances now, drift included."""
        if self._drifts:
            self._age()
        return self.g.copy()
