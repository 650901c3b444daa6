"""The simulated array passes the contract: every cell kind, several devices, a mimicked rig."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hil_sim.backend import SimBackend
from hil_sim.factory import drive_of
from hil_sim.models.device import load_device
from hil_sim.sim_array import SimArray

from hil.backend import Backend
from hil.capabilities import Capabilities, Range
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.limits import SafetyLimits
from hil.operating import OperatingPoint
from hil.testing import BackendContract


def interrupt_after_two_steps(array: SimArray) -> None:
    """Let Ctrl-C come in the middle of the next block."""
    drive = array._drive

    def interrupted(block, step, last, pulses, at, out):  # type: ignore[no-untyped-def]
        at = drive(block, step, min(last, 2), pulses, at, out)
        if last > 2:
            raise KeyboardInterrupt
        return at

    array._drive = interrupted  # type: ignore[method-assign]


class SimContract(BackendContract):
    preset = "nonlinear"
    shape = (6, 5)
    mimic: Capabilities | None = None
    quiet = False  #: cycle-to-cycle variation off: it is as large as what a few pulses do

    def make(self, limits: SafetyLimits | None = None) -> tuple[Backend, OperatingPoint]:
        device = load_device(self.preset)
        if self.quiet:
            steady = device.variation.model_copy(update={"range_c2c": 0.0, "step_c2c": 0.0})
            device = device.model_copy(update={"variation": steady})
        geometry = ArrayGeometry(*self.shape, CELL_KINDS[device.cell])
        backend = SimBackend(geometry, device, seed=7, limits=limits, mimic=self.mimic)
        return backend, drive_of(device)

    def outputs_on(self, backend: Backend) -> bool | None:
        assert isinstance(backend, SimBackend)
        return backend.outputs_on

    def break_midway(self, backend: Backend) -> bool:
        assert isinstance(backend, SimBackend)
        if self.mimic is not None:
            return False
        interrupt_after_two_steps(backend.array)
        return True


class TestNonlinear(SimContract):
    pass


class TestIdeal(SimContract):
    preset = "ideal"
    read_tolerance = 1e-9
    write_tolerance = 1e-9


class TestSquare(SimContract):
    preset = "ideal"
    shape = (5, 5)
    read_tolerance = 1e-9


class TestTaox(SimContract):
    preset = "taox"
    quiet = True
    read_tolerance = 0.05
    write_tolerance = 0.05


class TestPcmoWithoutHardThreshold(SimContract):
    preset = "pcmo"
    write_tolerance = 0.4


class TestOneTransistor(SimContract):
    preset = "hfox"
    quiet = True
    write_tolerance = 0.05


class TestEcram(SimContract):
    preset = "ecram"
    pulses = 200
    write_tolerance = 0.1


class TestGatedSchottky(SimContract):
    preset = "gated-schottky"
    write_tolerance = 0.3


class TestMimickedRig(SimContract):
    preset = "ideal"
    mimic = replace(
        Capabilities(),
        level_v=Range(-10.0, 10.0, 1e-3),
        width_s=Range(1e-7, 1.0, 1e-8),
        sense_a=Range(-1e-3, 1e-3, 1e-10),
        max_steps=50,
        step_overhead_s=2e-6,
        block_overhead_s=1e-3,
    )
    read_tolerance = 0.01
    write_tolerance = 1e-6


class TestRigWithOneMeter(SimContract):
    preset = "ideal"
    mimic = replace(
        Capabilities(),
        parallel_sense=False,
        per_line_width=False,
        limits_current=False,
        can_float=False,
    )
    read_tolerance = 1e-9


@pytest.mark.parametrize("preset", ["nonlinear", "hfox", "gated-schottky"])
def test_a_single_cell_passes_the_reading_part(preset: str) -> None:
    class Single(SimContract):
        shape = (1, 1)

    suite = Single()
    suite.preset = preset
    suite.test_readings_are_exactly_what_sense_and_repeat_promise()
    suite.test_time_rises_strictly_from_pulse_to_pulse()
    suite.test_compliance_is_kept_and_flagged()
