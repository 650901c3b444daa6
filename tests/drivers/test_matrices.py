from __future__ import annotations

import pytest
from fake_session import FakeSession
from golden_files import check
from hil_drivers.keithley_707b import Keithley707B
from hil_drivers.keithley_3706a import Keithley3706A
from hil_drivers.keysight_b2200a import KeysightB2200A
from hil_drivers.transport import ReplaySession

from hil.errors import BackendUnavailable, ConfigError, InstrumentError, LinkError, ReadbackError

STATE = 'print(channel.getclose("allslots"),errorqueue.count)'
TSP_RESET = "reset()\nerrorqueue.clear()\nchannel.connectrule=channel.BREAK_BEFORE_MAKE"
OPEN_ALL = f'channel.open("allslots")\nwaitcomplete()\n{STATE}'
NO_ERROR = ("print(errorqueue.next())", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00")
EMPTY = "nil\t0.00000e+00"


def opened_707b(exchanges, idn="Keithley Instruments Inc., Model 707B, 1234567, 01.20a"):
    mux = Keithley707B("mux")
    session = ReplaySession.of([
        ("*IDN?", idn), (TSP_RESET, None), (OPEN_ALL, EMPTY), NO_ERROR, *exchanges,
    ])  # fmt: skip
    mux.open(session)
    return mux, session


def opened_b2200a(exchanges):
    mux = KeysightB2200A("mux")
    session = ReplaySession.of([
        ("*IDN?", "AGILENT TECHNOLOGIES,B2200A,0,A.01.00"),
        ("*RST;*CLS;:FUNC ACON;:CONN:RULE 0,FREE;:CONN:SEQ 0,BBM", None),
        (":OPEN:CARD ALL;*OPC?", "1"), (":SYST:ERR?", '+0,"No error"'), (":CLOS:CARD? 0", ""),
        (":SYST:ERR?", '+0,"No error"'), *exchanges,
    ])  # fmt: skip
    mux.open(session)
    return mux, session


def test_a_707b_route_is_one_message_that_opens_before_it_closes():
    first = f'channel.close("1A01,1B02")\nwaitcomplete()\n{STATE}'
    second = f'channel.open("1A01")\nchannel.close("1A03")\nwaitcomplete()\n{STATE}'
    mux, session = opened_707b([
        (first, "1A01;1B02\t0.00000e+00"), (second, "1A03;1B02\t0.00000e+00"),
    ])  # fmt: skip
    before = mux.transactions
    mux.route(["1B02", "1A01"])
    mux.route({"1A03", "1B02"})
    mux.route({"1A03", "1B02"})  # nothing moves, nothing is sent
    assert mux.transactions - before == 2
    session.finish()


def test_a_707b_relay_that_does_not_close_is_a_readback_error_and_is_read_again():
    close = f'channel.close("1A01,1B02")\nwaitcomplete()\n{STATE}'
    mux, session = opened_707b([(close, "1B02\t0"), (STATE, "1B02\t0")])
    with pytest.raises(ReadbackError, match="open that should be closed: 1A01"):
        mux.close(["1A01", "1B02"])
    assert mux.closed() == {"1B02"}
    session.finish()


def test_a_707b_relay_that_does_not_open_is_named():
    close = f'channel.close("2H12")\nwaitcomplete()\n{STATE}'
    mux, _ = opened_707b([(close, "2H12\t0"), (OPEN_ALL, "2H12\t0")])
    mux.close(["2H12"])
    with pytest.raises(ReadbackError, match="closed that should be open: 2H12"):
        mux.open_all()


def test_a_card_that_is_absent_is_an_instrument_error():
    close = f'channel.close("6A01")\nwaitcomplete()\n{STATE}'
    mux, session = opened_707b([
        (close, "nil\t1.00000e+00"),
        ("print(errorqueue.next())", "1.11500e+03\tParameter error\t2.0\t1.0"), NO_ERROR,
    ])  # fmt: skip
    with pytest.raises(InstrumentError, match=r"1115.*Parameter error.*6A01"):
        mux.close(["6A01"])
    session.finish()


def test_safe_opens_everything_twice():
    mux, session = opened_707b([(OPEN_ALL, EMPTY), (OPEN_ALL, EMPTY)])
    mux.safe()
    mux.safe()
    session.finish()


@pytest.mark.parametrize("bad", ["7A01", "1I01", "1A13", "1A1", "1a01", '1A01")'])
def test_crosspoints_outside_the_707b_are_refused_before_anything_is_sent(bad):
    mux, session = opened_707b([])
    with pytest.raises(ConfigError, match="no crosspoint"):
        mux.close([bad])
    session.finish()


def test_a_strange_answer_is_a_link_error():
    mux, _ = opened_707b([(STATE, "1A01")])
    with pytest.raises(LinkError, match="the matrix answered"):
        mux.closed()


def test_the_708b_speaks_the_same_language():
    mux, _ = opened_707b([], "Keithley Instruments Inc., Model 708B, 1, 01.20a")
    assert mux.identity is not None
    assert mux.identity.model == "708B"


def test_abort_opens_through_the_second_session():
    mux, _ = opened_707b([])
    second = ReplaySession.of([("<clear>", None), ('abort\nchannel.open("allslots")', None)])
    mux.abort(second)
    second.finish()


def test_a_3706a_reads_numbers_as_names():
    mux = Keithley3706A("mux")
    session = ReplaySession.of([
        ("*IDN?", "KEITHLEY INSTRUMENTS INC.,MODEL 3706A,1234567,01.56a"),
        (TSP_RESET, None), (OPEN_ALL, EMPTY), NO_ERROR,
        (f'channel.close("1101,1911")\nwaitcomplete()\n{STATE}', "1101;1911\t0"),
        (f'channel.open("1101")\nwaitcomplete()\n{STATE}', "1911\t0.00000e+00"),
    ])  # fmt: skip
    mux.open(session)
    mux.close(["1911", "1101"])
    mux.open_relays(["1101"])
    assert mux._closed == {"1911"}
    session.finish()


def test_a_b2200a_route_opens_before_it_closes_and_reads_back():
    mux, session = opened_b2200a([
        (":CLOS (@00102,00203);*OPC?", "1"), (":SYST:ERR?", '+0,"No error"'),
        (":CLOS:CARD? 0", "00102,00203"),
        (":OPEN (@00102);:CLOS (@00104);*OPC?", "1"), (":SYST:ERR?", '+0,"No error"'),
        (":CLOS:CARD? 0", "(@00104,00203)"),
    ])  # fmt: skip
    mux.route(["00203", "00102"])
    mux.route(["00203", "00104"])
    session.finish()


def test_a_b2200a_error_names_the_command():
    mux, _ = opened_b2200a([
        (":CLOS (@00148);*OPC?", "1"), (":SYST:ERR?", '-222,"Data out of range"'),
        (":SYST:ERR?", '+0,"No error"'),
    ])  # fmt: skip
    with pytest.raises(InstrumentError, match=r"-222.*Data out of range.*00148"):
        mux.close(["00148"])


def test_a_b2200a_relay_that_does_not_close_is_named():
    mux, _ = opened_b2200a([
        (":CLOS (@00148);*OPC?", "1"), (":SYST:ERR?", '+0,"No error"'), (":CLOS:CARD? 0", ""),
    ])  # fmt: skip
    with pytest.raises(ReadbackError, match="00148"):
        mux.close(["00148"])


@pytest.mark.parametrize("bad", ["01501", "00149", "00001", "0102", "50101"])
def test_crosspoints_outside_the_b2200a_are_refused(bad):
    mux, _ = opened_b2200a([])
    with pytest.raises(ConfigError):
        mux.route([bad])


def test_a_source_at_the_matrix_address_is_refused():
    with pytest.raises(BackendUnavailable, match="keysight-b2200a expects"):
        KeysightB2200A("mux").open(ReplaySession.of([("*IDN?", "KEITHLEY,MODEL 2450,1,2")]))


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        (Keithley707B, ["1A01", "1B02", "2H12"], ["1A03", "1B02"]),
        (Keithley3706A, ["1101", "1202", "1616"], ["1103", "1202"]),
        (KeysightB2200A, ["00101", "00202", "01448"], ["00103", "00202"]),
    ],
    ids=["keithley_707b", "keithley_3706a", "keysight_b2200a"],
)
def test_what_a_matrix_is_sent_is_the_reviewed_file(kind, first, second):
    session = FakeSession(kind.driver)
    mux = kind("mux")
    mux.open(session)
    mux.route(first)
    mux.route(second)
    mux.safe()
    suffix = "scpi" if kind is KeysightB2200A else "tsp"
    name = kind.driver.replace("-", "_")
    check(f"{name}_route.{suffix}", "\n".join(session.log).replace(";", "\n"))
