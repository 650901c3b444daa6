"""A 2450 on a resistor in its TSP command set, and lines said to it."""

from __future__ import annotations

from typing import Any

from hil_sim.virtual_bench import Bench
from resistor import resistor_bench

SETTINGS = """
smu.source.func = smu.FUNC_DC_VOLTAGE smu.source.ilimit.level = 1e-3
smu.measure.func = smu.FUNC_DC_CURRENT smu.measure.nplc = 0.01
"""


def say(bench: Bench, text: str, name: str = "dut") -> str:
    reply = None
    for line in text.strip().splitlines():
        reply = bench.instruments[name].exchange(line.strip().encode())
    return "" if reply is None else reply.decode("latin-1").rstrip("\n")


def numbers(bench: Bench, text: str) -> list[float]:
    return [float(v) for v in say(bench, text).replace("\t", ",").split(",")]


def tsp_bench(**options: Any) -> Bench:
    bench = resistor_bench("keithley-2450", "1", language="TSP", **options)
    bench.warm_up()
    return bench
