"""From run folders to what was measured: pulse responses, reads at rest, retention, pulse maps.

A folder is a run, or a characterisation with one run per part. Runs that say nothing of the pulse
response, and rows that cannot be used, are told in plain words; nothing is left out in silence.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from hil.errors import FitError, StoreError
from hil.fit.additions import (
    disturb_of,
    pulse_map_of,
    rests_between_cycles,
    rests_of,
    retention_of,
    sweep_of,
    together,
)
from hil.fit.columns import cell_keys, pulse_rows
from hil.fit.measured import COMPLIANCE, OVERFLOW, UNREAD, Measured, Responses
from hil.fit.trains import responses_of
from hil.record import Run, open_run
from hil.record.characterisation import is_characterisation, open_characterisation

RESPONSE: Final = "ltp-ltd"
#: Least share of the pulses of a polarity that are alike.
MAIN_SHARE: Final = 0.6
#: Kinds that add to a fit -> what they tell.
ADDITIONS: Final = {
    "read-map": "read noise",
    "retention": "retention",
    "pulse-map": "thresholds and the sensitivity to amplitude and width",
    "iv-sweep": "the current–voltage law",
    "half-select-disturb": "disturb by half-selection",
    "read-disturb": "disturb by reading",
}


@dataclass(frozen=True)
class SourceRun:
    """A run that was read: what the device file notes of it."""

    path: Path
    id: str
    name: str
    kind: str
    digest: str
    simulated: bool
    status: str


@dataclass(eq=False)
class Source:
    """What a fit stands on.

    Attributes:
        measured: the columns.
        runs: the runs read, that with the responses first.
        operating_point: fields of ``hil.operating.OperatingPoint`` as the run noted them.
        device_text: the device file that the station named, "" without one.
        cell: kind of the cell, "" = not known.
        cycles: of potentiation and depression.
        warnings: what is missing or was left out, one line each.
    """

    measured: Measured
    runs: tuple[SourceRun, ...]
    operating_point: dict[str, Any]
    device_text: str
    cell: str
    cycles: int
    warnings: list[str] = field(default_factory=list)


def read_measured(paths: Sequence[str | Path]) -> Source:
    """Read what runs and characterisations measured.

    Raises:
        StoreError: a folder cannot be read.
        FitError: no run of ``ltp-ltd`` among them, or its pulses cannot be used.
    """
    warnings: list[str] = []
    named = [path for path in map(Path, paths) if not is_characterisation(path)]
    runs = [run for path in paths for run in _opened(Path(path), warnings)]
    by_kind: dict[str, list[Run]] = {}
    for run in runs:
        by_kind.setdefault(_kind(run), []).append(run)
    if RESPONSE not in by_kind:
        raise FitError(_no_response(runs))
    main = by_kind[RESPONSE]
    _same_operating_point(main)
    for kind in by_kind:
        if kind != RESPONSE and kind not in ADDITIONS:
            names = ", ".join(run.path.name for run in by_kind[kind] if run.path in named)
            if names:
                warnings.append(f"{names}: a run of {kind or 'another kind'} is not used by a fit")
    op = _operating_point(main[0])
    tables = [pulse_rows(run) for run in main]
    outcomes = {kind: [(run, _outcome(run, warnings)) for run in by_kind.get(kind, ())]
                for kind in ADDITIONS}  # fmt: skip
    keys = [table.cell for table in tables]
    keys += [cell_keys(o) for found in outcomes.values() for _, o in found if o]
    every = np.unique(np.concatenate(keys))
    responses = _joined([responses_of(table, every, op) for table in tables])
    warnings += _notes(main, responses)
    rests = [rests_between_cycles(_kept_outcome(run), every) for run in main]
    rests += [rests_of(o, every) for _, o in outcomes["read-map"] if o]
    measured = Measured(
        _main_pulse(main, responses, warnings),
        together(rests),
        together([retention_of(o, every) for _, o in outcomes["retention"] if o]),
        together([pulse_map_of(o, every) for _, o in outcomes["pulse-map"] if o]),
        together([sweep_of(o, every) for _, o in outcomes["iv-sweep"] if o]),
        tuple(disturb_of(kind, o, every) for kind in ("half-select-disturb", "read-disturb")
              for _, o in outcomes[kind] if o),
    )  # fmt: skip
    used = [*main, *(run for found in outcomes.values() for run, o in found if o)]
    return Source(
        measured, tuple(map(_source_run, used)), op, _device_text(main[0]), _cell(main[0]),
        int(responses.cycle.max(initial=-1)) + 1, warnings,
    )  # fmt: skip


def _opened(path: Path, warnings: list[str]) -> list[Run]:
    if not is_characterisation(path):
        return [open_run(path)]
    runs = []
    for part in open_characterisation(path).parts:
        if part.run is None:
            if part.kind == RESPONSE or part.kind in ADDITIONS:
                warnings.append(f"{path}: part {part.name} is not done and is not used")
        else:
            runs.append(open_run(part.run))
    if not runs:
        raise FitError(f"{path}: no part of this characterisation is done")
    return runs


def _kind(run: Run) -> str:
    if run.manifest.get("kind") != "run":
        return str(run.manifest.get("kind"))
    return str((run.manifest.get("meta") or {}).get("kind", ""))


def _no_response(runs: Sequence[Run]) -> str:
    what = "; ".join(f"{run.path}: a run of {_kind(run) or 'no protocol'}" for run in runs)
    return (
        f"{what}: no response to single pulses to fit. Run `hil run ltp-ltd` on the same devices, "
        "or `hil characterise`, and name that folder (further runs add to it)"
    )


def _operating_point(run: Run) -> dict[str, Any]:
    meta = run.manifest.get("meta") or {}
    points = meta.get("operating_points") or {}
    point = points.get(meta.get("array")) or next(iter(points.values()), None)
    if not isinstance(point, dict):
        raise FitError(f"{run.path}: manifest.json notes no operating point")
    return point


def _same_operating_point(runs: Sequence[Run]) -> None:
    first = _operating_point(runs[0])
    for run in runs[1:]:
        other = _operating_point(run)
        for name in ("potentiate_v", "depress_v", "write_s", "read_v"):
            if not math.isclose(first[name], other[name], rel_tol=1e-3):
                raise FitError(
                    f"{run.path}: {name} = {other[name]:g}, but {first[name]:g} in "
                    f"{runs[0].path}: runs at different operating points are fitted one by one"
                )


def _outcome(run: Run, warnings: list[str]) -> dict[str, Any]:
    try:
        found = _kept_outcome(run)
    except StoreError as exc:
        warnings.append(f"{exc}; the run is not used")
        return {}
    if not found:
        warnings.append(
            f"{run.path.name}: a run of {_kind(run)} without an outcome is not used ({run.status})"
        )
    return found


def _kept_outcome(run: Run) -> dict[str, Any]:
    """Return the outcome's arrays, empty without any; raise StoreError when it is damaged."""
    for noted in reversed(run.checkpoints):
        if noted.name == "outcome":
            arrays = noted.load()
            if {"row", "col"} <= set(arrays) and {"g_siemens", "current_a"} & set(arrays):
                return dict(arrays)
    return {}


