"""Fit every device model to what was measured of an array, and say how sure each number is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import FitError
from hil.fit import kernels
from hil.fit.current import CurrentLaw, current_law
from hil.fit.disturb import half_selected
from hil.fit.intervals import FEWEST
from hil.fit.laws import ALL, LAWS
from hil.fit.measured import Measured, Responses
from hil.fit.modelling import Fitted, acting_rails, fit_model
from hil.fit.noise import ReadNoise, noise_of_pulses, read_noise
from hil.fit.preparing import Rails, chains_of, find_rails, sort_out, usable
from hil.fit.reading_off import Setting
from hil.fit.result import GOOD, FitResult
from hil.fit.retention import retention
from hil.fit.sensitivity import SIDES, AffineDevices, Nominal, sensitivity
from hil.fit.stuck import stuck_fractions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Devices by which models are compared, spread over all; the best is then fitted to all.
COMPARED: Final = 128
_FEWEST_CYCLES: Final = 3
_AFFINE: Final = ("exponential", "soft-bounds")


def fit_devices(
    measured: Measured, *, models: Sequence[str] = ALL, seed: int = 0, n_bootstrap: int = 400,
    threads: int | None = None,
) -> FitResult:  # fmt: skip
    """Fit ``models`` to the responses and everything else that was measured.

    In an array of more than :data:`COMPARED` devices the models are compared on that many, and the
    best is fitted to all: its parameters are those of all devices, the criteria of all models those
    of the comparison, and ``n_transitions`` says how much was compared.

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
    noise = _noise(measured, responses, warnings)
    warnings += _missing(measured, responses)
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
            chains, noise.per(reads, scale), rails, chosen, responses.n_devices,
            threads or os.cpu_count() or 1, n_bootstrap, seed, reads,
        )  # fmt: skip

    sample = devices[:: max(devices.size // COMPARED, 1)]
    rails = acting_rails(setting_of(sample[:: max(sample.size // 48, 1)], found))
    compared = setting_of(sample, rails)
    tried = sorted((fit_model(name, compared) for name in models), key=lambda one: one.fit.aic)
    if sample.size < devices.size:
        first = tried[0].fit
        again = fit_model(first.model, setting_of(devices, rails), tried[0])
        # Criteria compare models: they stay those of the devices that all models were fitted to.
        tried[0] = again._replace(
            fit=replace(
                again.fit, n_parameters=first.n_parameters, n_transitions=first.n_transitions,
                log_likelihood=first.log_likelihood, aic=first.aic, bic=first.bic,
            )
        )  # fmt: skip
    fits = [one.fit for one in tried]
    common = {
        name: fits[0].parameters[name]
        for name in ("variation.read_noise", "variation.read_noise_siemens")
    }
    pulse_law = ""
    common |= stuck_fractions(stuck, responses)
    if devices.size == 1:
        warnings.append(
            "variation: one device only, so nothing is known of the spread between devices; the "
            "protocol ltp-ltd on 30 devices or more would tell"
        )
    if measured.retentions is not None:
        found_drift, said = retention(measured.retentions, noise)
        common |= found_drift
        warnings += said
    current = CurrentLaw("", {}) if measured.sweeps is None else current_law(measured.sweeps)
    common |= current.estimates
    warnings += current.warnings
    if measured.pulse_maps is not None:
        affine = next((one for one in tried if one.fit.model in _AFFINE), None)
        if affine is None:
            affine = fit_model("soft-bounds", compared)
        nominal = _nominal(responses)
        found_pulse, pulse_law, said = sensitivity(
            measured.pulse_maps, _affine_devices(affine, responses.n_devices, scale), nominal,
            noise, thresholds=half_selected(measured) == "still",
        )  # fmt: skip
        common |= found_pulse
        warnings += said
    return FitResult(
        tuple(fits), common, fits[0].correlations, stuck,
        (*warnings, *fits[0].warnings), left_out, pulse_law, current.law,
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


def _noise(measured: Measured, responses: Responses, warnings: list[str]) -> ReadNoise:
    noise = None if measured.rests is None else read_noise(measured.rests)
    if noise is None:
        noise = noise_of_pulses(responses)
    warnings.extend(noise.warnings)
    return noise


def _missing(measured: Measured, responses: Responses) -> list[str]:
    """Return a warning for every part that the data holds nothing about."""
    out = []
    for sign, name in ((1, "potentiation"), (-1, "depression")):
        if not (responses.polarity == sign).any():
            out.append(
                f"{name}: no {name} pulses in the data, so this branch is not fitted; the protocol "
                "ltp-ltd with both polarities would tell"
            )
    cycles = int(np.unique(responses.cycle).size)
    if cycles < _FEWEST_CYCLES:
        out.append(
            f"variation: {cycles} cycle{'s' if cycles > 1 else ''} only, so the spread between "
            "devices is poorly told from that between cycles; the protocol ltp-ltd with 5 cycles "
            "or more would tell"
        )
    if measured.pulse_maps is None:
        out.append(
            "pulse: thresholds and the dependence on amplitude and width are not in the data; the "
            "protocol pulse-map would tell"
        )
    if measured.retentions is None:
        out.append("drift.nu: retention is not in the data; the protocol retention would tell")
    return out


def _nominal(responses: Responses) -> Nominal:
    volts = {}
    for sign in SIDES:
        rows = responses.polarity == sign
        size = np.abs(responses.amplitude_v[rows])
        if rows.any() and np.isfinite(size).all() and size[0] > 0.0:
            volts[sign] = float(np.median(size))
    return Nominal(volts, float(np.median(responses.width_s)))


def _affine_devices(fitted: Fitted, n_all: int, scale: float) -> AffineDevices:
    theta, devices = fitted.mixed.theta, fitted.devices

    def column(k: int, unit: float = 1.0) -> Floats:
        out = np.full(n_all, np.nan)
        out[devices] = theta[:, k] * unit
        return out

    return AffineDevices(
        column(kernels.LOW, scale), column(kernels.HIGH, scale),
        (column(kernels.RATE_UP), column(kernels.RATE_DOWN)),
        (column(kernels.SHAPE_UP), column(kernels.SHAPE_DOWN)),
        float(theta[0, kernels.V_MULT]), float(theta[0, kernels.V_ADD]),
    )  # fmt: skip
