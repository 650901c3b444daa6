"""Recording levels: how much of each phase is written down."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from hil.errors import ConfigError
from hil.program import Phase


class Level(StrEnum):
    """How much is recorded of a phase.

    FULL: raw readings, device-level pulses and a row per operation. OPERATION: a row per operation.
    OFF: events only.
    """

    FULL = "full"
    OPERATION = "operation"
    OFF = "off"


def resolve_levels(levels: Mapping[Phase, str] | Mapping[str, str] | str) -> dict[Phase, Level]:
    """Return the level of every phase; one text is for all, phases not named are ``full``.

    Raises:
        ConfigError: a level or phase that does not exist.
    """
    if isinstance(levels, str):
        return dict.fromkeys(Phase, _level(levels, "levels"))
    resolved = dict.fromkeys(Phase, Level.FULL)
    for key, value in levels.items():
        phase = _phase(key)
        resolved[phase] = _level(value, f"levels.{phase.name.lower()}")
    return resolved


def _phase(key: Phase | str) -> Phase:
    if isinstance(key, Phase):
        return key
    try:
        return Phase[key.upper()]
    except KeyError:
        allowed = ", ".join(phase.name.lower() for phase in Phase)
        raise ConfigError(f"no phase {key!r}; allowed: {allowed}", field="levels") from None


def _level(value: str, field: str) -> Level:
    try:
        return Level(value)
    except ValueError:
        allowed = ", ".join(Level)
        raise ConfigError(
            f"no recording level {value!r}; allowed: {allowed}", field=field
        ) from None