def _notes(runs: Sequence[Run], responses: Responses) -> list[str]:
    """Return what a reader of the fit should know of the rows."""
    out = []
    for run in runs:
        if run.status != "done":
            out.append(f"{run.path.name}: the run is {run.status}; what it recorded is used")
        out += [f"{run.path.name}: {problem}" for problem in run.problems_so_far]
    if not responses.n:
        where = ", ".join(str(run.path) for run in runs)
        raise FitError(f"{where}: no pulse was recorded with a read before and after it; a fit "
                       "needs `--level full` and a read after the pulses")  # fmt: skip
    for bit, text in (
        (UNREAD, "have no valid reading before or after"),
        (COMPLIANCE, "met a compliance limit"),
        (OVERFLOW, "have a reading that overflowed, timed out or is doubtful"),
    ):
        n = int(((responses.flag & bit) != 0).sum())
        if n:
            out.append(f"{n} of {responses.n} pulses {text}; they are left out")
    if not responses.good.any():
        raise FitError("no pulse has valid readings before and after it: " + "; ".join(out))
    for sign, name, other in (
        (1, "potentiation", "depression"),
        (-1, "depression", "potentiation"),
    ):
        if not (responses.polarity[responses.good] == sign).any():
            out.append(
                f"the data hold no {name} pulse: parameters of {name} are not known, those of "
                f"{other} stand in for them; an ltp-ltd run with both branches would tell"
            )  # fmt: skip
    return out


