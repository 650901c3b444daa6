"""The calibration file: what was measured, when, and with which instruments.

A channel sources ``gain · V + offset`` for a programmed V; levels are programmed so that the wanted
ones appear. It reads ``gain · I + offset`` on each of its ranges. A route (line and channel) has a
leakage conductance to 0 V, a line a path resistance (leads, relays, probe). A resistor shows only
products of a source's and a meter's gain, so the first channel's source gain is 1 by definition.
How readings are corrected is in :mod:`hil_drivers.calibration.decode`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from hil.errors import ConfigError, ReadbackError, StoreError

if TYPE_CHECKING:
    from hil_drivers.instrument import Instrument

#: What can be measured, in the order in which it is.
Step = Literal["zero", "open", "short", "reference"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stamp(_Model):
    """Who an instrument is, from its ``*IDN?``."""

    maker: str
    model: str
    serial: str
    firmware: str

    def __str__(self) -> str:
        return f"{self.maker} {self.model}, serial {self.serial}, firmware {self.firmware}"


class RangeCorrection(_Model):
    """One measuring range of one channel; gain None = not measured."""

    range_a: float = Field(gt=0.0)
    offset_a: float = 0.0
    gain: float | None = Field(default=None, gt=0.5, lt=2.0)


class SourceCorrection(_Model):
    """The source of one channel."""

    gain: float = Field(default=1.0, gt=0.5, lt=2.0)
    offset_v: float = 0.0

    def programmed_v(self, level_v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what to program so that ``level_v`` volts appear."""
        return (level_v - self.offset_v) / self.gain

    def delivered_v(self, programmed_v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the volts that appear."""
        return programmed_v * self.gain + self.offset_v


class ReferenceReading(_Model):
    """The reference resistor through one route, after the corrections."""

    line: str
    channel: str
    row: int
    col: int
    deviation: float  #: relative; 0 by definition where the gain itself came from


class Calibration(_Model):
    """Corrections of one array's rig, with the instruments and the wiring that they belong to."""

    schema_: Literal[1] = Field(alias="schema")
    date: AwareDatetime  #: of the last measurement
    array: str
    wiring_sha256: str  #: of geometry, wiring and settings; see :func:`wiring_digest`
    instruments: dict[str, Stamp]
    steps: dict[Step, AwareDatetime]  #: what was measured, and when
    level_v: dict[Step, float]  #: what was applied, at both polarities
    reference_ohm: float | None = None
    channels: dict[str, tuple[RangeCorrection, ...]] = Field(default_factory=dict)
    sources: dict[str, SourceCorrection] = Field(default_factory=dict)
    leaks_siemens: dict[str, float] = Field(default_factory=dict)  #: by route, ``WL0 smu.a``
    paths_ohm: dict[str, float] = Field(default_factory=dict)  #: by line
    references: tuple[ReferenceReading, ...] = ()
    _file: Path | None = PrivateAttr(default=None)
    _sha256: str | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a calibration file.

        Raises:
            ConfigError: it cannot be read or is no (whole) calibration file.
        """
        try:
            content = Path(path).read_bytes()
            found = cls.model_validate_json(content)
        except OSError as exc:
            raise ConfigError(
                f"cannot be read: {exc.strerror or exc}; `hil calibrate` makes one", path=path,
                field="calibration",
            ) from exc  # fmt: skip
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(p) for p in first["loc"]) or "calibration"
            raise ConfigError(
                f"no whole calibration file: {first['msg']}", path=path, field=where
            ) from exc
        found._file, found._sha256 = Path(path), hashlib.sha256(content).hexdigest()
        return found

    def text(self) -> str:
        """Return the file's text (JSON)."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a calibration file; its name never holds half a file.

        Raises:
            ConfigError: it exists and ``overwrite`` is not set.
            StoreError: it cannot be written.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise ConfigError("already there; calibrations are not overwritten", path=path)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("xb") as out:
                out.write(self.text().encode())
                out.flush()
                os.fsync(out.fileno())
            partial.replace(path)
        except OSError as exc:
            with contextlib.suppress(OSError):  # the first error is the one to report
                partial.unlink()
            raise StoreError(f"{path}: cannot be written: {exc.strerror or exc}") from exc

    @property
    def sha256(self) -> str:
        """Hash of the file, or of the text it would have."""
        return self._sha256 or hashlib.sha256(self.text().encode()).hexdigest()

    def __str__(self) -> str:
        return f"calibration {self.sha256[:12]} of {self.date:%Y-%m-%d}"

    def age_s(self, now: datetime | None = None) -> float:
        """Return seconds since the oldest of its measurements."""
        return ((now or datetime.now(UTC)) - min(self.steps.values(), default=self.date)
                ).total_seconds()  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """Return what a run notes of it: file, hash, dates, instruments."""
        shown = self.model_dump(mode="json", include={"date", "array", "instruments", "steps"})
        return {
            "file": None if self._file is None else str(self._file), "sha256": self.sha256, **shown
        }  # fmt: skip

    def check(self, instruments: Mapping[str, Instrument]) -> list[str]:
        """Compare with the instruments found; return what differs but does not matter.

        Raises:
            ReadbackError: an instrument is another one than was calibrated, or is missing.
        """
        notes = []
        for name, known in self.instruments.items():
            found = stamp(instruments[name]) if name in instruments else None
            if found is None or (found.model, found.serial) != (known.model, known.serial):
                answered = "it is not there" if found is None else f"{found} answered"
                raise ReadbackError(
                    f"{self} does not belong to instrument {name}: the file has {known}, "
                    f"{answered}; calibrate again"
                )
            if found.firmware != known.firmware:
                notes.append(f"{self}: {name} had firmware {known.firmware}, now {found.firmware}")
        missing = sorted(instruments.keys() - self.instruments.keys())
        if missing:
            raise ReadbackError(
                f"{self} has no instrument {missing[0]}, which is on the station; calibrate again"
            )
        return notes

    def check_station(self, array: str, wiring_sha256: str) -> None:
        """Compare with the station file.

        Raises:
            ConfigError: it is for another array, or the wiring has changed.
        """
        if self.array != array:
            raise ConfigError(
                f"is of array {self.array!r}, not of {array!r}; write {{array}} into the name "
                "for a file per array", path=self._file, field="array",
            )  # fmt: skip
        if self.wiring_sha256 != wiring_sha256:
            raise ConfigError(
                "geometry, wiring or instrument settings of the station have changed since "
                f"{self.date:%Y-%m-%d}; calibrate again", path=self._file, field="wiring_sha256",
            )  # fmt: skip


def stamp(instrument: Instrument) -> Stamp | None:
    """Return who an open instrument is, None for one that is not open."""
    who = instrument.identity
    if who is None:
        return None
    return Stamp(maker=who.maker, model=who.model, serial=who.serial, firmware=who.firmware)
