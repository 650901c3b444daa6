"""Speed of the virtual bench, printed beside a baseline of the same run (not asserted on time)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hil_sim.factory import SimFactory
from hil_sim.virtual_bench import open_bench

from hil.config.station import Station
from hil.program import LineState, Phase, PulseBlock

N = 10_000
STATION = Station.model_validate({
    "schema": 1,
    "array": [{"rows": 32, "cols": 32, "device": "ideal"}],
    "instrument": [{"name": "smu", "driver": "keithley-2600b", "resource": "A"}],
    "wiring": [
        {"line": "WL0", "channel": "smu.a"}, {"line": "BL0", "channel": "smu.b"},
        {"line": "WL1:31", "channel": "common"}, {"line": "BL1:31", "channel": "common"},
    ],
})  # fmt: skip


def test_pulses_per_second_of_a_sweep_against_the_bare_simulator_and_single_points(
    visa: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    block = PulseBlock.build(
        Phase.UPDATE, np.full((N, 64), LineState.DRIVE, dtype=np.uint8),
        np.tile(np.eye(64)[0] * 1.5, (N, 1)), 1e-4, gap_s=9e-4,
        sense=np.tile(np.eye(64, dtype=bool)[0], (N, 1)),
    )  # fmt: skip
    array = SimFactory().create(STATION, STATION.array[0], seed=1).array
    array.run(block.steps(0, 2), 2)
    begin = time.perf_counter()
    array.run(block, N)
    bare_s = time.perf_counter() - begin
    with open_bench(STATION, seed=1) as bench:
        session = visa(bench, "smu", 60_000)
        for line in (
            "smua.source.output=1 smub.source.output=1 smua.measure.nplc=0.001",
            "smua.trigger.source.listv({1.5}) smua.trigger.source.action=1",
            "smua.trigger.measure.i(smua.nvbuffer1) smua.trigger.measure.action=1",
            f"smua.trigger.count={N} smua.trigger.endpulse.action=smua.SOURCE_IDLE",
            f"trigger.timer[1].delay=1e-3 trigger.timer[1].count={N - 1}",
            "trigger.timer[1].passthrough=true",
            "trigger.timer[1].stimulus=smua.trigger.ARMED_EVENT_ID",
            "trigger.timer[2].delay=1e-4 trigger.timer[2].stimulus=trigger.timer[1].EVENT_ID",
            "smua.trigger.source.stimulus=trigger.timer[1].EVENT_ID",
            "smua.trigger.endpulse.stimulus=trigger.timer[2].EVENT_ID",
            "format.data=format.REAL32 format.byteorder=format.LITTLEENDIAN",
        ):
            session.write(line)
        begin = time.perf_counter()
        session.write(f"smua.trigger.initiate() waitcomplete() printbuffer(1,{N},smua.nvbuffer1)")
        values = session.read_binary_values(datatype="f", data_points=N)
        sweep_s = time.perf_counter() - begin
        assert len(values) == N
        assert bench.array.g[0, 0] > array.device.range.g_min
        points = 200
        begin = time.perf_counter()
        for _ in range(points):
            session.query("smua.source.levelv=0.1 print(smua.measure.i()) smua.source.levelv=0")
        point_s = (time.perf_counter() - begin) / points
    with capsys.disabled():
        print(
            f"\n32 x 32, {N} measured pulses: simulator {bare_s / N * 1e6:.2f} us, bench over TCP "
            f"{sweep_s / N * 1e6:.2f} us ({sweep_s / bare_s:.1f}x), point by point "
            f"{point_s * 1e6:.0f} us ({point_s / (sweep_s / N):.0f}x a swept pulse)"
        )
