"""Potentiation and depression of simulated arrays, pulsed by the simulator's own kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hil_sim.kernels import law as lw
from hil_sim.kernels import philox
from hil_sim.kernels.noise import new_noise
from hil_sim.kernels.pulse import pulse_devices
from hil_sim.models.device import Device, load_device
from hil_sim.population import Population, populate

from hil.fit.measured import Measured, PulseMaps, Responses, Rests, Retentions
from hil.geometry import ArrayGeometry

G_MIN, G_MAX = 1e-6, 1e-5


class Simulated(NamedTuple):
    """What was measured, and the devices that it was measured of."""

    measured: Measured
    population: Population
    device: Device


def device_of(
    model: str, potentiation: dict[str, Any], depression: dict[str, Any], g_min: float = G_MIN,
    g_max: float = G_MAX, **variation: Any,
) -> Device:  # fmt: skip
    """Return a device file of one response model."""
    values = load_device("ideal").model_dump(by_alias=True)
    values |= {
        "model": model, "range": {"g_min": f"{g_min!r} S", "g_max": f"{g_max!r} S"},
        "potentiation": potentiation, "depression": depression, "variation": variation,
    }  # fmt: skip
    return Device.model_validate({k: v for k, v in values.items() if v is not None})


def measure(
    device: Device, rows: int, cols: int, *, cycles: int = 5, pulses: int = 64, seed: int = 0,
    rests: int = 40,
) -> Simulated:  # fmt: skip
    """Pulse every device up and down, reading after every pulse; then read at rest.

    A cycle is ``pulses`` potentiation pulses and as many of depression. Reads at rest are taken
    near both ends of the range.
    """
    population = populate(device, ArrayGeometry(rows, cols), seed)
    n = rows * cols
    cell_rows, cell_cols = (a.ravel() for a in np.indices((rows, cols)))
    cells = np.stack([cell_rows, cell_cols], axis=1)
    g = np.ascontiguousarray(population.params[..., lw.P_MIN])
    ordinal = np.zeros((rows, cols), dtype=np.uint32)
    key, noise_room = philox.key_of(seed), new_noise()
    rng = np.random.default_rng(seed)
    v = device.variation

    def read() -> np.ndarray:
        flat = g.ravel()
        sigma = np.hypot(v.read_noise * flat, v.read_noise_siemens)
        return flat + sigma * rng.standard_normal(n)

    # Devices start at the lower end after a reset, which is not recorded.
    taken = [read()]
    for _ in range(cycles):
        for up in (True, False):
            nodes = population.nodes_up if up else population.nodes_down
            for _ in range(pulses):
                pulse_devices(
                    cell_rows, cell_cols, np.ones(n), n, 1, up, population.law[0], nodes,
                    population.params, g, ordinal, key, noise_room,
                )  # fmt: skip
                taken.append(read())
    reads = np.array(taken)  # (1 + cycles · 2 · pulses, n)
    steps = len(reads) - 1
    number = np.arange(steps)
    device_of_row = np.repeat(np.arange(n), steps)
    cycle = np.tile(number // (2 * pulses), n)
    polarity = np.tile(np.where(number // pulses % 2 == 0, 1, -1), n)
    volts = np.where(polarity > 0, device.pulse.potentiate_voltage, device.pulse.depress_voltage)
    total = n * steps
    responses = Responses(
        cells, device_of_row, cycle, polarity, np.ones(total, dtype=np.int64),
        volts.astype(float), np.full(total, device.pulse.width), reads[:-1].T.ravel(),
        reads[1:].T.ravel(), device_of_row * 2 * cycles + np.tile(number // pulses, n),
        np.zeros(total, dtype=np.uint8),
    )  # fmt: skip
    at_rest = []
    for end in (population.full_min, population.full_max):
        g = np.ascontiguousarray(end)
        at_rest.append(np.array([read() for _ in range(rests)]).T.reshape(-1))
    group = np.repeat(np.arange(2 * n), rests)
    rest = Rests(group % n, np.concatenate(at_rest), group)
    return Simulated(Measured(responses, rest), population, device)


def pulse_map(
    simulated: Simulated, amplitudes: list[float], widths: list[float], *, pulses: int = 4,
    seed: int = 1,
) -> PulseMaps:  # fmt: skip
    """Pulse all devices from either end with every amplitude and width (shares of the nominal)."""
    population, device = simulated.population, simulated.device
    shape = population.full_min.shape
    n = population.full_min.size
    rows, cols = (a.ravel() for a in np.indices(shape))
    ordinal = np.full(shape, 1 << 20, dtype=np.uint32)
    key, noise_room = philox.key_of(seed), new_noise()
    rng = np.random.default_rng(seed)
    law = population.law[0]
    noise = device.variation.read_noise
    columns: list[np.ndarray] = []
    group = 0
    for up, nominal in ((True, device.pulse.potentiate_voltage),
                        (False, device.pulse.depress_voltage)):  # fmt: skip
        h = population.params[..., lw.P_H_UP if up else lw.P_H_DOWN].ravel()
        nodes = population.nodes_up if up else population.nodes_down
        for share in amplitudes:
            for width in widths:
                g = np.ascontiguousarray(population.full_min if up else population.full_max)
                tau = lw.tau_of(0.0, width * device.pulse.width, law)
                worth = np.array([lw.pulses_of(share * nominal, tau, x, up, law) for x in h])
                for k in range(pulses + 1):
                    if k:
                        pulse_devices(rows, cols, worth, n, 1, up, law, nodes, population.params,
                                      g, ordinal, key, noise_room)  # fmt: skip
                    read = g.ravel() * (1 + noise * rng.standard_normal(n))
                    columns.append(np.stack([
                        np.arange(n), np.full(n, 1 if up else -1), np.full(n, share * nominal),
                        np.full(n, width * device.pulse.width), np.full(n, k), read,
                        group + np.arange(n),
                    ]))  # fmt: skip
                group += n
    table = np.concatenate(columns, axis=1)
    whole = [table[k].astype(np.int64) for k in (0, 1, 4, 6)]
    return PulseMaps(whole[0], whole[1], table[2], table[3], whole[2], table[5], whole[3])


def retention_reads(
    n: int, nu: float, nu_d2d: float, noise: float, times: np.ndarray, seed: int
) -> Retentions:
    """Read ``n`` devices while their conductance falls by the power law of the simulator."""
    rng = np.random.default_rng(seed)
    exponent = nu + nu_d2d * rng.standard_normal(n)
    g = 5e-6 * (times[None, :] / times[0]) ** -exponent[:, None]
    g *= 1 + noise * rng.standard_normal(g.shape)
    device = np.repeat(np.arange(n), times.size)
    return Retentions(device, np.tile(times, n), g.ravel(), device)
