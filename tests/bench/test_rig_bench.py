"""The rig path on a 32 x 32 ltp-ltd: messages, pulses per second, cost over the bare sockets."""

from __future__ import annotations

import base64
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "rig"))

from benches import SLOW, STATIONS, station_of
from hil_drivers.factory import RigFactory
from hil_drivers.rig.preview import totals
from hil_drivers.transport import WireLog
from hil_drivers.transport.wirelog import load_wire_log

from hil.control.array import SynapseArray, load_protocol
from hil.registry import load

pytest.importorskip("lupa")

SIZE, ROWS, ROUNDS = 32, 16, 3
PROTOCOL = 'schema = 1\nkind = "ltp-ltd"\ncells = {cells}\ncycles = 2\npulses = 50\n'


@pytest.fixture
def station():
    return station_of(STATIONS["a"](rows=SIZE, cols=SIZE, device=SLOW))


@pytest.fixture
def protocol(tmp_path):
    path = tmp_path / "protocol.toml"
    cells = [[row, col] for row in range(ROWS) for col in range(SIZE)]
    path.write_text(PROTOCOL.format(cells=cells))
    return path


@contextmanager
def opened(station, log=None):
    with load("hil.benches", "virtual")(station, seed=5) as bench:
        moved = station.at(bench.resources)
        rig = RigFactory().create(moved, moved.array[0], seed=5, virtual=True, wire_log=log,
                                  wait=bench.dwell)  # fmt: skip
        with rig:
            yield rig, SynapseArray(rig, station.drive.operating_point()), bench


def recorded(station, protocol, path):
    """Return the exchanges of all instruments in order, and where the run begins and ends."""
    with WireLog(path) as log, opened(station, log) as (_, array, _):
        begin = log.n_exchanges
        array.run(protocol)
        end = log.n_exchanges
    exchanges = [e for of_one in load_wire_log(path).values() for e in of_one]
    return sorted(exchanges, key=lambda e: e.n), begin, end


def bytes_of(exchange):
    """Return what is sent and how many bytes are received."""
    sent = (exchange.sent + "\n").encode() if exchange.op.startswith(("write", "query")) else b""
    if exchange.op.endswith("_binary"):
        return sent, 2 + len(base64.b64decode(exchange.block)) + 1
    return sent, len(exchange.reply) + 1 if exchange.op in ("read", "query") else 0


def bare_s(station, exchanges, begin, end):
    """Return the seconds in which the bytes of a run go over sockets with TCP_NODELAY."""
    with load("hil.benches", "virtual")(station, seed=5) as bench:
        links = {}
        for name, resource in bench.resources.items():
            links[name] = socket.create_connection(("127.0.0.1", int(resource.split("::")[2])))
            links[name].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        moves = [(links[e.instrument], *bytes_of(e)) for e in exchanges if e.op != "clear"]
        for at, (link, sent, wanted) in enumerate(moves[:end]):
            if at == begin:
                start_s = time.perf_counter()
            if sent:
                link.sendall(sent)
            while wanted > 0:
                wanted -= len(link.recv(min(wanted, 1 << 20)))
        took_s = time.perf_counter() - start_s
        for link in links.values():
            link.close()
    return took_s


def test_overhead_of_the_rig_over_the_bare_sockets(station, protocol, tmp_path, capsys):
    exchanges, begin, end = recorded(station, protocol, tmp_path / "wire.jsonl")
    ours, bare, control = [], [], []
    for _ in range(ROUNDS):
        with opened(station) as (rig, array, _):
            procedure, messages = load_protocol(protocol), rig.rack.transactions
            start_s, cpu_s = time.perf_counter(), time.thread_time()
            result = array.run(procedure)
            ours.append(time.perf_counter() - start_s)
            control.append(time.thread_time() - cpu_s)
            messages = rig.rack.transactions - messages
        bare.append(bare_s(station, exchanges, begin, end))
    pulses = result.n_device_pulses + result.n_readings
    over = min(ours) / min(bare) - 1
    assert result.n_device_pulses == 200 * ROWS * SIZE
    with capsys.disabled():
        print(f"\n  ltp-ltd of {ROWS * SIZE} devices of {SIZE} x {SIZE}: {pulses} pulses "
              f"({result.n_device_pulses} write), {messages} messages "
              f"({100 * messages / pulses:.2f} per 100 pulses, "
              f"{100 * messages / result.n_device_pulses:.2f} per 100 write pulses)\n"
              f"  {min(ours):.2f} s, {pulses / min(ours):.0f} pulses/s without latencies; the same "
              f"bytes over bare sockets {min(bare):.2f} s: {over:+.0%}; control thread "
              f"{1e3 * min(control) / ROWS / SIZE:.2f} ms of CPU per device")  # fmt: skip


def test_planning_and_the_predicted_rate_of_the_library_protocol(station, capsys):
    with opened(station) as (rig, array, _):
        programme = load_protocol("ltp-ltd").programme(array.context)
        times = []
        for what in (rig.check, rig.check, rig.predicted_s):
            start_s = time.perf_counter()
            what(programme)
            times.append(time.perf_counter() - start_s)
        plan = totals(rig, programme)
        start_s = time.perf_counter()
        array.read(rows=np.arange(4))
        read_s = time.perf_counter() - start_s
    with capsys.disabled():
        print(f"\n  ltp-ltd of {SIZE} x {SIZE}: {plan.blocks} blocks; checked in "
              f"{1e3 * times[0] / plan.blocks:.2f} ms per block, again in "
              f"{1e3 * times[1] / plan.blocks:.2f}, planned in {1e3 * times[2] / plan.blocks:.2f}\n"
              f"  predicted with documented latencies: {plan.total_s:.0f} s, "
              f"{plan.pulses / plan.total_s:.0f} pulses/s, of which pulses {plan.pulse_s:.0f} s, "
              f"relays {plan.relay_s:.0f} s, {plan.transactions} messages {plan.message_s:.1f} s\n"
              f"  a read map of 4 rows: {1e3 * read_s / 4 / SIZE:.2f} ms per device")  # fmt: skip
