"""The calibration file: what was measured, with which instruments, and how readings are corrected.

A channel sources ``gain · V + offset`` for a programmed V; levels are programmed so that the wanted
ones appear. It reads ``gain · I + offset`` on each of its ranges. A route (line and channel) has a
leakage conductance to 0 V, a line a path resistance (leads, relays, probe); the corrected current
is the one that would flow without them. A resistor shows only products of a source's and a meter's
gain, so the first channel's source gain is 1 by definition.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hil.errors import ConfigError, ReadbackError
from hil.measurement import MeasurementBlock
from hil.program import LineState

if TYPE_CHECKING:
    from hil_drivers.instrument import Instrument
    from hil_drivers.rig.job import Job
    from hil_drivers.router.wiring import Wiring

_SAME_RANGE = 0.01  # relative; ranges come back as float32


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RangeCorrection(_Model):
    """One measuring range of one channel."""

    range_a: float = Field(gt=0.0)
    offset_a: float = 0.0
    gain: float = Field(default=1.0, gt=0.5, lt=2.0)


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


class Calibration(_Model):
    """Corrections of one rig, with the instruments that they belong to."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    date: datetime
    instruments: dict[str, str]  #: name -> maker, model and serial
    channels: dict[str, tuple[RangeCorrection, ...]] = Field(default_factory=dict)
    sources: dict[str, SourceCorrection] = Field(default_factory=dict)
    leaks_siemens: dict[str, float] = Field(default_factory=dict)  #: by route, ``WL0 smu.a``
    paths_ohm: dict[str, float] = Field(default_factory=dict)  #: by line

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a calibration file.

        Raises:
            ConfigError: it cannot be read or is no calibration file.
        """
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"cannot be read: {exc}", path=path, field="calibration") from exc
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(p) for p in first["loc"]) or "calibration"
            raise ConfigError(first["msg"], path=path, field=where) from exc

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            ConfigError: it cannot be written.
        """
        text = json.dumps(self.model_dump(mode="json", by_alias=True), indent=1)
        try:
            Path(path).write_text(text + "\n", encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"cannot be written: {exc}", path=path, field="calibration") from exc

    @property
    def digest(self) -> str:
        """First 12 digits of the SHA-256 of its contents; stamped into runs."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"calibration {self.digest} of {self.date:%Y-%m-%d}"

    def check(self, instruments: Mapping[str, Instrument]) -> None:
        """Compare with the instruments found.

        Raises:
            ReadbackError: an instrument is another one than was calibrated, or is missing.
        """
        for name, known in self.instruments.items():
            found = stamp(instruments[name]) if name in instruments else "not in the station"
            if found != known:
                raise ReadbackError(
                    f"{self} belongs to {name} = {known}, but found is {found}; calibrate again"
                )

    def apply(self, rows: MeasurementBlock, job: Job, wiring: Wiring) -> MeasurementBlock:
        """Return the readings with corrected currents."""
        if not len(rows):
            return rows
        channel = _channel_of_rows(rows, job)
        current = rows.current_a.copy()
        parts = _readings_per_row(rows, job)
        for index in np.unique(channel):
            corrections = self.channels.get(wiring.channels[index].name, ())
            mine = channel == index
            for c in corrections:
                on_range = mine & np.isclose(rows.range_a, c.range_a, rtol=_SAME_RANGE)
                current[on_range] = (current[on_range] - parts[on_range] * c.offset_a) / c.gain
        geometry = wiring.geometry
        routes = np.array([channel, rows.line]).T
        for index, line in np.unique(routes, axis=0):
            leak = self.leaks_siemens.get(
                f"{geometry.line_name(int(line))} {wiring.channels[index].name}", 0.0
            )
            mine = (routes == (index, line)).all(axis=1)
            current[mine] -= leak * rows.level_v[mine]
        path = np.array(
            [self.paths_ohm.get(geometry.line_name(n), 0.0) for n in range(wiring.n_lines)]
        )
        return replace(rows, current_a=_without_path(current, rows, job, path))


def stamp(instrument: Instrument) -> str:
    """Return maker, model and serial of an open instrument."""
    who = instrument.identity
    return "not open" if who is None else f"{who.maker} {who.model} {who.serial}"


def _channel_of_rows(rows: MeasurementBlock, job: Job) -> NDArray[np.int64]:
    """Return the channel that took each row (of several added up, the first)."""
    step_channel = np.full(job.asked.state.shape, -1, dtype=np.int64)
    for stage in reversed(job.plan.stages):
        for step in range(stage.stop - 1, stage.start - 1, -1):
            step_channel[job.lowered.origin[step]] = stage.channel_of_line
    found: NDArray[np.int64] = step_channel[rows.step, rows.line]
    return found


def _readings_per_row(rows: MeasurementBlock, job: Job) -> NDArray[np.int64]:
    """Return how many readings were added up to each row; averages count as one."""
    counts = np.bincount(job.lowered.origin, minlength=job.asked.n_steps)
    return np.asarray(counts[rows.step])


def _without_path(
    current: NDArray[np.float64], rows: MeasurementBlock, job: Job, path: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the currents without the drop along the paths of sensed and driven line.

    Exact where one line is driven and one device conducts per sensed line; where several lines are
    driven their mean path resistance is taken. With R of the paths far below 1/G both are alike.
    """
    if not path.any():
        return current
    block = job.asked
    level = np.where(block.state == LineState.DRIVE, block.level_v, 0.0)[rows.step]
    level[np.arange(len(rows)), rows.line] = 0.0
    driven = level != 0.0
    n = np.maximum(driven.sum(axis=1), 1)
    mean_v = np.abs(level).sum(axis=1) / n
    drive_ohm = (driven * path).sum(axis=1) / n
    own = rows.level_v != 0.0
    across = np.where(own, np.abs(rows.level_v), mean_v)
    ohm = path[rows.line] + np.where(own, 0.0, drive_ohm)
    drop = np.abs(current) * ohm
    usable = (across > 0.0) & (drop < 0.5 * across)
    out = current.copy()
    out[usable] = current[usable] * across[usable] / (across[usable] - drop[usable])
    return out
