"""The devices of one array: every device's own parameters, drawn once from (seed, row, col).

Two devices never share a draw: each parameter of each device has its own Philox counter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.geometry import ArrayGeometry
from hil_sim.kernels import law as lw
from hil_sim.kernels import philox
from hil_sim.models.device import Device
from hil_sim.models.electrical import IV_LAWS, LAWS
from hil_sim.models.response import (
    AFFINE,
    LOOKUP,
    QUERLIOZ,
    affine_rate,
    lookup_nodes,
    querlioz_rate,
)

FloatArray = NDArray[np.float64]
_KINDS = {"querlioz": QUERLIOZ, "lookup": LOOKUP}
_TRUNCATION = 0.95
_MAX_REDRAWS = 64


@dataclass(slots=True, eq=False)
class Population:
    """Parameters of all devices; arrays are (n_rows, n_cols) unless said otherwise.

    Attributes:
        law: one-element record array, what all devices share (``kernels.law.LAW``).
        params: (n_rows, n_cols, 8) float64, columns ``P_*`` of ``kernels.law``; a device that
            cannot change (stuck, pristine) has P_MIN = P_MAX.
        nodes_up, nodes_down: (3, n) look-up tables, (16, n) with quantiles, (3, 2) zeros without.
        full_min, full_max: range after forming, in siemens.
        v_form: forming voltages in volts, empty without forming.
        nu: drift exponents, empty without drift.
    """

    law: NDArray[Any]
    params: FloatArray
    nodes_up: FloatArray
    nodes_down: FloatArray
    full_min: FloatArray
    full_max: FloatArray
    v_form: FloatArray
    nu: FloatArray


class _Draw:
    def __init__(self, geometry: ArrayGeometry, seed: int) -> None:
        self.shape = geometry.shape
        self.key = philox.key_of(seed)

    def normal(self, purpose: int, attempt: int = 0) -> FloatArray:
        z: FloatArray = philox.device_normals(self.key, *self.shape, attempt, purpose)
        return z

    def factor(self, sigma: float, purpose: int, log_normal: bool = False) -> FloatArray:
        """Factors of mean 1 (normal, truncated symmetrically) or median 1 (log-normal)."""
        if sigma == 0.0:
            return np.ones(self.shape)
        if log_normal:
            return np.exp(sigma * self.normal(purpose))
        z = sigma * self.normal(purpose)
        for attempt in range(1, _MAX_REDRAWS):
            outside = np.abs(z) > _TRUNCATION
            if not outside.any():
                break
            z[outside] = sigma * self.normal(purpose, attempt)[outside]
        return 1.0 + np.clip(z, -_TRUNCATION, _TRUNCATION)


def populate(device: Device, geometry: ArrayGeometry, seed: int) -> Population:
    """Draw the devices of one array."""
    draw = _Draw(geometry, seed)
    v = device.variation
    params = np.empty((*geometry.shape, 8))
    g_min, g_max = _ranges(device, draw)
    params[..., lw.P_MIN], params[..., lw.P_MAX] = g_min, g_max

    logn = v.step_d2d_law == "log-normal"
    shared = draw.factor(v.step_d2d, philox.STEP_D2D, logn)
    nodes = []
    for up, branch, step, nu_purpose, a, b in (
        (True, device.potentiation, philox.STEP_D2D_P, philox.NU_D2D_P, lw.P_A_UP, lw.P_B_UP),
        (False, device.depression, philox.STEP_D2D_D, philox.NU_D2D_D, lw.P_A_DOWN, lw.P_B_DOWN),
    ):
        rate = shared * draw.factor(v.step_d2d_branch, step, logn)
        if device.model == "querlioz":
            alpha, beta = querlioz_rate(branch)
            params[..., a], params[..., b] = rate * alpha, beta
        elif device.model == "lookup":
            params[..., a], params[..., b] = rate, 0.0
        else:
            nu = (branch.nu or 0.0) * draw.factor(v.nu_d2d, nu_purpose)
            rate_a, rate_b = affine_rate(device.model, branch, nu)
            params[..., a], params[..., b] = rate * rate_a, rate * rate_b
        nodes.append(
            lookup_nodes(branch, device.range.g_min, device.range.g_max, up)
            if device.model == "lookup"
            else np.zeros((3, 2))
        )
    params[..., lw.P_H_UP] = draw.factor(v.threshold_d2d, philox.THRESHOLD_D2D_P)
    params[..., lw.P_H_DOWN] = draw.factor(v.threshold_d2d, philox.THRESHOLD_D2D_D)
    _stick(device, draw, params)

    forming, drift = device.forming, device.drift
    v_form = np.empty((0, 0))
    if forming is not None:
        v_form = forming.voltage + forming.spread * draw.normal(philox.FORMING_D2D)
        v_form = np.maximum(v_form, 0.05 * forming.voltage)
    nu = np.empty((0, 0))
    if drift is not None:
        nu = drift.nu + drift.nu_d2d * draw.normal(philox.DRIFT_D2D)
    return Population(
        _law(device, geometry, params, v_form), params, nodes[0], nodes[1],
        params[..., lw.P_MIN].copy(), params[..., lw.P_MAX].copy(), v_form, nu,
    )  # fmt: skip


def _ranges(device: Device, draw: _Draw) -> tuple[FloatArray, FloatArray]:
    """Return each device's (g_min, g_max) in siemens; a device is never without a range."""
    v = device.variation
    low = device.range.g_min * draw.factor(v.g_min_d2d, philox.G_MIN_D2D)
    high = device.range.g_max * draw.factor(v.g_max_d2d, philox.G_MAX_D2D)
    return low, np.maximum(high, 1.05 * low)


