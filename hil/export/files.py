"""New files that appear whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hil.errors import StoreError
from hil.record import durable


def refuse_existing(path: Path, force: bool) -> None:
    """Raise StoreError where ``path`` exists and may not be replaced, or has no folder."""
    if path.is_dir():
        raise StoreError(f"{path}: is a folder")
    if path.exists() and not force:
        raise StoreError(f"{path}: exists already; --force replaces it")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent}: no such folder")


@contextmanager
def new_file(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; at the end of the block it gets the final name.

    When the block fails, nothing is left behind and what was at ``path`` still is.

    Raises:
        StoreError: ``path`` exists and ``force`` is not given, or it could not be written.
    """
    refuse_existing(path, force)
    # Asked again at the end: another export may have been quicker.
    with durable.replacing(path, lambda: refuse_existing(path, force)) as partial:
        yield partial


class PatientFile(io.FileIO):
    """A file for libraries that do not survive a write error: they hear of none.

    HDF5 takes down the process when it closes a file that could not be written (h5py 3.16, disk
    full). After the first error nothing more is written, and :meth:`check` raises it.
    """

    error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of ``content``; after an error only let the file grow as if it had been."""
        view = memoryview(content).cast("B")
        try:
            if self.error is None:
                durable.write_all(self.fileno(), view)
                return len(view)
        except OSError as exc:
            self.error = exc
        end = self.tell() + len(view)
        self.truncate(max(end, self.seek(0, os.SEEK_END)))  # a hole, which takes no space
        self.seek(end)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        size = self.tell() if size is None else size
        try:
            return super().truncate(size)
        except OSError as exc:
            self.error = self.error or exc
        return size

    def check(self) -> None:
        """Raise OSError if writing failed."""
        if self.error is not None:
            raise self.error