def _main_pulse(runs: Sequence[Run], responses: Responses, warnings: list[str]) -> Responses:
    """Return the rows with the most frequent pulse of each polarity.

    Raises:
        FitError: no pulse of a polarity makes up most of them.
    """
    keep = np.ones(responses.n, dtype=np.bool_)
    for sign, name in ((1, "potentiation"), (-1, "depression")):
        own = responses.polarity == sign
        if not own.any():
            continue
        pulse = np.stack([responses.amplitude_v[own], responses.width_s[own]], axis=1)
        # Grids of instruments: what differs by less than 0.1 % is the same pulse.
        scale = np.round(np.log(np.maximum(np.abs(pulse), 1e-30)) / 1e-3)
        kinds, of, n = np.unique(scale, axis=0, return_inverse=True, return_counts=True)
        if len(kinds) == 1:
            continue
        most = int(np.argmax(n))
        v, width_s = pulse[np.flatnonzero(of.ravel() == most)[0]]
        share = n[most] / own.sum()
        text = (
            f"{', '.join(str(run.path) for run in runs)}: {name} pulses of {len(kinds)} amplitudes "
            f"and widths are mixed; the most frequent, {v:g} V for {width_s:g} s, makes up "
            f"{share:.0%}"
        )
        if share < MAIN_SHARE:
            raise FitError(
                f"{text}: no response to one pulse can be fitted. Fit runs with one pulse each; "
                "for the dependence on amplitude and width add a run of pulse-map"
            )
        warnings.append(f"{text} and is fitted; the others are left out")
        keep[np.flatnonzero(own)[of.ravel() != most]] = False
    return responses if keep.all() else responses.only(keep)


def _joined(parts: Sequence[Responses]) -> Responses:
    """Return the rows of several runs on the same devices, cycles counted on."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {"cells": parts[0].cells, "reads": parts[0].reads}
    cycles = chains = 0
    cycle, chain = [], []
    for part in parts:
        cycle.append(part.cycle + cycles)
        chain.append(part.chain + chains)
        cycles += int(part.cycle.max(initial=-1)) + 1
        chains += int(part.chain.max(initial=-1)) + 1
    for item in fields(Responses):
        if item.name not in columns:
            columns[item.name] = np.concatenate([getattr(part, item.name) for part in parts])
    return Responses(**{**columns, "cycle": np.concatenate(cycle), "chain": np.concatenate(chain)})


def _source_run(run: Run) -> SourceRun:
    manifest = run.manifest
    return SourceRun(
        run.path, str(manifest.get("id")), str(manifest.get("name")), _kind(run), digest_of(run),
        bool(manifest.get("simulated")), run.status,
    )  # fmt: skip


def digest_of(run: Run) -> str:
    """Return the sha256 of a run: of its manifest and stop record, which note all other files'."""
    total = hashlib.sha256()
    for name in ("manifest.json", "stop.json"):
        file = run.path / name
        if file.is_file():
            total.update(file.read_bytes())
    return total.hexdigest()


def _device_text(run: Run) -> str:
    file = run.path / "config" / "device.toml"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _cell(run: Run) -> str:
    import tomllib

    file = run.path / "config" / "station.toml"
    if not file.is_file():
        return ""
    arrays = tomllib.loads(file.read_text(encoding="utf-8")).get("array", [])
    name = (run.manifest.get("meta") or {}).get("array")
    for table in arrays:
        if table.get("name", "main") == name:
            return str(table.get("cell", "1R"))
    return ""
