"""An ltp-ltd block on rig (a) through the rig, beside the same work point by point with peers.

All on the virtual bench over TCP with zero latency, in one run, and the curves are compared. A
peer's loop sets each level and reads each current by itself, as these drivers are used. It gets for
nothing: the gaps, ranges that never change, and TCP_NODELAY on its socket, without which PyVISA-py
waits 40 ms for every reading that follows a level. The instrument counts the width of its write
pulses (``delay``), so that they are the right ones; these messages do not count. The block is part
of the library's ltp-ltd on a 32 x 32 array; everything is per pulse, and all rows cost the same.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "rig"))

from benches import SLOW, k707, on_bench, station_a, station_of
from hil_sim.virtual_bench.latencies import MESSAGE, latency_s

from hil.control.array import SynapseArray
from hil.control.opening import default_pairs

pytestmark = pytest.mark.filterwarnings("ignore")
if os.environ.get("HIL_PEERS") != "required":
    for package in ("pymeasure", "qcodes"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (extra peers)", allow_module_level=True)

SIZE, OUR_ROWS, PEER_CELLS = 32, 4, 2
CYCLES, PULSES = 2, 50
PER_CELL = 2 * CYCLES * PULSES
WRITE_V, READ_V, WRITE_S, READ_S, GAP_S = 1.5, 0.2, 200e-6, 100e-6, 20e-6
PULSE_S = WRITE_S + GAP_S + READ_S + GAP_S
#: Message latencies in seconds; the bench's own table has the first two, the rest is beside it.
BUSES = {
    "LAN socket": latency_s("keithley-2600b", MESSAGE),
    "GPIB": latency_s("keithley-2400", MESSAGE),
    "GPIB, slow": 7e-3,
    "RS-232": 10e-3,
}


@dataclass(frozen=True)
class Work:
    """Write pulses, seconds of the computer, seconds of the array and relays, messages.

    A message of the rig may hold several lines; those of the peers hold one.
    """

    pulses: int
    wall_s: float
    array_s: float
    messages: int

    def pulse_s(self, latency_s: float) -> float:
        """Return seconds per pulse: messages x latency + what array and relays take."""
        return (self.messages * latency_s + self.array_s) / self.pulses


@dataclass(frozen=True)
class Hands:
    """What a per-point loop does with a driver."""

    row: Callable[[float], object]
    col: Callable[[float], object]
    current_a: Callable[[], float]
    wait: Callable[[float], object]
    route: Callable[[int, int], object]


def messages(bench: Any) -> int:
    return sum(bench.message_counts.values())


def station() -> Any:
    text = station_a(SIZE, SIZE, device=SLOW)
    for old, new in (('"2 ms"', '"100 us"'), ('gap = "100 us"', 'gap = "20 us"')):
        assert old in text
        text = text.replace(old, new)
    return station_of(text)


def through_the_rig(folder: Path) -> tuple[Work, np.ndarray]:
    """Run the block; return the work and (readings, cells) conductances."""
    path = folder / "part.toml"
    cells = [[row, col] for row in range(OUR_ROWS) for col in range(SIZE)]
    path.write_text(f'schema = 1\nkind = "ltp-ltd"\ncells = {cells}\ncycles = {CYCLES}\n'
                    f"pulses = {PULSES}\nread_every = 1\n")  # fmt: skip
    short = folder / "short.toml"
    short.write_text('schema = 1\nkind = "ltp-ltd"\ncells = [[0, 0]]\ncycles = 1\npulses = 1\n')
    with on_bench(station()) as (backend, bench), backend:
        array = SynapseArray(backend, station().drive.operating_point(), default_pairs(backend))
        array.run(short)  # what is compiled on the first use is compiled now
        sent, clock_ns, begin = backend.rack.transactions, bench.clock_ns, time.perf_counter()
        outcome = array.run(path).outcome
        wall_s = time.perf_counter() - begin
        work = Work(len(cells) * PER_CELL, wall_s, (bench.clock_ns - clock_ns) * 1e-9,
                    backend.rack.transactions - sent)  # fmt: skip
        return work, np.asarray(outcome["g_siemens"])


def curve(hands: Hands, row: int, col: int) -> np.ndarray:
    """Measure one cell's curve point by point, at half the voltage on either line."""

    def read() -> float:
        hands.row(READ_V)
        amps = hands.current_a()
        hands.row(0.0)
        return -amps / READ_V

    hands.route(row, col)
    out = []
    for _ in range(CYCLES):
        out.append(read())
        for level_v in np.repeat([WRITE_V, -WRITE_V], PULSES):
            hands.row(level_v / 2)
            hands.col(-level_v / 2)
            hands.wait(WRITE_S)
            hands.row(0.0)
            hands.col(0.0)
            out.append(read())
    return np.array(out)


