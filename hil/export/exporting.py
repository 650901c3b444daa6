"""Chooses tables, format and file names, writes, and says what is not in the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args

from hil.errors import ConfigError
from hil.export.files import new_file, refuse_existing
from hil.export.outcome import outcome_of
from hil.export.rows import Check
from hil.record.reader import Run
from hil.record.schema import TableName

Format = Literal["csv", "parquet", "hdf5", "netcdf", "mat"]
#: The tidy table is made of ``pulses``; the others are tables of the run.
Table = Literal["reads", "pulses", "ops", "origin"]
SUFFIXES: Final[dict[Format, str]] = {
    "csv": ".csv", "parquet": ".parquet", "hdf5": ".h5", "netcdf": ".nc", "mat": ".mat",
}  # fmt: skip
#: Files of a run that no format takes up.
_RECORDS: Final = ("intents.arrows", "wire.jsonl")
#: Formats with one table per file.
_ONE_TABLE: Final = ("csv", "parquet")


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: the files, in the order written.
        rows: number of rows per table.
        left_out: parts of the run that are in none of the files, one line each.
        problems: what was damaged or missing in the parts read.
    """

    files: tuple[Path, ...]
    rows: dict[str, int]
    left_out: tuple[str, ...]
    problems: tuple[str, ...]


def export_run(
    run: Run,
    to: str,
    path: str | Path | None = None,
    *,
    table: str | None = None,
    force: bool = False,
    check: Check = lambda: None,
) -> Exported:
    """Export a run, or one of its tables, to new files.

    Args:
        run: the run; what it holds so far when it is still being written.
        to: ``csv``, ``parquet``, ``hdf5``, ``netcdf`` or ``mat``.
        path: the file, or an existing folder for it; None = the run's name in the current folder.
            Where a format holds one table per file and there are several, the table's name goes
            before the suffix.
        table: ``reads``, ``pulses``, ``ops``, or ``origin`` for one row per pulse (CSV only); None
            = all tables that have rows.
        force: replace files that exist.
        check: called between pieces of rows; may raise to end the export.

    Raises:
        ConfigError: no such format or table.
        StoreError: a file exists or cannot be written.
        BackendUnavailable: a package is not installed.
    """
    if to not in get_args(Format):
        raise ConfigError(f"no format {to!r}; allowed: {', '.join(SUFFIXES)}", field="--to")
    if table is not None and table not in get_args(Table):
        allowed = ", ".join(get_args(Table))
        raise ConfigError(f"no table {table!r}; allowed: {allowed}", field="--table")
    if table == "origin" and to != "csv":
        raise ConfigError(f"the table origin is a csv file, not {to}", field="--table")
    form = cast(Format, to)
    target = _target(run, form, path, table)
    if form in _ONE_TABLE:
        return _one_file_per_table(run, form, target, table, force, check)
    return _one_file(run, form, target, table, force, check)


def _target(run: Run, to: Format, path: str | Path | None, table: str | None) -> Path:
    part = f".{table}" if table is not None else ""
    name = f"{run.path.resolve().name}{part}{SUFFIXES[to]}"
    if path is None:
        return Path(name)
    return Path(path) / name if Path(path).is_dir() else Path(path)


def _one_file(
    run: Run, to: Format, target: Path, table: str | None, force: bool, check: Check
) -> Exported:
    chosen = [t for t in get_args(TableName) if table in (None, t)]
    outcome, left_out = outcome_of(run)
    rows: Mapping[TableName, int]
    with new_file(target, force) as partial:
        if to == "mat":
            from hil.export.matlab import write_mat

            rows = write_mat(partial, run, chosen, outcome, check)
        else:
            from hil.export.hdf5 import write_hdf5

            rows = write_hdf5(
                partial, run, chosen, outcome, check, flat=table is not None, netcdf=to == "netcdf"
            )
    left_out += _other_tables(run, chosen) + _files(run, {"outcome.npz"} if outcome else set())
    return Exported(
        (target,), {str(name): n for name, n in rows.items()}, tuple(left_out), run.problems_so_far
    )


def _one_file_per_table(
    run: Run, to: Format, target: Path, table: str | None, force: bool, check: Check
) -> Exported:
    names = _with_rows(run) if table is None else [table]
    targets = [
        target if table is not None else target.with_suffix(f".{name}{target.suffix}")
        for name in names
    ]
    beside = [file.with_name(f"{file.name}-metadata.json") for file in targets if to == "csv"]
    for file in (*targets, *beside):
        refuse_existing(file, force)
    rows = {}
    with ExitStack() as stack:  # the files get their names when all of them are written
        for name, file in zip(names, targets, strict=True):
            rows[name] = _write_table(
                stack.enter_context(new_file(file, force)), run, to, name, check
            )
        for name, file, describing in zip(names, targets, beside, strict=False):
            partial = stack.enter_context(new_file(describing, force))
            partial.write_bytes(_describe_table(file, run, name))
    left_out = _other_tables(run, ["pulses" if name == "origin" else name for name in names])
    left_out.append(f"events: {len(run.events)}, in events.jsonl")
    return Exported(
        (*targets, *beside), rows, tuple(left_out + _files(run, set())), run.problems_so_far
    )


def _write_table(path: Path, run: Run, to: Format, table: str, check: Check) -> int:
    from hil.export.origin import write_origin
    from hil.export.parquet import write_parquet
    from hil.export.text import write_csv

    if table == "origin":
        return write_origin(path, run, check)
    return (write_csv if to == "csv" else write_parquet)(path, run, cast(TableName, table), check)


def _describe_table(path: Path, run: Run, table: str) -> bytes:
    from hil.export.origin import describe_origin
    from hil.export.text import describe_csv

    if table == "origin":
        return describe_origin(path, run)
    return describe_csv(path, run, cast(TableName, table))


def _with_rows(run: Run) -> list[str]:
    """Return the tables that have rows, all of them where none has."""
    tables: tuple[TableName, ...] = get_args(TableName)
    return [t for t in tables if next(run.batches(t), None) is not None] or list(tables)


def _other_tables(run: Run, chosen: Sequence[str]) -> list[str]:
    rows = (run.stop or {}).get("rows") or {}
    return [
        f"table {name}" + (f": {rows[name]} rows" if name in rows else "")
        for name in get_args(TableName)
        if name not in chosen
    ]


def _files(run: Run, kept: Set[str]) -> list[str]:
    """Return the files of the run folder that no format takes up, one line per folder."""
    lines = []
    for folder in ("checkpoints", "config", "env"):
        inside = run.path / folder
        names = sorted(f.name for f in inside.iterdir()) if inside.is_dir() else []
        if left := [name for name in names if not (folder == "checkpoints" and name in kept)]:
            lines.append(f"{folder}: {', '.join(left)}")
    beside = sorted(f.name for f in run.path.glob("*.*") if f.name in _RECORDS)
    return [*lines, f"files: {', '.join(beside)}"] if beside else lines
