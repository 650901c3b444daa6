"""What a fit says: estimates with their intervals, models in order, warnings in plain words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Codes of ``FitResult.stuck``.
GOOD, STUCK_LOW, STUCK_HIGH, STUCK_VALUE, NO_DATA = range(5)
STUCK_NAMES: Final = ("good", "stuck at the lower end", "stuck at the upper end", "stuck",
                      "no data")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval.

    ``identifiable`` is False where the data does not say what the value is; ``note`` says why.
    """

    value: float
    low: float
    high: float
    identifiable: bool = True
    note: str = ""
    unit: str = ""

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, eq=False)
class StepTable:
    """Mean change by a pulse and its spread from cycle to cycle, siemens, over the conductance."""

    g_siemens: Floats
    delta_siemens: Floats
    spread_siemens: Floats


@dataclass(frozen=True, slots=True, eq=False)
class DeviceEstimates:
    """Parameters of every device, most likely given its data and the other devices.

    ``values`` and ``errors`` are (n_devices, n_names), NaN for devices that were not fitted.
    """

    names: tuple[str, ...]
    values: Floats
    errors: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ModelFit:
    """One model: its parameters by their names in a device file, and how well it fits.

    ``residual_quantiles`` are those of standardised residuals away from the rails: −1.96 … 1.96 at
    0.025 … 0.975 for a model that is right. ``curves`` holds the branches that were fitted.
    """

    model: str
    parameters: dict[str, Estimate]
    n_parameters: int
    n_transitions: int
    log_likelihood: float
    aic: float
    bic: float
    residual_quantiles: dict[float, float]
    curves: dict[str, StepTable]
    devices: DeviceEstimates
    correlations: dict[tuple[str, str], float]
    converged: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """All models, best by AIC first, and what does not depend on the model.

    Attributes:
        common: read noise, stuck fractions, thresholds, retention: by device-file names.
        correlations: between parameters of the best model's devices, estimation variance taken off.
        stuck: (n_devices,) codes.
        warnings: plain sentences; each names the protocol that would help.
        left_out: reason → rows of the responses that were not used.
        pulse_law: amplitude law that fits the pulse map best, "" without one.
        current_law: current–voltage law that fits the sweeps best, "" without any.
    """

    models: tuple[ModelFit, ...]
    common: dict[str, Estimate]
    correlations: dict[tuple[str, str], float]
    stuck: NDArray[np.int8]
    warnings: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    pulse_law: str = ""
    current_law: str = ""

    @property
    def best(self) -> ModelFit:
        """The model with the smallest AIC."""
        return self.models[0]
