"""Faults in the middle of a recorded run: the error, the outputs, the run folder, the pulses."""

from __future__ import annotations

import re

import numpy as np
import pytest
from benches import station_a, station_of
from families import FAMILIES
from faulty import Lab, at, put
from hil_drivers import tsp_matrix
from hil_drivers.factory import RigFactory
from hil_drivers.instrument import ChannelSteps
from hil_drivers.keithley_707b import Keithley707B
from hil_drivers.keithley_2600b import Keithley2600B, models
from hil_drivers.rig import rack

from hil.errors import (
    BackendUnavailable,
    ConfigError,
    InstrumentError,
    LimitError,
    LinkError,
    LinkTimeout,
    ReadbackError,
)
from hil.measurement import Status

pytest.importorskip("lupa")

STATION = station_a(device="ideal")
SECOND_RUN = ("smu", b"hil_run(", 2)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    # Emulators answer at once: what does not come within this does not come.
    monkeypatch.setattr(rack, "_MARGIN_S", 0.4 / 3)  # a bench has three times the margin
    monkeypatch.setattr(tsp_matrix, "SHORT_TIMEOUT_S", 0.4)
    monkeypatch.setattr(Keithley707B, "settle_s", 1e-5)
    return Lab(tmp_path, monkeypatch)


def power_glitch(instrument):
    return lambda bench, _: bench.instruments[instrument].power_cycle()


