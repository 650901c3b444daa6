"""Checkpoints: arrays in ``checkpoints/*.npz``, each with its sha256 in the event that notes it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import StoreError
from hil.record import durable


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that a run notes.

    Attributes:
        name: without ``.npz``.
        path: of the file.
        t_ns: when it was written, on the run's clock.
        bytes, sha256: of the file as it was written.
    """

    name: str
    path: Path
    t_ns: int
    bytes: int
    sha256: str

    def is_good(self) -> bool:
        """Return whether the file is there and has the sha256 that was noted."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256
        except OSError:
            return False

    def load(self) -> dict[str, NDArray[Any]]:
        """Return its arrays by name.

        Raises:
            StoreError: the file is gone, cannot be read, or is not the one that was written.
        """
        try:
            content = self.path.read_bytes()
        except OSError as exc:
            raise durable.store_error("read the checkpoint", self.path, exc) from exc
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise StoreError(f"{self.path}: its sha256 is not the one noted")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def noted_checkpoints(folder: Path, events: Iterable[Mapping[str, Any]]) -> list[Checkpoint]:
    """Return the checkpoints that the events of a run note, oldest first.

    Of those that were written anew the last one counts; those that were dropped are left out.
    """
    found: dict[str, Checkpoint] = {}
    for e in events:
        if e.get("kind") == "checkpoint" and {"file", "bytes", "sha256", "t_ns"} <= e.keys():
            name = Path(e["file"]).name
            found.pop(name, None)
            found[name] = Checkpoint(
                Path(name).stem, folder / "checkpoints" / name, e["t_ns"], e["bytes"], e["sha256"]
            )
        elif e.get("kind") == "dropped":
            for name in e.get("files", ()):
                found.pop(str(name), None)
    return list(found.values())


def write_checkpoint(
    folder: Path, name: str, arrays: Mapping[str, ArrayLike], *, anew: bool = False
) -> tuple[Path, dict[str, Any]]:
    """Write ``checkpoints/<name>.npz`` and return its path, and its bytes and sha256.

    With ``anew`` one of that name is removed first.

    Raises:
        StoreError: it exists already or cannot be written.
    """
    buffer = io.BytesIO()
    named: dict[str, NDArray[Any]] = {key: np.asarray(value) for key, value in arrays.items()}
    np.savez(buffer, allow_pickle=False, **named)
    content = buffer.getvalue()
    path = folder / "checkpoints" / f"{name}.npz"
    try:
        if not path.parent.exists():
            path.parent.mkdir()
            durable.sync_folder(folder)
        if anew:
            path.unlink(missing_ok=True)
        durable.write_new(path, content)
    except OSError as exc:
        raise durable.store_error("write the checkpoint", path, exc) from exc
    return path, {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
