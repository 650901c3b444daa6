"""Other people's packages: skipped where not installed, unless they are required to be there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench_emulators"))

from hil_sim.virtual_bench import Bench
from resistor import RESISTOR_OHM, eventually, resistor_bench

SOURCE_V = 0.2
TIMEOUT_MS = 20_000
LINK = {"read_termination": "\n", "write_termination": "\n", "timeout": TIMEOUT_MS}


def needs(package: str) -> None:
    """Skip the module without the package; with HIL_PEERS=required let its import fail."""
    if find_spec(package) is None and os.environ.get("HIL_PEERS") != "required":
        pytest.skip(f"{package} is not installed (extra peers)", allow_module_level=True)


def client(module: str, name: str) -> Any:
    """Return a class of a client package, imported on use: some take seconds."""
    return getattr(import_module(module), name)


def is_the_resistor(current_a: float, level_v: float = SOURCE_V) -> bool:
    return float(current_a) == pytest.approx(level_v / RESISTOR_OHM, rel=1e-3)


def is_off(bench: Bench, channel: str) -> bool:
    return eventually(lambda: not bench.outputs()[f"dut.{channel}"].on)


def port(bench: Bench) -> int:
    return int(bench.resources["dut"].split("::")[2])


@contextmanager
def on_bench(
    make: Callable[..., Any], driver: str, channel: str, **options: Any
) -> Iterator[tuple[Bench, Any]]:
    """Open a PyMeasure or QCoDeS driver on a bench with one 100 kΩ cell; close both."""
    with resistor_bench(driver, channel, **options) as bench, connected(make, bench) as found:
        yield bench, found


@contextmanager
def connected(make: Callable[..., Any], bench: Bench) -> Iterator[Any]:
    resource = bench.resources["dut"]
    if make.__module__.startswith("qcodes"):
        made = make(f"peer_{make.__name__}", resource, terminator="\n", timeout=TIMEOUT_MS / 1e3)
        close = made.close
    else:
        made = make(resource, **LINK)
        close = made.adapter.close
    try:
        yield made
    finally:
        close()


def pulses_seen(bench: Bench, act: Callable[[], Any]) -> list[tuple[float, float, float]]:
    """Return (start s, width s, volts at the net) of every pulse while ``act`` runs."""
    seen: list[tuple[float, float, float]] = []
    run = bench.physics.run

    def watched(trains: Any, *rest: Any) -> Any:
        for train in trains:
            widths = train.stop_s - train.start_s
            seen.extend(zip(train.start_s.tolist(), widths.tolist(), train.level_v.tolist(),
                            strict=True))  # fmt: skip
        return run(trains, *rest)

    bench.physics.run = watched  # type: ignore[method-assign]
    try:
        act()
    finally:
        bench.physics.run = run  # type: ignore[method-assign]
    return seen
