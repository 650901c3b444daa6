from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from golden_files import check
from hil_drivers.instrument import ChannelSteps, SyncPlan, SyncRole
from hil_drivers.keithley_2600b import Keithley2600B
from hil_drivers.keithley_2600b.lowering import deliver, lower
from hil_drivers.transport import ReplaySession
from hil_drivers.tsp import script
from lua_50 import too_new

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

SCRIPT = script("hil_drivers.keithley_2600b", "run.tsp")
IDN = "Keithley Instruments Inc., Model 2602B, 1398687, 3.2.2"
RESET = (
    "reset()\nerrorqueue.clear()\nformat.data=format.REAL32\n"
    "format.byteorder=format.LITTLEENDIAN\n"
    "smua.source.offmode=smua.OUTPUT_HIGH_Z\nsmua.sense=smua.SENSE_LOCAL\n"
    "smub.source.offmode=smub.OUTPUT_HIGH_Z\nsmub.sense=smub.SENSE_LOCAL"
)
NO_ERROR = ("print(errorqueue.next())", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00")
OPENING = [
    ("*IDN?", IDN),
    (RESET, None),
    (SCRIPT, None),
    ("print(hil_version,localnode.linefreq)", "2.00000e+00\t5.00000e+01"),
    NO_ERROR,
]
OFF = (
    "smua.abort() smua.source.levelv=0 smua.source.output=0\n"
    "smub.abort() smub.source.levelv=0 smub.source.output=0"
)
OUTPUTS = "print(smua.source.output,smub.source.output)"

WRITE_AND_READ = {
    "a": ChannelSteps.build([1.0, 0.1, 1.0, 0.1], 1e-3, 2e-3, repeat=[3, 1, 2, 1],
                            measure=[False, True, False, True], compliance_a=1e-4,
                            range_a=1e-5, aperture_s=2e-4),
    "b": ChannelSteps.build([-1.0, 0.0, -1.0, 0.0], 1e-3, 2e-3, repeat=[3, 1, 2, 1],
                            compliance_a=1e-3),
}  # fmt: skip


def opened(exchanges):
    smu = Keithley2600B("smu")
    session = ReplaySession.of([*OPENING, *exchanges])
    smu.open(session)
    return smu, session


def message(programs=WRITE_AND_READ, sync=None):
    return lowered(programs, sync).message


def lowered(programs, sync=None, model="2602B", **how):
    delivered = deliver(programs, model, 50.0, "smu")
    return lower(delivered, sync or SyncPlan(), model, 50.0, "smu", **how)


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


def test_the_upload_is_the_reviewed_one():
    check("keithley_2600b_write_and_read.tsp", message())


def test_the_upload_with_short_writes_and_held_reads_is_the_reviewed_one():
    programs = {
        "a": ChannelSteps.build([2.0, 0.2, -2.0, 0.2], [100e-6, 5e-3, 200e-6, 5e-3],
                                [1e-3, 5e-3, 1e-3, 5e-3], measure=[False, True, False, True],
                                compliance_a=1e-3, range_a=1e-4, aperture_s=1e-3),
    }  # fmt: skip
    plan = lowered(programs, model="2636B", same_period=True)
    assert len(plan.segments) == 4
    assert plan.taken["a"].tolist() == [False, True, False, True]
    check("keithley_2600b_four_sweeps.tsp", plan.message)


def test_the_upload_of_a_train_with_reads_is_one_sweep_and_the_reviewed_one():
    n = 3
    programs = {
        "a": ChannelSteps.build([0.2, *[0.75, 0.2] * n], [2e-3, *[200e-6, 2e-3] * n],
                                [2.1e-3, *[300e-6, 2.1e-3] * n], compliance_a=1e-3),
        "b": ChannelSteps.build([0.0, *[-0.75, 0.0] * n], [2e-3, *[200e-6, 2e-3] * n],
                                [2.1e-3, *[300e-6, 2.1e-3] * n], compliance_a=1e-3,
                                measure=[True, *[False, True] * n], range_a=1e-4, aperture_s=1e-3),
    }  # fmt: skip
    plan = lowered(programs, model="2636B")
    assert len(plan.segments) == 1
    assert plan.taken["b"].tolist() == [True, *[False, True] * n]
    assert not plan.taken["a"].any()
    check("keithley_2600b_train.tsp", plan.message)


@pytest.mark.parametrize("role", list(SyncRole))
@pytest.mark.parametrize("each", [False, True])
def test_triggered_uploads_are_the_reviewed_ones(role, each):
    if role is SyncRole.SOFTWARE and each:
        return
    sync = SyncPlan(role, "" if role is SyncRole.SOFTWARE else "3", each)
    check(f"keithley_2600b_{role.value}{'_each' if each else ''}.tsp",
          message({"a": WRITE_AND_READ["a"]}, sync))  # fmt: skip


def test_everything_sent_is_lua_5_0():
    assert too_new(SCRIPT) == []
    assert too_new(message()) == []
    assert too_new("x = #t") == ["length operator #"]
    assert too_new("x = 5 % 2") == ["modulo operator %"]


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


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (ChannelSteps.build([41.0], 1e-3, 2e-3), "level_v 41 V against limit 40 V"),
        (ChannelSteps.build([1.0], 50e-6, 2e-3), "width_s 5e-05 s against limit 0.0001 s"),
        (ChannelSteps.build([1.0], 1e-3, 2e-3, repeat=20_001), "pulses of one run 20001"),
        (ChannelSteps.build([1.0], 1e-3, 2e-3, compliance_a=1e-9), "compliance_a 1e-09 A"),
        (ChannelSteps.build([10.0], 1e-3, 2e-3, compliance_a=2.0), "compliance_a 2 A.* 1 A"),
        (ChannelSteps.build([1.0], 1e-3, 2e-3, measure=True, range_a=5.0), "current range 5 A"),
        (ChannelSteps.build([1.0], 1e-3, 2e-3, measure=True, aperture_s=0.99e-3), "does not fit"),
        (ChannelSteps.build([1.0], 1e-3, 2e-3, measure=True, aperture_s=1e-6), "aperture_s 1e-06"),
    ],
)
def test_what_the_model_cannot_do_is_refused_before_anything_is_sent(program, text):
    smu, session = opened([])
    with pytest.raises(LimitError, match=text):
        smu.load({"a": program})
    session.finish()


