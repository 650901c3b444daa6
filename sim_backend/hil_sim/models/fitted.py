"""The table [fit] of a device file: the runs its parameters come from, and how sure they are.

The simulator does not read it; it goes with the parameters wherever the file goes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hil.config.quantities import Count, Table

#: A number, or text with a unit: as the parameter stands in the file.
Bound = float | str


class FitRunTable(Table):
    """A run that parameters were fitted to: its id, and the sha256 of its manifest and outcome."""

    id: str
    name: str
    kind: str
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    simulated: bool


class FitModelTable(Table):
    """How well one model describes the responses; the lowest criterion is the best."""

    model: str
    parameters: Annotated[float, Field(ge=0.0)]  #: how many were fitted
    log_likelihood: float
    criterion: float


class FitTable(Table):
    """Provenance and confidence intervals of fitted parameters.

    Attributes:
        software: version of the program that fitted them.
        devices, cycles: how much was fitted.
        criterion: the information criterion of ``model``.
        level: of the intervals.
        run: the runs.
        model: the models that were compared, best first.
        interval: field of this file -> [low, high].
        derived: what follows from the parameters, or is no parameter of the simulator ->
            [value, low, high].
        correlation: "one field ~ other field" -> correlation between devices.
        warnings: what the data do not tell.
    """

    software: str
    devices: Count
    cycles: Count
    criterion: Literal["AIC", "AICc", "BIC"] = "AIC"
    level: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    run: tuple[FitRunTable, ...]
    model: tuple[FitModelTable, ...] = ()
    interval: dict[str, tuple[Bound, Bound]] = Field(default_factory=dict)
    derived: dict[str, tuple[Bound, Bound, Bound]] = Field(default_factory=dict)
    correlation: dict[str, Annotated[float, Field(ge=-1.0, le=1.0)]] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
