"""Transitions of all devices, and the likelihood of them that the filter gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.fit import kernels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """Transitions of all devices as the filter takes them, in units of ``scale`` siemens.

    ``first`` (n_devices + 1,) says where the rows of a device begin; ``unit`` numbers the rows that
    are added up together, ascending, and ``device_of`` the device of each unit.
    """

    device: Ints
    unit: Ints
    device_of: Ints
    first: Ints
    fresh: NDArray[np.bool_]
    up: NDArray[np.bool_]
    pulses: Ints
    before: Floats
    after: Floats
    scale: float

    @property
    def n_devices(self) -> int:
        """Devices, each with at least one row."""
        return self.first.size - 1

    @property
    def n(self) -> int:
        """Transitions."""
        return self.device.size


@dataclass(slots=True, eq=False)
class Terms:
    """What the filter says of every unit: log-likelihood, score, information and shares."""

    log_likelihood: Floats
    score: Floats
    information: Floats
    share: Floats
    residuals: Floats


class Likelihood:
    """Runs the filter over all devices with a few threads; results do not depend on their number.

    Args:
        chains: what was measured.
        model: a number of :mod:`hil.fit.kernels`.
        n_nodes: of each table of the look-up model, otherwise 0.
        threads: that work at once.
    """

    def __init__(self, chains: Chains, model: int, n_nodes: int, threads: int) -> None:
        self.chains, self.model, self.n_nodes = chains, model, n_nodes
        n = max(min(threads, chains.n // 20_000 + 1, chains.n_devices), 1)
        cuts = np.searchsorted(chains.first, np.linspace(0, chains.n, n + 1))
        self._cuts = chains.first[np.clip(cuts, 0, chains.n_devices)]

    def __call__(self, theta: Floats, *, slopes: bool = True, residuals: bool = False) -> Terms:
        """Return the terms at ``theta`` (n_devices, n_parameters)."""
        c, n = self.chains, theta.shape[1]
        units = c.device_of.size
        terms = Terms(
            np.zeros(units), np.zeros((units, n)), np.zeros((units, n, n)), np.zeros((units, 3)),
            np.full(c.n if residuals else 0, np.nan),
        )  # fmt: skip

        def run(start: int, stop: int) -> None:
            kernels.filter_devices(
                self.model, self.n_nodes, start, stop, c.device, c.unit, c.fresh, c.up, c.pulses,
                c.before, c.after, theta, slopes, terms.log_likelihood,
                terms.score, terms.information, terms.share, terms.residuals,
            )  # fmt: skip

        parts = list(zip(self._cuts[:-1].tolist(), self._cuts[1:].tolist(), strict=True))
        if len(parts) == 1:
            run(*parts[0])
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                list(pool.map(lambda part: run(*part), parts))
        return terms


def per_device(chains: Chains, values: Floats) -> Floats:
    """Add up what belongs to the units of each device."""
    if chains.device_of.size == chains.n_devices:
        return values
    out = np.zeros((chains.n_devices, *values.shape[1:]))
    np.add.at(out, chains.device_of, values)
    return out
