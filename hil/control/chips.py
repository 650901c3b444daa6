"""What the devices of a chip received over its life: the sum over the folders of its runs.

The runs' own files are the truth. ``<runs>/chips/`` keeps their sum, so that runs that are done
need not be read again, or may be moved away; of every run that may still go on its share is kept by
itself and taken anew each time. So a run counts once, whatever happened to it. Simulated arrays of
a chip have an account of their own: nothing of theirs happened to the chip.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.control.checkpointing import NAMES
from hil.control.states import State, pack, unpack
from hil.errors import ConfigError, StoreError
from hil.geometry import ArrayGeometry
from hil.ledger import Ledger
from hil.locks import held

if TYPE_CHECKING:
    from hil.record.checkpoints import Checkpoint
    from hil.record.reader import Run

FOLDER: Final = "chips"
Tables = dict[str, NDArray[Any]]


@dataclass
class ChipAccount:
    """The ledgers of one chip's arrays over all of its runs. Make it with :meth:`open`.

    Attributes:
        chip: its id in the station file.
        path: of the stored sum.
        notes: what a user should know, e.g. pulses whose devices are not known.
    """

    chip: str
    simulated: bool
    root: Path
    geometries: Mapping[str, ArrayGeometry]
    notes: list[str] = field(default_factory=list)
    _done: list[str] = field(default_factory=list)
    _sums: dict[str, Tables] = field(default_factory=dict)
    _open: dict[str, dict[str, Tables]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """File of the sum."""
        return self.root / FOLDER / f"{file_stem(self.chip, self.simulated)}.npz"

    def refresh(self, *, store: bool = True) -> None:
        """Take what the runs' files say by now and store it, or only look.

        Raises:
            StoreError: the account is damaged or cannot be written, or a run cannot be read.
            ConfigError: the chip's arrays had another size.
        """
        self.notes.clear()
        self._load()
        for run in self._runs():
            run_id = str(run.manifest["id"])
            shares, notes = shares_of(run, self.geometries)
            self.notes += notes
            if run.status != "done":
                self._open[run_id] = shares
                continue
            self._open.pop(run_id, None)
            for name, tables in shares.items():
                self._add(self._sums, name, tables)
            self._done.append(run_id)
        if store:
            self._store()

    def ledger(self, array: str, without: str | None = None) -> Ledger:
        """Return the ledger of an array over all runs, ``without`` the one of that id."""
        total: dict[str, Tables] = {}
        for shares in (self._sums, *(s for run, s in self._open.items() if run != without)):
            if array in shares:
                self._add(total, array, shares[array])
        ledger = Ledger(self.geometries[array])
        if array in total:
            ledger.restore(total[array])
        return ledger

    def _add(self, sums: dict[str, Tables], name: str, tables: Tables) -> None:
        geometry = self.geometries.get(name)
        if geometry is None:  # an array that is not open now: as it is
            before = sums.get(name)
            sums[name] = tables if before is None else {
                key: table if key == "g_last_siemens" else before[key] + table
                for key, table in tables.items()
            }  # fmt: skip
            return
        ledger = Ledger(geometry)
        try:
            if name in sums:
                ledger.restore(sums[name])
            ledger.include(tables)
        except ConfigError as exc:
            raise ConfigError(
                f"array {name!r} of chip {self.chip!r} was recorded with another size: "
                f"{exc.message}; another chip needs another id", field="chip",
            ) from exc  # fmt: skip
        sums[name] = ledger.tables()

    def _runs(self) -> Iterator[Run]:
        """Yield the chip's runs that are not in the sum yet."""
        from hil.record.reader import open_run

        mark = json.dumps(self.chip, ensure_ascii=False).encode()
        for file in sorted(self.root.glob("*/manifest.json")):
            try:
                content = file.read_bytes()
                if mark not in content:
                    continue
                manifest = json.loads(content)
                meta, simulated = manifest["meta"], manifest["simulated"]
                known = manifest["id"] in self._done
            except (OSError, ValueError, KeyError, TypeError):
                continue  # no run of this program
            if meta.get("chip") == self.chip and simulated == self.simulated and not known:
                yield open_run(file.parent)

    def _load(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                state = unpack({name: stored[name] for name in stored.files})
            if state["chip"] != self.chip:
                raise StoreError(f"{self.path}: is the account of chip {state['chip']!r}")
            self._done, self._sums, self._open = state["done"], state["sums"], state["open"]
        except FileNotFoundError:
            self._done, self._sums, self._open = [], {}, {}
        except (OSError, ValueError, KeyError, EOFError) as exc:
            raise StoreError(
                f"{self.path}: cannot be read: {exc}; without it the chip's life is added up from "
                "the run folders that are there"
            ) from exc

    def _store(self) -> None:
        from hil.record import durable

        state: State = {
            "chip": self.chip, "done": self._done, "sums": self._sums, "open": self._open
        }  # fmt: skip
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **pack(state))
        durable.replace_file(self.path, buffer.getbuffer())


@contextmanager
def chip_account(
    chip: str, simulated: bool, root: Path, geometries: Mapping[str, ArrayGeometry], *,
    drive: bool = True,
) -> Iterator[ChipAccount]:  # fmt: skip
    """Hold a chip's account while its arrays are open; brought up to date before and after.

    Without ``drive`` it is only looked at.

    Raises:
        LockedError: another process works on the chip.
        StoreError, ConfigError: see :meth:`ChipAccount.refresh`.
    """
    account = ChipAccount(chip, simulated, root, geometries)
    if not drive:
        account.refresh(store=False)
        yield account
        return
    try:
        account.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"cannot make {account.path.parent}: {exc.strerror or exc}") from exc
    with held(account.path.with_suffix(".lock"), f"chip {chip!r}"):
        account.refresh()
        yield account
        with contextlib.suppress(StoreError):  # the next session adds up the same files
            account.refresh()


