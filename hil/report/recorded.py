"""What a report reads of a run folder: tables in large pieces, checkpoints, files; never fails.

A report is most wanted when something went wrong. What cannot be read is a line in ``problems``.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from numpy.typing import NDArray

from hil.errors import StoreError
from hil.record import Run
from hil.record.labelled import numpy_of
from hil.report.text import mapping, number

_PIECE_ROWS: Final = 1_000_000
_TEXT_BYTES: Final = 1 << 18


class Recorded:
    """A run as a report sees it.

    Attributes:
        run: the opened run.
        lost: what could not be read beside the tables, one line each.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lost: list[str] = []

    @property
    def manifest(self) -> dict[str, Any]:
        """Content of the manifest."""
        return self.run.manifest

    @property
    def meta(self) -> dict[str, Any]:
        """What the command noted in the manifest."""
        return dict(mapping(self.manifest.get("meta")))

    @property
    def problems(self) -> tuple[str, ...]:
        """What is damaged or missing in what was read so far."""
        return (*self.run.problems_so_far, *dict.fromkeys(self.lost))

    def pieces(
        self, table: Literal["reads", "pulses"], columns: Sequence[str]
    ) -> Iterator[list[NDArray[Any]]]:
        """Yield the given columns of ``table`` in large pieces; null is NaN in float columns."""
        import pyarrow as pa

        held: list[Any] = []
        rows = 0
        for batch in self.run.batches(table):
            held.append(batch.select(columns))
            rows += batch.num_rows
            if rows >= _PIECE_ROWS:
                yield _columns(pa.Table.from_batches(held))
                held, rows = [], 0
        if held:
            yield _columns(pa.Table.from_batches(held))

    def codes(self, name: Literal["phases", "status_bits"]) -> dict[str, int]:
        """Return the numbers behind a column, as the manifest lists them."""
        listed = {key: number(value) for key, value in mapping(self.manifest.get(name)).items()}
        return {key: int(value) for key, value in listed.items() if value == value}

    def checkpoint(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of the checkpoint ``name``; empty when there is none that is good."""
        for noted in reversed(self.run.checkpoints):
            if noted.name == name:
                try:
                    return noted.load()
                except StoreError as exc:
                    self.lost.append(str(exc))
        return {}

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind, oldest first."""
        return [event for event in self.run.events if event.get("kind") == kind]

    def text(self, name: str) -> str | None:
        """Return the start of a text file of the run, None when it cannot be read."""
        try:
            with (self.run.path / name).open("rb") as file:
                content = file.read(_TEXT_BYTES + 1)
        except OSError:
            return None
        text = content[:_TEXT_BYTES].decode("utf-8", errors="replace")
        return text if len(content) <= _TEXT_BYTES else f"{text}\n… (cut off)"

    def config(self, name: str) -> dict[str, Any]:
        """Return a TOML file of the run's ``config``; empty when it is missing or no TOML."""
        text = self.text(f"config/{name}")
        if text is None:
            return {}
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            self.lost.append(f"config/{name}: {exc}")
            return {}

    @cached_property
    def station(self) -> dict[str, Any]:
        """The station file."""
        return self.config("station.toml")

    @cached_property
    def host(self) -> dict[str, Any]:
        """What was noted of the computer."""
        text = self.text("env/host.json")
        try:
            return dict(mapping(json.loads(text or "{}")))
        except ValueError as exc:
            self.lost.append(f"env/host.json: {exc}")
            return {}

    @property
    def arrays(self) -> dict[str, tuple[int, int] | None]:
        """Arrays that were driven -> (rows, columns), None where the station file does not say."""
        names = list(mapping(self.manifest.get("limits"))) or ["main"]
        tables = self.station.get("array")
        shapes: dict[str, tuple[int, int]] = {}
        for table in tables if isinstance(tables, list) else []:
            rows, cols = mapping(table).get("rows"), mapping(table).get("cols")
            if isinstance(rows, int) and isinstance(cols, int):
                shapes[str(mapping(table).get("name", "main"))] = (rows, cols)
        return {name: shapes.get(name) for name in names}


def open_recorded(path: str | Path) -> Recorded:
    """Open the run folder at ``path`` for a report.

    Raises:
        StoreError: no such folder, no run folder, or written by a newer version.
    """
    from hil.record import open_run

    return Recorded(open_run(path))


def _columns(table: Any) -> list[NDArray[Any]]:
    return [numpy_of(column, math.nan) for column in table.columns]
