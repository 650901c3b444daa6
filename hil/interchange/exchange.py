"""What an export and an import give back: files, and everything that did not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hil_sim.models.device import Device
from hil_sim.models.text import device_toml

from hil.config.quantities import Table
from hil.config.toml_file import validate
from hil.interchange.steps import Response


@dataclass(frozen=True, slots=True)
class Exported:
    """A device in another program's format.

    Attributes:
        files: text by file name; a single one is named "" and goes where the user says.
        kind: what it is there, e.g. ``LinearStepDevice``.
        not_held: what the format cannot hold, a line each.
        approximate: what it holds only nearly, a line each.
    """

    files: Mapping[str, str]
    kind: str
    not_held: Sequence[str]
    approximate: Sequence[str]


@dataclass(frozen=True, slots=True)
class Imported:
    """A device from another program's file.

    Attributes:
        device: the device.
        kind: what it was there.
        not_held: what the file says and a device file cannot hold.
        approximate: what was taken over only nearly.
        assumed: what the file does not say, and where it was taken from.
    """

    device: Device
    kind: str
    not_held: Sequence[str]
    approximate: Sequence[str]
    assumed: Sequence[str]

    def text(self) -> str:
        """Return the device file, with everything that did not fit in its comments."""
        comments = [f"imported: {self.kind}"]
        for what, lines in (("not held here", self.not_held),
                            ("approximate", self.approximate),
                            ("assumed", self.assumed)):  # fmt: skip
            comments += [f"{what}: {line}" for line in lines]
        return device_toml(self.device, comments)


def described(device: Device) -> list[str]:
    """Return the lines about a device that go into an exported file's comment."""
    lines = [f"device {device.name}: {device.description}" if device.description
             else f"device {device.name}"]  # fmt: skip
    lines += [f"source: {source}" for source in device.sources]
    if device.provenance:
        lines.append(f"provenance: {device.provenance}")
    return lines


def comment_lines(device: Device, title: str, made: Exported | None = None) -> list[str]:
    """Return title, description and losses, one line each, for an exported file's comment."""
    lines = [title, *described(device)]
    if made is not None:
        lines += [f"not held: {line}" for line in made.not_held]
        lines += [f"approximate: {line}" for line in made.approximate]
    return [line.replace("\n", " ") for line in lines]


def build_device(
    name: str,
    like: Device,
    response: Response,
    *,
    g_range: tuple[float, float] | None,
    variation: Mapping[str, Any],
    origin: str,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Device, list[str]]:
    """Return a device with ``response`` and ``variation``, the rest from ``like``; and what is.

    Args:
        name: of the new device.
        like: gives cell, pulse, current law, terminals and operating point.
        response: model and branches.
        g_range: (g_min, g_max) in siemens, None = from ``like``.
        variation: fields other than 0.
        origin: what the device is made from.
        tables: fields (SI floats or text) of other tables that the file says.

    Raises:
        ConfigError: the parts do not make a device.
    """
    given = tables or {}
    values = like.model_dump(mode="json", by_alias=True, exclude_none=True)
    assumed: list[str] = []
    for own in ("drift", "fit"):
        values.pop(own, None)
    values.update(
        name=name, description=origin, sources=[],
        provenance=f"imported; the rest from {like.name}",
        model=response.model, variation=dict(variation),
        potentiation=_plain(response.potentiation), depression=_plain(response.depression),
    )  # fmt: skip
    if g_range is not None:
        values["range"] = {"g_min": f"{g_range[0]:.12g} S", "g_max": f"{g_range[1]:.12g} S"}
        for field in ("g_min", "g_max"):  # the window follows the range
            values["drive"].pop(field, None)
    for table, fields in given.items():
        values[table] = {**values.get(table, {}), **fields}
    kept = ["cell", *(["[range]"] if g_range is None else [])]
    for table in ("pulse", "current", "drive", "forming", "transistor", "erase"):
        if table in values:
            said = given.get(table, {})
            kept.append(f"[{table}]" + (f" but {', '.join(said)}" if said else ""))
    assumed.append(f"from {like.name}: {', '.join(kept)}")
    return validate(values, Device, path=None), assumed


def _plain(table: Table) -> dict[str, Any]:
    return table.model_dump(mode="json", by_alias=True, exclude_none=True)
