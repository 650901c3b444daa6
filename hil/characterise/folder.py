"""The folder of a characterisation: its index, its protocols, and simulated devices in between."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Final

import numpy as np

from hil.backend import Restorable
from hil.characterise.suite import Suite
from hil.control.checkpointing import restorable
from hil.control.chips import shares_of
from hil.control.session import Session
from hil.control.states import State, pack, unpack
from hil.errors import ConfigError, StoreError
from hil.record.characterisation import Characterisation, PartRuns, open_characterisation
from hil.record.durable import replace_file, store_error
from hil.record.reader import open_run

#: Folder of all characterisations, in the folder of all runs.
ALL: Final = "characterisations"
LOCK: Final = "characterise.lock"
STATE: Final = "state.npz"
#: What must be the same when a characterisation goes on: entry of the index -> how people call it.
_SAME: Final = {
    "suite": "another suite", "array": "another array", "backend": "another backend",
    "seed": "another seed", "station_sha256": "another station file", "cells": "other devices",
}  # fmt: skip


class CharacterisationFolder:
    """A characterisation that is being made; hold its lock.

    Attributes:
        index: what has been done so far.
        begun: whether an earlier call has begun it.
    """

    def __init__(self, path: Path, index: Characterisation, begun: bool) -> None:
        self.path, self.index, self.begun = path, index, begun

    @classmethod
    def at(cls, path: Path, wanted: Characterisation, suite: Suite) -> CharacterisationFolder:
        """Begin the characterisation ``wanted`` in a folder that exists, or go on with it.

        Raises:
            ConfigError: another one was begun there; says what differs.
            StoreError: it is damaged or cannot be written.
        """
        try:
            index = open_characterisation(path)
        except StoreError:
            if (path / "characterisation.json").exists():
                raise
        else:
            _compare(index, wanted)
            return cls(path, index, True)
        try:
            (path / "protocols").mkdir(exist_ok=True)
            (path / "suite.toml").write_bytes(suite.text.encode())
        except OSError as exc:
            raise store_error("write", path, exc) from exc
        wanted.write()
        return cls(path, wanted, False)

    def part(self, name: str) -> PartRuns:
        """Return the part called ``name``."""
        return next(part for part in self.index.parts if part.name == name)

    def done(self, part: PartRuns, kept: bool) -> Path | None:
        """Return the run of a part that need not be run again, None where it must.

        Where devices are ``kept`` from part to part, they must be known as they were after it.
        """
        run = part.run
        return run if not kept or part.name in self._state().get("parts", []) else None

    def protocol(self, name: str, text: str) -> Path:
        """Write a protocol file and return its path."""
        path = self.path / "protocols" / name
        try:
            path.write_text(text, encoding="utf-8", newline="\n")
        except OSError as exc:
            raise store_error("write", path, exc) from exc
        return path

    def keep(self, session: Session, part: str) -> None:
        """Keep simulated devices as they are after a part; real ones keep themselves.

        Raises:
            StoreError: they cannot be written.
        """
        if not restorable(session.backends):
            return
        whole: State = {
            "parts": [*self._state().get("parts", []), part],
            "devices": {
                name: backend.snapshot() for name, backend in session.backends.items()
                if isinstance(backend, Restorable)
            },
        }  # fmt: skip
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **pack(whole))
        replace_file(self.path / STATE, buffer.getbuffer())

    def _state(self) -> State:
        path = self.path / STATE
        try:
            with np.load(path, allow_pickle=False) as stored:
                return unpack({name: stored[name] for name in stored.files})
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, EOFError) as exc:
            raise StoreError(f"{path}: cannot be read: {exc}") from exc

    def put_back(self, session: Session) -> None:
        """Give the session the ledgers of the parts so far and, if simulated, their devices.

        Raises:
            StoreError: the devices, or a run, cannot be read.
        """
        state, kept = self._state(), restorable(session.backends)
        parts = self.index.parts
        if kept:  # what was given to devices that were put back did not happen
            runs = [run for part in parts if (run := self.done(part, kept)) is not None]
        else:
            runs = [run for part in parts for run in part.runs if run.is_dir()]
        geometries = {name: backend.geometry for name, backend in session.backends.items()}
        for run in runs:
            for name, tables in shares_of(open_run(run), geometries)[0].items():
                if name in session.backends:
                    session.backends[name].ledger.include(tables)
        for name, backend in session.backends.items():
            ledger = backend.ledger
            if ledger.carried is not None:  # the chip's account has them, too
                ledger.carry(np.maximum(ledger.carried - ledger.selected(), 0))
            if isinstance(backend, Restorable) and name in state.get("devices", {}):
                backend.restore(state["devices"][name])

    def write_devices(self) -> Path:
        """Write ``devices.csv``: every device, and since which part and why it was left out."""
        found = {(e.row, e.col): e for e in self.index.left_out}
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["row", "col", "left_out_after", "rule", "reason"])
        for row, col in self.index.cells:
            entry = found.get((row, col))
            why = ("", "", "") if entry is None else (entry.part, entry.rule, entry.reason)
            rows.writerow([row, col, *why])
        path = self.path / "devices.csv"
        try:
            path.write_text(text.getvalue(), encoding="utf-8", newline="\n")
        except OSError as exc:
            raise store_error("write", path, exc) from exc
        return path


def _compare(index: Characterisation, wanted: Characterisation) -> None:
    """Refuse to go on with another suite, station or choice of devices."""
    differ = [
        what for name, what in _SAME.items()
        if (index.cells != wanted.cells if name == "cells"
            else index.about.get(name) != wanted.about.get(name))
    ]  # fmt: skip
    if differ:
        raise ConfigError(
            f"was begun with {' and '.join(differ)}; give --name for a new characterisation",
            path=index.path,
        )


def status_of(part: PartRuns) -> str:
    """Return how far a part is: ``done``, ``skipped``, ``begun`` or ``to do``."""
    if part.skipped is not None:
        return "skipped"
    if part.run is not None:
        return "done"
    return "begun" if any(run.is_dir() for run in part.runs) else "to do"


def last_attempt(part: PartRuns) -> Path | None:
    """Return the last run of a part that is not done, None where there is none."""
    for run in reversed(part.runs):
        if run.is_dir():
            return None if open_run(run).status == "done" else run
    return None
