"""The uploaded 2600B script in a real Lua, against instrument tables that only write down."""

from __future__ import annotations

import pytest
from hil_drivers.instrument import ChannelSteps, SyncPlan, SyncRole
from hil_drivers.keithley_2600b.lowering import deliver, lower
from hil_drivers.tsp import script

lua51 = pytest.importorskip("lupa.lua51")

TABLES = """
log = {}
function note(text) log[table.getn(log) + 1] = text end
function joined(t) local s = "" for k, v in ipairs(t) do s = s .. (k > 1 and "," or "") .. v end
  return s end
function recorded(name, fields)
  return setmetatable({}, {__index = function(_, k) return fields[k] end,
    __newindex = function(_, k, v)
      fields[k] = v
      if type(v) == "table" then v = "{" .. joined(v) .. "}" end
      note(name .. "." .. k .. "=" .. tostring(v)) end})
end
function make_smu(name)
  local buffer = recorded(name .. ".nvbuffer1", {n = 0, clear = function() end,
    readings = name .. ".readings", statuses = name .. ".statuses"})
  local trigger = recorded(name .. ".trigger", {ARMED_EVENT_ID = name .. ".ARMED",
    source = recorded(name .. ".trigger.source", {
      listv = function(t) note(name .. ".listv{" .. joined(t) .. "}") end}),
    measure = recorded(name .. ".trigger.measure", {i = function() end}),
    endpulse = recorded(name .. ".trigger.endpulse", {}),
    endsweep = recorded(name .. ".trigger.endsweep", {}),
    arm = recorded(name .. ".trigger.arm", {}),
    initiate = function() note(name .. ".initiate") end})
  return recorded(name, {OUTPUT_ON = 1, OUTPUT_OFF = 0, ENABLE = 1, DISABLE = 0,
    ASYNC = 2,
    SOURCE_IDLE = "idle", SOURCE_HOLD = "hold",
    source = recorded(name .. ".source", {output = 0}), measure = recorded(name .. ".measure", {}),
    nvbuffer1 = buffer, trigger = trigger})
end
smua = make_smu("smua")
smub = make_smu("smub")
trigger = {timer = {}}
for k = 1, 8 do trigger.timer[k] = recorded("timer" .. k, {EVENT_ID = "timer" .. k,
  reset = function() end}) end
digio = {TRIG_FALLING = 1, trigger = {}}
for k = 1, 14 do digio.trigger[k] = recorded("digio" .. k, {EVENT_ID = "digio" .. k,
  reset = function() end, clear = function() end}) end
errorqueue = {count = 0}
format = recorded("format", {REAL32 = "real32", LITTLEENDIAN = "little"})
function printbuffer(first, last, readings, statuses)
  note("printbuffer " .. first .. " " .. last .. " " .. readings .. " " .. statuses) end
function waitcomplete() note("wait") end
function print(...) for k, v in ipairs(arg) do arg[k] = tostring(v) end
  note("print " .. table.concat(arg, " ")) end
"""


@pytest.fixture
def lua():
    runtime = lua51.LuaRuntime()
    runtime.execute(TABLES)
    body = script("hil_drivers.keithley_2600b", "run.tsp").splitlines()[1:-1]
    runtime.execute("\n".join(body))
    return runtime


def run(lua, programs, sync=None):
    delivered = deliver(programs, "2602B", 50.0, "smu")
    plan = lower(delivered, sync or SyncPlan(), "2602B", 50.0, "smu")
    for line in plan.message.splitlines():
        lua.execute(line)
    lua.execute("log = {}")
    if sync is not None and sync.role is SyncRole.FOLLOWER:
        lua.execute("hil_follow(5)")
        assert "wait" not in lua.globals().log.values()
        lua.execute("hil_finish(5)")
    else:
        lua.execute("hil_run(5)")
    return plan, list(lua.globals().log.values())


def test_repeats_are_expanded_and_the_timers_carry_widths_and_periods(lua):
    steps = ChannelSteps.build([1.0, -0.5], [1e-3, 2e-3], [4e-3, 5e-3], repeat=[2, 1])
    plan, log = run(lua, {"a": steps})
    assert len(plan.segments) == 1
    assert "smua.listv{1,1,-0.5}" in log
    assert "timer1.delaylist={0.004,0.004,0.005}" in log
    assert "timer1.count=2" in log
    assert "timer2.delaylist={0.001,0.001,0.002}" in log
    assert "smua.trigger.count=3" in log
    assert "timer1.stimulus=smua.ARMED" in log


def test_uniform_trains_use_plain_delays(lua):
    _, log = run(lua, {"a": ChannelSteps.build([1.0], 1e-3, 4e-3, repeat=5)})
    assert "timer1.delay=0.004" in log
    assert "timer1.count=4" in log
    assert "timer2.delay=0.001" in log


def test_a_single_pulse_leaves_the_period_timer_a_count_of_one(lua):
    _, log = run(lua, {"a": ChannelSteps.build([1.0], 1e-3, 4e-3)})
    assert "timer1.count=1" in log


