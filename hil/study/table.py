"""The results of a study as a table: one row per point, and one per combination with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from hil.errors import ConfigError, StoreError
from hil.study.folder import Listed, StudyFolder
from hil.study.points import COUNT

#: What a table shows when nothing is asked for, where the runs have it.
DEFAULT_NUMBERS: Final[tuple[str, ...]] = (
    "test_accuracy",
    "float_accuracy",
    "write_pulses",
    "refresh_pulses",
)
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean of a number over seeds.

    Attributes:
        n: runs.
        mean, std: mean and standard deviation (n − 1) of the runs; std is NaN for one run.
        half: half of the 95 % interval of the mean (Student's t); NaN for one run.
    """

    n: int
    mean: float
    std: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Return the mean of values."""
        n = len(values)
        mean = float(np.mean(values)) if n else math.nan
        if n < 2:
            return cls(n, mean, math.nan, math.nan)
        from scipy.stats import t

        std = float(np.std(values, ddof=1))
        return cls(n, mean, std, float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n))

    def __str__(self) -> str:
        """Mean ± standard deviation, with as many digits as make sense."""
        if not self.n:
            return "–"
        if math.isnan(self.std):
            return f"{self.mean:.5g}"
        if self.std == 0.0:
            return f"{self.mean:.5g} ± 0"
        digits = max(0, 1 - math.floor(math.log10(self.std)))
        return f"{self.mean:.{digits}f} ± {self.std:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Row:
    """A combination of a study: its settings, what tuning chose, points done and their numbers."""

    settings: Mapping[str, Any]
    tuned: Mapping[str, Any]
    n_points: int
    n_failed: int
    numbers: Mapping[str, Mean]


def rows(folder: StudyFolder) -> list[Row]:
    """Return one row per combination, of the points that count."""
    groups: dict[str, list[Listed]] = {}
    for point in folder.listed():
        if point.stage == COUNT:
            groups.setdefault(json.dumps(point.settings, sort_keys=True), []).append(point)
    out = []
    for points in groups.values():
        found: dict[str, list[float]] = {}
        for point in points:
            for name, value in folder.numbers(point.id).items():
                found.setdefault(name, []).append(float(value))
        failed = sum(folder.point(p.id).state == "failed" for p in points)
        means = {name: Mean.of(values) for name, values in found.items()}
        out.append(Row(points[0].settings, points[0].tuned, len(points), failed, means))
    return out


def columns(table: Sequence[Row], wanted: Sequence[str] | None = None) -> list[str]:
    """Return the numbers to show: those wanted, else the usual ones, else all.

    Raises:
        ConfigError: a number that no run gave.
    """
    known = list(dict.fromkeys(name for row in table for name in row.numbers))
    for name in wanted or ():
        if name not in known:
            raise ConfigError(f"no run gave it; they gave {', '.join(known) or 'nothing'}",
                              field=name)  # fmt: skip
    usual = [name for name in known if name in DEFAULT_NUMBERS]
    return list(wanted) if wanted else usual or known


def export(folder: StudyFolder, path: str | Path) -> int:
    """Write one row per point, those that tune included, as Parquet or CSV; return the rows.

    Raises:
        ConfigError: another suffix than ``.parquet`` or ``.csv``.
        StoreError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    path = Path(path)
    writers: dict[str, Callable[[pa.Table, Path], None]] = {
        ".parquet": pyarrow.parquet.write_table,
        ".csv": pyarrow.csv.write_csv,
    }
    if path.suffix not in writers:
        raise ConfigError("ends neither in .parquet nor in .csv", path=path)
    records: list[dict[str, Any]] = []
    for point in folder.listed():
        state = folder.point(point.id)
        run = state.done
        records.append({
            "id": point.id, "stage": point.stage, "state": state.state, "seed": point.seed,
            **point.settings, **point.tuned, **folder.numbers(point.id),
            "run": None if run is None else run.relative_to(folder.path).as_posix(),
            "error": state.failure,
        })  # fmt: skip
    names = list(dict.fromkeys(name for record in records for name in record))
    table = pa.table({name: _column([r.get(name) for r in records]) for name in names})
    try:
        writers[path.suffix](table, path)
    except OSError as exc:
        raise StoreError(f"cannot write {path}: {exc.strerror or exc}") from exc
    return len(records)


def _column(values: list[Any]) -> list[Any]:
    """Return a column of one type: numbers if all are, else text."""
    given = [v for v in values if v is not None]
    if all(isinstance(v, bool) for v in given) or all(isinstance(v, str) for v in given):
        return values
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in given):
        if all(isinstance(v, int) for v in given):
            return values
        return [None if v is None else float(v) for v in values]
    return [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]
