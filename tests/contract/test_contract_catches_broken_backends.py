"""The contract fails where it should: each backend here is broken in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hil_sim.backend import SimBackend
from hil_sim.factory import drive_of
from hil_sim.models.device import load_device
from test_sim_contract import interrupt_after_two_steps

from hil.backend import Backend, Unfinished
from hil.errors import HilError
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock, Status
from hil.operating import OperatingPoint
from hil.program import PulseBlock
from hil.testing import BackendContract


class _Sound(SimBackend):
    pass


class _SwapsRowsAndColumns(SimBackend):
    """Backward answers as if the array were wired transposed (square arrays only)."""

    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        array = self.array
        wrong = block.phase.name == "BACKWARD"
        if wrong:
            array.g = np.ascontiguousarray(array.g.T)
        try:
            return super()._execute(block)
        finally:
            if wrong:
                array.g = np.ascontiguousarray(array.g.T)


class _LeavesOutputsOn(SimBackend):
    def _safe_state(self) -> None:
        pass


class _DrivesWithoutCheck(SimBackend):
    def open(self) -> None:  # type: ignore[misc]
        super().open()
        self.checker.check = lambda block, index=None: None  # type: ignore[method-assign]


class _LosesAReading(SimBackend):
    def _one(self, block: PulseBlock) -> MeasurementBlock:
        m = self._execute(self._prepare(block))
        return MeasurementBlock(*(c[:-1] for c in m.columns().values())) if len(m) else m


class _StopsTheClock(SimBackend):
    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        m = super()._execute(block)
        return replace(m, t_ns=np.zeros_like(m.t_ns))


class _HidesCompliance(SimBackend):
    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        m = super()._execute(block)
        return replace(m, status=m.status & ~np.uint32(Status.I_COMPLIANCE))


class _IgnoresCompliance(SimBackend):
    def _prepare(self, block: PulseBlock) -> PulseBlock:
        return replace(block, compliance_a=np.full(block.n_lines, np.inf))


class _MovesAtZeroVolt(SimBackend):
    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        if not block.level_v.any():
            self.array.g *= 1.5
        return super()._execute(block)


class _DrawsAgain(SimBackend):
    made = 0

    def _open(self) -> None:
        type(self).made += 1
        self.seed += self.made
        super()._open()


class _KnowsChunks(SimBackend):
    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        m = super()._execute(block)
        return replace(m, current_a=m.current_a * (1 + 1e-6 * block.n_steps))


class _IgnoresLineWidths(SimBackend):
    def _prepare(self, block: PulseBlock) -> PulseBlock:
        width = np.ascontiguousarray(
            np.broadcast_to(block.step_width_s[:, None], block.state.shape)
        )
        return replace(block, width_s=width)


class _StaysUsable(SimBackend):
    def _require_ready(self) -> None:
        pass


class _DisturbsEverything(SimBackend):
    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        readings = super()._execute(block)
        if block.phase.name == "PROGRAM":
            self.array.g *= 1.02
        return readings


class _ForgetsWhatMayHaveRun(SimBackend):
    def _salvage(self, asked: PulseBlock, prepared: PulseBlock) -> Unfinished:
        left = super()._salvage(asked, prepared)
        return replace(left, delivered=left.delivered.steps(0, 0), possible=left.known)


class _LosesWhatItHasRead(SimBackend):
    def _salvage(self, asked: PulseBlock, prepared: PulseBlock) -> Unfinished:
        return replace(super()._salvage(asked, prepared), readings=MeasurementBlock.empty(0))


def _suite(kind: type[SimBackend]) -> BackendContract:
    device = load_device("ideal")

    class Suite(BackendContract):
        read_tolerance = 1e-3
        write_tolerance = 1e-3

        def make(self, limits: SafetyLimits | None = None) -> tuple[Backend, OperatingPoint]:
            noisy = device.variation.model_copy(update={"read_noise": 1e-4})
            geometry = ArrayGeometry(5, 5, CELL_KINDS["1R"])
            own = device.model_copy(update={"variation": noisy})
            return kind(geometry, own, seed=3, limits=limits), drive_of(device)

        def outputs_on(self, backend: Backend) -> bool | None:
            assert isinstance(backend, SimBackend)
            return backend.outputs_on

        def break_midway(self, backend: Backend) -> bool:
            assert isinstance(backend, SimBackend)
            interrupt_after_two_steps(backend.array)
            return True

    return Suite()


Test = Callable[[BackendContract], None]
C = BackendContract
BROKEN: list[tuple[type[SimBackend], Test]] = [
    (_SwapsRowsAndColumns, C.test_backward_is_the_transpose_of_forward),
    (_LeavesOutputsOn, C.test_open_and_close_are_idempotent),
    (_LeavesOutputsOn, C.test_a_failure_while_driving_ends_in_the_safe_state),
    (_LeavesOutputsOn, C.test_an_early_stop_ends_in_the_safe_state),
    (_LeavesOutputsOn, C.test_an_abandoned_named_generator_ends_in_the_safe_state),
    (_LeavesOutputsOn, C.test_after_an_abort_nothing_is_driven_until_reopened),
    (_DrivesWithoutCheck, C.test_an_illegal_level_is_refused_and_nothing_is_applied),
    (_DrivesWithoutCheck, C.test_a_static_programme_is_checked_whole_before_anything_is_driven),
    (_DrivesWithoutCheck, C.test_an_adaptive_stream_is_checked_block_by_block),
    (_LosesAReading, C.test_readings_are_exactly_what_sense_and_repeat_promise),
    (_StopsTheClock, C.test_time_rises_strictly_from_pulse_to_pulse),
    (_HidesCompliance, C.test_compliance_is_kept_and_flagged),
    (_IgnoresCompliance, C.test_compliance_is_kept_and_flagged),
    (_MovesAtZeroVolt, C.test_a_zero_level_block_changes_nothing),
    (_DrawsAgain, C.test_the_same_seed_gives_the_same_run),
    (_KnowsChunks, C.test_cutting_a_programme_into_chunks_changes_nothing),
    (_IgnoresLineWidths, C.test_read_widths_per_line_equal_the_equivalent_sliced_steps),
    (_IgnoresLineWidths, C.test_write_widths_per_line_equal_the_equivalent_sliced_steps),
    (_StaysUsable, C.test_use_before_open_and_after_close_is_refused),
    (_ForgetsWhatMayHaveRun, C.test_a_block_that_fails_is_counted_as_far_as_it_may_have_run),
    (_LosesWhatItHasRead, C.test_readings_taken_before_a_failure_are_kept),
    (_DisturbsEverything, C.test_a_write_pulse_moves_the_selected_devices_only),
]
NAMES = [f"{kind.__name__[1:]}-{test.__name__[5:]}" for kind, test in BROKEN]


@pytest.mark.parametrize(("kind", "test"), BROKEN, ids=NAMES)
def test_the_contract_catches(kind: type[SimBackend], test: Test) -> None:
    with pytest.raises((AssertionError, HilError, pytest.fail.Exception)):
        test(_suite(kind))


@pytest.mark.parametrize("test", sorted({t for _, t in BROKEN}, key=lambda t: t.__name__))
def test_a_sound_backend_passes_the_same_tests(test: Test) -> None:
    test(_suite(_Sound))


def test_every_test_of_the_contract_has_a_backend_that_fails_it() -> None:
    tests = {name for name in dir(BackendContract) if name.startswith("test_")}
    covered = {test.__name__ for _, test in BROKEN}
    assert tests - covered == {"test_it_says_what_is_behind_it"}
