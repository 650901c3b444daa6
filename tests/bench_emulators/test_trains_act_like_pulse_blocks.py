"""A pulse train inside an instrument does to the array what a pulse block does on the simulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hil_sim.factory import SimFactory
from hil_sim.virtual_bench import Bench, open_bench

from hil.config.station import Station
from hil.program import LineState, Phase, PulseBlock


def station(device: str = "ideal", **more: Any) -> Station:
    return Station.model_validate({
        "schema": 1,
        "array": [{"rows": 2, "cols": 2, "device": device}],
        "instrument": [
            {"name": "x", "driver": "keithley-2600b", "resource": "A"},
            {"name": "y", "driver": "keithley-2600b", "resource": "B"},
        ],
        "wiring": [
            {"line": "WL0", "channel": "x.a"}, {"line": "WL1", "channel": "x.b"},
            {"line": "BL0", "channel": "y.a"}, {"line": "BL1", "channel": "y.b"},
        ],
        **more,
    })  # fmt: skip


TRAIN = """
smu{c}.reset()
smu{c}.source.limiti=1
smu{c}.measure.nplc=0.001
smu{c}.measure.rangei=1e-3
smu{c}.trigger.source.listv({levels})
smu{c}.trigger.source.action=1
smu{c}.trigger.measure.action=1
smu{c}.trigger.measure.i(smu{c}.nvbuffer1)
smu{c}.trigger.count={n}
smu{c}.trigger.arm.stimulus=digio.trigger[1].EVENT_ID
smu{c}.trigger.source.stimulus=trigger.timer[{t}].EVENT_ID
smu{c}.trigger.endpulse.stimulus=trigger.timer[{t1}].EVENT_ID
smu{c}.trigger.endpulse.action=smu{c}.SOURCE_IDLE
trigger.timer[{t}].delay={period}
trigger.timer[{t}].count={n1}
trigger.timer[{t}].passthrough=true
trigger.timer[{t}].stimulus=digio.trigger[1].EVENT_ID
trigger.timer[{t1}].delay={width}
trigger.timer[{t1}].stimulus=trigger.timer[{t}].EVENT_ID
smu{c}.source.output=1
smu{c}.trigger.initiate()
"""


def load(session: Any, channel: str, levels: list[float], width_s: float, period_s: float) -> None:
    t = 1 if channel == "a" else 3
    text = TRAIN.format(
        c=channel, levels="{" + ",".join(repr(v) for v in levels) + "}", n=len(levels),
        n1=len(levels) - 1, t=t, t1=t + 1, width=width_s, period=period_s,
    )  # fmt: skip
    for line in text.strip().splitlines():
        session.write(line)


def readings(session: Any, channel: str, n: int) -> list[float]:
    reply = session.query(f"printbuffer(1,{n},smu{channel}.nvbuffer1.readings)")
    return [float(v) for v in reply.split(",")]


def twin(device: str) -> Any:
    backend = SimFactory().create(station(device), station(device).array[0], seed=5)
    backend.array.population.law[0]["read_rel"] = 0.0
    backend.array.population.law[0]["read_abs"] = 0.0
    return backend.array


def start(bench: Bench, visa: Any, columns: dict[str, list[float]], width_s: float) -> Any:
    x, y = visa(bench, "x"), visa(bench, "y")
    for name, session, channel in (("WL0", x, "a"), ("WL1", x, "b"), ("BL0", y, "a"),
                                   ("BL1", y, "b")):  # fmt: skip
        load(session, channel, columns[name], width_s, 1e-3)
    assert y.query("print(errorqueue.count)").startswith("0")
    x.write("digio.trigger[1].assert()")
    x.write("waitcomplete()")
    assert x.query("print(errorqueue.next())").split("\t")[1] == "Queue Is Empty"
    return x, y


@pytest.mark.parametrize("device", ["nonlinear", "taox", "pcmo"])
def test_four_nodes_on_one_trigger_line_write_and_read_like_one_block(
    visa: Any, device: str
) -> None:
    rng = np.random.default_rng(3)
    n, width_s = 40, 200e-6
    names = ("WL0", "WL1", "BL0", "BL1")
    # On the 50 uV … 500 uV grid of the source ranges.
    levels = np.round(rng.uniform(-0.9, 0.9, (n, 4)), 3)
    array = twin(device)
    state = np.full((n, 4), LineState.DRIVE, dtype=np.uint8)
    block = PulseBlock.build(Phase.UPDATE, state, levels, width_s, gap_s=1e-3 - width_s,
                             sense=np.ones((n, 4), dtype=bool))  # fmt: skip
    expected = array.run(block, block.n_readings).current_a.reshape(n, 4)
    with open_bench(station(device), seed=5) as bench:
        bench.array.population.law[0]["read_rel"] = 0.0
        bench.array.population.law[0]["read_abs"] = 0.0
        columns = {name: levels[:, k].tolist() for k, name in enumerate(names)}
        x, y = start(bench, visa, columns, width_s)
        assert bench.array.g == pytest.approx(array.g, rel=1e-9)
        assert (bench.array.ordinal == array.ordinal).all()
        got = [readings(s, c, n) for s, c in ((x, "a"), (x, "b"), (y, "a"), (y, "b"))]
        # 1 mA range: 1 nA counts, and 6 digits of text.
        assert pytest.approx(expected, abs=2e-9, rel=2e-5) == np.array(got).T


def test_a_channel_that_is_off_lets_its_lines_at_zero_volts(visa: Any) -> None:
    with open_bench(station(), seed=5) as bench:
        x = visa(bench, "x")
        load(x, "a", [0.5] * 4, 1e-4, 1e-3)
        x.write("smua.source.output=0")
        before = bench.array.g.copy()
        x.write("digio.trigger[1].assert() waitcomplete()")
        assert x.query("print(smua.nvbuffer1.n)").startswith("4")
        assert readings(x, "a", 4) == [0.0] * 4
        assert (bench.array.g == before).all()


def test_current_beyond_compliance_is_clamped_and_flagged(visa: Any) -> None:
    with open_bench(station(), seed=5) as bench:
        bench.array.g[...] = 1e-4
        x = visa(bench, "x")
        for line in ("smua.source.limiti=2e-6", "smua.source.levelv=0.1", "smua.source.output=1"):
            x.write(line)
        amps = float(x.query("print(smua.measure.i())"))
        assert amps == pytest.approx(2e-6, rel=1e-6)
        assert x.query("print(smua.source.compliance)") == "true"
        x.write("smua.source.limiti=1e-3")
        assert x.query("print(smua.source.compliance)") == "false"
        assert float(x.query("print(smua.measure.i())")) == pytest.approx(2e-5, rel=1e-5)


def test_a_limit_of_a_channel_with_several_lines_is_for_their_sum(visa: Any) -> None:
    shared = [
        {"line": "WL0:2", "channel": "x.a"}, {"line": "BL0", "channel": "y.a"},
        {"line": "BL1", "channel": "y.b"},
    ]  # fmt: skip
    with open_bench(station(wiring=shared), seed=5) as bench:
        bench.array.g[...] = 1e-5
        x = visa(bench, "x")
        for line in ("smua.source.limiti=1e-6", "smua.source.levelv=0.1", "smua.source.output=1"):
            x.write(line)
        # Four devices of 10 uS at 0.1 V would draw 4 uA.
        assert float(x.query("print(smua.measure.i())")) == pytest.approx(1e-6, rel=1e-6)
        x.write("smua.source.limiti=1e-5")
        assert float(x.query("print(smua.measure.i())")) == pytest.approx(4e-6, rel=1e-6)
