"""Contract: readings, and the physics that every array shares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hil.measurement import Status, reading_index
from hil.program import PulseBlock, split
from hil.testing import programs
from hil.testing.base import Contract, FloatArray


class PhysicsContract(Contract):
    """What is measured, and what pulses do."""

    def test_readings_are_exactly_what_sense_and_repeat_promise(self) -> None:
        """One reading per sensed line and repeat, ordered by step, pulse, line."""
        backend, op = self.make()
        block = self.programme(backend.geometry, op)
        if not backend.capabilities.parallel_sense:
            block = programs.one_line_each(block)
        with backend:
            (m,) = list(backend.run([block]))
        assert len(m) == block.n_readings
        step, line, pulse = reading_index(block)
        assert np.array_equal(m.step, step)
        assert np.array_equal(m.line, line)
        assert np.array_equal(m.pulse, pulse)
        assert np.isfinite(m.current_a).all()
        assert np.array_equal(m.executed, block.repeat[m.step])
        simulated = (m.status & np.uint32(Status.SIMULATED)) != 0
        assert (simulated == backend.capabilities.simulated).all()

    def test_time_rises_strictly_from_pulse_to_pulse(self) -> None:
        """Lines of one pulse share its start; the next pulse starts later, across blocks too."""
        backend, op = self.make()
        block = self.programme(backend.geometry, op)
        with backend:
            blocks = self.run(backend, block, block)
        starts = []
        for m in blocks:
            pulses = np.stack([m.step, m.pulse], axis=1)
            new = np.concatenate([[True], (np.diff(pulses, axis=0) != 0).any(axis=1)])
            starts.append(m.t_ns[new])
            assert np.array_equal(m.t_ns, m.t_ns[new][np.cumsum(new) - 1])
        assert (np.diff(np.concatenate(starts)) > 0).all()

    def test_compliance_is_kept_and_flagged(self) -> None:
        """A source that limits says so and carries the limit; one that does not, does not."""
        backend, op = self.make()
        if not backend.capabilities.limits_current:
            pytest.skip("this backend cannot limit current")
        geometry = backend.geometry
        drives = np.eye(1, geometry.n_rows, dtype=np.bool_)
        line = int(geometry.read_lines.plus[0])
        with backend:
            free = programs.read_steps(geometry, op, drives, sense_driven=True)
            (m,) = self.run(backend, free)
            current = abs(float(m.current_a[m.line == line][0]))
            assert not (m.status & np.uint32(Status.I_COMPLIANCE)).any()
            limit = np.full(geometry.n_lines, np.inf)
            limit[line] = current / 4
            tight = programs.read_steps(geometry, op, drives, sense_driven=True, compliance_a=limit)
            (m,) = self.run(backend, tight)
        limited = m.line == line
        assert (m.status[limited] & np.uint32(Status.I_COMPLIANCE)).all()
        assert np.abs(m.current_a[limited]) == pytest.approx(current / 4, rel=self.read_tolerance)

    def test_cutting_a_programme_into_chunks_changes_nothing(self) -> None:
        """The same steps as one block and as many small blocks give the same readings."""
        whole, chunked = self._twice_the_same(lambda b: [b], lambda b: list(split(b, 2, 2.0)))
        self._same(whole, chunked)

    def test_the_same_seed_gives_the_same_run(self) -> None:
        """A backend made again repeats the run."""
        first, second = self._twice_the_same(lambda b: [b], lambda b: [b])
        self._same(first, second)

    def _twice_the_same(self, *cuts: Callable[[PulseBlock], list[PulseBlock]]) -> list[FloatArray]:
        runs = []
        for cut in cuts:
            backend, op = self.make()
            n_rows, n_cols = self.corner(backend.geometry)
            writes = [programs.write_step(backend.geometry, op, [i], range(n_cols), repeat=3)
                      for i in range(n_rows)]  # fmt: skip
            read = self.programme(backend.geometry, op)
            blocks = [piece for b in (*writes, read, writes[0], read) for piece in cut(b)]
            with backend:
                readings = self.run(backend, *blocks)
            runs.append(np.concatenate([m.current_a for m in readings]))
        return runs

    def _same(self, first: FloatArray, second: FloatArray) -> None:
        if self.deterministic:
            assert np.array_equal(first, second)
        else:
            assert second == pytest.approx(first, rel=2 * self.read_tolerance)

    def test_a_zero_level_block_changes_nothing(self) -> None:
        """0 V on every line moves no device and carries no current."""
        backend, op = self.make()
        with backend:
            self.vary(backend, op)
            before = self.conductances(backend, op)
            pulses = backend.ledger.device_pulses
            zero = programs.zero_step(backend.geometry, op, sense=True)
            currents = np.concatenate([m.current_a for m in self.run(backend, zero, zero)])
            assert backend.ledger.device_pulses == pulses
            after = self.conductances(backend, op)
        assert after == pytest.approx(before, rel=self.read_tolerance)
        one_device = float(before.min()) * abs(op.read_v)
        assert np.abs(currents).max() <= one_device * self.read_tolerance

    def test_backward_is_the_transpose_of_forward(self) -> None:
        """Reading by rows and by columns gives one matrix; catches swapped rows and columns."""
        backend, op = self.make()
        if not backend.capabilities.reciprocal:
            pytest.skip("this array is not reciprocal")
        with backend:
            self.vary(backend, op)
            forward = self.conductances(backend, op)
            backward = self.conductances(backend, op, backward=True)
        assert backward == pytest.approx(forward, rel=self.read_tolerance)
        assert forward != pytest.approx(forward.T, rel=self.read_tolerance), "the pattern is lost"

    def test_a_write_pulse_moves_the_selected_devices_only(self) -> None:
        """A potentiated device gains, a depressed one loses, a far one stays where it was."""
        backend, op = self.make()
        n_rows, n_cols = self.corner(backend.geometry)
        row, col = n_rows - 1, n_cols - 2
        with backend:
            start = self.conductances(backend, op)
            up = programs.write_step(backend.geometry, op, [row], [col], repeat=self.pulses)
            self.run(backend, up)
            higher = self.conductances(backend, op)
            down = programs.write_step(
                backend.geometry, op, [row], [col], up=False, repeat=self.pulses
            )
            self.run(backend, down)
            lower = self.conductances(backend, op)
        assert higher[row, col] > start[row, col] * (1 + 2 * self.read_tolerance)
        assert lower[row, col] < higher[row, col]
        assert higher[0, 0] == pytest.approx(start[0, 0], rel=self.read_tolerance)

    def test_read_widths_per_line_equal_the_equivalent_sliced_steps(self) -> None:
        """The charge of one step with a width per line is the sum over slices of it."""
        backend, op = self.make()
        if not backend.capabilities.per_line_width:
            pytest.skip("this backend has one width per step")
        geometry = backend.geometry
        n_rows, _ = self.corner(geometry)
        drives = np.arange(geometry.n_rows)[None, :] < n_rows
        widths = op.read_s * (1 + np.arange(geometry.n_rows) % 4)[None, :] / 4
        with backend:
            self.vary(backend, op)
            coded = programs.read_steps(geometry, op, drives, width_s=widths)
            blocks = self.run(backend, *[coded] * self.averages)
            slices = self.run(backend, *[programs.sliced(coded)] * self.averages)
        line = int(geometry.read_lines.minus[0])
        charge = [
            sum(float((m.current_a * m.width_s)[m.line == line].sum()) for m in readings)
            for readings in (blocks, slices)
        ]
        assert charge[1] == pytest.approx(charge[0], rel=self.read_tolerance)

    def test_write_widths_per_line_equal_the_equivalent_sliced_steps(self) -> None:
        """Devices end where slices of the same pulse take them: they act on what they see."""
        results = []
        for slicing in (False, True):
            backend, op = self.make()
            if not backend.capabilities.per_line_width:
                pytest.skip("this backend has one width per step")
            geometry = backend.geometry
            n_rows, n_cols = self.corner(geometry)
            widths = op.write_s * (1 + np.arange(geometry.n_cols) % n_cols) / n_cols
            block = programs.write_step(
                geometry, op, [0, n_rows - 1], range(n_cols), width_s=widths
            )
            with backend:
                blocks = [programs.sliced(block) if slicing else block] * self.pulses
                self.run(backend, *blocks)
                results.append(self.conductances(backend, op))
        assert results[1] == pytest.approx(results[0], rel=self.write_tolerance)
        assert results[0][0, -1] > results[0][0, 0], "a wider pulse must do more"
