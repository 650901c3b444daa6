"""Field types of protocol files: lists and sweeps of quantities, signed voltages, cells."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from hil.config.quantities import Index, Second, Siemens, Table, Volt
from hil.program import FloatArray

MAX_VALUES = 100_000

Width = Annotated[Second, Field(gt=0.0)]
Wait = Annotated[Second, Field(ge=0.0)]
PositiveVolt = Annotated[Volt, Field(gt=0.0)]
NegativeVolt = Annotated[Volt, Field(lt=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Signed = Annotated[float, Field(ge=-1.0, le=1.0)]


def _list(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"needs a list, got {type(value).__name__} {value!r}")
    if not value:
        raise ValueError("is an empty list; give at least one value")
    if len(value) > MAX_VALUES:
        raise ValueError(f"has {len(value)} values, at most {MAX_VALUES} are allowed")
    return value


#: What the JSON schema says about such a list.
FilledArray = Field(json_schema_extra={"minItems": 1})
#: A list that must not be empty; every entry is checked like a scalar.
NotEmpty = BeforeValidator(_list)
VoltList = Annotated[tuple[Volt, ...], FilledArray, NotEmpty]
WidthList = Annotated[tuple[Width, ...], FilledArray, NotEmpty]
WaitList = Annotated[tuple[Wait, ...], FilledArray, NotEmpty]
SiemensList = Annotated[tuple[Annotated[Siemens, Field(ge=0.0)], ...], FilledArray, NotEmpty]
FactorList = Annotated[tuple[float, ...], FilledArray, NotEmpty]
ShareList = Annotated[tuple[Share, ...], FilledArray, NotEmpty]
Cell = tuple[Index, Index]
CellList = Annotated[tuple[Cell, ...], FilledArray, NotEmpty]
#: ``"all"``, or a list of [row, col].
CellChoice = Annotated[
    Annotated[Literal["all"], Tag("function-all")] | Annotated[CellList, Tag("function-list")],
    Discriminator(lambda value: "function-all" if isinstance(value, str) else "function-list"),
]


def span(
    start: float, stop: float, step: float | None, points: int | None, spacing: str
) -> tuple[float, ...]:
    """Return the values from ``start`` to ``stop``, both included.

    Raises:
        ValueError: neither or both of step and points, a step that does not lead to ``stop``, a
            logarithmic sweep through 0, or too many values.
    """
    if (step is None) == (points is None):
        raise ValueError("a sweep needs either `step` or `points`")
    if step is not None:
        if spacing == "log":
            raise ValueError("a logarithmic sweep needs `points`, not `step`")
        if step == 0 or (stop - start) * step < 0:
            raise ValueError(f"step {step:g} does not lead from {start:g} to {stop:g}")
        count = math.floor((stop - start) / step + 1e-9) + 1
    else:
        count = points or 0
        if count < 2 and start != stop:
            raise ValueError(f"{count} point cannot hold both {start:g} and {stop:g}")
    if count > MAX_VALUES:
        raise ValueError(f"the sweep has {count} values, at most {MAX_VALUES} are allowed")
    if spacing == "log":
        if start * stop <= 0:
            raise ValueError("a logarithmic sweep cannot start at, stop at or cross 0")
        return tuple(float(v) for v in np.geomspace(start, stop, count))
    if step is not None:
        return tuple(start + k * step for k in range(count))
    return tuple(float(v) for v in np.linspace(start, stop, count))


class VoltSweep(Table):
    """Voltages from ``start`` to ``stop``, or ``relative`` to the operating point's."""

    start: Volt | None = None
    stop: Volt | None = None
    step: Volt | None = None
    points: Annotated[int, Field(strict=True, ge=1)] | None = None
    relative: FactorList | None = None

    @model_validator(mode="after")
    def _one_form(self) -> VoltSweep:
        self.values(1.0)
        return self

    def values(self, nominal: float) -> tuple[float, ...]:
        """Return volts; ``nominal`` is what the relative form multiplies."""
        return _values(self, nominal, "linear")


class WidthSweep(Table):
    """Widths from ``start`` to ``stop``, or ``relative`` to the operating point's."""

    start: Width | None = None
    stop: Width | None = None
    step: Second | None = None
    points: Annotated[int, Field(strict=True, ge=1)] | None = None
    spacing: Literal["linear", "log"] = "linear"
    relative: Annotated[tuple[Positive, ...], FilledArray, NotEmpty] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> WidthSweep:
        self.values(1.0)
        return self

    def values(self, nominal: float) -> tuple[float, ...]:
        """Return seconds; ``nominal`` is what the relative form multiplies."""
        return _values(self, nominal, self.spacing)


def _values(sweep: VoltSweep | WidthSweep, nominal: float, spacing: str) -> tuple[float, ...]:
    spanned = (sweep.start, sweep.stop, sweep.step, sweep.points)
    if sweep.relative is not None:
        if any(part is not None for part in spanned):
            raise ValueError("give either `relative`, or `start` and `stop`")
        return tuple(nominal * factor for factor in sweep.relative)
    if sweep.start is None or sweep.stop is None:
        raise ValueError("a sweep needs `start` and `stop`, or `relative`")
    return span(sweep.start, sweep.stop, sweep.step, sweep.points, spacing)


class Targets(Table):
    """Target conductances as parts of the conductance window, 0 = g_min, 1 = g_max."""

    relative: ShareList


def _list_or_table(value: Any) -> str:
    return "function-table" if isinstance(value, dict | Table) else "function-list"


_BY_FORM = Discriminator(_list_or_table)
VoltLevels = Annotated[
    Annotated[VoltList, Tag("function-list")] | Annotated[VoltSweep, Tag("function-table")],
    _BY_FORM,
]
WidthLevels = Annotated[
    Annotated[WidthList, Tag("function-list")] | Annotated[WidthSweep, Tag("function-table")],
    _BY_FORM,
]
WaitLevels = Annotated[
    Annotated[WaitList, Tag("function-list")] | Annotated[WidthSweep, Tag("function-table")],
    _BY_FORM,
]
TargetLevels = Annotated[
    Annotated[SiemensList, Tag("function-list")] | Annotated[Targets, Tag("function-table")],
    _BY_FORM,
]


def volts(levels: tuple[float, ...] | VoltSweep, nominal: float) -> FloatArray:
    """Return the voltages of a list or a sweep."""
    return np.array(levels.values(nominal) if isinstance(levels, VoltSweep) else levels)


def seconds(levels: tuple[float, ...] | WidthSweep, nominal: float) -> FloatArray:
    """Return the times of a list or a sweep in seconds."""
    return np.array(levels.values(nominal) if isinstance(levels, WidthSweep) else levels)


def siemens(levels: tuple[float, ...] | Targets, g_min: float, g_max: float) -> FloatArray:
    """Return target conductances in siemens of a list or of parts of the window."""
    if isinstance(levels, Targets):
        return g_min + (g_max - g_min) * np.array(levels.relative)
    return np.array(levels)