def test_a_common_start_refuses_a_run_of_several_sweeps():
    steps = ChannelSteps.build([1.0, 1.0], [1e-3, 2e-3], [2e-3, 2e-3])
    with pytest.raises(LimitError, match="common trigger"):
        message({"a": steps}, SyncPlan(SyncRole.MASTER, "1"))


def test_without_period_lists_a_sweep_ends_where_the_period_changes():
    steps = {"a": ChannelSteps.build([1.0] * 4, 1e-3, [2e-3, 2e-3, 5e-3, 2e-3], compliance_a=1e-3)}
    plan = lowered(steps, same_period=True)
    assert [(p.first, p.last) for p in plan.segments] == [(0, 1), (2, 2), (3, 3)]
    split = Keithley2600B("smu", {"period_lists": False})
    whole = Keithley2600B("smu")
    assert "3 sweeps" in split.estimate(steps).note
    assert "1 sweeps" in whole.estimate(steps).note


def test_digital_lines_are_checked():
    with pytest.raises(LimitError, match="1 … 14"):
        message(WRITE_AND_READ, SyncPlan(SyncRole.MASTER, "15"))
    with pytest.raises(LimitError, match="no digital I/O"):
        lowered(WRITE_AND_READ, SyncPlan(SyncRole.MASTER, "1"), "2604B")


def test_levels_come_back_on_the_grid_of_their_range():
    smu = Keithley2600B("smu")
    d = smu.delivered({"a": ChannelSteps.build([0.1000026, 1.0], 1.00004e-3, 2e-3)})["a"]
    assert d.level_v == pytest.approx([0.1, 1.0], abs=1e-12)
    assert d.width_s == pytest.approx([1e-3, 1e-3], abs=1e-12)
    fine = smu.delivered({"a": ChannelSteps.build([0.1000026], 1e-3, 2e-3)})["a"]
    assert fine.level_v == pytest.approx([0.100005], abs=1e-12)


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
