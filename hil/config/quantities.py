"""Field types of quantities in files: text with a unit in, SI float out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from hil.capabilities import Range
from hil.units import DIMENSIONS, format_quantity, parse_quantity

_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*"


class Table(BaseModel):
    """Base of every table of a file: frozen, unknown fields refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileTable(Table):
    """Base of a whole file; ``path`` is where it came from, which the file itself cannot say."""

    KIND: ClassVar[str]  #: what such a file is called in messages
    path: Annotated[SkipJsonSchema[Path | None], Field(exclude=True)] = None

    @model_validator(mode="before")
    @classmethod
    def _path_is_not_a_field(cls, values: Any) -> Any:
        if isinstance(values, dict) and not isinstance(values.get("path", Path()), Path):
            raise ValueError(f"`path` is not a field of a {cls.KIND} file")
        return values


def _quantity(dimension: str) -> tuple[BeforeValidator, PlainSerializer, WithJsonSchema]:
    symbol, _ = DIMENSIONS[dimension]

    def parse(value: object) -> float:
        return parse_quantity(value, dimension)

    def text(value: float) -> str:
        return format_quantity(value, symbol, digits=12)

    schema: dict[str, Any] = {
        "type": "string",
        "description": f"{dimension} with a unit",
        "pattern": _NUMBER + r"\S+\s*$",
        "examples": [f"1 {symbol}", f"10 m{symbol}"],
    }
    return BeforeValidator(parse), PlainSerializer(text), WithJsonSchema(schema)


Volt = Annotated[float, *_quantity("voltage")]
Ampere = Annotated[float, *_quantity("current")]
Second = Annotated[float, *_quantity("time")]
Siemens = Annotated[float, *_quantity("conductance")]
Ohm = Annotated[float, *_quantity("resistance")]
Joule = Annotated[float, *_quantity("energy")]
VoltPerSecond = Annotated[float, *_quantity("slew rate")]
Kelvin = Annotated[float, *_quantity("temperature")]

#: A whole number of at least 1 (``true`` and ``"3"`` are refused).
Count = Annotated[int, Field(strict=True, ge=1)]
#: A whole number of at least 0.
Index = Annotated[int, Field(strict=True, ge=0)]
#: A share between 0 and 1.
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

VoltRange = Annotated[tuple[Volt, Volt], Field(description="[lowest, highest]")]
SecondRange = Annotated[tuple[Second, Second], Field(description="[shortest, longest]")]


def ordered(pair: tuple[float, float], resolution: float = 0.0) -> Range:
    """Return the pair as a :class:`Range`; ValueError when the first is above the second."""
    low, high = pair
    if low > high:
        raise ValueError(f"the first value {low:g} is above the second {high:g}")
    return Range(low, high, resolution)
