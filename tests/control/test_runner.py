from __future__ import annotations

import numpy as np
import pytest
from ohmic import OhmicBackend

from hil.control.array import SynapseArray
from hil.control.recorder import Recorder
from hil.errors import LimitError, ProtocolError, RunInterrupted
from hil.limits import SafetyLimits
from hil.operating import OperatingPoint
from hil.phases.decode import conductance_siemens
from hil.phases.reading import idle, read_rows
from hil.phases.writing import pulse_train
from hil.procedure import Procedure
from hil.program import Phase, Programme
from hil.record import RunFolder, open_run


class PulseAndRead(Procedure):
    """Potentiate one device n times, read it after every pulse."""

    name, kind = "pulse-and-read", "test"

    def __init__(self, row, col, n, adaptive=False):
        self.row, self.col, self.n, self.adaptive = np.array([row]), np.array([col]), n, adaptive

    def programme(self, context):
        def make():
            for _ in range(self.n):
                yield pulse_train(context.geometry, context.op, self.row, self.col,
                                  context.op.potentiate_v, context.op.write_s)  # fmt: skip
                yield read_rows(
                    context.geometry, context.op, context.capabilities, self.row, self.col
                )

        return Programme(make)

    def steps(self, context):
        line = context.geometry.read_lines.minus[self.col]
        g = []
        for block in self.programme(context):
            readings = yield block
            if len(readings):
                g.append(conductance_siemens(block, readings, context.op.read_v, line, 1)[0, 0])
        return {"g_siemens": np.array(g)}


@pytest.fixture
def backend():
    with OhmicBackend(np.full((3, 4), 10e-6)) as opened:
        yield opened


def make_run(tmp_path, levels="full"):
    return RunFolder.create(
        tmp_path, "test", kind="run", backend="ohmic", simulated=True, levels=levels,
        config={}, meta={}, seeds={}, limits={},
    )  # fmt: skip


def test_a_procedure_returns_what_it_measured(backend):
    array = SynapseArray(backend, OperatingPoint())
    result = array.run(PulseAndRead(1, 2, 5))
    np.testing.assert_allclose(
        result.outcome["g_siemens"], 10e-6 + 1e-6 * np.arange(1, 6), rtol=1e-6
    )
    assert (result.n_blocks, result.n_device_pulses, result.n_readings) == (10, 5, 5)
    assert not result.interrupted


def test_recorded_rows_hold_the_conductance_before_and_after_every_pulse(backend, tmp_path):
    with make_run(tmp_path) as folder:
        array = SynapseArray(backend, OperatingPoint(), recorder=Recorder(folder))
        array.read()
        array.run(PulseAndRead(1, 2, 5))
    run = open_run(folder.path)
    pulses = run.pulses.to_pydict()
    assert pulses["row"] == [1] * 5
    assert pulses["col"] == [2] * 5
    assert pulses["count"] == pulses["executed"] == [1] * 5
    np.testing.assert_allclose(pulses["v"], 1.0)
    np.testing.assert_allclose(pulses["g0"], 10e-6 + 1e-6 * np.arange(5), rtol=1e-5)
    np.testing.assert_allclose(pulses["g1"], 10e-6 + 1e-6 * np.arange(1, 6), rtol=1e-5)
    assert run.reads.num_rows == 12 + 5
    assert (np.diff(pulses["t_ns"]) > 0).all()
    assert sum(run.ops.to_pydict()["n_pulses"]) == 5


def test_pulses_without_a_reading_between_them_have_no_conductance_between(backend, tmp_path):
    with make_run(tmp_path) as folder:
        array = SynapseArray(backend, OperatingPoint(), recorder=Recorder(folder))
        counts = np.zeros((3, 4), dtype=int)
        counts[0, 1] = 3
        array.program(counts)
        array.program(counts)
        array.read()
    pulses = open_run(folder.path).pulses.to_pydict()
    assert pulses["count"] == [3, 3]
    assert pulses["g0"] == [None, None]
    assert pulses["g1"][0] is None


def test_at_level_operation_only_summaries_are_recorded(backend, tmp_path):
    with make_run(tmp_path, "operation") as folder:
        SynapseArray(backend, OperatingPoint(), recorder=Recorder(folder)).run(
            PulseAndRead(0, 0, 4)
        )
    run = open_run(folder.path)
    assert run.reads.num_rows == 0
    assert run.pulses.num_rows == 0
    assert run.ops.to_pydict()["n_pulses"] == [1, 0] * 4


def test_a_static_procedure_is_checked_whole_before_its_first_pulse():
    limits = SafetyLimits(pulses_per_device=4)
    with OhmicBackend(np.full((3, 4), 10e-6), limits=limits) as backend:
        array = SynapseArray(backend, OperatingPoint())
        with pytest.raises(LimitError, match="block 8"):
            array.run(PulseAndRead(0, 0, 5))
        assert backend.driven == []


def test_an_adaptive_procedure_drives_and_records_up_to_the_refused_block(tmp_path):
    limits = SafetyLimits(pulses_per_device=4)
    with (
        OhmicBackend(np.full((3, 4), 10e-6), limits=limits) as backend,
        make_run(tmp_path) as folder,
    ):
        array = SynapseArray(backend, OperatingPoint(), recorder=Recorder(folder))
        with pytest.raises(LimitError, match="block 8"):
            array.run(PulseAndRead(0, 0, 5, adaptive=True))
        assert len(backend.driven) == 8
        assert backend.safe_calls >= 1
    run = open_run(folder.path)
    assert run.pulses.num_rows == 4
    assert run.reads.num_rows == 4


def test_a_requested_stop_ends_the_procedure_in_the_safe_state(backend):
    array = SynapseArray(backend, OperatingPoint())

    def stop(block):
        if len(backend.driven) == 3:
            backend.request_stop()

    result = array.run(PulseAndRead(0, 0, 50), progress=stop)
    assert result.interrupted
    assert len(backend.driven) == 3
    assert backend.was_stopped
    assert backend.safe_calls >= 1


def test_a_requested_stop_interrupts_the_next_single_block(backend):
    backend.request_stop()
    with pytest.raises(RunInterrupted):
        backend.run_block(idle(backend.geometry, 1.0))
    assert backend.safe_calls == 1
    backend.run_block(idle(backend.geometry, 1.0))


def test_a_cell_without_erase_port_refuses_block_erase(backend):
    with pytest.raises(ProtocolError, match="no erase port"):
        SynapseArray(backend, OperatingPoint()).erase()


def test_waiting_is_outside_the_time_cap_of_a_block(backend):
    assert len(backend.run_block(idle(backend.geometry, 3600.0))) == 0
    assert backend.now_ns >= 3600 * 10**9


def test_the_phase_of_a_block_is_recorded(backend, tmp_path):
    with make_run(tmp_path) as folder:
        array = SynapseArray(backend, OperatingPoint(), recorder=Recorder(folder))
        array.program(np.ones((3, 4), dtype=int), phase=Phase.REFRESH)
    assert set(open_run(folder.path).pulses.to_pydict()["phase"]) == {int(Phase.REFRESH)}


def test_a_read_that_is_stopped_is_an_error_not_a_half_read_array(backend):
    backend.request_stop()
    with pytest.raises(RunInterrupted):
        SynapseArray(backend, OperatingPoint()).read()
    assert not np.isnan(SynapseArray(backend, OperatingPoint()).read()).any()
