"""How long it takes to fit 1 024 devices, all models, intervals by bootstrap included."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hil.fit.estimate import fit_devices

sys.path.append(str(Path(__file__).parents[1] / "fit"))

from simulated_responses import device_of, measure


def test_fitting_1024_devices_with_five_cycles_of_128_pulses(show):
    device = device_of(
        "exponential", {"states": 100, "nu": 2.0}, {"states": 100, "nu": 3.0},
        range_c2c=0.02, step_c2c=0.2, read_noise=0.01, step_d2d=0.15, g_max_d2d=0.05, nu_d2d=0.05,
    )  # fmt: skip
    small = measure(device, 4, 4, cycles=2, pulses=100, seed=1).measured
    fit_devices(small)  # compiles
    measured = measure(device, 32, 32, cycles=5, pulses=128, seed=3).measured
    wall, cpu = time.perf_counter(), time.process_time()
    result = fit_devices(measured)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    n = measured.responses.n
    show(
        f"{len(result.models)} models, {n / 1e6:.2f} M pulses of 1024 devices: {wall:.1f} s wall, "
        f"{cpu:.1f} s of processors ({cpu / n * 1e6:.1f} us per pulse); wanted <= 10 s on two cores"
    )
    assert result.best.model == "exponential"
