"""What a run folder says of the blocks of a static protocol that were driven before.

Blocks are numbered from 0 over the whole protocol. Every session of the run has one operation for
it; the event that begins it says which, and with which block. A later session may have begun before
the end of an earlier one, where simulated devices were put back: its rows are those that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import ConfigError
from hil.measurement import COLUMNS, MeasurementBlock, Status, reading_index
from hil.program import PulseBlock

if TYPE_CHECKING:
    from hil.record.reader import Run
    from hil.record.schema import TableName


@dataclass(frozen=True)
class Past:
    """The readings of blocks 0 to ``len(readings)`` − 1, as recorded."""

    readings: list[MeasurementBlock]

    @classmethod
    def of(cls, run: Run, most: int | None = None) -> Past:
        """Return the past of a run of a static protocol, at most ``most`` blocks of it.

        Raises:
            ConfigError: it was not recorded in full.
        """
        partly = sorted(name for name, level in run.manifest["levels"].items() if level != "full")
        if partly:
            raise ConfigError(
                f"{run.path.name}: {', '.join(partly)} recorded at level "
                f"{run.manifest['levels'][partly[0]]!r}; a protocol goes on only where every block "
                "and reading so far is known", field="level",
            )  # fmt: skip
        operations = _counts(run)
        unfinished = {e["op"]: e["block"] for e in run.events if e.get("kind") == "unfinished"}
        #: Of every block in order: the operation that has its readings, and how many it promises.
        blocks: list[tuple[int, int]] = []
        for event in run.events:
            if event.get("kind") == "skipped":
                del blocks[event["block"] :]
                blocks.append((-1, int(event["readings"])))
            if event.get("kind") != "op" or event.get("what") != "protocol":
                continue
            op, first = event.get("op", 1), event.get("block", 0)
            del blocks[first:]
            counts = operations.get(op, [])
            if op in unfinished:
                counts = counts[: unfinished[op] - first]
            blocks += [(op, n) for n in counts]
        taken = _readings(run, {op for op, _ in blocks})
        out = []
        for number, (op, promised) in enumerate(blocks[:most]):
            readings = taken.get((op, number))
            if promised == 0:
                readings = MeasurementBlock.empty(0)
            elif op < 0:
                readings = unread(promised)
            if readings is None or len(readings) != promised:
                break  # the rest was not on the disk when the run ended
            out.append(readings)
        return cls(out)


def unread(n_readings: int, block: PulseBlock | None = None) -> MeasurementBlock:
    """Return readings that were due and did not come, with steps and lines where known."""
    out = MeasurementBlock(*(np.zeros(n_readings, dtype) for dtype, _, _ in COLUMNS.values()))
    if block is not None:
        out.step[:], out.line[:], out.pulse[:] = reading_index(block)
    for column in (out.level_v, out.current_a, out.range_a):
        column[:] = np.nan
    out.status[:] = int(Status.COUNT_UNKNOWN)
    return out


def last_op(run: Run) -> int:
    """Return the largest id of an operation in a run, 0 without any."""
    from hil.record.parts import TableReader

    last = max((int(e["op"]) for e in run.events if isinstance(e.get("op"), int)), default=0)
    tables: tuple[TableName, ...] = ("ops", "pulses", "reads")
    for table in tables:
        for batch in TableReader(run.path, table, ("op",)).batches():  # undone rows, too
            ops = batch.rows.column("op").to_numpy()
            last = max(last, int(ops.max(initial=0)))
    return last


def _counts(run: Run) -> dict[int, list[int]]:
    """Return how many readings every block of every operation promised, in order."""
    counts: dict[int, list[int]] = {}
    for batch in run.batches("ops"):
        ops, n_readings = batch.column("op").to_pylist(), batch.column("n_readings").to_pylist()
        for op, n in zip(ops, n_readings, strict=True):
            counts.setdefault(op, []).append(n)
    return counts


def _readings(run: Run, wanted: set[int]) -> dict[tuple[int, int], MeasurementBlock]:
    """Return the readings of operations, by operation and block."""
    kept: dict[str, list[NDArray[Any]]] = {name: [] for name in ("op", "block", *COLUMNS)}
    for batch in run.batches("reads"):
        chosen = np.isin(batch.column("op").to_numpy(), list(wanted))
        if chosen.any():
            for name, pieces in kept.items():
                pieces.append(batch.column(name).to_numpy(zero_copy_only=False)[chosen])
    if not kept["op"]:
        return {}
    whole: Mapping[str, NDArray[Any]] = {n: np.concatenate(p) for n, p in kept.items()}
    key = np.stack([whole["op"], whole["block"].astype(np.int64)])
    begin = np.flatnonzero(np.append(True, (np.diff(key) != 0).any(axis=0)))
    out = {}
    for first, last in zip(begin, np.append(begin[1:], key.shape[1]), strict=True):
        columns = (whole[n][first:last].astype(d) for n, (d, _, _) in COLUMNS.items())
        out[int(key[0, first]), int(key[1, first])] = MeasurementBlock(*columns)
    return out
