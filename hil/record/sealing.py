"""Sealing: a finished segment becomes Parquet, is verified, and only then is deleted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from hil.errors import StoreError
from hil.locks import held
from hil.record import durable
from hil.record.files import LOCK, LOCK_WAIT_S, lock_name
from hil.record.parts import part_numbers
from hil.record.schema import TableName, arrow_schema
from hil.record.sealed import (
    SealNote,
    append_note,
    describe,
    encode,
    equal_bits,
    groups_of,
    read_notes,
    sealed_batches,
    sealed_name,
)
from hil.record.segments import END_OF_STREAM, segment_name
from hil.record.streams import Damaged, batches_of

#: What sealing a segment is reckoned with, to decide whether it is quick: in all, and per byte.
_PART_S: Final = 0.02
_BYTE_S: Final = 1 / 16e6


def seal(folder: Path, table: TableName, number: int) -> SealNote:
    """Seal one finished segment and return the note of the sealed part.

    The Parquet file gets its name only when its bytes were read back from the file, and its rows
    compared with the segment's. The segment is deleted last; a reader may hold it on Windows, then
    it stays until the run is sealed again.

    Raises:
        StoreError: the segment is damaged or unfinished, the sealed rows differ, or a file cannot
            be written; the segment is left as it is.
    """
    source, target = folder / table / segment_name(number), folder / table / sealed_name(number)
    try:
        content = memoryview(source.read_bytes())
        note = None
        if target.exists():  # a crash, or a reader, came between its writing and the deletion
            note = _note_of(folder, target, content)
        if note is None:
            note = _write(folder, table, target, source, content)
        with contextlib.suppress(PermissionError):
            source.unlink()
            durable.sync_folder(source.parent)
    except OSError as exc:
        raise durable.store_error("seal", source, exc) from exc
    return note


def _write(
    folder: Path, table: TableName, target: Path, source: Path, content: memoryview
) -> SealNote:
    relative = f"{table}/{target.name}"
    if bytes(content[-len(END_OF_STREAM) :]) != END_OF_STREAM:
        raise StoreError(f"cannot seal {source}: it is not finished")
    schema = arrow_schema(table)
    try:
        first = next((batch.first for batch in batches_of(content, schema)), 0)
        sealed = memoryview(encode(table, groups_of(batches_of(content, schema))))
    except Damaged as exc:
        raise StoreError(f"cannot seal {source}: damaged at byte {exc.offset}: {exc}") from exc
    note = describe(sealed, relative, first, f"{table}/{source.name}", content)
    partial = target.with_name(target.name + ".tmp")
    try:
        durable.write_synced(partial, sealed)
        _verify(partial, note, table, content)
        append_note(folder, note)
        if target.exists():
            raise StoreError(f"cannot seal {source}: {target.name} is there already")
        partial.rename(target)
    except BaseException:  # Ctrl-C, too
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    durable.sync_folder(target.parent)
    return note


def _verify(partial: Path, note: SealNote, table: TableName, content: memoryview) -> None:
    if hashlib.sha256(partial.read_bytes()).hexdigest() != note.sha256:
        raise StoreError(f"cannot seal: {partial} does not hold what was written to it")
    original = groups_of(batches_of(content, arrow_schema(table)))
    try:
        sealed = sealed_batches(partial, table, note, None)
        same = all(
            equal_bits(_table(batch.rows), group)
            for batch, group in zip(sealed, original, strict=True)
        )
    except (Damaged, ValueError) as exc:
        raise StoreError(f"cannot seal: {partial} cannot be read back: {exc}") from exc
    if not same:
        raise StoreError(f"cannot seal: {partial} holds other rows than its segment")


def _table(batch: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_batches([batch])


def _note_of(folder: Path, target: Path, content: memoryview) -> SealNote | None:
    """Return the note of a sealed part that is what it should be, and of just this segment."""
    notes, _ = read_notes(folder)
    note = notes.get(f"{target.parent.name}/{target.name}")
    if note is None:
        raise StoreError(f"cannot seal: {target} is a foreign file")
    if (
        hashlib.sha256(content).hexdigest() != note.of_sha256
        or hashlib.sha256(target.read_bytes()).hexdigest() != note.sha256
    ):
        raise StoreError(f"cannot seal: {target} was sealed from another segment, or is damaged")
    return note


@dataclass(frozen=True, slots=True)
class SealReport:
    """What sealing a run did.

    Attributes:
        sealed: notes of the parts made.
        kept: why a segment stays one, one line each.
    """

    sealed: tuple[SealNote, ...]
    kept: tuple[str, ...]


def seal_run(path: str | Path) -> SealReport:
    """Seal all finished segments of a run that nobody writes; damaged ones are kept and named.

    Raises:
        LockedError: a process writes the run.
        StoreError: it is no run folder.
    """
    folder = Path(path)
    if not (folder / "manifest.json").exists():
        raise StoreError(f"{folder}: not a run folder, it has no manifest.json")
    done: list[SealNote] = []
    kept: list[str] = []
    with held(folder / LOCK, lock_name(folder), wait_s=LOCK_WAIT_S):
        for table in get_args(TableName):
            for number in part_numbers(folder / table)[0]:
                if not (folder / table / segment_name(number)).exists():
                    continue
                try:
                    done.append(seal(folder, table, number))
                except StoreError as exc:
                    kept.append(str(exc))
    return SealReport(tuple(done), tuple(kept))


class Sealer:
    """Seals segments of the run at hand in a thread of low priority, one after the other.

    ``on_problem`` is called with the error of a segment that could not be sealed and stays.
    """

    def __init__(self, folder: Path, on_problem: Callable[[StoreError], None]) -> None:
        self._folder, self._on_problem = folder, on_problem
        self._cond = threading.Condition()
        self._queue: deque[tuple[TableName, int]] = deque()
        self._thread: threading.Thread | None = None
        self._ending = False
        self.notes: dict[str, SealNote] = {}  #: by the path of the segment that is sealed

    def add(self, table: TableName, number: int) -> None:
        """Take a segment that was finished while the run goes on."""
        with self._cond:
            self._queue.append((table, number))
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="hil-sealer", daemon=True)
                self._thread.start()
            self._cond.notify()

    def finish(self, segments: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
        """End the thread, then seal all ``segments`` that are left if that is quick.

        Args:
            segments: path -> ``bytes`` of the run's finished segments.
            seconds: what it may take, else they stay; 0 = they stay.
        """
        with self._cond:
            self._queue.clear()
            self._ending = True
            self._cond.notify()
        if self._thread is not None:
            self._thread.join()
        left = [name for name in segments if name not in self.notes]
        if sum(_PART_S + segments[name]["bytes"] * _BYTE_S for name in left) <= seconds:
            for name in left:
                self._seal(*_numbered(name))

    def _main(self) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            with self._cond:
                while not self._queue and not self._ending:
                    self._cond.wait()
                if not self._queue:
                    return
                segment = self._queue.popleft()
            self._seal(*segment)

    def _seal(self, table: TableName, number: int) -> None:
        try:
            note = seal(self._folder, table, number)
        except StoreError as exc:
            self._on_problem(exc)
        else:
            self.notes[note.of] = note


def _numbered(name: str) -> tuple[TableName, int]:
    folder, _, file = name.partition("/")
    table = next(t for t in get_args(TableName) if t == folder)
    return table, int(file.partition(".")[0])
