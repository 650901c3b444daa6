"""Everything the monitor knows of one run, kept up to date from its folder."""

from __future__ import annotations

import json
import time
import zipfile
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import StoreError
from hil.measurement import Status
from hil.monitor.devices import Devices, PulseRows
from hil.monitor.disk import DiskWatch
from hil.monitor.place import epochs_of, place_of
from hil.monitor.tail import EventTail, TableTail
from hil.record.checkpoints import noted_checkpoints
from hil.record.reader import open_run

_PULSES: Final = (
    "t_ns", "phase", "layer", "row", "col", "v", "count", "i_read", "g0", "g1", "status",
)  # fmt: skip
_OPS: Final = ("t_ns", "phase", "n_pulses", "n_readings", "duration_s")
#: Rows that are taken in at once; a poll goes on with the next ones until its time is over.
_ROWS_AT_ONCE: Final = 1 << 16
_EVENTS_KEPT: Final = 500
#: Seconds without a write after which the run's lock is asked, and between two such questions.
_QUIET_S: Final = 10.0
#: Points of the row rate that are kept, one a second.
_RATE_POINTS: Final = 1800
#: Phases whose pulses change devices, by their names in a manifest's levels.
_WRITING: Final = ("update", "refresh", "erase", "form", "program")
#: Statuses that count as events of a run's health; a simulated reading is none.
_COUNTED: Final = [bit for bit in Status if bit not in (Status.OK, Status.SIMULATED)]


