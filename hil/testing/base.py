"""The base of the contract suite: how to make a backend, how to read and write its array."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from hil.backend import Backend
from hil.geometry import ArrayGeometry
from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.program import PulseBlock
from hil.testing import programs

FloatArray = NDArray[np.float64]


class Contract(ABC):
    """Makes backends of one kind; every test makes fresh ones and leaves them closed.

    Attributes:
        deterministic: a backend made again repeats the run to the last bit (simulators, replay).
        read_tolerance: relative error of a conductance read ``averages`` times.
        write_tolerance: relative difference of conductances after the same pulses.
        averages: repeats of a read that the tests average.
        pulses: nominal pulses that change a conductance clearly (several read tolerances).
    """

    deterministic = True
    read_tolerance = 0.1
    write_tolerance = 0.1
    averages = 8
    pulses = 20
    probe = 4  #: rows and columns that the tests look at

    @abstractmethod
    def make(self, limits: SafetyLimits | None = None) -> tuple[Backend, OperatingPoint]:
        """Return a fresh, closed backend with ``limits``, and an operating point for it.

        Made twice, it has the same devices in the same state, as far as that can be had.
        """

    def outputs_on(self, backend: Backend) -> bool | None:
        """Return whether outputs are on, by other means than the backend's word; None = unknown.

        Override it where there is a way to know: an emulator, a probe, a simulator's state.
        """
        return None

    def break_midway(self, backend: Backend) -> bool:
        """Make the next block of an open backend fail when a part of it has run.

        Return False where there is no way to; override it where there is.
        """
        return False

    def assert_safe(self, backend: Backend) -> None:
        """Fail when outputs are known to be on."""
        assert self.outputs_on(backend) is not True, "outputs are still on"

    def run(self, backend: Backend, *blocks: PulseBlock) -> list[MeasurementBlock]:
        """Drive blocks, one sensed line per step where the backend has one meter."""
        serial = not backend.capabilities.parallel_sense
        return list(backend.run([programs.one_line_each(b) if serial and b.n_readings else b
                                 for b in blocks]))  # fmt: skip

    def corner(self, geometry: ArrayGeometry) -> tuple[int, int]:
        """Return how many rows and columns the tests look at."""
        return min(self.probe, geometry.n_rows), min(self.probe, geometry.n_cols)

    def conductances(
        self, backend: Backend, op: OperatingPoint, *, backward: bool = False
    ) -> FloatArray:
        """Return the averaged conductances of the corner in siemens, read line by line."""
        geometry = backend.geometry
        n_rows, n_cols = self.corner(geometry)
        n_side, n_driven = (geometry.n_cols, n_cols) if backward else (geometry.n_rows, n_rows)
        block = programs.read_steps(
            geometry, op, np.eye(n_driven, n_side, dtype=np.bool_), backward=backward,
            repeat=self.averages,
        )  # fmt: skip
        (m,) = self.run(backend, block)
        lines = geometry.read_lines.plus if backward else geometry.read_lines.minus
        per_line = np.array([m.current_a[m.line == k] for k in lines])
        mean = per_line.reshape(len(lines), n_driven, self.averages).mean(axis=2)
        g = (mean if backward else -mean.T) / op.read_v
        return np.asarray(g[:n_rows, :n_cols])

    def vary(self, backend: Backend, op: OperatingPoint) -> None:
        """Write a pattern that is not its own transpose: row i, column j ≤ i get pulses."""
        n_rows, n_cols = self.corner(backend.geometry)
        blocks = [
            programs.write_step(backend.geometry, op, [i], list(range(min(i + 1, n_cols))),
                                repeat=max(self.pulses * (i + 1) // 4, 1))
            for i in range(n_rows)
        ]  # fmt: skip
        self.run(backend, *blocks)

    def programme(self, geometry: ArrayGeometry, op: OperatingPoint) -> PulseBlock:
        """Return one read block with several steps, repeats of 0, 1 and 3."""
        drives = np.zeros((5, geometry.n_rows), dtype=np.bool_)
        drives[np.arange(5), np.arange(5) % geometry.n_rows] = True
        block = programs.read_steps(geometry, op, drives)
        return PulseBlock.build(
            block.phase, block.state, block.level_v, block.width_s, rise_s=block.rise_s,
            fall_s=block.fall_s, gap_s=block.gap_s, repeat=[1, 3, 0, 2, 1], sense=block.sense,
            sensing=block.sensing,
        )  # fmt: skip