def file_stem(chip: str, simulated: bool) -> str:
    """Return the name of a chip's file: readable, and never that of another chip."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", chip).strip("-.")[:40] or "chip"
    digest = hashlib.sha256(chip.encode()).hexdigest()[:8]
    return f"{readable}-{digest}{'-sim' * simulated}"


def shares_of(
    run: Run, geometries: Mapping[str, ArrayGeometry]
) -> tuple[dict[str, Tables], list[str]]:
    """Return what a run gave to the devices of its arrays, and what is not known about it.

    It is that of the run's last good checkpoint with a ledger. Of a run on real devices that ended
    without one, the pulses recorded since are added; simulated devices go back to a checkpoint.
    """
    latest: dict[str, Tables] = {}
    rows: dict[str, int] = {}
    final, notes = False, []
    only = str(run.manifest["meta"].get("array", ""))
    for checkpoint in run.checkpoints:
        found = _ledgers_in(checkpoint, only)
        if found is None:
            notes.append(f"{run.path.name}: checkpoint {checkpoint.name} is damaged")
            continue
        ledgers, rows_then = found
        if ledgers:
            latest |= ledgers
            final = rows_then is None
            rows = rows_then or {}
    if not final and not run.manifest["simulated"]:
        notes += _add_rows(run, rows, latest, geometries)
    return latest, notes


def _ledgers_in(
    checkpoint: Checkpoint, only: str
) -> tuple[dict[str, Tables], dict[str, int] | None] | None:
    """Return the ledgers of a checkpoint, and the rows per table before it (None: all).

    No ledgers where it is one of another kind; None where it is damaged.
    """
    kind, _, array = checkpoint.name.partition("-")
    try:
        if kind == "ledger":
            return {array or only: _tables(checkpoint.load())}, None
        if checkpoint.name in NAMES:
            whole = unpack(checkpoint.load())
            return whole["ledgers"], whole["rows"]
    except (StoreError, KeyError):
        return None
    return {}, None


def _tables(arrays: Mapping[str, NDArray[Any]]) -> Tables:
    names = Ledger(ArrayGeometry(1, 1)).tables()
    return {name: arrays[name] for name in names}


def _add_rows(
    run: Run, rows: Mapping[str, int], latest: dict[str, Tables],
    geometries: Mapping[str, ArrayGeometry],
) -> list[str]:  # fmt: skip
    """Add the device pulses recorded after ``rows`` per table; return what remains unknown."""
    first = rows.get("pulses", 0)
    layers = _arrays_of_layers(run)
    ledgers: dict[str, Ledger] = {}
    seen = counted = 0
    for batch in run.batches("pulses"):
        begin, seen = max(first - seen, 0), seen + batch.num_rows
        if begin >= batch.num_rows:
            continue
        columns = {n: batch.column(n).to_numpy(zero_copy_only=False)[begin:]
                   for n in ("layer", "row", "col", "v", "width", "count")}  # fmt: skip
        for layer, names in layers.items():
            of_layer = columns["layer"] == layer
            for name in names:
                if name not in geometries or not of_layer.any():
                    continue
                if name not in ledgers:
                    ledgers[name] = Ledger(geometries[name])
                    if name in latest:
                        ledgers[name].restore(latest[name])
                _count(ledgers[name], {n: column[of_layer] for n, column in columns.items()})
                counted += int(columns["count"][of_layer].sum())
    latest |= {name: ledger.tables() for name, ledger in ledgers.items()}
    given = _pulses_after(run, rows.get("ops", 0))
    notes = []
    if counted:
        notes.append(
            f"{run.path.name}: ended without its ledger; {counted} device pulses were counted from "
            "its rows, half-selected ones and reads are not known"
        )
    if given > counted:
        notes.append(
            f"{run.path.name}: of {given - counted} device pulses before its end it is not known "
            "which devices received them; they were recorded per operation"
        )
    return notes


def _pulses_after(run: Run, first: int) -> int:
    """Return the device pulses of the operations recorded after row ``first``."""
    seen = pulses = 0
    for batch in run.batches("ops"):
        begin, seen = max(first - seen, 0), seen + batch.num_rows
        pulses += int(batch.column("n_pulses").to_numpy()[begin:].sum())
    return pulses


def _count(ledger: Ledger, rows: Mapping[str, NDArray[Any]]) -> None:
    at = rows["row"].astype(np.int64), rows["col"].astype(np.int64)
    count = rows["count"].astype(np.int64)
    up = rows["v"] > 0.0
    for table, side in ((ledger.selected_plus, up), (ledger.selected_minus, ~up)):
        np.add.at(table, at, np.where(side, count, 0).astype(np.uint32))
    time_s = rows["width"].astype(np.float64) * count
    np.add.at(ledger.selected_s, at, time_s)
    np.add.at(ledger.selected_v2s, at, rows["v"].astype(np.float64) ** 2 * time_s)


def _arrays_of_layers(run: Run) -> dict[int, list[str]]:
    """Return which arrays the recorded layers sit on; with pairs on two arrays, both count all."""
    meta = run.manifest["meta"]
    placed = meta.get("layers")
    if placed is None:
        return {0: [str(meta["array"])]} if "array" in meta else {}
    return {k: [str(name) for name in names] for k, names in enumerate(placed)}
