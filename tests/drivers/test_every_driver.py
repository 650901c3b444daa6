"""The same rules for every driver: its names and files, its tables, who it talks to, its errors."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import hil_drivers
import pytest
from command_tables import manuals, tables, unknown
from every_driver import DRIVERS, driver_class, every, exercised, opened
from fake_session import IDN, FakeSession
from hil_drivers.boards import BoardBackend
from hil_drivers.instrument import SourceInstrument, SwitchMatrix
from lua_50 import too_new

from hil.errors import BackendError, BackendUnavailable, ConfigError, InstrumentError

#: Drivers of boards that drive a whole array; tests/boards has the rest of their rules.
BOARDS = {"arc-one": "ArcOne", "serial-board": "SerialBoard"}


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
