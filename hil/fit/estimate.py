"""Fit every device model to what was measured of an array, and say how sure each number is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import FitError
from hil.fit.intervals import FEWEST
from hil.fit.laws import ALL, LAWS
from hil.fit.measured import Measured, Responses
from hil.fit.modelling import Setting, acting_rails, fit_model
from hil.fit.noise import ReadNoise, read_noise
from hil.fit.preparing import Rails, chains_of, find_rails, sort_out, usable
from hil.fit.result import GOOD, FitResult

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Devices by which models are compared, spread over all; the best is then fitted to all.
COMPARED: Final = 128


def fit_devices(
    measured: Measured, *, models: Sequence[str] = ALL, seed: int = 0, n_bootstrap: int = 400,
    threads: int | None = None,
) -> FitResult:  # fmt: skip
    """Fit ``models`` to the responses and everything else that was measured.

    In an array of more than :data:`COMPARED` devices the models are compared on that many, and the
    best is fitted to all; ``n_transitions`` of a fit says how much it saw.

    Args:
        measured: responses and, where they were taken, reads at rest, pulse maps and retention.
        models: of :data:`hil.fit.laws.LAWS`.
        seed: of the bootstrap.
        n_bootstrap: draws of devices for the intervals.
        threads: at work at once; the processors there are by default. It changes no result.

    Raises:
        FitError: no usable pulses, no device that answers, pulses of mixed amplitude, or an
            unknown model.
    """
    unknown = [name for name in models if name not in LAWS]
    if unknown or not models:
        raise FitError(f"no model {', '.join(unknown) or 'asked for'}; there are {', '.join(ALL)}")
    responses, left_out, warnings = usable(measured.responses)
    responses = _by_device(responses)
    noise = _noise(measured, warnings)
    reads = max(responses.reads, 1)
    rel2, abs2 = noise.rel2 / reads, noise.abs2 / reads
    stuck = sort_out(responses, np.sqrt(rel2 * responses.after_siemens**2 + abs2))
    devices = np.flatnonzero(stuck == GOOD)
    kept = responses.only(np.isin(responses.device, devices))
    found = find_rails(kept, rel2, abs2)
    scale = float(np.median((found.high - found.low)[devices]))

    def setting_of(chosen: Ints, rails: Rails) -> Setting:
        chains = chains_of(kept, chosen, scale, by_chain=devices.size < FEWEST)
        return Setting(
            chains, noise.per(reads, scale), rails, chosen, responses.n_devices, threads or os.cpu_count() or 1,
            n_bootstrap, seed, reads,
        )  # fmt: skip

    sample = devices[:: max(devices.size // COMPARED, 1)]
    rails = acting_rails(setting_of(sample[:: max(sample.size // 48, 1)], found))
    compared = setting_of(sample, rails)
    tried = sorted((fit_model(name, compared) for name in models), key=lambda one: one.fit.aic)
    if sample.size < devices.size:
        tried[0] = fit_model(tried[0].fit.model, setting_of(devices, rails), tried[0])
    fits = [one.fit for one in tried]
    common = {
        name: fits[0].parameters[name]
        for name in ("variation.read_noise", "variation.read_noise_siemens")
    }
    return FitResult(
        tuple(fits), common, fits[0].correlations, stuck,
        (*warnings, *fits[0].warnings), left_out,
    )  # fmt: skip


def _by_device(r: Responses) -> Responses:
    if (np.diff(r.device) >= 0).all():
        return r
    order = np.argsort(r.device, kind="stable")
    return Responses(
        r.cells, r.device[order], r.cycle[order], r.polarity[order], r.pulses[order],
        r.amplitude_v[order], r.width_s[order], r.before_siemens[order], r.after_siemens[order],
        r.chain[order], r.flag[order], r.reads,
    )  # fmt: skip


def _noise(measured: Measured, warnings: list[str]) -> ReadNoise:
    noise = None if measured.rests is None else read_noise(measured.rests)
    if noise is None:
        noise = ReadNoise(0.0, 0.0, {})
    warnings.extend(noise.warnings)
    return noise