#: name -> (what happens as the second device's run begins, error, what it says)
AT_A_RUN = {
    "a reply that never comes": (put(drop_replies=1), LinkTimeout, "no answer within"),
    "a reply that comes late": (put(late_s=1.0, late_replies=1), LinkTimeout, "no answer within"),
    "a reply that is cut short": (put(truncate_to=3), LinkTimeout, "no answer within"),
    "an entry in the error queue": (
        put(queue_error=(802, "OUTPUT blocked by interlock")), InstrumentError,
        r"error 802: smu: OUTPUT blocked by interlock \(after 'hil_run\(2\)'\)",
    ),
    "a link that is cut": (put(cut_after=0), LinkError, "closed the connection"),
    "a source that is reset": (power_glitch("smu"), ReadbackError, "smu was reset"),
    "a source that is reset and drops its link": (
        put(reset_after=0, reset_cuts_link=True), ReadbackError, "smu was reset",
    ),
    "a matrix that is reset": (power_glitch("mux"), ReadbackError, "mux was reset"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(AT_A_RUN))
def test_a_fault_in_the_middle_of_a_run(lab, fault):
    then, error, says = AT_A_RUN[fault]
    whole = lab.run(STATION)
    found = lab.run(STATION, at(*SECOND_RUN, then))
    assert type(found.error) is error
    assert found.error.__cause__ is None or error is not LinkError
    with pytest.raises(error, match=says):
        raise found.error
    assert "in a PROGRAM block" in found.text
    found.assert_safe()
    found.assert_recorded()
    found.assert_not_replayed()
    # The first device is recorded as in a run without a fault; the second one is in doubt.
    rows, good = found.run.pulses.to_pylist(), whole.run.pulses.to_pylist()
    assert [r["executed"] for r in rows] == [1] * 8 + [None] * 8
    assert {(r["row"], r["col"]) for r in rows[8:]} == {(1, 2)}
    assert [r["g1"] for r in rows[:8]] == [r["g1"] for r in good[:8]]
    reads = found.run.reads
    assert reads["current_a"].to_pylist()[:9] == whole.run.reads["current_a"].to_pylist()[:9]
    marked = np.array(reads["status"].to_pylist()) & int(Status.COUNT_UNKNOWN)
    assert (marked[:9] == 0).all()
    assert (marked[9:] != 0).all()
    (event,) = [e for e in found.run.events if e["kind"] == "unfinished"]
    assert event["pulses_known"] == 0
    assert event["pulses_possible"] == event["pulses"]


def test_a_late_reply_is_not_taken_for_the_next_answer(lab):
    """After the time-out the rig drives on in the same session of the bench, and reads well."""
    found = lab.run(STATION, at(*SECOND_RUN, put(late_s=1.0, late_replies=1)))
    assert isinstance(found.error, LinkTimeout)
    after = [line for line in found.wire if line.get("op") == "clear"]
    assert after, "no device clear"
    runs = [re.findall(r"hil_run\((\d+)\)", line.get("sent", "")) for line in found.wire]
    assert [n for found in runs for n in found] == ["1", "2"], "a run was sent twice"


def test_a_doubled_reply_is_noticed_by_the_number_of_the_run(lab):
    found = lab.run(STATION, at(*SECOND_RUN, put(double_reply=True)))
    assert isinstance(found.error, LinkError)
    found.assert_safe()
    found.assert_recorded()
    found.assert_not_replayed()


LEFT = {
    "an entry in the error queue": put(queue_error=(802, "blocked")),
    "a reply that never comes": put(drop_replies=1),
    "a link that is cut": put(cut_after=0),
}


@pytest.mark.parametrize("fault", list(LEFT))
def test_readings_that_a_failed_run_has_left_are_fetched(lab, fault):
    """The pulses were measured, only the answer is spoilt; the readings stay marked."""
    whole = lab.run(STATION)
    found = lab.run(STATION, at(*SECOND_RUN, LEFT[fault]))
    doubtful = found.run.reads["current_a"].to_numpy()
    assert (doubtful == whole.run.reads["current_a"].to_numpy()[:18]).all()


def test_readings_of_the_run_before_are_not_taken_for_those_of_one_that_never_began(lab):
    """The buffers still hold the first device's readings when the second run gets lost."""

    def swallow(bench, faults):
        message = bench.instruments["smu"].handle
        bench.instruments["smu"].handle = lambda m: None if b"hil_run(2" in m else message(m)

    found = lab.run(STATION, at("smu", b"hil_run(", 1, swallow))
    assert type(found.error) is LinkTimeout
    reads = found.run.reads["current_a"].to_numpy()
    assert np.isfinite(reads[:9]).all()
    assert np.isnan(reads[9:]).all()
    found.assert_not_replayed()


def test_a_fault_in_a_read_keeps_what_was_read_before(lab):
    whole = lab.run(STATION, protocol="read-map")
    found = lab.run(STATION, at("smu", b"hil_run(", 6, put(cut_after=0)), protocol="read-map")
    assert type(found.error) is LinkError
    found.assert_safe()
    found.assert_recorded()
    assert "run 6 of 16 (steps 5 to 5) of smu; lines driven: WL1" in found.text
    reads = found.run.reads
    current, status = reads["current_a"].to_numpy(), reads["status"].to_pylist()
    assert (current == whole.run.reads["current_a"].to_numpy()[:6]).all()
    assert [bool(bits & Status.COUNT_UNKNOWN) for bits in status] == [False] * 5 + [True]


def lose_the_card(bench, faults):
    faults.missing_card.add(1)
    bench.instruments["mux"].relays.closed.clear()  # they went with the card


AT_A_CLOSURE = {
    "a crosspoint that does not close": (
        lambda _, faults: faults.stuck_open.add("1B07"), ReadbackError,
        "open that should be closed: 1B07", "1B07 joins BL2 to smu.b",
    ),
    "a crosspoint that does not open": (
        lambda _, faults: faults.stuck_closed.add("1A01"), ReadbackError,
        "closed that should be open: 1A01", "1A01 joins WL0 to smu.a",
    ),
    "a matrix card that is gone": (
        lose_the_card, InstrumentError, "No card in slot 1", "1A01 joins WL0 to smu.a",
    ),
    "a matrix whose reply never comes": (put(drop_replies=1), LinkTimeout, "no answer", "mux"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(AT_A_CLOSURE))
def test_a_fault_while_relays_move_drives_nothing_more(lab, fault):
    then, error, says, line = AT_A_CLOSURE[fault]
    found = lab.run(STATION, at("mux", b'channel.open("1', 1, then))
    assert type(found.error) is error
    with pytest.raises(error, match=says):
        raise found.error
    assert line in found.text
    found.assert_recorded()
    found.assert_not_replayed()
    rows = found.run.pulses.to_pylist()
    assert {(r["row"], r["col"]) for r in rows} == {(0, 0)}
    assert all(r["executed"] == 1 for r in rows)
    assert found.bench.array.ordinal.sum() == 8
    assert not any(o.on for o in found.bench.outputs().values())
    if fault == "a crosspoint that does not open":
        assert found.bench.closed() == {"mux": {"1A01"}}
        assert "the safe state was not confirmed" in found.text
    else:
        found.assert_safe()


def test_an_instrument_that_no_longer_answers_does_not_keep_the_others_on(lab):
    found = lab.run(STATION, at("mux", b'channel.open("1', 1, put(mute=True)))
    assert type(found.error) is LinkTimeout
    assert "the safe state was not confirmed" in found.text
    assert not any(o.on for o in found.bench.outputs().values())
    found.assert_recorded()


def test_compliance_in_a_write_is_noted_though_nothing_is_sensed(lab):
    limited = STATION.replace('coding = "amplitude"', 'coding = "amplitude"\ncompliance = "8 uA"')
    free = STATION.replace('coding = "amplitude"', 'coding = "amplitude"\ncompliance = "100 uA"')
    assert not [e for e in lab.run(free).run.events if e["kind"] == "limit"]
    found = lab.run(limited)
    assert found.error is None
    assert found.run.status == "done"
    events = [e for e in found.run.events if e["kind"] == "limit"]
    assert [e["what"] for e in events] == ["compliance"] * 2  # the third device conducts less
    assert events[1]["lines"] == ["WL1", "BL2"]
    # The first pulse passes less; every later one is limited. Steps: read, pulse, read, pulse ...
    assert events[1]["steps"] == list(range(3, 17, 2))
    found.assert_safe()


@pytest.mark.parametrize("instrument", ["smu", "mux"])
def test_a_wrong_instrument_is_refused_before_there_is_a_run(lab, instrument):
    lab.arrange = lambda b: setattr(b.faults[instrument], "corrupt_idn", "ACME,Toaster 3000,1,1")
    found = lab.run(STATION)
    assert type(found.error) is BackendUnavailable
    assert f"{instrument} (TCPIP0::127.0.0.1" in found.text
    assert "'ACME,Toaster 3000,1,1'" in found.text
    assert "wire log: " in found.text
    found.assert_safe()
    assert not [path for path in found.out.iterdir() if path.is_dir()]


def test_a_2450_that_speaks_tsp_is_refused(lab):
    family = FAMILIES["2450"]
    lab.arrange = lambda b: setattr(b.faults["two"], "language", "TSP")
    found = lab.run(family.station(device="ideal"))
    assert type(found.error) is BackendUnavailable
    assert "two" in found.text
    assert "TSP" in found.text
    found.assert_safe()


def test_a_closed_port_is_a_link_error_that_names_it(lab):
    lab.arrange = lambda b: setattr(b.faults["mux"], "refuse", True)
    found = lab.run(STATION)
    assert isinstance(found.error, LinkError)
    assert found.error.address.startswith("TCPIP0::127.0.0.1::")
    found.assert_safe()
    assert not [path for path in found.out.iterdir() if path.is_dir()]


def test_wiring_that_shorts_two_sources_is_refused_before_any_session():
    text = STATION + '[[wiring]]\nline = "WL0"\nchannel = "smu.b"\n'
    with pytest.raises(ConfigError, match="WL0"):  # noqa: PT012 - either may find it
        station = station_of(text)
        RigFactory().create(station, station.array[0], seed=0)


def test_a_train_longer_than_the_list_is_cut_into_runs_and_never_shortened(lab, monkeypatch):
    whole = lab.run(STATION)
    monkeypatch.setattr(models, "MAX_PULSES", 7)  # a device of the protocol takes 17 with its reads
    found = lab.run(STATION)
    assert found.error is None
    assert found.bench.array.ordinal.sum() == whole.bench.array.ordinal.sum() == 3 * 8
    runs = [re.findall(r"hil_run\((\d+)\)", line.get("sent", "")) for line in found.wire]
    assert [n for found in runs for n in found] == [str(n) for n in range(1, 3 * 3 + 1)]
    assert found.run.reads["current_a"].to_pylist() == whole.run.reads["current_a"].to_pylist()


def test_a_train_that_no_list_holds_is_refused_with_the_number():
    smu = Keithley2600B("smu")
    with pytest.raises(LimitError, match="pulses of one run 20001 against limit 20000"):
        smu.delivered({"a": ChannelSteps.build(1.0, 2e-4, 3e-4, repeat=20_001)})
