"""A 2600B's sessions, runs, readings and safe state, message by message."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hil_drivers.instrument import ChannelSteps, SyncPlan, SyncRole
from hil_drivers.keithley_2600b import Keithley2600B
from hil_drivers.transport import ReplaySession
from replay_2600b import NO_ERROR, OFF, OPENING, OUTPUTS, RESET, WRITE_AND_READ, message, opened

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


def started(run, programs=WRITE_AND_READ):
    """Return what starts the run: the upload and the call in one message."""
    return f"{message(programs)}\nhil_run({run})", None


def ended(text, *blocks):
    """Return the line that ends a run and the blocks of readings that follow it."""
    return [(None, text), *((None, block) for block in blocks)]


def test_a_run_takes_one_message():
    block = np.zeros((7, 2), "<f4")
    block[:, 0] = [1e-5, 2e-5, 3e-5, 4e-6, 5e-5, 6e-5, 7e-6]
    block[1, 1] = 0x40
    block[6, 1] = 0x40
    smu, session = opened([
        started(1),
        *ended("hil\t1.00000e+00\t0.00000e+00\t0.00000e+00\t7.00000e+00\t0.00000e+00\tok",
               block.ravel()),
    ])  # fmt: skip
    before = smu.transactions
    smu.load(WRITE_AND_READ)
    smu.start()
    smu.wait(1.0)
    readings = smu.collect()
    assert smu.transactions - before == 1 == smu.estimate(WRITE_AND_READ).transactions
    session.finish()
    a = readings["a"]
    assert set(readings) == {"a"}
    assert a.step.tolist() == [1, 3]
    assert a.pulse.tolist() == [0, 0]
    assert a.current_a == pytest.approx([4e-6, 7e-6])
    assert a.t_ns.tolist() == [6_000_000, 12_000_000]
    assert a.level_v.tolist() == [0.1, 0.1]
    assert a.range_a.tolist() == [1e-5, 1e-5]
    assert a.status.tolist() == [0, Status.I_COMPLIANCE]
    assert a.tripped_steps == (0,)


def test_what_the_instrument_holds_is_not_sent_again_until_a_run_fails():
    end = ended("hil\t{}\t0\t0\t0\t0\t{}")[0][1]
    other = {"b": WRITE_AND_READ["b"]}
    smu, session = opened([
        started(1), (None, end.format(1, "ok")),
        ("hil_run(2)", None), (None, end.format(2, "ok")),
        started(3, other), (None, end.format(3, "ok")),
        started(4), (None, end.format(4, "failed")),
        started(5), (None, end.format(5, "ok")),
    ])  # fmt: skip
    for programs in (WRITE_AND_READ, WRITE_AND_READ, other):
        smu.load(programs)
        smu.start()
        smu.wait(1.0)
    smu.load(WRITE_AND_READ)
    smu.start()
    with pytest.raises(InstrumentError, match="failed"):
        smu.wait(1.0)
    again = {c: replace(steps) for c, steps in WRITE_AND_READ.items()}  # equal, another object
    smu.load(again)
    smu.start()
    smu.wait(1.0)
    session.finish()


def test_another_instrument_at_the_address_is_refused_before_anything_is_sent():
    smu = Keithley2600B("smu")
    session = ReplaySession.of([("*IDN?", "KEITHLEY INSTRUMENTS,MODEL 2450,04096,1.7.0b")])
    with pytest.raises(BackendUnavailable, match="keithley-2600b expects"):
        smu.open(session)
    session.finish()


def test_unknown_settings_are_refused_with_their_field():
    with pytest.raises(ConfigError, match=r"instrument\.smu\.settings\.of"):
        Keithley2600B("smu", {"of": "zero"})


def test_errors_left_by_the_reset_are_raised():
    session = ReplaySession.of([
        *OPENING[:-1],
        ("print(errorqueue.next())", "-2.85000e+02\tTSP Syntax error at line 1\t2.0\t1.0"),
        NO_ERROR,
    ])  # fmt: skip
    with pytest.raises(InstrumentError, match=r"-285.*TSP Syntax") as caught:
        Keithley2600B("smu").open(session)
    assert caught.value.code == -285


def test_an_error_in_the_middle_of_a_run_is_raised_and_the_readings_are_still_there():
    block = np.array([1e-5, 0, 2e-5, 0, 3e-5, 0, 4e-6, 0], "<f4")
    smu, session = opened([
        started(1),
        *ended("hil\t1\t0\t1\t4\t0\tok", block),
        ("print(errorqueue.next())", "5.00700e+03\tSomething\t2.0\t1.0"),
        NO_ERROR,
    ])  # fmt: skip
    smu.load(WRITE_AND_READ)
    smu.start()
    with pytest.raises(InstrumentError, match="5007"):
        smu.wait(1.0)
    a = smu.collect()["a"]
    assert a.step.tolist() == [1]
    assert a.current_a == pytest.approx([4e-6])
    session.finish()


def test_a_failure_of_the_script_itself_is_an_instrument_error():
    smu, _ = opened([
        started(1), (None, "hil\t1\t0\t0\t0\t0\tattempt to call a nil value"),
    ])  # fmt: skip
    smu.load(WRITE_AND_READ)
    smu.start()
    with pytest.raises(InstrumentError, match="attempt to call a nil value"):
        smu.wait(1.0)
    assert len(smu.collect()["a"]) == 0


def test_the_answer_of_another_run_is_refused():
    smu, _ = opened([
        started(1), (None, "hil\t7\t0\t0\t7\t0\tok"),
    ])  # fmt: skip
    smu.load(WRITE_AND_READ)
    smu.start()
    with pytest.raises(LinkError, match="run 1 was waited for, run 7 answered"):
        smu.wait(1.0)


def test_an_output_that_stays_on_is_a_readback_error():
    smu, _ = opened([
        started(1), *ended("hil\t1\t1\t0\t7\t0\tok", np.zeros(14, "<f4")),
    ])  # fmt: skip
    smu.load(WRITE_AND_READ)
    smu.start()
    with pytest.raises(ReadbackError, match="still on"):
        smu.wait(1.0)


def test_overflows_become_nan_with_a_status():
    block = np.array([9.91e37, 0, -9.9e37, 0x40], "<f4")
    programs = {"a": ChannelSteps.build([0.1, 0.1], 1e-3, 2e-3, measure=True, compliance_a=1e-4)}
    smu, _ = opened([
        started(1, programs), *ended("hil\t1\t0\t0\t2\t0\tok", block),
    ])  # fmt: skip
    smu.load(programs)
    smu.start()
    smu.wait(1.0)
    a = smu.collect()["a"]
    assert np.isnan(a.current_a).all()
    assert a.status.tolist() == [Status.OVERFLOW, Status.OVERFLOW | Status.I_COMPLIANCE]


def test_a_follower_is_armed_when_start_returns_and_is_waited_for_by_a_message():
    sync = SyncPlan(SyncRole.FOLLOWER, "3")
    smu, session = opened([
        (f"{message(sync=sync)}\nhil_follow(1)", "armed\t1.00000e+00"),
        ("hil_finish(1)", "hil\t1\t0\t0\t7\t0\tok"), (None, np.zeros(14, "<f4")),
    ])  # fmt: skip
    smu.load(WRITE_AND_READ, sync)
    smu.start()
    smu.wait(1.0)
    session.finish()


def test_a_follower_that_is_not_armed_is_a_link_error():
    sync = SyncPlan(SyncRole.FOLLOWER, "3")
    smu, _ = opened([(f"{message(sync=sync)}\nhil_follow(1)", "armed\t4")])
    smu.load(WRITE_AND_READ, sync)
    with pytest.raises(LinkError, match="to be armed"):
        smu.start()


def test_safe_twice_says_the_same_and_reads_back():
    ask = [(OFF, None), (OUTPUTS, "0.00000e+00\t0.00000e+00")]
    smu, session = opened([*ask, *ask])
    smu.safe()
    smu.safe()
    session.finish()


def test_safe_while_a_run_is_on_clears_and_aborts_first():
    smu, session = opened([
        started(1),
        ("<clear>", None), ("abort", None), (OFF, None), (OUTPUTS, "0\t0"),
    ])  # fmt: skip
    smu.load(WRITE_AND_READ)
    smu.start()
    smu.safe()
    session.finish()


def test_safe_that_reads_back_an_output_on_says_so():
    smu, _ = opened([(OFF, None), (OUTPUTS, "0\t1")])
    with pytest.raises(ReadbackError):
        smu.safe()


def test_abort_switches_off_through_the_second_session():
    smu, _ = opened([])
    second = ReplaySession.of([("<clear>", None), ("abort", None), (OFF, None)])
    smu.abort(second)
    second.finish()


def test_a_spot_reading_is_one_message():
    smu, session = opened([
        ('hil_spot(1,"b",0.1,0.0001,0.1,0.0001,1,0.001)',
         "hil\t1\t0\t0\t9.98700e-07\t0\tok"),
    ])  # fmt: skip
    reading = smu.measure_once("b", level_v=0.1, compliance_a=1e-4)
    assert reading.current_a == pytest.approx(9.987e-7)
    assert reading.status == 0
    session.finish()


def test_a_timeout_of_a_run_is_passed_on():
    class Late(ReplaySession):
        def read(self, timeout_s=0.0):
            raise LinkTimeout("no answer", "x")

    smu = Keithley2600B("smu")
    session = Late("x", ReplaySession.of([*OPENING, started(1)])._left)
    smu.open(session)
    smu.load(WRITE_AND_READ)
    smu.start()
    with pytest.raises(LinkTimeout):
        smu.wait(0.1)


def test_the_single_channel_models_have_channel_a_only():
    smu = Keithley2600B("smu")
    idn = "Keithley Instruments Inc., Model 2635B, 1, 3.2.2"
    reset = RESET.split("\nsmub")[0]
    smu.open(ReplaySession.of([("*IDN?", idn), (reset, None), *OPENING[2:]]))
    assert smu.channels == ("a",)
    with pytest.raises(LimitError, match=r"smu\.b"):
        smu.delivered({"b": WRITE_AND_READ["b"]})
    assert smu.channel_capabilities("a").level_v.max == 200.0
    assert not math.isinf(smu.channel_capabilities("a").compliance_a.max)