def test_measurements_end_before_their_pulse(lua):
    steps = ChannelSteps.build([0.1], 5e-3, 6e-3, measure=True, aperture_s=1e-3)
    _, log = run(lua, {"a": steps})
    assert "timer3.delay=0.00394" in log  # 5 ms - 1 ms aperture - 60 us
    assert "smua.trigger.measure.stimulus=timer3" in log


def test_a_measurement_in_some_pulses_is_triggered_by_a_list_of_the_times_between_them(lua):
    steps = ChannelSteps.build(
        [1.0, 0.1, 1.0, 0.1],
        [200e-6, 2e-3] * 2,
        [300e-6, 3e-3] * 2,
        repeat=[2, 1, 2, 2],
        measure=[False, True] * 2,
        aperture_s=1e-3,
    )
    plan, log = run(lua, {"a": steps})
    assert len(plan.segments) == 1
    assert plan.taken["a"].tolist() == [False, False, True, False, False, True, True]
    # A reading begins 2 ms - 1 ms - 60 us after the start of its pulse.
    assert "timer3.delaylist={0.00154,0.0036,0.003}" in log
    assert "timer3.count=3" in log
    assert "timer3.stimulus=smua.ARMED" in log
    assert "smua.trigger.measure.action=2" in log


def test_a_run_can_be_repeated_without_another_upload(lua):
    steps = ChannelSteps.build([1.0, -0.5], [1e-3, 2e-3], [4e-3, 5e-3], repeat=[2, 1])
    _, first = run(lua, {"a": steps})
    lua.execute("log = {} hil_run(5)")
    assert list(lua.globals().log.values()) == first


def test_readings_follow_the_line_that_announces_them_in_a_format_set_before(lua):
    steps = ChannelSteps.build([1.0], 1e-3, 4e-3, measure=True)
    lua.execute("hil_smu.a.trigger.initiate = function() smua.nvbuffer1.n = 4 end")
    _, log = run(lua, {"a": steps})
    assert log[-2:] == ["print hil 5 0 0 4 0 ok", "printbuffer 1 4 smua.readings smua.statuses"]
    assert log.index("format.data=real32") < log.index(log[-2])
    assert log.index("format.byteorder=little") < log.index(log[-2])


def test_held_levels_are_held_and_pulses_return_to_zero(lua):
    steps = ChannelSteps.build([1.0, 0.5], [5e-3, 1e-3], [5e-3, 5e-3])
    plan, log = run(lua, {"a": steps})
    assert len(plan.segments) == 2
    actions = [x for x in log if x.startswith("smua.trigger.endpulse.action")]
    assert actions == ["smua.trigger.endpulse.action=hold", "smua.trigger.endpulse.action=idle"]
    assert log.count("wait") == 2


def test_both_channels_are_armed_before_the_one_that_starts_the_clock(lua):
    steps = ChannelSteps.build([1.0], 1e-3, 4e-3)
    _, log = run(lua, {"a": steps, "b": steps})
    assert log.index("smua.initiate") < log.index("smub.initiate")
    assert "timer1.stimulus=smub.ARMED" in log


def test_outputs_are_on_before_the_sweep_and_off_after_it(lua):
    _, log = run(lua, {"a": ChannelSteps.build([1.0], 1e-3, 4e-3)})
    assert log.index("smua.source.output=1") < log.index("smua.initiate") < log.index("wait")
    assert log.index("wait") < log.index("smua.source.output=0")
    assert "smub.source.output=1" not in log
    assert log[-1] == "print hil 5 0 0 0 0 ok"


@pytest.mark.parametrize(
    ("sync", "expected"),
    [
        (SyncPlan(SyncRole.MASTER, "3"), "digio3.stimulus=smua.ARMED"),
        (SyncPlan(SyncRole.MASTER, "3", True), "digio3.stimulus=timer1"),
        (SyncPlan(SyncRole.FOLLOWER, "4"), "timer1.stimulus=digio4"),
        (SyncPlan(SyncRole.FOLLOWER, "4", True), "smua.trigger.source.stimulus=digio4"),
    ],
)
def test_trigger_lines_start_or_pace_a_run(lua, sync, expected):
    _, log = run(lua, {"a": ChannelSteps.build([1.0, 2.0], 1e-3, 4e-3)}, sync)
    assert expected in log


def test_a_failure_inside_still_switches_off_and_says_why(lua):
    lua.execute("waitcomplete = nil")
    _, log = run(lua, {"a": ChannelSteps.build([1.0], 1e-3, 4e-3)})
    assert log.index("smua.source.output=1") < log.index("smua.source.output=0")
    assert "attempt to call" in log[-1]


def test_a_spot_reading_settles_measures_and_switches_off(lua):
    lua.execute("function delay(s) note('delay ' .. s) end smua.measure.i = function() "
                "note('measure') return 2e-6 end smua.source.compliance = true log = {}"
    )  # fmt: skip
    lua.execute('hil_spot(9,"a",0.1,1e-4,0.2,1e-4,1,0.001)')
    log = list(lua.globals().log.values())
    order = [log.index(x) for x in ("smua.source.output=1", "smua.source.levelv=0.1",
                                    "delay 0.001", "measure", "smua.source.output=0")]  # fmt: skip
    assert order == sorted(order)
    assert log[-1] == "print hil 9 0 0 2e-06 1 ok"
