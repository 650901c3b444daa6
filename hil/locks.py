"""Locks between processes: one process at a time on an instrument, a run or a study."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from hil.errors import LockedError, StoreError


@contextmanager
def held(path: str | Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file ``path`` while the ``with`` block runs.

    The lock is the operating system's, so that of a process that died does not block. Who holds it
    is written beside it, in ``<path>.holder``.

    Args:
        path: lock file; its folder exists. It stays when the lock is released.
        what: what is locked, for the error.
        wait_s: how long to wait for it, in seconds.

    Raises:
        LockedError: another process has it; says which, where and since when.
        StoreError: the lock file cannot be made.
    """
    path = Path(path)
    holder = path.with_name(f"{path.name}.holder")
    lock = FileLock(path, timeout=wait_s)
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(f"{what} is in use by {_who(holder)}") from None
    except OSError as exc:
        raise StoreError(f"cannot lock {path}: {exc.strerror or exc}") from exc
    try:
        with contextlib.suppress(OSError):  # the lock holds without it
            holder.write_text(
                json.dumps({
                    "pid": os.getpid(), "host": platform.node(),
                    "since": datetime.now(UTC).isoformat(timespec="seconds"),
                })
            )  # fmt: skip
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink()
        lock.release()


def is_held(path: str | Path) -> bool:
    """Return whether a process holds the lock file ``path``; where nobody can tell, False.

    To find out the lock is taken for a moment, so whoever wants it should wait a little.
    """
    path = Path(path)
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _who(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text())
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
