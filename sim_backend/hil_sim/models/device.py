"""The device file: one TOML file says what a device is and how it is best driven."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hil.config.drive import DriveTable
from hil.config.quantities import Table
from hil.config.toml_file import is_file_name, load_model, validate_text
from hil.errors import ConfigError
from hil_sim.models.electrical import (
    CurrentTable,
    DriftTable,
    EraseTable,
    FormingTable,
    PulseTable,
    RangeTable,
    TransistorTable,
    VariationTable,
)
from hil_sim.models.fitted import FitTable
from hil_sim.models.response import BranchTable, Model

PRESETS = "presets"


class Device(Table):
    """A device file: response, sensitivity, current law, variation, states and operating point."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str
    description: str = ""
    sources: tuple[str, ...] = ()  #: citations
    provenance: str = ""  #: which values are published, reconstructed or from memory
    transistor: TransistorTable | None = None
    erase: EraseTable | None = None
    cell: Annotated[Literal["1R", "1T1R", "3T"], Field(validate_default=True)] = "1R"
    model: Model
    range: RangeTable
    potentiation: BranchTable
    depression: BranchTable
    pulse: PulseTable
    current: CurrentTable = CurrentTable()
    variation: VariationTable = VariationTable()
    drift: DriftTable | None = None
    forming: FormingTable | None = None
    drive: DriveTable
    fit: FitTable | None = None  #: where fitted parameters come from; the simulator does not use it

    @field_validator("cell")
    @classmethod
    def _has_its_tables(cls, cell: str, seen: ValidationInfo) -> str:
        if cell == "1T1R" and seen.data.get("transistor") is None:
            raise ValueError("a 1T1R cell needs a table [transistor]")
        for table, owner in (("transistor", "1T1R"), ("erase", "3T")):
            if cell != owner and seen.data.get(table) is not None:
                raise ValueError(f"a {cell} cell has no [{table}]; {owner} cells have one")
        return cell

    @model_validator(mode="after")
    def _consistent(self) -> Device:
        self.potentiation.check(self.model, "potentiation")
        self.depression.check(self.model, "depression")
        if self.variation.nu_d2d > 0.0 and self.model != "exponential":
            raise ValueError("variation.nu_d2d: only the exponential model has ν")
        stuck = self.variation.stuck_value
        if stuck is not None and not self.range.g_min <= stuck <= self.range.g_max:
            raise ValueError("variation.stuck_value: outside g_min … g_max")
        if self.forming is not None and self.forming.g_pristine > self.range.g_min:
            raise ValueError("forming.g_pristine: above g_min")
        return self

    @property
    def reciprocal(self) -> bool:
        """True when the current law is odd, so that backward is the transpose of forward."""
        return self.current.law != "rectifying"


def preset_names() -> list[str]:
    """Return the names of the shipped presets."""
    folder = resources.files("hil_sim") / PRESETS
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def preset_text(name: str) -> str:
    """Return the text of a shipped preset.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in preset_names():
        raise ConfigError(
            f"no device preset {name!r}; there are {', '.join(preset_names())}", field="device"
        )
    return (resources.files("hil_sim") / PRESETS / f"{name}.toml").read_text(encoding="utf-8")


def load_device(name_or_path: str | Path, beside: Path | None = None) -> Device:
    """Load a device file, or the preset of that name.

    A text that ends in ``.toml`` or has a folder in it is a path, relative to ``beside``.

    Raises:
        ConfigError: with file, line and field; or no such preset.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or is_file_name(text):
        path = Path(name_or_path)
        return load_model(path if beside is None else beside / path, Device)
    return validate_text(preset_text(text), Device, f"{text}.toml")
