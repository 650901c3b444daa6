"""The fields of a device that another format does not hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hil_sim.models.device import Device


def left_out(device: Device, held: Collection[str]) -> list[str]:
    """Return a line per table with the fields and values that are not in ``held``.

    Args:
        device: any device; fields at their default, and its name and texts, need no mention.
        held: dotted names (``variation.step_c2c``) and whole tables (``range``).
    """
    values = device.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    told = {"schema", "name", "description", "sources", "provenance"}
    out = []
    for name, value in values.items():
        if name in told or name in held:
            continue
        if name == "fit":
            out.append("[fit] intervals of the parameters and where they are from")
            continue
        if not isinstance(value, Mapping):
            out.append(f"{name} = {value}")
            continue
        fields = [
            f"{key} = {_short(field)}"
            for key, field in value.items()
            if f"{name}.{key}" not in held
        ]
        if fields:
            out.append(f"[{name}] {', '.join(fields)}")
    return out


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"({len(value)} values)"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_short(v)}" for k, v in value.items()) + "}"
    return str(value)
