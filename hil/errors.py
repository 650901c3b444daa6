"""Every error that synapse-hil raises on purpose, with the exit code that ``hil`` gives for it."""

from __future__ import annotations

from pathlib import Path


class HilError(Exception):
    """Base of all errors raised by synapse-hil."""

    exit_code = 1


class UnitError(HilError, ValueError):
    """A text quantity that cannot be read, or has the wrong dimension."""

    exit_code = 3


class ConfigError(HilError, ValueError):
    """A file or argument that a user wrote is wrong; says file, line and field where known."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        self.message = message
        self.path = None if path is None else str(path)
        self.line = line
        self.field = field
        where = ":".join(str(p) for p in (self.path, line) if p is not None)
        super().__init__(": ".join(p for p in (where, field, message) if p))


class ProtocolError(ConfigError):
    """A protocol file is wrong."""


class GeometryError(ConfigError):
    """Rows, columns or lines that the array does not have, or a pair map that does not fit."""


class RuleError(HilError, ValueError):
    """A learning rule failed, or got or returned what cannot be turned into pulses."""

    exit_code = 3


class FitError(HilError, ValueError):
    """What was measured does not allow the fit that was asked for."""

    exit_code = 3


class LimitError(HilError, ValueError):
    """A request is outside a safety limit or a backend's capability; it was not driven.

    Attributes: ``quantity`` (what was checked), ``value``, ``limit``, ``unit``, ``block``, ``step``
    and ``where`` (a line such as ``WL3`` or a cell such as ``cell (3, 7)``); None where unknown.
    """

    exit_code = 4

    def __init__(
        self,
        quantity: str,
        value: float,
        limit: float,
        unit: str,
        *,
        block: int | None = None,
        step: int | None = None,
        where: str | None = None,
        note: str | None = None,
    ) -> None:
        self.quantity = quantity
        self.value = value
        self.limit = limit
        self.unit = unit
        self.block = block
        self.step = step
        self.where = where
        places = [
            f"block {block}" if block is not None else "",
            f"step {step}" if step is not None else "",
            where or "",
        ]
        place = ", ".join(p for p in places if p)
        text = (
            f"{quantity} {value:.6g} {unit}".rstrip()
            + f" against limit {limit:.6g} {unit}".rstrip()
        )
        if note:
            text += f" ({note})"
        super().__init__(f"{place}: {text}" if place else text)


class EnduranceError(LimitError):
    """The pulses that a device may receive over its life are, or would be, used up."""


class BackendError(HilError):
    """A backend could not do what was asked."""

    exit_code = 5


class BackendUnavailable(BackendError):
    """No such backend, or something it needs is not installed."""


class LockedError(BackendError):
    """An instrument, run or study is in use by another process."""


class LinkError(BackendError):
    """The link to an instrument was lost."""

    def __init__(self, message: str, address: str = "") -> None:
        self.address = address
        super().__init__(f"{address}: {message}" if address else message)


class LinkTimeout(LinkError, TimeoutError):
    """An instrument did not answer within the time computed for the work."""


class InstrumentError(BackendError):
    """An entry of an instrument's error queue."""

    def __init__(self, code: int, text: str, command: str) -> None:
        self.code = code
        self.text = text
        self.command = command
        super().__init__(f"instrument error {code}: {text} (after {command!r})")


class ReadbackError(BackendError):
    """A setting read back differs from what was set."""


class SafetyTrip(HilError):
    """A safety condition was met while running; outputs are already off."""

    exit_code = 6


class StoreError(HilError):
    """A run could not be recorded or read (disk full, read-only folder, damaged file)."""

    exit_code = 7


class RunInterrupted(HilError):
    """A stop was requested; the block at hand was not driven and the array is in the safe state."""

    exit_code = 130
