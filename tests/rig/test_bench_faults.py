"""What a rig does when instruments fail, on emulated instruments over TCP."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from benches import on_bench, station_a, station_b, station_c, station_of
from families import FAMILIES

from hil.errors import (
    BackendError,
    BackendUnavailable,
    HilError,
    InstrumentError,
    LinkError,
    ReadbackError,
)
from hil.phases.reading import read_map
from hil.phases.writing import program_counts

pytest.importorskip("lupa")


def read_blocks(rig, op):
    return list(read_map(rig.geometry, op, rig.capabilities))


@pytest.fixture
def station():
    return station_of(station_a(device="ideal"))


@pytest.fixture
def op(station):
    return station.drive.operating_point()


def test_another_instrument_at_an_address_is_refused(station):
    with on_bench(station) as (rig, bench):
        bench.faults["mux"].corrupt_idn = "ACME,Toaster 3000,1,1"
        with pytest.raises(BackendUnavailable, match="Toaster 3000"):
            rig.open()
        assert bench.safe


def test_a_closed_port_is_a_link_error(station):
    with on_bench(station) as (rig, bench):
        bench.faults["smu"].refuse = True
        with pytest.raises(LinkError):
            rig.open()
        assert bench.safe


def test_a_relay_that_does_not_close_stops_the_run_before_it_is_driven(station, op):
    with on_bench(station) as (rig, bench):
        bench.faults["mux"].stuck_open = {"1B05"}
        before = bench.array.conductance_siemens()
        with pytest.raises(ReadbackError, match="1B05"), rig:  # noqa: PT012
            counts = np.zeros((4, 4), dtype=np.int64)
            counts[0, 0] = 5
            list(rig.run([program_counts(rig.geometry, op, counts), *read_blocks(rig, op)]))
        assert (bench.array.conductance_siemens() == before).all()
        assert bench.safe


def test_a_welded_relay_is_noticed_when_the_rig_is_opened(station):
    with on_bench(station) as (rig, bench):
        bench.instruments["mux"].handle(b'channel.close("1A02")')
        bench.faults["mux"].stuck_closed = {"1A02"}
        with pytest.raises(ReadbackError, match="1A02"):
            rig.open()


def test_a_missing_card_is_refused(station, op):
    with on_bench(station) as (rig, bench):
        bench.faults["mux"].missing_card = {1}
        with pytest.raises(HilError), rig:
            list(rig.run(read_blocks(rig, op)))
        assert bench.safe


def test_an_entry_of_the_error_queue_in_mid_block_is_named_and_all_is_safe(station, op):
    with on_bench(station) as (rig, bench), rig:
        blocks = read_blocks(rig, op)
        stream = rig.run([*blocks, *blocks])
        first = next(stream)
        assert np.isfinite(first.current_a).all()
        bench.faults["smu"].queue_error = (802, "OUTPUT blocked by interlock")
        with pytest.raises(InstrumentError, match="interlock"):
            next(stream)
        assert bench.safe


@pytest.mark.parametrize("fault", ["drop_replies", "truncate_to", "double_reply"])
def test_a_spoilt_reply_ends_in_the_safe_state_and_the_rig_can_be_opened_again(station, op, fault):
    with on_bench(station) as (rig, bench):
        with pytest.raises(HilError), rig:  # noqa: PT012
            stream = rig.run(read_blocks(rig, op) * 2)
            next(stream)
            setattr(bench.faults["smu"], fault, 1 if fault != "truncate_to" else 3)
            list(stream)
        assert bench.safe
        with rig:
            readings = list(rig.run(read_blocks(rig, op)))
        assert np.isfinite(np.concatenate([m.current_a for m in readings])).all()


def test_a_dead_instrument_does_not_keep_the_others_from_being_safe():
    station = station_of(station_c(device="ideal"))
    op = station.drive.operating_point()
    with on_bench(station) as (rig, bench):
        rig.open()
        list(rig.run(read_blocks(rig, op)))
        bench.faults["node1"].mute = True
        with pytest.raises(LinkError):
            rig.close()
        outputs = bench.outputs()
        assert not any(o.on for name, o in outputs.items() if not name.startswith("node1"))


#: A raw socket to a SCPI instrument has no device clear; links that have one stop any of them.
LINKS = {
    "2600B, socket": (station_a, {}),
    "2600B nodes, socket": (station_c, {}),
    "81160A, HiSLIP": (station_b, {"gen": {"transport": "hislip"}}),
    "2450, VXI-11": (FAMILIES["2450"].station, {n: {"transport": "vxi11"} for n in ("one", "two")}),
    "2400, VXI-11": (FAMILIES["2400"].station, {n: {"transport": "vxi11"} for n in ("one", "two")}),
    "B2902A, HiSLIP": (FAMILIES["B2902A"].station, {"smu": {"transport": "hislip"}}),
    "33522B, VXI-11": (
        FAMILIES["33522B-and-B2902A"].station,
        {n: {"transport": "vxi11"} for n in ("gen", "smu")},
    ),
}


@pytest.mark.parametrize("link", list(LINKS))
def test_abort_is_off_within_200_ms_while_a_block_runs(link):
    make, options = LINKS[link]
    station = station_of(make(device="ideal"))
    op = station.drive.operating_point()
    with on_bench(station, options=options) as (rig, bench):
        rig.open()
        counts = np.zeros(rig.geometry.shape, dtype=np.int64)
        counts[0, 0] = 1.5 / op.write_s / (2 if op.write_s > 1e-3 else 1.5)  # about 1.5 s
        running, took = threading.Event(), []
        bench.faults.pace = 1.0
        bench.faults.during_run = lambda _: running.set()

        def second_ctrl_c():
            running.wait(5.0)
            time.sleep(0.05)
            begin = time.monotonic()
            rig.abort()
            while not all(not o.on for o in bench.outputs().values()):
                time.sleep(0.001)
            took.append(time.monotonic() - begin)

        thread = threading.Thread(target=second_ctrl_c)
        thread.start()
        begin = time.monotonic()
        with pytest.raises(BackendError, match="aborted: outputs were switched off"):
            list(rig.run([program_counts(rig.geometry, op, counts)]))
        thread.join()
        assert time.monotonic() - begin < 1.0
        assert took[0] < 0.2
        left = rig.unfinished
        # Trains of a pair of 2450s are cut into short runs, of which some have ended.
        assert left.known.sum() < left.possible.sum()
        assert "2450" in link or left.known.sum() == 0
        # The run at hand, which a short list makes a part of the block.
        assert 0 < left.possible.sum() == rig.ledger.device_pulses <= counts.sum()
        bench.faults.pace = 0.0
        rig.close()
        assert bench.safe
        with rig:  # and it can be used again
            assert list(rig.run(read_blocks(rig, op)))
        assert bench.safe


class Stop(Exception):
    """What a caller may raise."""


def leave(rig, blocks, way):
    """Leave a rig that drives ``blocks``, one way or the other."""
    with rig:
        stream = rig.run(iter(blocks))
        next(stream)
        assert rig.rack.closed
        if way == "abandoned generator":
            return stream
        if way == "stop request":
            rig.request_stop()
        elif way != "end":
            raise {"exception": Stop, "Ctrl-C": KeyboardInterrupt}[way]
        list(stream)
    return stream


@pytest.mark.parametrize(
    "way", ["end", "exception", "Ctrl-C", "stop request", "abandoned generator"]
)
def test_every_way_out_leaves_outputs_off_and_relays_open(station, op, way):
    with on_bench(station) as (rig, bench):
        blocks = read_blocks(rig, op) * 3
        if way in ("exception", "Ctrl-C"):
            with pytest.raises((Stop, KeyboardInterrupt)):
                leave(rig, blocks, way)
        else:
            leave(rig, blocks, way)
        assert bench.safe
        assert not any(bench.closed().values())
        rig.close()  # once more changes nothing
        assert bench.safe
        assert not bench.incidents