class Feed:
    """Follows one run folder; :meth:`poll` takes in what is new.

    Attributes:
        run: the opened run, for its path and manifest.
        place: names and sizes of the arrays.
        arrays: devices by array name, made when the first row or checkpoint of one comes.
        events: the newest events, oldest first.
        epochs: epoch events by method ("" where the run has one only).
        epochs_planned: how many epochs the training file asks for, None without one.
        float_reference: accuracy of the floating-point network per epoch, by method.
        plan, progress: newest event of that kind, None before.
        n_events: events so far.
        rate: (time.monotonic(), rows taken in), once a second.
        disk: room on the run's disk.
        status_counts: rows with each status bit, by its name.
        rows: rows taken in per table.
        ops: what the operations did so far: blocks, pulses, readings, seconds driven.
        outcome: arrays of a protocol's outcome, None before its end.
        stop: content of ``stop.json``, None before.
        revision: by topic (``rows``, ``events``, ``checkpoints``, ``stop``, ``disk``), raised when
            something of it is new.
    """

    def __init__(self, folder: Path) -> None:
        """Open a run folder.

        Raises:
            StoreError: no run folder, or one of a newer version.
        """
        self.run = open_run(folder)
        manifest = self.run.manifest
        self.place = place_of(folder, manifest)
        self.epochs_planned = epochs_of(folder) if manifest.get("kind") == "train" else None
        self.arrays: dict[str, Devices] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS_KEPT)
        self.n_events = 0
        self.epochs: dict[str, list[dict[str, Any]]] = {}
        self.float_reference: dict[str, list[float]] = {}
        self.plan: dict[str, Any] | None = None
        self.progress: dict[str, Any] | None = None
        self.status_counts: Counter[str] = Counter()
        self.ops: Counter[str] = Counter()
        self.outcome: dict[str, NDArray[Any]] | None = None
        self.stop: dict[str, Any] | None = None
        self.disk = DiskWatch(folder)
        self.rate: deque[tuple[float, int]] = deque(maxlen=_RATE_POINTS)
        self._asked = (float("-inf"), True)
        self.behind = False  #: rows wait that were there at the last poll
        self.is_outdated = False  #: rows taken in were undone since: a new feed is due
        self.revision: Counter[str] = Counter()
        self._tails = {
            "pulses": TableTail(folder, "pulses", _PULSES),
            "reads": TableTail(folder, "reads", ("t_ns", "status")),
            "ops": TableTail(folder, "ops", _OPS),
        }
        self._event_tail = EventTail(folder)
        self._checkpoints: dict[str, dict[str, NDArray[Any]]] = {}  # not taken for good yet
        self._unreadable: dict[str, str] = {}
        levels = manifest.get("levels") or {}
        self._pulses_in_full = all(levels.get(phase) == "full" for phase in _WRITING)

    # -- what is known ----------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def rows(self) -> dict[str, int]:
        """Rows taken in per table."""
        return {name: tail.rows for name, tail in self._tails.items()}

    @property
    def bytes_read(self) -> int:
        """Bytes of the tables taken in."""
        return sum(tail.bytes_read for tail in self._tails.values())

    @property
    def problems(self) -> list[str]:
        """What is damaged in the run, one line each."""
        found = [line for tail in self._tails.values() for line in tail.problems]
        return [*found, *self._event_tail.problems, *self._unreadable.values()]

    def is_running(self) -> bool:
        """Return whether somebody records into the run.

        The run's lock tells, which is asked only when nothing was written for some seconds.
        """
        if self.stop is not None:
            return False
        if time.time() - self.disk.written_at < _QUIET_S:
            return True
        now_s = time.monotonic()
        if now_s - self._asked[0] > _QUIET_S:
            self._asked = (now_s, open_run(self.path).is_running)
        return self._asked[1]

    def array(self, name: str, shape: tuple[int, int] = (1, 1)) -> Devices:
        """Return the devices of an array, made with the station's size or else with ``shape``."""
        found = self.arrays.get(name)
        if found is None:
            known = self.place.arrays.get(name)
            found = self.arrays[name] = Devices(name, known.shape if known else shape)
            for row, col in known.dead if known else ():
                if row < found.shape[0] and col < found.shape[1]:
                    found.dead[row, col] = True
        return found

    # -- taking in --------------------------------------------------------------------------

    def poll(self, budget_s: float = 0.1) -> bool:
        """Take in what is new for about ``budget_s`` seconds; return whether there was anything."""
        until_s = time.monotonic() + budget_s
        before = self.revision.total()
        self._read_stop()
        is_news = False
        for event in self._event_tail.read():
            self._take_event(event)
            is_news = True
        ended = self.stop is not None
        more = [self._take_table(name, until_s, ended) for name in ("ops", "pulses", "reads")]
        was_behind, self.behind = self.behind, any(more)
        if self._checkpoints and (self.behind != was_behind or not self.behind or is_news):
            self._take_checkpoints()
        self._note_rate()
        if self.disk.look():
            self.revision["disk"] += 1
        return self.revision.total() != before

    def _take_table(self, name: str, until_s: float, ended: bool) -> bool:
        """Take in new rows of a table; return whether time was over before they were."""
        take = {"ops": self._take_ops, "pulses": self._take_pulses, "reads": self._take_reads}[name]
        waiting: list[Any] = []
        n = 0
        over = False
        for batch in self._tails[name].read(ended=ended):
            waiting.append(batch)
            n += batch.num_rows
            if n >= _ROWS_AT_ONCE:
                take(waiting)
                waiting, n = [], 0
                if time.monotonic() > until_s:
                    over = True
                    break
        if waiting:
            take(waiting)
        return over

    def _take_ops(self, batches: list[Any]) -> None:
        self.ops["blocks"] += sum(batch.num_rows for batch in batches)
        for name in ("n_pulses", "n_readings", "duration_s"):
            self.ops[name] += _column(batches, name).sum().item()
        self.revision["ops"] += 1

    def _take_reads(self, batches: list[Any]) -> None:
        self._count_status(_column(batches, "status"))
        self.revision["reads"] += 1

    def _take_pulses(self, batches: list[Any]) -> None:
        status = _column(batches, "status")
        self._count_status(status)
        layer = _column(batches, "layer")
        rows = PulseRows(
            _column(batches, "t_ns"), _column(batches, "phase"),
            _column(batches, "row").astype(np.int64), _column(batches, "col").astype(np.int64),
            _column(batches, "v").astype(np.float64),
            _column(batches, "count").astype(np.int64), _column(batches, "g0"),
            _column(batches, "g1"), status,
        )  # fmt: skip
        layers = np.unique(layer)
        for number in layers.tolist():
            mine = rows if len(layers) == 1 else rows.where(layer == number)
            shape = int(mine.row.max()) + 1, int(mine.col.max()) + 1
            name = self.place.array_of_layer(number)
            devices = self.array(name, shape)
            if devices.lacks(mine):
                devices.grow(shape)
            devices.add(mine)
        self.revision["rows"] += 1

    def _count_status(self, status: NDArray[np.uint32]) -> None:
        any_bit = int(np.bitwise_or.reduce(status))
        for bit in _COUNTED:
            if any_bit & bit:
                n = int(np.count_nonzero(status & np.uint32(bit)))
                self.status_counts[str(bit.name)] += n
                self.revision["status"] += 1

    # -- events, checkpoints, end -----------------------------------------------------------

    def _take_event(self, event: dict[str, Any]) -> None:
        self.n_events += 1
        self.revision["events"] += 1
        self.events.append(event)
        kind, method = event.get("kind"), str(event.get("method", ""))
        if kind == "epoch":
            self.epochs.setdefault(method, []).append(event)
        elif kind == "float" and isinstance(event.get("test_accuracy"), list):
            self.float_reference[method] = event["test_accuracy"]
        elif kind == "checkpoint":
            self._load_checkpoint(event)
        elif kind == "undone":
            late = [tail.leave_out(event) for tail in self._tails.values()]
            self.is_outdated |= any(late)
        elif kind == "plan":
            self.plan = event
        elif kind == "progress":
            self.progress = event

    def _load_checkpoint(self, event: dict[str, Any]) -> None:
        """Load a checkpoint that concerns devices; others are left alone."""
        for checkpoint in noted_checkpoints(self.path, [event]):
            if not checkpoint.name.startswith(("targets", "outcome", "ledger", "state-")):
                continue
            try:
                arrays = checkpoint.load()
                self._checkpoints.pop(checkpoint.name, None)  # the newest one is taken last
                self._checkpoints[checkpoint.name] = arrays
            except (StoreError, ValueError, EOFError, zipfile.BadZipFile) as exc:
                self._unreadable[checkpoint.name] = f"checkpoints/{checkpoint.path.name}: {exc}"
            else:
                self._unreadable.pop(checkpoint.name, None)  # it was written anew

    def _take_checkpoints(self) -> None:
        """Take what new checkpoints say of devices.

        They are newer than all rows that lay there when they were noted. So while those are still
        being read a checkpoint shows what it knows and rows leave it; after them it counts anew.
        """
        for name, arrays in self._checkpoints.items():
            if name == "outcome":
                self.outcome = arrays
                known = arrays.get("g_last_siemens", arrays.get("g_final_siemens"))
                if known is None or known.ndim != 2:
                    known = np.empty((1, 1))
                devices = self.array(self._only, (known.shape[0], known.shape[1]))
                devices.take_outcome(arrays)
                devices.is_ahead = self.behind
            elif name == "targets" and "target_siemens" in arrays:
                n_rows, n_cols = arrays["target_siemens"].shape
                self.array(self._only, (n_rows, n_cols)).take_outcome(arrays)
            for array, tables in _ledgers_in(name, arrays).items():
                n_rows, n_cols = tables["g_last_siemens"].shape
                devices = self.array(array or self._only, (n_rows, n_cols))
                devices.take_ledger(tables, counts=not self._pulses_in_full)
                devices.is_ahead = self.behind
            self.revision["rows"] += 1
            self.revision["checkpoints"] += 1
        if not self.behind:
            self._checkpoints.clear()

    @property
    def _only(self) -> str:
        """Name of the array of a run on one array."""
        return self.place.only or next(iter(self.place.arrays), "layer 0")

    def _read_stop(self) -> None:
        """Read ``stop.json``; it goes again where somebody resumes the run."""
        try:
            record = json.loads((self.path / "stop.json").read_bytes())
        except FileNotFoundError:
            record = None
        except (OSError, ValueError):
            return
        if record != self.stop and (record is None or isinstance(record, dict)):
            self.stop = record
            self.revision["stop"] += 1

    def _note_rate(self) -> None:
        """Keep the number of rows once a second."""
        now_s = time.monotonic()
        if self.rate and now_s - self.rate[-1][0] < 1.0:
            return
        self.rate.append((now_s, sum(self.rows.values())))


def _ledgers_in(name: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """Return the ledgers' tables that a checkpoint holds, by array ("" for that of a protocol).

    ``ledger`` and ``ledger-<array>`` are one each; a state to go on from holds them all, under
    ``ledgers/<array>/<table>``.
    """
    found: dict[str, dict[str, Any]] = {}
    if name.startswith("ledger"):
        found[name.removeprefix("ledger").removeprefix("-")] = dict(arrays)
    for path, table in arrays.items():
        head, _, rest = path.partition("/")
        if head == "ledgers" and "/" in rest:
            array, _, column = rest.partition("/")
            found.setdefault(array, {})[column] = table
    needed = {"g_last_siemens", "selected_plus", "selected_minus"}
    return {
        array: tables
        for array, tables in found.items()
        if needed <= tables.keys() and tables["g_last_siemens"].ndim == 2
    }


def _column(batches: list[Any], name: str) -> NDArray[Any]:
    """Return one column of several batches; nulls of a floating-point column become NaN."""
    arrays = [batch.column(name).to_numpy(zero_copy_only=False) for batch in batches]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
