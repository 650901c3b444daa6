"""How many messages a programme takes, and whether the plan says so beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from benches import STATIONS, on_bench, station_of
from families import FAMILIES, QUICK
from hil_drivers.rig.preview import totals
from hil_drivers.transport.latency import message_s

from hil.control.array import SynapseArray, load_protocol
from hil.control.dryrun import forecast_static

pytest.importorskip("lupa")

LTP = 'schema = 1\nkind = "ltp-ltd"\ncells = {cells}\ncycles = {cycles}\npulses = {pulses}\n{more}'


def protocol(tmp_path, *, cells='"all"', cycles=2, pulses=50, more=""):
    path = tmp_path / "protocol.toml"
    path.write_text(LTP.format(cells=cells, cycles=cycles, pulses=pulses, more=more))
    return path


def run(rig, station, path):
    """Return (result, messages sent) of a protocol on an open rig."""
    array = SynapseArray(rig, station.drive.operating_point())
    before = rig.rack.transactions
    result = array.run(path)
    return result, rig.rack.transactions - before


def planned(rig, station, path):
    array = SynapseArray(rig, station.drive.operating_point())
    return totals(rig, load_protocol(path).programme(array.context))


def test_ltp_ltd_of_every_cell_takes_less_than_a_message_for_a_hundred_pulses(tmp_path):
    """Per cell: one message closes and reads back the relays, one runs the whole train."""
    station = station_of(STATIONS["a"](rows=4, cols=4))
    with on_bench(station) as (rig, _), rig:
        result, messages = run(rig, station, protocol(tmp_path))
    cells, trains_in_a_block = 16, 4
    driven = cells * 2 * 100 + result.n_readings  # writes and reads
    assert result.n_device_pulses == cells * 2 * 100
    assert messages == 2 * cells + cells // trains_in_a_block  # after a block: was there a reset?
    assert 100 * messages / driven < 0.6
    assert 100 * messages / result.n_device_pulses < 1.2


def test_the_library_protocol_on_32_x_32_devices_is_planned_with_as_few_messages():
    station = station_of(STATIONS["a"](rows=32, cols=32))
    with on_bench(station) as (rig, _):
        plan = planned(rig, station, "ltp-ltd")
    assert plan.pulses == 1024 * 402
    assert plan.runs == plan.stages == 1024
    assert plan.transactions == 2 * 1024 + 256
    assert 100 * plan.transactions / plan.pulses < 0.6
    assert not plan.unbatched


def test_a_pulse_at_a_time_on_all_cells_is_what_the_order_saves(tmp_path):
    station = station_of(STATIONS["a"](rows=3, cols=3))
    with on_bench(station) as (rig, _):
        cell, turn = (
            planned(rig, station, protocol(tmp_path, pulses=5, more=f'order = "{order}"\n'
                                                                    'together = "cell"\n'))
            for order in ("cell", "interleaved")
        )  # fmt: skip
    assert cell.pulses == turn.pulses
    assert turn.transactions > 20 * cell.transactions


@pytest.mark.parametrize("kind", ["a", "c", "d"])
@pytest.mark.parametrize("order", ["cell", "interleaved"])
def test_the_plan_counts_the_messages_that_are_sent(kind, order, tmp_path):
    station = station_of(STATIONS[kind]())
    path = protocol(tmp_path, cells="[[0, 1], [2, 0]]", cycles=1, pulses=4,
                    more=f'order = "{order}"\n')  # fmt: skip
    with on_bench(station) as (rig, _), rig:
        expected = planned(rig, station, path)
        result, messages = run(rig, station, path)
    assert messages == expected.transactions
    assert result.n_readings == expected.readings


def test_one_upload_serves_every_cell(tmp_path):
    station = station_of(STATIONS["a"](rows=4, cols=4))
    with on_bench(station) as (rig, bench), rig:
        before = bench.instruments["smu"].messages
        run(rig, station, protocol(tmp_path))
        lines = bench.instruments["smu"].messages - before
    assert lines < 16 + 60  # one line for each cell, and the lines of one upload


@pytest.mark.parametrize("name", ["ltp-ltd", "read-map"])
def test_predicted_time_is_what_the_bench_takes_with_documented_latencies(name, tmp_path):
    station = station_of(STATIONS["a"](rows=3, cols=3))
    path = protocol(tmp_path, cycles=1, pulses=20) if name == "ltp-ltd" else name
    with on_bench(station, realistic=True) as (rig, bench), rig:
        array = SynapseArray(rig, station.drive.operating_point())
        procedure = load_protocol(path)
        forecast = forecast_static(procedure, array.context, rig)
        predicted_s = rig.predicted_s(procedure.programme(array.context))
        begin_ns = bench.clock_ns
        array.run(procedure)
        took_s = (bench.clock_ns - begin_ns) * 1e-9
    assert predicted_s == pytest.approx(took_s, rel=0.2)
    assert forecast.numbers["seconds"] == predicted_s
    assert f"predicted time: {predicted_s:.3g} s" in "\n".join(
        rig.preview(procedure.programme(array.context))
    )


def test_a_message_takes_as_long_as_its_link_says():
    links = {
        "TCPIP0::192.168.0.5::5025::SOCKET": 1e-3, "TCPIP0::192.168.0.5::hislip0::INSTR": 1e-3,
        "TCPIP0::192.168.0.5::INSTR": 2e-3, "GPIB0::17::INSTR": 4e-3,
        "USB0::0x05E6::0x2636::1::INSTR": 1e-3, "ASRL/dev/ttyUSB0::INSTR": 10e-3,
    }  # fmt: skip
    assert {name: message_s(name) for name in links} == links


def test_trains_on_other_devices_get_the_plan_that_they_would_get_alone():
    station = station_of(STATIONS["a"](rows=5, cols=6))
    with on_bench(station) as (rig, _):
        context = SynapseArray(rig, station.drive.operating_point()).context
        blocks = list(load_protocol("ltp-ltd").programme(context))
        before = rig.closed_map
        for block in blocks:
            job = rig.job(block, before)
            alone = rig._plan(block, before)
            assert job.plan.moves == alone.plan.moves
            assert len(job.runs) == len(alone.runs)
            for stage, other in zip(job.plan.stages, alone.plan.stages, strict=True):
                assert (stage.start, stage.stop) == (other.start, other.stop)
                assert stage.closures == other.closures
            for (run,), (other,) in zip(job.runs, alone.runs, strict=True):
                assert (run.steps == other.steps).all()
                for name, channels in run.programs.items():
                    for channel, steps in channels.items():
                        assert steps.equals(other.programs[name][channel])
                for name, lines in run.sensed.items():
                    measured = run.programs["smu"][name.partition(".")[2]].measure
                    assert (lines == other.sensed[name])[measured].all()
            for column in ("level_v", "width_s"):
                np.testing.assert_array_equal(
                    getattr(job.delivered, column), getattr(alone.delivered, column)
                )
            before = job.plan.after


@pytest.mark.parametrize(("kind", "name"), [
    pytest.param(kind, name, id=f"{kind}-{name}",
                 marks=[] if kind in QUICK or name == "update" else [pytest.mark.slow])
    for kind in FAMILIES for name in ("ltp-ltd", "update", "read-map")
])  # fmt: skip
def test_the_plan_counts_the_messages_of_every_family(kind, name, tmp_path):
    """A follower is asked until it waits: on a slow computer once more than planned, or twice."""
    family = FAMILIES[kind]
    station = station_of(family.station(2, 2))
    path = protocol(tmp_path, cells="[[0, 1]]", cycles=1, pulses=4) if name == "ltp-ltd" else name
    with on_bench(station, options=family.options) as (rig, _), rig:
        expected = planned(rig, station, path)
        _, messages = run(rig, station, path)
    assert expected.transactions <= messages <= expected.transactions * 1.02 + 1
