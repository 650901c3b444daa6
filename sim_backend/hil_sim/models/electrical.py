"""Electrical tables of a device file: pulse sensitivity, current–voltage law, terminals, forming.

**Sensitivity.** A pulse of voltage v and width t counts as ``n = a(v)·(t/t_nom)^m`` nominal pulses,
with a(v_nom) = 1 (v along the polarity of the branch):

* ``power``: a = ((v − v_th)/(v_nom − v_th))^p above the threshold v_th, exactly 0 below (VTEAM,
  Kvatinsky et al., IEEE TCAS-II 62, 786, 2015). No half-select disturb when v_th > v_nom/2.
* ``exponential``: a = (e^{v/v0} − 1)/(e^{v_nom/v0} − 1); ``sinh``: a = sinh(v/v0)/sinh(v_nom/v0)
  (ion hopping, Mott and Gurney). No hard threshold: half-selected devices are disturbed.

Effects below ``floor`` nominal pulses are dropped (a read would otherwise cost a write).

**Current.** ``I(v, g) = g·φ(v)``, amperes, with φ(v_read) = v_read at the reference voltage:

* ``ohmic`` φ ∝ v · ``sinh`` φ ∝ sinh(v/v0) · ``saturating`` φ ∝ v_sat·tanh(v/v_sat)
* ``rectifying`` φ ∝ v forward and v/ratio reverse (not reciprocal).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hil.config.quantities import Fraction, Second, Siemens, Table, Volt

Law = Literal["power", "exponential", "sinh"]
IvLaw = Literal["ohmic", "sinh", "saturating", "rectifying"]
LAWS: dict[str, int] = {"power": 0, "exponential": 1, "sinh": 2}
IV_LAWS: dict[str, int] = {"ohmic": 0, "sinh": 1, "saturating": 2, "rectifying": 3}
Sigma = Annotated[float, Field(ge=0.0, le=2.0)]
Above0 = Annotated[float, Field(gt=0.0)]


class RangeTable(Table):
    """Conductance range."""

    g_min: Annotated[Siemens, Field(gt=0.0)]
    g_max: Annotated[Siemens, Field(gt=0.0)]

    @model_validator(mode="after")
    def _ordered(self) -> RangeTable:
        if self.g_min >= self.g_max:
            raise ValueError(f"range.g_max: {self.g_max:g} S is not above g_min = {self.g_min:g} S")
        return self


class PulseTable(Table):
    """Nominal pulse, thresholds and how the effect scales with amplitude and width."""

    potentiate_voltage: Annotated[Volt, Field(gt=0.0)]
    depress_voltage: Annotated[Volt, Field(lt=0.0)]
    width: Annotated[Second, Field(gt=0.0)]
    law: Law = "power"
    potentiate_threshold: Annotated[Volt, Field(ge=0.0)] | None = None
    depress_threshold: Annotated[Volt, Field(le=0.0)] | None = None
    potentiate_exponent: Above0 = 1.0
    depress_exponent: Above0 = 1.0
    potentiate_scale: Annotated[Volt, Field(gt=0.0)] | None = None
    depress_scale: Annotated[Volt, Field(gt=0.0)] | None = None
    time_exponent: Above0 = 1.0
    positive: Literal["potentiates", "depresses"] = "potentiates"
    floor: Annotated[float, Field(ge=0.0, le=1e-3)] = 1e-9

    @model_validator(mode="after")
    def _complete(self) -> PulseTable:
        thresholds = ("potentiate_threshold", "depress_threshold")
        scales = ("potentiate_scale", "depress_scale")
        needed, others = (thresholds, scales) if self.law == "power" else (scales, thresholds)
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"pulse.{name}: the {self.law} law needs it")
        for name in others:
            if getattr(self, name) is not None:
                raise ValueError(f"pulse.{name}: the {self.law} law has no such parameter")
        if self.law == "power":
            v_p, v_d = self.potentiate_threshold or 0.0, self.depress_threshold or 0.0
            if v_p >= self.potentiate_voltage:
                raise ValueError("pulse.potentiate_threshold: not below potentiate_voltage")
            if v_d <= self.depress_voltage:
                raise ValueError("pulse.depress_threshold: not between depress_voltage and 0 V")
        return self


class CurrentTable(Table):
    """Current–voltage law; ``read_voltage`` is where φ(v) = v."""

    law: IvLaw = "ohmic"
    read_voltage: Annotated[Volt, Field(gt=0.0)] = 0.1
    scale: Annotated[Volt, Field(gt=0.0)] | None = None  #: v0 of sinh, v_sat of saturating
    ratio: Annotated[float, Field(ge=1.0)] | None = None  #: forward / reverse of rectifying

    @model_validator(mode="after")
    def _complete(self) -> CurrentTable:
        needs = {"ohmic": None, "sinh": "scale", "saturating": "scale", "rectifying": "ratio"}
        for name in ("scale", "ratio"):
            given = getattr(self, name) is not None
            if given != (needs[self.law] == name):
                verb = "has no such parameter" if given else "needs it"
                raise ValueError(f"current.{name}: the {self.law} law {verb}")
        return self


class VariationTable(Table):
    """Relative standard deviations; device to device (d2d) drawn once, cycle to cycle per pulse.

    ``step_d2d`` scales both branches of a device together, ``step_d2d_branch`` each on its own.
    Normal factors are truncated at 0.05 and 1.95. ``step_c2c`` multiplies what a pulse does,
    ``range_c2c`` adds a part of the range times √n (NeuroSim's sigmaCtoC). ``read_noise`` is
    relative to the conductance, ``read_noise_siemens`` independent of it; both per device and
    reading. ``stuck_*`` are fractions of the devices.
    """

    step_d2d: Sigma = 0.0
    step_d2d_branch: Sigma = 0.0
    step_d2d_law: Literal["normal", "log-normal"] = "normal"
    g_min_d2d: Sigma = 0.0
    g_max_d2d: Sigma = 0.0
    threshold_d2d: Sigma = 0.0
    nu_d2d: Sigma = 0.0
    step_c2c: Sigma = 0.0
    range_c2c: Sigma = 0.0
    read_noise: Sigma = 0.0
    read_noise_siemens: Annotated[Siemens, Field(ge=0.0)] = 0.0
    stuck_at_min: Fraction = 0.0
    stuck_at_max: Fraction = 0.0
    stuck_at_value: Fraction = 0.0
    stuck_value: Annotated[Siemens, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _fractions(self) -> VariationTable:
        total = self.stuck_at_min + self.stuck_at_max + self.stuck_at_value
        if total > 1.0:
            raise ValueError(f"variation.stuck_at_min: stuck fractions add up to {total:g}")
        if (self.stuck_at_value > 0.0) != (self.stuck_value is not None):
            raise ValueError("variation.stuck_value: goes together with stuck_at_value")
        return self


class DriftTable(Table):
    """Retention: ``g(t) = g·(t/t0)^−ν`` for t > t0 since the device was last programmed."""

    nu: float
    nu_d2d: Annotated[float, Field(ge=0.0)] = 0.0  #: standard deviation of ν, absolute
    t0: Annotated[Second, Field(gt=0.0)] = 1.0


class FormingTable(Table):
    """Pristine state. A device forms when it sees its forming voltage (positive polarity).

    The formed conductance is ``I_limit/compliance_voltage`` within the range, I_limit the smallest
    limit in its path (line compliance, saturated select transistor). With no limit, or one above
    ``overshoot`` · g_max · compliance_voltage, the device breaks down and is stuck at g_max.
    """

    formed: bool = False  #: start formed
    voltage: Annotated[Volt, Field(gt=0.0)]
    spread: Annotated[Volt, Field(ge=0.0)] = 0.0
    g_pristine: Annotated[Siemens, Field(gt=0.0)]
    compliance_voltage: Annotated[Volt, Field(gt=0.0)]
    overshoot: Annotated[float, Field(ge=1.0)] = 2.0


class TransistorTable(Table):
    """Series transistor of a 1T1R cell: closed above ``threshold``, current ≤ k·(v_gate − v_t)."""

    threshold: Volt
    transconductance: Annotated[Siemens, Field(gt=0.0)]  #: k, amperes per volt of overdrive


class EraseTable(Table):
    """Block erase of a three-terminal cell; a nominal pulse takes 1/``pulses`` of the range."""

    voltage: Annotated[Volt, Field(gt=0.0)]
    threshold: Annotated[Volt, Field(ge=0.0)]
    width: Annotated[Second, Field(gt=0.0)]
    pulses: Annotated[float, Field(gt=0.0)] = 1.0
    exponent: Above0 = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> EraseTable:
        if self.threshold >= self.voltage:
            raise ValueError("erase.threshold: not below voltage")
        return self
