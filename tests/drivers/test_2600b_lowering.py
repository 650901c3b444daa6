"""What is uploaded to a 2600B, and what its models cannot do."""

from __future__ import annotations

import pytest
from golden_files import check
from hil_drivers.instrument import ChannelSteps, SyncPlan, SyncRole
from hil_drivers.keithley_2600b import Keithley2600B
from lua_50 import too_new
from replay_2600b import SCRIPT, WRITE_AND_READ, lowered, message, opened

from hil.errors import LimitError


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
