"""Our drivers on the instrument descriptions that QCoDeS installs, as far as those go.

QCoDeS describes five of our families; nobody describes a 2400, B2900, 81160A or 707B. What the
descriptions lack is asserted too, so that a richer one shows: none can measure or run anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from described_session import DescribedSession, commands, scpi_short
from fake_session import IDN
from hil_drivers.keithley_2450 import Keithley2450
from hil_drivers.keithley_2600b import Keithley2600B
from hil_drivers.keithley_3706a import Keithley3706A
from hil_drivers.keysight_33500b import Keysight33500B
from hil_drivers.keysight_b2200a import KeysightB2200A
from hil_drivers.steps import ChannelSteps

from hil.errors import BackendUnavailable, ReadbackError

pytestmark = pytest.mark.filterwarnings("ignore")
if os.environ.get("HIL_PEERS") != "required":
    for package in ("qcodes", "pyvisa_sim"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (extra peers)", allow_module_level=True)

Open = Callable[..., DescribedSession]


@pytest.fixture
def described() -> Iterator[Open]:
    """Open ``driver`` on a file and a resource of it."""
    found = find_spec("qcodes")
    assert found is not None, "qcodes is not installed"
    assert found.origin is not None
    folder = Path(found.origin).parent / "instrument" / "sims"
    opened = []

    def connect(
        driver: str, file: str, resource: str, given: dict[str, str] | None = None
    ) -> DescribedSession:
        opened.append(DescribedSession(driver, folder / file, resource, given))
        return opened[-1]

    yield connect
    for session in opened:
        session.close()


def test_a_2600_is_identified_measured_with_and_left_off(described: Open) -> None:
    session = described("keithley-2600b", "Keithley_2600.yaml", "GPIB0::1::INSTR")
    smu = Keithley2600B("dut")
    assert smu.open(session).model == "2601B"
    assert smu.channels == ("a",)
    smu.measure_once("a", level_v=0.2, compliance_a=1e-3)
    session.visa.write("smua.source.levelv=0.5")
    session.visa.write("smua.source.output=1")
    smu.safe()
    assert float(session.visa.query("print(smua.source.output)")) == 0.0
    assert (
        session.visa.query("print(smua.measure.v(), status.measurement.instrument.smua.condition)")
        == "0.0\t0"
    )
    assert set(session.described) == {
        "*IDN?", "smua.source.levelv=0", "smua.source.output=0", "print(smua.source.output)",
    }  # fmt: skip
    # Everything else runs inside the instrument, by the script that is uploaded once.
    assert set(session.lacking) == {
        "reset()", "errorqueue.clear()", "format.data=format.REAL32",
        "format.byteorder=format.LITTLEENDIAN", "smua.source.offmode=smua.OUTPUT_HIGH_Z",
        "smua.sense=smua.SENSE_LOCAL", "loadandrunscript", "print(hil_version,localnode.linefreq)",
        "print(errorqueue.next())", 'hil_spot(1,"a",0.2,0.001,1,0.001,1,0.001)', "smua.abort()",
    }  # fmt: skip


@pytest.mark.parametrize("resource", ["GPIB0::1::INSTR", "GPIB0::2::INSTR"])
def test_a_2450_that_calls_itself_otherwise_is_refused(described: Open, resource: str) -> None:
    session = described("keithley-2450", "Keithley_2450.yaml", resource)
    with pytest.raises(BackendUnavailable, match=r"QCoDeS, .* mode, model"):
        Keithley2450("dut").open(session)
    assert session.described == ["*IDN?"]


def test_a_2450_in_2400_emulation_is_refused(described: Open) -> None:
    given = {"*IDN?": IDN["keithley-2450"]}
    session = described("keithley-2450", "Keithley_2450.yaml", "GPIB0::1::INSTR", given)
    with pytest.raises(BackendUnavailable, match="SCPI2400"):
        Keithley2450("dut").open(session)
    assert session.described == ["*LANG?"]


def test_a_2450_is_set_up_measured_with_and_left_off(described: Open) -> None:
    given = {"*IDN?": IDN["keithley-2450"]}
    session = described("keithley-2450", "Keithley_2450.yaml", "GPIB0::2::INSTR", given)
    smu = Keithley2450("dut")
    smu.open(session)
    assert session.visa.query(":SENS:FUNC?") == '"CURR"'
    assert session.visa.query(":SOUR:FUNC?") == "VOLT"
    smu.measure_once("1", level_v=0.2, compliance_a=1e-3)
    session.visa.write(":OUTP ON")
    smu.safe()
    assert session.visa.query(":OUTP?") == "OFF"
    assert set(session.described) == {
        "*LANG?", ":SOUR:FUNC VOLT", ':SENS:FUNC "CURR"', ":OUTP ON", ":INIT", "*WAI", ":OUTP OFF",
        ":OUTP?",
    }  # fmt: skip
    headers = {command.split(" ")[0] for command in session.lacking}
    # No level, limit, range, aperture, list, trigger block or buffer, and no error queue.
    assert headers >= {
        "*RST", "*CLS", ":SOUR:VOLT", ":SOUR:VOLT:ILIM", ":SOUR:VOLT:RANG", ":SENS:CURR:RANG",
        ":SENS:CURR:NPLC", ":SOUR:LIST:VOLT", ":TRAC:CLE", ":TRAC:DATA?", ":SYST:ERR?", ":ABOR",
    }  # fmt: skip


def test_a_3706a_closes_opens_and_is_left_open(described: Open) -> None:
    session = described("keithley-3706a", "Keithley_3706A.yaml", "GPIB0::11::INSTR")
    matrix = Keithley3706A("dut")
    assert matrix.open(session).model == "3706A-SNFP"
    matrix.close(["1101", "1102"])
    matrix.open_relays(["1101"])
    matrix.route(["1102", "1203"])
    matrix.safe()
    assert "BREAK_BEFORE_MAKE" in session.visa.query("print(channel.connectrule)")
    assert session.described == [
        "*IDN?", "channel.connectrule=channel.BREAK_BEFORE_MAKE", 'channel.open("allslots")',
        'channel.close("1101,1102")', 'channel.open("1101")', 'channel.close("1203")',
        'channel.open("allslots")',
    ]  # fmt: skip
    # Closures cannot be read back from it, and it has no error queue.
    assert set(session.lacking) == {
        "reset()", "errorqueue.clear()", "waitcomplete()", "print(errorqueue.next())",
        'print(channel.getclose("allslots"),errorqueue.count)',
    }  # fmt: skip


def test_a_b2200a_whose_relays_stay_closed_is_noticed(described: Open) -> None:
    # The description answers :CLOS:CARD? with the same two crosspoints whatever was opened.
    session = described("keysight-b2200a", "keysight_b220x.yaml", "GPIB0::1::INSTR")
    matrix = KeysightB2200A("dut")
    with pytest.raises(ReadbackError, match="should be open: 00248, 01012"):
        matrix.open(session)
    assert matrix.identity is not None
    assert matrix.identity.model == "B2200A"
    assert matrix.closed() == {"00248", "01012"}
    matrix.close(["01012"])  # is closed: nothing to send
    with pytest.raises(ReadbackError, match="should be open: 00248"):
        matrix.open_relays(["00248"])
    assert matrix.errors() == []
    assert session.visa.query(":CONN:SEQ? 0") == "BBM"
    assert session.visa.query(":CONN:RULE? 0") == "FREE"
    assert set(session.described) == {
        "*IDN?", "*RST", "*CLS", ":CONN:RULE 0,FREE", ":CONN:SEQ 0,BBM", ":CLOS:CARD? 0",
        ":OPEN (@00248)", ":SYST:ERR?",
    }  # fmt: skip
    # It has :OPEN:CARD 0 but not the ALL that the manual has beside it.
    assert set(session.lacking) == {":FUNC ACON", ":OPEN:CARD ALL", "*OPC?"}


def test_a_33522b_is_set_to_a_burst_of_pulses(described: Open) -> None:
    session = described("keysight-33500b", "Keysight_33xxx.yaml", "GPIB0::1::INSTR")
    generator = Keysight33500B("dut")
    assert generator.open(session).model == "33522B"
    assert generator.channels == ("1", "2")
    generator.load({"1": ChannelSteps.build([0.2] * 3, 1e-4, 2e-4)})
    generator.safe()
    assert session.visa.query("SOURce1:FUNCtion?") == "PULS"
    assert session.visa.query("SOURce1:BURSt:NCYCLes?") == "3"
    assert set(session.described) == {"*IDN?", ":SOUR1:FUNC PULS", ":SOUR1:BURS:NCYC 3"}
    headers = {command.split(" ")[0] for command in session.lacking}
    # No level, load, width, period, trigger or output, and no error queue.
    assert headers >= {
        "*RST", "*CLS", ":OUTP1", ":OUTP1?", ":OUTP1:LOAD", ":OUTP1:LOAD?", ":TRIG1:SOUR",
        ":SOUR1:VOLT:HIGH", ":SOUR1:VOLT:LOW", ":SOUR1:FUNC:PULS:WIDT", ":SOUR1:FUNC:PULS:PER",
        ":SOUR1:BURS:MODE", ":SOUR1:BURS:STAT", ":SYST:ERR?", ":ABOR",
    }  # fmt: skip


def test_messages_are_taken_apart_and_respelled_as_their_language_allows() -> None:
    assert commands(":SOUR:VOLT 0;:OUTP OFF") == [":SOUR:VOLT 0", ":OUTP OFF"]
    assert commands("smua.abort() smua.source.levelv=0 smua.source.output=0") == [
        "smua.abort()", "smua.source.levelv=0", "smua.source.output=0",
    ]  # fmt: skip
    assert commands("local n = f(g(1))") == ["local n = f(g(1))"]
    assert scpi_short("SOURce1:BURSt:NCYCLes?") == scpi_short(":SOUR1:BURS:NCYCL?")
    assert scpi_short("SOURce1:FUNCtion") == scpi_short(":SOUR1:FUNC") == "SOUR1:FUNC"
