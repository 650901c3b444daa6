"""What an ArC ONE is asked to do, what it is not, and what it is told."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from arc_bench import on_bench, station_of, text_of
from hil_drivers import inventory
from hil_drivers.arc_one.backend import ArcOne
from hil_drivers.arc_one.lowering import NO_CELL, SERIAL_READS
from hil_drivers.arc_one.probe import firmware_at
from hil_drivers.boards import board_of
from hil_drivers.factory import RigFactory
from hil_drivers.transport import WireLog, load_wire_log
from hil_drivers.transport.serialport import SerialPort

from hil.capabilities import Range
from hil.cli.main import main
from hil.control.array import SynapseArray
from hil.control.opening import default_pairs
from hil.errors import ConfigError, LimitError, LinkTimeout
from hil.limits import SafetyLimits
from hil.phases.matvec import MatVec
from hil.phases.reading import read_rows
from hil.phases.schemes import write_levels
from hil.phases.writing import CoincidenceUpdate
from hil.program import Phase, PulseBlock
from hil.testing import programs


def planned(text=None, limits=None) -> ArcOne:
    """Return a board that is not opened."""
    station = station_of(text or text_of())
    backend = RigFactory().create(station, station.array[0], seed=0, virtual=True)
    if limits is not None:
        backend = type(backend)(
            backend.geometry, (), backend.resource, backend.settings, limits=limits, simulated=True
        )
    return backend


@pytest.fixture
def board():
    return planned()


@pytest.fixture
def op():
    return station_of(text_of()).drive.operating_point()


def write_block(board, op, scheme="v/2", v=1.5, width_s=None, rows=(0,), cols=(1,), **options):
    chosen = [np.isin(np.arange(n), k)[None] for n, k in zip(board.geometry.shape, (rows, cols),
                                                             strict=True)]  # fmt: skip
    state, level, selected = write_levels(board.geometry, scheme, *chosen, v)
    return PulseBlock.build(Phase.PROGRAM, state, level, width_s or op.write_s, selected=selected,
                            **options)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "quantity", "value", "limit", "unit"),
    [
        ({"v": 12.5}, "line level", 12.5, 12.0, "V"),
        ({"v": -13.0}, "line level", -13.0, -12.0, "V"),
        ({"width_s": 80e-9}, "pulse width", 80e-9, 90e-9, "s"),
        ({"width_s": 2.5}, "duration of one block", 2.5, 2.0, "s"),
        ({"rise_s": 1e-8}, "rise time", 1e-8, 0.0, "s"),
        ({"compliance_a": 1e-4}, "compliance", 1e-4, np.inf, "A"),
        ({"scheme": "ground"}, "level of an unselected line", 0.0, 0.75, "V"),
        ({"scheme": "v/3"}, "level of an unselected line", -0.25, 0.0, "V"),
        ({"scheme": "float"}, "floating lines", 0.0, 0.0, ""),
    ],
    ids=["12 V", "-12 V", "90 ns", "2 s", "edges", "compliance", "ground", "v/3", "float"],
)  # fmt: skip
def test_what_the_board_cannot_do_is_refused_before_anything_is_driven(
    board, op, change, quantity, value, limit, unit
):
    with pytest.raises(LimitError) as caught:
        board.check([write_block(board, op, **change)])
    error = caught.value
    assert (error.quantity, error.unit) == (quantity, unit)
    if quantity != "floating lines":
        assert (error.value, error.limit) == (pytest.approx(value), pytest.approx(limit))
    assert not board.is_open


def test_reads_above_12_volts_are_refused(board, op):
    rows, cols = np.array([0]), np.array([0, 1])
    ok = read_rows(board.geometry, op, board.capabilities, rows, cols, read_v=-12.0)
    board.check([ok])
    bad = read_rows(board.geometry, op, board.capabilities, rows, cols, read_v=12.1)
    with pytest.raises(LimitError, match=r"12.1 V against limit 12 V"):
        board.check([bad])
    apart = programs.read_steps(board.geometry, replace(op, read_v=8.0), np.eye(1, 4) == 1)
    level = apart.level_v.copy()
    level[0, board.geometry.read_lines.minus] = -8.0
    both = replace(apart, level_v=level, state=np.full_like(apart.state, 2))
    with pytest.raises(LimitError, match=r"16 V against limit 12 V"):
        board.check([both])


def test_the_stations_limits_hold_for_the_levels_that_the_board_gives(op):
    """V/2 asks for +-0.75 V; the board gives 1.5 V, 0.75 V and 0 V."""
    tight = planned(limits=SafetyLimits(level_v=Range(-1.0, 1.0)))
    with pytest.raises(LimitError, match=r"WL0: line level 1.5 V against limit 1 V"):
        tight.check([write_block(tight, op)])
    planned(limits=SafetyLimits(level_v=Range(-1.5, 1.5))).check([write_block(tight, op)])


def test_the_classic_mode_reads_at_half_a_volt_and_at_nothing_else(op):
    text = text_of(settings=', read_mode = "classic", read_back_voltage = "0.5 V"')
    with on_bench(text) as (board, bench, _), board:
        with pytest.raises(LimitError, match=r"0.2 V against limit 0.5 V \(the classic mode"):
            SynapseArray(board, op).read()
        g = SynapseArray(board, replace(op, read_v=0.5)).read()
        assert g == pytest.approx(bench.array.conductance_siemens(), rel=1e-6)


def test_a_read_pulse_that_is_sensed_while_it_writes_is_refused(board, op):
    block = write_block(board, op, sense=np.eye(1, 8) == 1)
    with pytest.raises(LimitError, match="the board measures between pulses, not in them"):
        board.check([block])


def test_lines_without_a_device_are_refused_except_as_empty_slots_of_an_update(board, op):
    state, level, selected = write_levels(
        board.geometry, "v/2", np.eye(1, 4) == 1, np.zeros((1, 4), dtype=bool), 1.5
    )
    alone = PulseBlock.build(Phase.PROGRAM, state, level, op.write_s, selected=selected)
    with pytest.raises(LimitError, match="the board pulses devices, not lines alone"):
        board.check([alone])
    update = CoincidenceUpdate(board.geometry, op, np.arange(4))
    bits = np.array([[1, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    columns = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    block = update.block(1, bits, (columns, update.col_lines(np.arange(4))), every_slot=True)
    board.check([block])
    job = board.lowering.job(block)
    assert job.notes == (NO_CELL,)
    assert job.count.tolist() == [1]


def test_a_product_is_read_device_by_device_and_added_up(board, op):
    lines = board.geometry.read_lines
    product = MatVec(board.geometry, op, board.capabilities, lines.plus, lines.minus,
                     np.arange(4), Phase.FORWARD)  # fmt: skip
    job = board.lowering.job(product.block(np.array([[1.0, 0.5, 0.0, 0.25]])))
    assert job.notes == (SERIAL_READS,)
    assert job.n_operations == 3 * 4
    assert sorted(set(job.volts.tolist())) == pytest.approx([0.05, 0.1, 0.2])
    assert np.bincount(job.reading).tolist() == [3] * 4
    assert (job.sign == -1.0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (text_of(33, 4), "ArC ONE has 32 words"),
        (text_of(4, 40), "ArC ONE has 32 bits"),
        (text_of().replace("rows = 4", 'cell = "1T1R"\nrows = 4'), "two terminals per device"),
        (text_of().replace('"0.5 ms"', '"0.4 ms"'), "write_delay"),
        (text_of(settings=', read_back_voltage = "12.5 V"'), "reads at up to 12 V"),
        (text_of(settings=', read_mode = "kelvin"'), "read_mode"),
        (text_of(settings=", parity = 1"), "parity"),
        (text_of(settings=', read_mode = "classic"'), "classic.* 0.5 V"),
        (text_of() + '[[wiring]]\nline = "WL0:4"\nchannel = "board.b0"\n', "rows are on w0"),
        (text_of() + '[[wiring]]\nline = "WL0:4"\nchannel = "board.w30"\n', "32 words"),
        (text_of() + '[[wiring]]\nline = "WL0"\nchannel = "board.w3"\n', "WL1 is on no line"),
    ],
    ids=["rows", "cols", "1T1R", "pace", "volts", "mode", "unknown", "classic", "words", "end",
         "gap"],
)  # fmt: skip
def test_a_station_that_the_board_cannot_be_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        planned(text)


def test_a_board_and_another_instrument_on_one_array_are_refused():
    text = text_of() + (
        '[[instrument]]\nname = "smu"\ndriver = "keithley-2450"\nresource = "GPIB0::1::INSTR"\n'
    )
    with pytest.raises(ConfigError, match="drives every line by itself"):
        board_of(station_of(text), station_of(text).array[0])


def test_the_board_is_told_its_size_mode_and_voltage_and_a_map_is_one_command(op):
    log = WireLog()
    with on_bench(text_of(3, 5), wire_log=log) as (board, _, emulated):
        with board:
            assert board.identify().endswith("firmware 2.1, 3 x 5 cells, reads by tia4p")
            g = SynapseArray(board, op).read()
            assert g == pytest.approx(np.full((3, 5), g[0, 0]))
            SynapseArray(board, replace(op, read_v=-0.3)).read()
        assert emulated.commands[-6:] == [
            ("2", "1", "3", "5"), ("01", "3", "-0.3"), ("999",), ("2", "1", "3", "5"),
            ("00",), ("999",),
        ]  # fmt: skip
        first = emulated.commands.index(("0", "30", "3", "5", "2", "0", "1", "0.2"))
        assert emulated.commands[first - 1 : first + 3] == [
            ("999",), ("0", "30", "3", "5", "2", "0", "1", "0.2"), ("01", "2", "0.2"), ("999",),
        ]  # fmt: skip
    assert board.strategies[next(k for k in board.strategies if "whole array" in k)] == 2
    assert log.n_exchanges > 10


def test_every_byte_is_in_the_wire_log(op, tmp_path):
    path = tmp_path / "wire.jsonl"
    with WireLog(path) as log, on_bench(text_of(), wire_log=log) as (board, *_), board:
        board.run_block(programs.write_step(board.geometry, op, [2], [3]))
    exchanges = load_wire_log(path)["board"]
    sent = [e.sent for e in exchanges if e.op == "write"]
    assert "3\n3\n4\n1.5\n0.0002\n" in sent
    at = sent.index("3\n3\n4\n1.5\n0.0002\n")
    assert sent[at + 1] == "1\n3\n4\n"
    assert sum(len(e.block) > 0 for e in exchanges if e.op == "read") >= 4


def test_lines_go_where_the_wiring_says(op):
    text = text_of(2, 2) + (
        '[[wiring]]\nline = "WL0:2"\nchannel = "board.w4"\n'
        '[[wiring]]\nline = "BL0"\nchannel = "board.b9"\n'
        '[[wiring]]\nline = "BL1"\nchannel = "board.b2"\n'
    )
    with on_bench(text) as (board, bench, emulated):
        before = bench.array.conductance_siemens().copy()
        with board:
            board.run_block(programs.write_step(board.geometry, op, [1], [0], repeat=3))
            g = SynapseArray(board, op).read()
            assert (emulated.words, emulated.bits) == (6, 10)
        true = bench.array.conductance_siemens()
        assert {p[:2] for p in emulated.pulses} == {(6, 10)}
        assert (true != before).tolist() == [[False, False], [True, False]]
        assert g == pytest.approx(true, rel=1e-6)


def test_averages_are_further_reads(op):
    sensing = replace(op.sensing, averages=3)
    with on_bench(text_of()) as (board, _, emulated), board:
        one = SynapseArray(board, op).read()
        taken = emulated.reads
        three = SynapseArray(board, replace(op, sensing=sensing)).read()
        assert emulated.reads - taken == 3 * 16
    assert three == pytest.approx(one, rel=1e-9)


def test_a_socket_serves_where_there_are_no_pseudo_terminals(op):
    with on_bench(text_of(), transport="socket") as (board, bench, _), board:
        assert bench.resources["board"].startswith("socket://127.0.0.1:")
        array = SynapseArray(board, op, default_pairs(board))
        assert array.read() == pytest.approx(bench.array.conductance_siemens(), rel=1e-6)


def test_commands_are_half_a_millisecond_apart_at_the_least(op, monkeypatch):
    sent_s = []
    write = SerialPort.write

    def stamped(port, payload):
        sent_s.append(time.monotonic())
        write(port, payload)

    monkeypatch.setattr(SerialPort, "write", stamped)
    with on_bench(text_of()) as (board, _, emulated), board:
        board.run_block(programs.write_step(board.geometry, op, [0], [0], repeat=20))
        assert len(emulated.pulses) == 20
    assert len(sent_s) > 30
    assert np.diff(sent_s).min() >= 0.5e-3


def test_a_board_that_loses_commands_is_not_opened():
    with on_bench(text_of(timeout="0.3 s"), drop_faster_s=2.0) as (board, _, emulated):
        with pytest.raises(LinkTimeout, match="0 of 4 bytes came"):
            board.open()
        assert emulated.dropped > 0
        assert not board.is_open


def test_a_port_is_asked_whether_an_arc_one_is_there():
    with on_bench(text_of()) as (_, bench, emulated):
        assert firmware_at(bench.resources["board"]) == (2, 1)
        emulated.faults.wire_out = lambda data: data + b"\n"
        assert firmware_at(bench.resources["board"]) is None
        emulated.faults.mute = True
        assert firmware_at(bench.resources["board"], patience_s=0.1) is None
        assert [c for c in emulated.commands if c != ("999",)] == []
    assert firmware_at("/dev/ttyNOBODY") is None


def test_doctor_says_which_port_an_arc_one_is_on(monkeypatch):
    with on_bench(text_of()) as (_, bench, emulated):
        port = SimpleNamespace(device=bench.resources["board"], description="mbed Serial Port")
        monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [port])
        (line,) = inventory.serial_ports()
        assert line.endswith("(mbed Serial Port): ArC ONE, firmware 2.1")
        assert emulated.pulses == []
        assert not emulated.initialised


@pytest.mark.parametrize(
    "command", [["check", "--probe"], ["calibrate"]], ids=["probe", "calibrate"]
)
def test_what_only_rigs_have_is_refused_for_a_board(
    command, tmp_path, capsys, monkeypatch, request
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards
    for number in (signal.SIGINT, signal.SIGTERM):
        request.addfinalizer(partial(signal.signal, number, signal.getsignal(number)))
    (tmp_path / "station.toml").write_text(text_of())
    with pytest.raises(SystemExit) as ended:
        main([*command, "station.toml", "--virtual"])
    assert ended.value.code == 3
    assert "is no rig of instruments" in capsys.readouterr().err