def _stick(device: Device, draw: _Draw, params: FloatArray) -> None:
    v = device.variation
    at_min, at_max = v.stuck_at_min, v.stuck_at_min + v.stuck_at_max
    at_value = at_max + v.stuck_at_value
    if at_value == 0.0:
        return
    u = philox.device_uniforms(draw.key, *draw.shape, philox.STUCK)
    low, high = params[..., lw.P_MIN], params[..., lw.P_MAX]
    high[...] = np.where(u < at_min, low, high)
    low[...] = np.where((u >= at_min) & (u < at_max), high, low)
    hit = (u >= at_max) & (u < at_value)
    if v.stuck_value is not None:
        low[hit] = high[hit] = v.stuck_value


def _law(
    device: Device, geometry: ArrayGeometry, params: FloatArray, v_form: FloatArray
) -> NDArray[Any]:
    law = np.zeros(1, dtype=lw.LAW)
    pulse, current, v = device.pulse, device.current, device.variation
    values: dict[str, float] = {
        "model": _KINDS.get(device.model, AFFINE),
        "law": LAWS[pulse.law],
        "per_device_law": v.threshold_d2d > 0.0,
        "iv": IV_LAWS[current.law],
        "has_erase": device.erase is not None,
        "has_gate": device.transistor is not None,
        "same_port": geometry.cell.read == geometry.cell.write,
        "n_rows": geometry.n_rows,
        "n_cols": geometry.n_cols,
        "polarity": 1.0 if pulse.positive == "potentiates" else -1.0,
        "v_th_p": pulse.potentiate_threshold or 0.0,
        "v_nom_p": pulse.potentiate_voltage,
        "v_th_d": -(pulse.depress_threshold or 0.0),
        "v_nom_d": -pulse.depress_voltage,
        "shape_p": pulse.potentiate_scale or pulse.potentiate_exponent,
        "shape_d": pulse.depress_scale or pulse.depress_exponent,
        "t_nom": pulse.width, "m": pulse.time_exponent, "floor": pulse.floor,
        "h_min_p": float(params[..., lw.P_H_UP].min()),
        "h_min_d": float(params[..., lw.P_H_DOWN].min()),
        "step_c2c": v.step_c2c, "range_c2c": v.range_c2c,
        "read_rel": v.read_noise, "read_abs": v.read_noise_siemens,
        "iv_scale": current.scale or current.ratio or 1.0,
        "iv_norm": _iv_norm(device),
        "g_top": np.inf if device.drift is not None else float(params[..., lw.P_MAX].max()),
        "v_form_min": float(v_form.min()) if v_form.size else np.inf,
    }  # fmt: skip
    branches = (device.potentiation, device.depression)
    spread = any(b.spread is not None or b.quantiles is not None for b in branches)
    values["noisy"] = v.step_c2c > 0.0 or v.range_c2c > 0.0 or spread
    if device.transistor is not None:
        values["gate_v_t"] = device.transistor.threshold
        values["gate_k"] = device.transistor.transconductance
    if device.erase is not None:
        erase = device.erase
        values.update(erase_v=erase.voltage, erase_v_th=erase.threshold, erase_t=erase.width,
                      erase_shape=erase.exponent, erase_pulses=erase.pulses)  # fmt: skip
    for name, value in values.items():
        law[0][name] = value
    return law


def _iv_norm(device: Device) -> float:
    """Return the factor that makes φ(v_read) = v_read."""
    current = device.current
    scale = current.scale or 1.0
    if current.law == "sinh":
        return float(current.read_voltage / np.sinh(current.read_voltage / scale))
    if current.law == "saturating":
        return float(current.read_voltage / np.tanh(current.read_voltage / scale))
    return 1.0
