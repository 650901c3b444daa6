"""The same rules for every source: what it refuses, delivers, reads and says of itself."""

from __future__ import annotations

import pytest
from every_driver import METERS, SOURCES, every_meter, every_source, opened, program, run
from hil_drivers.instrument import ChannelSteps

from hil.errors import BackendError, InstrumentError, LimitError, ReadbackError


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
