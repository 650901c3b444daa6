"""A disk that loses what was not synced: a log of system calls, replayed up to a random moment.

The rules are those of POSIX at its least: only a sync of the file makes its bytes durable, only
a sync of the folder makes its names durable. Of what was not synced a file keeps a part, or its
length with zeros in it; a folder keeps its changes up to some point.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from crashing import Job, append, check_run, create

from hil.record import durable

_SECTOR = 512


@dataclass
class Recording:
    """What happened below ``root``, in order, and what was acknowledged when.

    Entries: ("write", file, bytes), ("sync", file), ("create", path, file), ("rename", path, path),
    ("unlink", path), ("mkdir", path), ("names", folder) for a synced folder, ("acked", rows),
    ("pulse", device).
    """

    root: Path
    job: Job
    log: list[tuple[Any, ...]] = field(default_factory=list)

    def cut(self, folder: Path, rng: np.random.Generator, at: int | None = None) -> int:
        """Make in ``folder`` what a cut leaves, check the run, and return the rows acknowledged."""
        moment = int(rng.integers(len(self.log))) if at is None else at
        happened = self.log[:moment]
        names, contents = _names(happened, rng), _contents(happened, rng)
        folder.mkdir(exist_ok=True)
        for path, file in sorted(names.items()):  # a folder before what is in it
            if not (folder / path).parent.exists():
                continue
            if file is None:
                (folder / path).mkdir()
            else:
                (folder / path).write_bytes(contents.get(file, b""))
        acked = [entry[1] for entry in happened if entry[0] == "acked"]
        pulses = [entry[1] for entry in happened if entry[0] == "pulse"]
        if not acked:  # the run had not been created
            return 0
        runs = [path.parent for path in folder.rglob("manifest.json")]
        assert len(runs) == 1, "the run is gone"
        received = np.array(pulses, np.uint8)
        check_run(self.job, runs[0], max(acked), received, received)
        return max(acked)


def _names(log: list[tuple[Any, ...]], rng: np.random.Generator) -> dict[str, int | None]:
    """Return path -> file (None = folder) as the folders have kept them."""
    changes: dict[str, list[tuple[Any, ...]]] = {}  # those of each folder
    durable_of: dict[str, int] = {}
    for entry in log:
        if entry[0] in ("create", "rename", "unlink", "mkdir"):
            changes.setdefault(
                os.path.dirname(entry[-1 if entry[0] == "rename" else 1]), []
            ).append(entry)
        elif entry[0] == "names":
            durable_of[entry[1]] = len(changes.get(entry[1], []))
    names: dict[str, int | None] = {}
    for folder, done in changes.items():
        kept = int(rng.integers(durable_of.get(folder, 0), len(done) + 1))
        for entry in done[:kept]:
            if entry[0] == "create":
                names[entry[1]] = entry[2]
            elif entry[0] == "mkdir":
                names[entry[1]] = None
            elif entry[0] == "unlink":
                names.pop(entry[1], None)
            else:
                names[entry[2]] = names.pop(entry[1])
    return names


def _contents(log: list[tuple[Any, ...]], rng: np.random.Generator) -> dict[int, bytes]:
    """Return file -> its bytes: what was synced, and of the rest what happened to get there."""
    written: dict[int, bytearray] = {}
    synced: dict[int, int] = {}
    for entry in log:
        if entry[0] == "write":
            written.setdefault(entry[1], bytearray()).extend(entry[2])
        elif entry[0] == "sync":
            synced[entry[1]] = len(written.get(entry[1], b""))
    kept = {}
    for file, content in written.items():
        sure = synced.get(file, 0)
        loose = content[sure:]
        fate = rng.integers(4)
        if fate == 0:
            loose = loose[:0]
        elif fate == 1:
            loose = loose[: int(rng.integers(len(loose) + 1))]
        elif fate == 2:
            for begin in range(0, len(loose), _SECTOR):
                if rng.random() < 0.5:
                    end = min(begin + _SECTOR, len(loose))
                    loose[begin:end] = bytes(end - begin)
        kept[file] = bytes(content[:sure] + loose)
    return kept


class _Tap:
    """Takes the place of the system calls that the recorder makes; notes those below a folder."""

    def __init__(self, recording: Recording, syncs: bool) -> None:
        self._root = str(recording.root) + os.sep
        self._log, self._syncs = recording.log, syncs
        self._files: dict[int, int] = {}  # by descriptor
        self._named: dict[str, int] = {}
        self._lock = threading.Lock()
        self._real = {n: getattr(os, n) for n in ("open", "write", "close", "mkdir")}
        self._next = 0

    def _inside(self, path: Any) -> str | None:
        text = os.fspath(path)
        if not isinstance(text, str) or not text.startswith(self._root) or ".lock" in text:
            return None
        return text.removeprefix(self._root)

    def open(self, path: Any, flags: int, *more: Any, **named: Any) -> int:
        inside = self._inside(path)
        if inside is None or not flags & (os.O_WRONLY | os.O_RDWR) or flags & _UNNAMED:
            return int(self._real["open"](path, flags, *more, **named))
        with self._lock:
            is_new = not os.path.exists(path)
            fd: int = self._real["open"](path, flags, *more, **named)
            if is_new:
                self._next += 1
                self._named[inside] = self._next
                self._log.append(("create", inside, self._next))
            self._files[fd] = self._named[inside]
            return fd

    def write(self, fd: int, content: Any) -> int:
        with self._lock:
            n: int = self._real["write"](fd, content)
            if fd in self._files:
                self._log.append(("write", self._files[fd], bytes(memoryview(content)[:n])))
            return n

    def close(self, fd: int) -> None:
        with self._lock:
            self._files.pop(fd, None)
            self._real["close"](fd)

    def mkdir(self, path: Any, *more: Any, **named: Any) -> None:
        with self._lock:
            self._real["mkdir"](path, *more, **named)
            if (inside := self._inside(path)) is not None:
                self._log.append(("mkdir", inside))

    def sync(self, fd: int) -> None:
        with self._lock:
            if self._syncs and fd in self._files:
                self._log.append(("sync", self._files[fd]))

    def sync_folder(self, path: Path) -> None:
        with self._lock:
            if self._syncs and (inside := self._inside(f"{path}{os.sep}")) is not None:
                self._log.append(("names", inside.rstrip(os.sep)))

    def rename(self, path: Path, target: Path) -> Path:
        with self._lock:
            os.rename(path, target)
            old, new = self._inside(path), self._inside(target)
            if old is not None and new is not None:
                self._named[new] = self._named.pop(old)
                self._log.append(("rename", old, new))
            return target

    def unlink(self, path: Path, missing_ok: bool = False) -> None:
        with self._lock:
            try:
                os.unlink(path)
            except FileNotFoundError:
                if not missing_ok:
                    raise
                return
            if (inside := self._inside(path)) is not None:
                self._log.append(("unlink", inside))


#: Of the ballast, which has no name and belongs to nobody after a cut.
_UNNAMED = getattr(os, "O_TMPFILE", 0) & ~getattr(os, "O_DIRECTORY", 0)


def record(root: Path, *, rig: bool, syncs: bool = True, n_ops: int = 240) -> Recording:
    """Record a run from beginning to end, rotating, sealing, with a checkpoint; return the log.

    Args:
        root: an empty folder.
        rig: write devices under leases.
        syncs: False = every sync is a lie.
        n_ops: operations.
    """
    job = Job(str(root / "notes"), str(root / "runs"), 40, 12_000, rig, 0.0, False, 0.001)
    recording = Recording(root, job)
    tap = _Tap(recording, syncs)
    with (
        patch.multiple(os, open=tap.open, write=tap.write, close=tap.close, mkdir=tap.mkdir),
        patch.multiple(durable, sync=tap.sync, sync_folder=tap.sync_folder),
        patch.multiple(Path, rename=tap_method(tap.rename), unlink=tap_method(tap.unlink)),
        create(job) as run,
    ):
        recording.log.append(("acked", 0))
        for op in append(job, run, range(n_ops), lambda d: recording.log.append(("pulse", d))):
            recording.log.append(("acked", run.acked))
            if op == n_ops // 2 - 1:
                run.checkpoint("half-way", w=np.eye(3))
        recording.log.append(("acked", run.barrier()))
    return recording


def tap_method(function: Any) -> Any:
    """Return a function that can be a method of Path."""
    return lambda self, *arguments, **named: function(self, *arguments, **named)