@contextmanager
def relays(bench: Any) -> Iterator[Callable[[int, int], None]]:
    """Yield what routes a cell: its row to channel a, its column to b, all others to 0 V."""
    import pyvisa

    manager = pyvisa.ResourceManager("@py")
    mux = manager.open_resource(bench.resources["mux"], **LINK)

    def route(row: int, col: int) -> None:
        chosen = {row: 0, SIZE + col: 1}
        names = [k707(chosen.get(line, 2), line + 1) for line in range(2 * SIZE)]
        mux.query(f"channel.exclusiveclose('{','.join(names)}') waitcomplete() print(1)")

    yield route
    mux.close()
    manager.close()


LINK: dict[str, Any] = {"read_termination": "\n", "write_termination": "\n", "timeout": 20_000}
SET_UP = ("smua.source.output=1 smub.source.output=1 smub.measure.rangei=1e-4 "
          "smub.measure.nplc=0.002 smua.source.rangev=2 smub.source.rangev=2")  # fmt: skip


def no_delay(resource: Any) -> None:
    interface = resource.visalib.sessions[resource.session].interface
    interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def pymeasure_2600(bench: Any, route: Callable[[int, int], None]) -> Iterator[Hands]:
    driver = import_module("pymeasure.instruments.keithley").Keithley2600
    smu = driver(bench.resources["smu"], **LINK)
    no_delay(smu.adapter.connection)
    smu.write(SET_UP)
    yield Hands(
        lambda v: setattr(smu.ChA, "source_voltage", v),
        lambda v: setattr(smu.ChB, "source_voltage", v),
        lambda: smu.ChB.current, lambda s: smu.write(f"delay({s})"), route,
    )  # fmt: skip
    smu.adapter.close()


@contextmanager
def qcodes_2600(bench: Any, route: Callable[[int, int], None]) -> Iterator[Hands]:
    driver = import_module("qcodes.instrument_drivers.Keithley").Keithley2636B
    smu = driver("bench2636", bench.resources["smu"], terminator="\n", timeout=20)
    no_delay(smu.visa_handle)
    smu.write(SET_UP)
    yield Hands(smu.smua.volt, smu.smub.volt, smu.smub.curr,
                lambda s: smu.write(f"delay({s})"), route)  # fmt: skip
    smu.close()


PEERS = {"PyMeasure Keithley2600": pymeasure_2600, "QCoDeS Keithley2636B": qcodes_2600}


def point_by_point(name: str) -> tuple[Work, np.ndarray]:
    """Measure some cells with a peer; return the work and (readings, cells) conductances."""
    with ExitStack() as stack:
        _, bench = stack.enter_context(on_bench(station()))
        route = stack.enter_context(relays(bench))
        hands = stack.enter_context(PEERS[name](bench, route))
        hands.route(0, 0)
        hands.current_a()
        sent, begin = messages(bench), time.perf_counter()
        curves = [curve(hands, 0, col) for col in range(PEER_CELLS)]
        wall_s = time.perf_counter() - begin
        pulses = PEER_CELLS * PER_CELL
        counted = messages(bench) - sent - pulses  # without the widths
        return Work(pulses, wall_s, pulses * PULSE_S, counted), np.array(curves).T


def test_an_ltp_ltd_block_against_per_point_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ours, conductances = through_the_rig(tmp_path)
    peers = {name: point_by_point(name) for name in PEERS}
    for _, curves in peers.values():
        assert curves == pytest.approx(conductances[:, :PEER_CELLS], rel=5e-3)
    with capsys.disabled():
        print(f"\n  ltp-ltd, {OUR_ROWS} of {SIZE} rows of {SIZE} x {SIZE}: {ours.pulses} write "
              f"pulses, a reading after each; peers {PEER_CELLS} cells")  # fmt: skip
        print(f"  {'':24}{'pulses/s':>10}{'messages/pulse':>16}{'ratio':>8}")
        rows = {"SynapseArray.run": ours, **{name: work for name, (work, _) in peers.items()}}
        for name, work in rows.items():
            ratio = ours.pulses / ours.wall_s * work.wall_s / work.pulses
            print(f"  {name:24}{work.pulses / work.wall_s:10.0f}"
                  f"{work.messages / work.pulses:16.4f}{ratio:7.1f}x")  # fmt: skip
        print("  with latency: seconds per pulse = (messages x latency + pulses + relays) / pulses")
        for bus, latency in BUSES.items():
            cells = [f"{name} {1e3 * work.pulse_s(latency):.2f} ms ("
                     f"{work.pulse_s(latency) / ours.pulse_s(latency):.0f}x)"
                     for name, work in rows.items()]  # fmt: skip
            print(f"  {bus + f' {latency * 1e3:g} ms':20}{', '.join(cells)}")
    assert ours.messages <= 2 * ours.pulses / 100  # a reading is a pulse too
    assert all(work.messages >= 7 * work.pulses for work, _ in peers.values())
