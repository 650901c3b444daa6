"""New files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.errors import StoreError


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
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield partial
        _sync(partial)
        refuse_existing(path, force)  # another export may have been quicker
        partial.replace(path)
    except OSError as exc:
        raise StoreError(f"cannot write {path}: {exc.strerror or exc}") from exc
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
