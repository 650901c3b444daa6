"""Arrays with known parameters, one or more for each model, and whether a fit's intervals hold."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from simulated_responses import G_MAX, G_MIN, device_of, measure

from hil.fit.estimate import fit_devices
from hil.fit.result import FitResult


class Scenario(NamedTuple):
    """A device, how it is measured, and the parameters that its data identifies."""

    model: str
    potentiation: dict[str, Any]
    depression: dict[str, Any]
    variation: dict[str, Any]
    array: tuple[int, int] = (8, 4)
    cycles: int = 4
    pulses: int = 80
    #: Parameters that this data gives exactly, or does not identify.
    aside: tuple[str, ...] = ()

    def fit(self, seed: int) -> FitResult:
        """Simulate and measure the array, and fit its own model."""
        device = device_of(self.model, self.potentiation, self.depression, **self.variation)
        simulated = measure(
            device, *self.array, cycles=self.cycles, pulses=self.pulses, seed=seed
        )  # fmt: skip
        return fit_devices(
            simulated.measured, models=[self.model], seed=seed, threads=1, n_bootstrap=200
        )

    def truth(self) -> dict[str, float]:
        """Return the true value of every parameter that is checked."""
        truth = {"range.g_min": G_MIN, "range.g_max": G_MAX}
        for branch in ("potentiation", "depression"):
            table = getattr(self, branch)
            truth |= {f"{branch}.{k}": v for k, v in table.items() if isinstance(v, (int, float))}
            if self.model == "lookup":
                for k, delta in enumerate(table["delta_g"]):
                    truth[f"{branch}.delta_g[{k}]"] = float(delta.removesuffix(" S"))
        truth |= {
            f"variation.{k}": v for k, v in self.variation.items()
            if not k.startswith("read_noise")
        }  # fmt: skip
        return {name: value for name, value in truth.items() if name not in self.aside}


def table(first: float, last: float, n: int = 9, up: bool = True) -> dict[str, Any]:
    """Return a look-up branch whose step bends from ``first`` to ``last`` of the range."""
    u = np.linspace(0.0, 1.0, n)
    delta = (first + (last - first) * np.sin(u * np.pi / 2)) * (G_MAX - G_MIN)
    g = G_MIN + u * (G_MAX - G_MIN)
    return {
        "g": [f"{x:.12g} S" for x in g],
        "delta_g": [f"{x:.12g} S" for x in (delta if up else delta[::-1])],
    }


SCENARIOS: dict[str, Scenario] = {
    "linear": Scenario(
        "linear", {"states": 50}, {"states": 40},
        {"range_c2c": 0.02, "read_noise": 0.01, "step_d2d": 0.15, "step_d2d_branch": 0.08,
         "g_max_d2d": 0.05, "g_min_d2d": 0.05},
    ),
    "exponential": Scenario(
        "exponential", {"states": 50, "nu": 2.0}, {"states": 50, "nu": 3.0},
        {"range_c2c": 0.02, "step_c2c": 0.3, "read_noise": 0.01, "step_d2d": 0.15,
         "step_d2d_branch": 0.08, "g_max_d2d": 0.05, "nu_d2d": 0.1},
    ),
    "exponential, read noise above the step": Scenario(
        "exponential", {"states": 60, "nu": 1.0}, {"states": 60, "nu": 1.5},
        {"range_c2c": 0.01, "read_noise_siemens": "3e-07 S", "step_d2d": 0.15, "g_max_d2d": 0.1},
        pulses=120,
    ),
    "exponential, no read noise": Scenario(
        "exponential", {"states": 97, "nu": 2.0}, {"states": 100, "nu": 3.0},
        {"range_c2c": 0.035, "step_d2d": 0.1, "g_max_d2d": 0.1}, pulses=130,
        aside=("range.g_min", "variation.step_d2d"),
    ),
    "querlioz": Scenario(
        "querlioz", {"states": 50, "beta": 2.0}, {"states": 50, "beta": 3.0},
        {"range_c2c": 0.01, "step_c2c": 0.4, "read_noise": 0.01, "step_d2d": 0.15,
         "g_max_d2d": 0.05},
    ),
    "soft-bounds": Scenario(
        "soft-bounds", {"states": 30, "slope": 0.7}, {"states": 25, "slope": 0.9},
        {"range_c2c": 0.02, "step_c2c": 0.3, "read_noise": 0.01, "step_d2d": 0.15,
         "g_max_d2d": 0.05},
    ),
    "lookup": Scenario(
        "lookup", table(0.06, 0.012), table(0.05, 0.015, up=False),
        {"range_c2c": 0.02, "read_noise": 0.01, "step_d2d": 0.15, "step_d2d_branch": 0.1,
         "g_max_d2d": 0.05},
    ),
}  # fmt: skip


def coverage(scenario: Scenario, seeds: range) -> dict[str, tuple[int, int, float]]:
    """Return, per parameter: intervals that hold the truth, intervals, mean error in interval."""
    truth = scenario.truth()
    # Seeds of its own: with the same ones all scenarios have the same noise, and share its luck.
    first = 1000 * (1 + list(SCENARIOS.values()).index(scenario))
    inside: dict[str, list[bool]] = defaultdict(list)
    errors: dict[str, list[float]] = defaultdict(list)
    for seed in seeds:
        fit = scenario.fit(first + seed).best
        for name, true in truth.items():
            estimate = fit.parameters[name]
            slack = 1e-6 * abs(true)  # reads without noise give a rail exactly
            inside[name].append(estimate.low - slack <= true <= estimate.high + slack)
            half = (estimate.high - estimate.low) / 2 / 1.96
            errors[name].append((estimate.value - true) / half if half > 0.0 else 0.0)
    return {
        name: (sum(hits), len(hits), float(np.mean(errors[name]))) for name, hits in inside.items()
    }
