"""The same rules for every driver; a new one is added to DRIVERS and to commands.toml."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import hil_drivers
import numpy as np
import pytest
from command_tables import manuals, tables, unknown
from fake_session import IDN, DeadSession, FakeSession
from hil_drivers.boards import BoardBackend
from hil_drivers.instrument import ChannelSteps, SourceInstrument, SwitchMatrix, SyncPlan, SyncRole
from lua_50 import too_new

from hil.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    InstrumentError,
    LimitError,
    LinkError,
    ReadbackError,
)

#: Drivers of boards that drive a whole array; tests/boards has the rest of their rules.
BOARDS = {"arc-one": "ArcOne", "serial-board": "SerialBoard"}
DRIVERS = {
    "keithley-2600b": "Keithley2600B", "keithley-2450": "Keithley2450",
    "keithley-2400": "Keithley2400", "keysight-b2900": "KeysightB2900",
    "keysight-33500b": "Keysight33500B", "keysight-81160a": "Keysight81160A",
    "keithley-707b": "Keithley707B", "keithley-3706a": "Keithley3706A",
    "keysight-b2200a": "KeysightB2200A",
}  # fmt: skip
CROSSPOINTS = {
    "keithley-707b": ("1A01", "1B02"), "keithley-3706a": ("1101", "1202"),
    "keysight-b2200a": ("00101", "00202"),
}  # fmt: skip


def driver_class(name):
    return getattr(import_module(f"hil_drivers.{name.replace('-', '_')}"), DRIVERS[name])


SOURCES = [n for n in DRIVERS if issubclass(driver_class(n), SourceInstrument)]
MATRICES = [n for n in DRIVERS if issubclass(driver_class(n), SwitchMatrix)]
METERS = [n for n in SOURCES if "33500" not in n and "81160" not in n]
every = pytest.mark.parametrize("name", list(DRIVERS))
every_source = pytest.mark.parametrize("name", SOURCES)
every_meter = pytest.mark.parametrize("name", METERS)
every_matrix = pytest.mark.parametrize("name", MATRICES)


def opened(name, session=None):
    instrument = driver_class(name)("it")
    session = session or FakeSession(name)
    instrument.open(session)
    return instrument, session


def program(instrument, level_v=1.0, repeat=2, width_s=8e-3, period_s=16e-3):
    """Two pulses and a read of one channel, on times that every instrument has."""
    measure = instrument.channel_capabilities("a" if instrument.channels[0] == "a" else
                                              instrument.channels[0]).can_measure  # fmt: skip
    limit = 1e-4 if measure else np.inf
    return {instrument.channels[0]: ChannelSteps.build(
        [level_v, level_v / 2], width_s, period_s, repeat=[repeat, 1],
        measure=[False, measure], compliance_a=limit)}  # fmt: skip


def run(instrument, programs, sync=None):
    instrument.load(programs, sync)
    instrument.start()
    instrument.wait(1.0)
    return instrument.collect()


def exercised(name):
    """Everything that a driver can send, in one recorded session."""
    instrument, session = opened(name)
    if isinstance(instrument, SwitchMatrix):
        first, second = CROSSPOINTS[name]
        instrument.close([first])
        instrument.route([second])
        instrument.open_relays([second])
        instrument.closed()
    else:
        channels = instrument.channels
        for level, repeat in ((1.0, 1), (-1.0, 2)):
            run(instrument, program(instrument, level, repeat))
        one = ChannelSteps.build([1.0], 8e-3, 16e-3, repeat=3)
        run(instrument, dict.fromkeys(channels, one))
        run(instrument, {channels[0]: ChannelSteps.build([-1.0], 8e-3, 8e-3, repeat=3)})
        run(instrument, {channels[-1]: ChannelSteps.build([-1.0], 8e-3, 16e-3, repeat=3)})
        _synchronised(instrument)
        if instrument.channel_capabilities(channels[0]).can_measure:
            instrument.measure_once(channels[0], level_v=0.1, compliance_a=1e-4)
    instrument.safe()
    instrument.abort(session)
    return session.log


def _synchronised(instrument):
    for role in (SyncRole.MASTER, SyncRole.FOLLOWER):
        line = "3" if "keithley" in instrument.driver else "EXT"
        line = "EXT3" if instrument.driver == "keysight-b2900" else line
        if instrument.driver == "keysight-81160a" and role is SyncRole.MASTER:
            with pytest.raises(LimitError, match="trigger lines"):
                instrument.load(program(instrument), SyncPlan(role, line))
        else:
            run(instrument, program(instrument), SyncPlan(role, line))


@every
def test_its_name_class_and_folder_agree(name):
    kind = driver_class(name)
    assert kind.driver == name
    assert name in tables()
    assert not inspect.isabstract(kind)


def test_every_entry_point_is_a_driver_of_these_rules():
    entries = {e.name: e.value for e in entry_points(group="hil.instruments")}
    assert entries == {
        name: f"hil_drivers.{name.replace('-', '_')}:{kind}"
        for name, kind in {**DRIVERS, **BOARDS}.items()
    }
    assert set(tables()) == set(DRIVERS)
    assert set(IDN) == set(DRIVERS)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_a_backend_with_settings_of_its_own(name):
    kind = getattr(import_module(f"hil_drivers.{name.replace('-', '_')}"), BOARDS[name])
    assert issubclass(kind, BoardBackend)
    assert kind.driver == name
    assert not inspect.isabstract(kind)
    assert kind.Settings.model_json_schema()["additionalProperties"] is False
    assert len((kind.__doc__ or "").splitlines()[0]) > 20


@every
def test_its_folder_holds_a_driver_and_what_it_lowers_to(name):
    folder = Path(hil_drivers.__file__).parent / name.replace("-", "_")
    files = {p.name for p in folder.iterdir() if p.is_file()}
    assert "__init__.py" in files
    assert files <= {"__init__.py", "driver.py", "lowering.py", "models.py", "run.tsp"}
    module = import_module(f"hil_drivers.{folder.name}")
    assert module.__all__ == [DRIVERS[name]]
    assert len((folder / "__init__.py").read_text(encoding="utf-8").splitlines()[0]) > 20


@every
def test_its_row_in_the_docs_has_a_status_that_is_defined(name):
    page = (Path(__file__).parents[2] / "docs" / "instruments.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, rows
    cells = [c.strip() for c in rows[0].strip("|").split("|")]
    assert len(cells) == 5
    assert all(cells)
    assert cells[4] in ("transcript-tested", "bench-tested") or cells[4].startswith(
        "hardware-confirmed by ")  # fmt: skip
    language = "TSP" if "tsp" in tables()[name] else "SCPI"
    assert cells[2] == language
    kind = driver_class(name)
    assert ("matrix" in cells[3]) == issubclass(kind, SwitchMatrix)


@every
def test_its_docstring_states_limits_with_a_source(name):
    text = inspect.getdoc(driver_class(name))
    assert text
    assert "imits" in text
    assert any(word in text for word in ("901-01", "900-01", "guide", "reference"))
    if issubclass(driver_class(name), SourceInstrument) and name != "keithley-2600b":
        assert re.search(r"p\. \d|table|guide\)", text), "no page, table or chapter"


@every
def test_every_row_of_its_command_table_names_its_place_in_a_manual(name):
    manual = manuals()[name]
    assert re.search(r"901-01|900-01|Guide|Reference", manual["manual"])
    (language,) = set(manual) - {"manual"}
    for place, rows in manual[language].items():
        assert len(place) > 3
        assert rows
    every_row = [row for rows in manual[language].values() for row in rows]
    assert len(every_row) == len(set(every_row)), "a row stands twice"


@every
def test_a_reviewed_file_shows_what_it_sends(name):
    golden = list((Path(__file__).parent / "golden").glob(f"{name.replace('-', '_')}_*"))
    assert golden
    for path in golden:
        lines = path.read_text(encoding="ascii").splitlines()
        assert lines
        assert path.suffix == (".tsp" if "tsp" in tables()[name] else ".scpi")


@every
def test_no_part_of_its_interface_is_left_to_fail_when_it_is_used(name):
    kind = driver_class(name)
    assert not kind.__abstractmethods__
    for owner in kind.__mro__:
        if owner.__module__.startswith("hil_drivers"):
            assert "NotImplemented" not in inspect.getsource(owner), owner


@every
def test_its_errors_say_code_text_and_command(name):
    instrument, session = opened(name)
    session.error = "something"
    (error,) = instrument.errors()
    assert isinstance(error, InstrumentError)
    assert isinstance(error.code, int)
    assert error.code != 0
    assert error.text == "something"
    assert error.command


@every
def test_its_files_are_small(name):
    folder = Path(hil_drivers.__file__).parent / name.replace("-", "_")
    for path in folder.iterdir():
        if path.is_file():
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path


@every
def test_everything_it_sends_is_in_its_command_table(name):
    for message in exercised(name):
        if message == "<clear>":
            continue
        assert unknown(name, message) == [], message
        if "tsp" in tables()[name]:
            assert too_new(message) == []


@every
def test_it_asks_who_is_there_first_and_refuses_a_stranger_without_another_word(name):
    session = FakeSession(name)
    session.idn = "ACME,TOASTER 3000,1,1"
    instrument = driver_class(name)("it")
    with pytest.raises(BackendUnavailable, match="TOASTER"):
        instrument.open(session)
    assert session.log == ["*IDN?"]


@every
def test_it_refuses_every_other_family(name):
    for other, idn in IDN.items():
        session = FakeSession(name)
        session.idn = idn
        instrument = driver_class(name)("it")
        if other == name:
            instrument.open(session)
            assert instrument.identity is not None
        else:
            with pytest.raises(BackendUnavailable):
                instrument.open(session)


@every
def test_it_refuses_an_unknown_setting(name):
    with pytest.raises(ConfigError, match=r"instrument\.it\.settings\.colour"):
        driver_class(name)("it", {"colour": "red"})


@every
def test_it_does_nothing_before_it_is_open(name):
    with pytest.raises(BackendError, match="not open"):
        driver_class(name)("it").safe()


@every
def test_errors_that_its_reset_leaves_are_raised(name):
    with pytest.raises(InstrumentError, match="left over"):
        opened(name, FakeSession(name, error="left over"))


@every
def test_errors_are_read_until_the_queue_is_empty(name):
    instrument, session = opened(name)
    session.error = "something"
    found = instrument.errors()
    assert [e.text for e in found] == ["something"]
    assert instrument.errors() == []


@every
def test_safe_is_idempotent_and_reads_back(name):
    instrument, session = opened(name)
    session.log.clear()
    instrument.safe()
    first = list(session.log)
    session.log.clear()
    instrument.safe()
    assert session.log == first
    assert "print(" in first[-1] or "?" in first[-1]


@every_source
def test_safe_says_so_when_an_output_stays_on(name):
    instrument, session = opened(name)
    session.output = "1"
    with pytest.raises(ReadbackError, match="still on"):
        instrument.safe()


@every
def test_safe_tries_every_step_on_a_dead_link_and_repeats_none(name):
    session = DeadSession(name)
    instrument, _ = opened(name, session)
    if isinstance(instrument, SourceInstrument):
        instrument.load(program(instrument))
        instrument.start()
    session.dead = True
    session.log.clear()
    with pytest.raises(LinkError):
        instrument.safe()
    tried = [m for m in session.log if m != "<clear>"]
    assert len(tried) == len(set(tried))
    if isinstance(instrument, SourceInstrument):
        assert session.log[0] == "<clear>"
        assert len(tried) >= 2


@pytest.mark.parametrize("name", [n for n in SOURCES if n != "keithley-2600b"])
def test_safe_waits_for_a_run_that_nothing_can_overtake(name):
    instrument, session = opened(name)
    waited = []
    ask = session.query

    def query(message, timeout_s=1.0):
        waited.append(timeout_s)
        return ask(message, timeout_s)

    session.query = query
    instrument.load(program(instrument, repeat=40))
    instrument.start()
    instrument.safe()
    assert waited[-1] >= 41 * 16e-3 + 1.0
    instrument.safe()
    assert waited[-1] < waited[-2]


@every
def test_abort_clears_the_device_first_and_goes_on_when_that_fails(name):
    instrument, _ = opened(name)
    second = DeadSession(name)
    second.dead = True
    with pytest.raises(LinkError):
        instrument.abort(second)
    assert second.log[0] == "<clear>"
    assert len(second.log) >= 2
    healthy = FakeSession(name)
    instrument.abort(healthy)
    assert healthy.log == second.log
    assert "OFF" in healthy.log[-1] or "output=0" in healthy.log[-1] or "open" in (
        healthy.log[-1].lower())  # fmt: skip


@every_source
def test_outputs_are_off_until_start(name):
    instrument, session = opened(name)
    instrument.load(program(instrument))
    before = " ".join(m for m in session.log if not m.startswith("loadandrun"))
    assert ":OUTP1 ON" not in before
    assert ":OUTP ON" not in before
    assert "hil_run" not in before
    assert "OUTPUT_ON" not in before
    instrument.start()


@every_source
def test_a_run_before_anything_is_loaded_is_refused(name):
    instrument, session = opened(name)
    session.log.clear()
    with pytest.raises(BackendError, match="nothing is loaded"):
        instrument.start()
    assert session.log == []


@every_source
def test_an_error_of_the_run_is_raised_by_wait(name):
    instrument, session = opened(name)
    instrument.load(program(instrument))
    instrument.start()
    session.error = "in the middle"
    with pytest.raises(InstrumentError, match="in the middle"):
        instrument.wait(1.0)


@every_source
def test_an_output_that_is_still_on_after_the_run_is_a_readback_error(name):
    instrument, session = opened(name)
    instrument.load(program(instrument))
    instrument.start()
    session.output = "1"
    with pytest.raises(ReadbackError):
        instrument.wait(1.0)


@every_source
def test_the_estimate_counts_the_messages(name):
    instrument, session = opened(name)
    for level in (1.0, -1.0):
        programs = program(instrument, level)
        before = session.transactions
        run(instrument, programs)
        estimate = instrument.estimate(programs)
        assert estimate.transactions == session.transactions - before
        assert estimate.batched
        assert estimate.duration_s >= 48e-3


@every_source
def test_delivered_sends_nothing_and_is_what_load_returns(name):
    instrument, session = opened(name)
    programs = program(instrument)
    session.log.clear()
    foreseen = instrument.delivered(programs)
    assert session.log == []
    loaded = instrument.load(programs)
    for channel, d in foreseen.items():
        assert loaded[channel].level_v == pytest.approx(d.level_v)
        assert loaded[channel].width_s == pytest.approx(d.width_s)
        can = instrument.channel_capabilities(channel)
        assert d.level_v == pytest.approx(programs[channel].level_v, abs=2e-3)
        assert d.width_s == pytest.approx([8e-3, 8e-3], abs=max(can.width_s.resolution, 1e-12))


@every_source
def test_out_of_range_requests_are_refused_before_anything_is_sent(name):
    instrument, session = opened(name)
    channel = instrument.channels[0]
    can = instrument.channel_capabilities(channel)
    session.log.clear()
    bad = [
        ChannelSteps.build([1.01 * can.level_v.max], 8e-3, 16e-3),
        ChannelSteps.build([1.0], 0.4 * can.width_s.min, 16e-3),
        ChannelSteps.build([1.0], 8e-3, 16e-3, repeat=can.max_list_steps + 1),
    ]
    for steps in bad:
        with pytest.raises(LimitError):
            instrument.load({channel: steps})
    with pytest.raises(LimitError):
        instrument.load({"Z": ChannelSteps.build([1.0], 8e-3, 16e-3)})
    with pytest.raises(LimitError):
        instrument.load({})
    assert session.log == []


@every_source
def test_a_compliance_that_it_cannot_keep_is_refused(name):
    instrument, session = opened(name)
    channel = instrument.channels[0]
    can = instrument.channel_capabilities(channel)
    session.log.clear()
    limit = 2 * can.compliance_a.max if can.can_limit_current else 1e-3
    with pytest.raises(LimitError, match="compliance_a"):
        instrument.load({channel: ChannelSteps.build([1.0], 8e-3, 16e-3, compliance_a=limit)})
    assert session.log == []


@every_source
def test_its_capabilities_hang_together(name):
    instrument, _ = opened(name)
    for channel in instrument.channels:
        can = instrument.channel_capabilities(channel)
        assert list(can.ranges_v) == sorted(can.ranges_v)
        assert list(can.ranges_a) == sorted(can.ranges_a)
        assert can.level_v.min == -can.level_v.max
        assert can.ranges_v[-1] >= can.level_v.max
        assert 0 < can.width_s.min <= can.min_period_s * 1.001 or can.min_period_s > 0
        assert can.width_s.resolution > 0
        assert (can.max_readings > 0) == can.can_measure
        assert bool(can.ranges_a) == can.can_measure
        assert can.overhead_s > 0
    with pytest.raises(LimitError):
        instrument.channel_capabilities("Z")


@every_meter
def test_readings_are_those_asked_for(name):
    instrument, _ = opened(name)
    readings = run(instrument, program(instrument))
    for r in readings.values():
        assert set(r.step.tolist()) <= {1}
        assert len(r.step) == len(r.pulse) == len(r.t_ns) == len(r.current_a) == len(r.status)


@pytest.mark.parametrize("name", sorted(set(SOURCES) - set(METERS)))
def test_a_generator_refuses_to_measure(name):
    instrument, _ = opened(name)
    with pytest.raises(LimitError, match="measure"):
        instrument.measure_once("1", level_v=0.1, compliance_a=1e-3)
    with pytest.raises(LimitError, match="measure"):
        instrument.load({"1": ChannelSteps.build([1.0], 8e-3, 16e-3, measure=True)})


@every_matrix
def test_a_relay_that_does_not_follow_is_a_readback_error(name):
    instrument, session = opened(name)

    def stuck(verb: str, names: str) -> None:
        return

    session._relays = stuck
    with pytest.raises(ReadbackError):
        instrument.close([CROSSPOINTS[name][0]])


@every_matrix
def test_route_moves_no_relay_twice(name):
    instrument, session = opened(name)
    first, second = CROSSPOINTS[name]
    instrument.route([first, second])
    session.log.clear()
    instrument.route([second, first])
    assert session.log == []
    instrument.route([second])
    assert session.closed == {second}
    assert first in session.log[0]
    assert second not in session.log[0]
