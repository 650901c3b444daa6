"""How a fitted device is pulsed: the tables [pulse] and [drive] of its file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hil.fit.disturb import half_selected
from hil.fit.fit_table import identified, quantity
from hil.fit.measured import Measured
from hil.fit.reading import Source
from hil.fit.result import Estimate

#: Share of the nominal voltage at which an unknown threshold is put: above V/2, so that a
#: half-selected device does not move.
ASSUMED_THRESHOLD: Final = 0.6
_DRIVE: Final = {
    "read_voltage": ("read_v", "V"), "read_width": ("read_s", "s"),
    "potentiate_voltage": ("potentiate_v", "V"), "depress_voltage": ("depress_v", "V"),
    "write_width": ("write_s", "s"), "erase_voltage": ("erase_v", "V"),
    "erase_width": ("erase_s", "s"), "form_voltage": ("form_v", "V"),
    "form_width": ("form_s", "s"), "form_compliance": ("form_compliance_a", "A"),
    "gate_read_voltage": ("gate_read_v", "V"), "gate_write_voltage": ("gate_write_v", "V"),
    "gate_form_voltage": ("gate_form_v", "V"), "rise": ("rise_s", "s"), "fall": ("fall_s", "s"),
    "gap": ("gap_s", "s"), "compliance": ("compliance_a", "A"),
}  # fmt: skip


def delivered(source: Source, said: list[str]) -> dict[str, Any]:
    """Return the operating point with the pulses that were delivered: a protocol may have its own.

    They are recorded with seven digits; five are kept.
    """
    r, op = source.measured.responses, dict(source.operating_point)
    widths = []
    for sign, name in ((1, "potentiate_v"), (-1, "depress_v")):
        own = (r.polarity == sign) & r.good
        if own.any():
            op[name] = float(f"{np.median(r.amplitude_v[own]):.5g}")
            widths.append(float(f"{np.median(r.width_s[own]):.5g}"))
    if widths:
        op["write_s"] = widths[0]
    if len(set(widths)) > 1:
        said.append(
            f"pulses of both polarities differ in width, {widths[0]:g} s and {widths[1]:g} s; "
            "a device file has one: the first"
        )
    return op


def pulse_table(
    estimates: Mapping[str, Estimate], op: Mapping[str, Any], base: Mapping[str, Any], law: str,
    measured: Measured, said: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Return the table [pulse].

    A law without a threshold moves half-selected devices in every update. It is written only where
    they were seen to move: pulse maps of noisy devices fit it about as well as a threshold.

    Args:
        estimates: the fit's.
        op: the pulses that were delivered.
        base: the device file of the station, for what was not measured.
        law: of the amplitude, as the pulse maps have it; "" without them.
        measured: for what half-selected devices did.
        said: takes what had to be assumed.
    """
    out: dict[str, Any] = {
        "potentiate_voltage": quantity(op["potentiate_v"], "V"),
        "depress_voltage": quantity(op["depress_v"], "V"),
        "width": quantity(op["write_s"], "s"),
    }
    fitted = identified(estimates, "pulse")
    for name, sign in (("potentiate_threshold", 1.0), ("depress_threshold", -1.0)):
        if name in fitted and sign * estimates[f"pulse.{name}"].value < 0.0:
            fitted[name] = "0 V"
            said.append(f"pulse.{name}: below 0 V in the fit, 0 V in the file")
    why = "no pulse map was measured; a run of pulse-map would tell"
    if measured.pulse_maps is not None:
        why = "the pulse maps do not tell"
    half = half_selected(measured)
    if law not in ("", "power") and half != "moved":
        why = (
            f"the pulse maps fit the {law} law, without a threshold, but half-selected devices "
            + ("were not seen to move" if half else "were not watched (half-select-disturb)")
        )
        fitted = {}
    scaled = law in ("exponential", "sinh") and bool(fitted)
    both = [f"{side}_{'scale' if scaled else 'threshold'}" for side in ("potentiate", "depress")]
    present = [name for name in both if name in fitted]
    if present:
        for name in both:
            if name not in fitted:  # of the other polarity, sign and all
                value = -estimates[f"pulse.{present[0]}"].value if not scaled else (
                    estimates[f"pulse.{present[0]}"].value)  # fmt: skip
                fitted[name] = quantity(value, "V")
                said.append(f"pulse.{name}: not measured; that of {present[0]} stands for it")
        return {**out, "law": law if scaled else "power", **fitted}
    pulse = base.get("pulse")
    if isinstance(pulse, dict) and _same_pulse(pulse, op):
        said.append("thresholds and the sensitivity to amplitude and width are those of the "
                    f"station's device file: {why}")  # fmt: skip
        return {**out, **{k: v for k, v in pulse.items() if k not in out}}
    said.append(
        f"thresholds are assumed at {ASSUMED_THRESHOLD:g} of the pulse voltages, so that "
        f"half-selected devices do not move: {why}"
    )
    return {
        **out, "law": "power",
        "potentiate_threshold": quantity(ASSUMED_THRESHOLD * op["potentiate_v"], "V"),
        "depress_threshold": quantity(ASSUMED_THRESHOLD * op["depress_v"], "V"),
    }  # fmt: skip


def _same_pulse(pulse: Mapping[str, Any], op: Mapping[str, Any]) -> bool:
    from hil.units import parse_quantity

    return all(
        math.isclose(parse_quantity(pulse[name], dimension), op[field], rel_tol=1e-3)
        for name, dimension, field in (
            ("potentiate_voltage", "voltage", "potentiate_v"),
            ("depress_voltage", "voltage", "depress_v"),
            ("width", "time", "write_s"),
        )
        if name in pulse
    )


def drive_table(op: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table [drive] of an operating point."""
    out: dict[str, Any] = {}
    for name, (given, unit) in _DRIVE.items():
        value = op.get(given)
        if isinstance(value, int | float) and math.isfinite(value) and value != 0.0:
            out[name] = quantity(float(value), unit)
    for name in ("inhibit", "coding", "count_levels"):
        if name in op:
            out[name] = op[name]
    return out
