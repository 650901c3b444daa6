"""What a person would do at the bench: connect resistors in place of an array, use old instruments.

Fixtures serve calibration: nothing connected, shorts, a resistor of known value. The imperfections
are those of instruments and cables that were not calibrated for years.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hil.errors import GeometryError
from hil.geometry import ArrayGeometry
from hil_sim.kernels.law import P_MAX, P_MIN
from hil_sim.models.device import load_device
from hil_sim.sim_array import SimArray
from hil_sim.virtual_bench.network import Network
from hil_sim.virtual_bench.terminal import Rail

_NOTHING_SIEMENS = 1e-18

#: Largest errors of an imperfect bench; each is drawn evenly from ± its value (paths: 0 … value).
GAIN, SOURCE_OFFSET_V, METER_OFFSET_OF_RANGE = 4e-3, 5e-4, 1.5e-3
LEAK_SIEMENS, PATH_OHM = 2e-8, 40.0


def resistors(geometry: ArrayGeometry, g_siemens: NDArray[np.float64]) -> SimArray:
    """Return resistors of ``g_siemens`` between every row and column of the read port.

    Args:
        geometry: of the array whose place they take.
        g_siemens: (n_rows, n_cols); 0 = nothing connected.

    Raises:
        GeometryError: another shape.
    """
    if g_siemens.shape != geometry.shape:
        raise GeometryError(f"resistors of shape {g_siemens.shape} in place of {geometry.shape}")
    out = SimArray(geometry, load_device("ideal"), 0)
    out.g[...] = np.maximum(g_siemens, _NOTHING_SIEMENS)
    for bound in (P_MIN, P_MAX):  # a device without a range does not answer pulses
        out.population.params[..., bound] = out.g
    return out


def make_imperfect(network: Network, geometries: Mapping[str, ArrayGeometry], seed: int) -> None:
    """Give every channel gain errors, offsets and leakage, and every line a path resistance.

    They depend on the seed and the names alone, so that a bench that is opened again is the same.
    """
    for terminal in network.terminals.values():
        if isinstance(terminal, Rail):
            continue
        draw = _generator(seed, terminal.name)
        errors = terminal.accuracy
        errors.source_gain, errors.meter_gain = draw.uniform(0.5 * GAIN, GAIN, 2) * _signs(draw, 2)
        errors.source_offset_v = SOURCE_OFFSET_V * float(
            draw.uniform(0.5, 1.0) * _signs(draw, 1)[0]
        )
        ranges = terminal.meter.ranges_a
        offsets = METER_OFFSET_OF_RANGE * draw.uniform(0.3, 1.0, len(ranges))
        offsets *= _signs(draw, len(ranges))
        errors.meter_offset_a = dict(zip(ranges, (offsets * ranges).tolist(), strict=True))
        errors.leak_siemens = LEAK_SIEMENS * float(draw.uniform(0.5, 1.0))
    for number, (name, geometry) in enumerate(geometries.items()):
        for line in range(geometry.n_lines):
            draw = _generator(seed, f"{name} {geometry.line_name(line)}")
            network.path_ohm[number, line] = PATH_OHM * float(draw.uniform(0.25, 1.0))
    network.version += 1


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))


def _signs(draw: np.random.Generator, n: int) -> NDArray[np.float64]:
    return np.where(draw.random(n) < 0.5, -1.0, 1.0)
