"""Writing that is on the disk when it returns, and the ballast against a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

from hil.errors import StoreError

_BINARY: Final = getattr(os, "O_BINARY", 0)  # Windows translates line ends without it
_NO_SPACE: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
#: What is left of the ballast after the disk filled up, for events and the stop record, in bytes.
RESERVE_BYTES: Final = 256 * 1024

if sys.platform == "darwin":
    import fcntl

    def sync(fd: int) -> None:
        """Return when the content of ``fd`` is on the disk, not only in the drive's cache."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

elif hasattr(os, "fdatasync"):

    def sync(fd: int) -> None:
        """Return when the content of ``fd`` is on the disk."""
        os.fdatasync(fd)

else:

    def sync(fd: int) -> None:
        """Return when the content of ``fd`` is on the disk."""
        os.fsync(fd)


def no_space(exc: BaseException) -> bool:
    """Return whether ``exc`` says that the disk or the quota is full."""
    return isinstance(exc, OSError) and exc.errno in _NO_SPACE


def store_error(doing: str, path: Path, exc: BaseException) -> StoreError:
    """Return the one-line StoreError for a failed file operation."""
    reason = exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)
    return StoreError(f"cannot {doing} {path}: {reason or type(exc).__name__}")


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable, where the system can (Windows cannot)."""
    if os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # some network disks
            raise
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, so that a power cut takes none away."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def create(path: Path) -> int:
    """Create a new file for appending and return its descriptor; it must not exist."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | _BINARY, 0o644)


def open_to_append(path: Path) -> int:
    """Open an existing file for appending and return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | _BINARY)


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write all of ``content``: a short write is carried on, and one that stalls is an error."""
    view = memoryview(content)
    while view:
        written = os.write(fd, view)
        if written <= 0:
            raise OSError(errno.EIO, "the system wrote nothing")
        view = view[written:]


def append(fd: int, size: int, *content: bytes | memoryview) -> None:
    """Append ``content`` to a file of ``size`` bytes; on OSError cut off what got there."""
    try:
        for part in content:
            write_all(fd, part)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to report
            os.ftruncate(fd, size)
        raise


def write_new(path: Path, content: bytes) -> None:
    """Write a new file, synced together with the entry in its folder; it must not exist.

    The content goes to a temporary name first, so that the final name never holds half a file.
    """
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    partial = path.with_name(path.name + ".tmp")
    try:
        write_synced(partial, content)
        partial.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` to a file and sync it, but not yet the entry in its folder."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o644)
    try:
        write_all(fd, content)
        sync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: beside it first, then under its name, on the disk for good.

    Raises:
        StoreError: it cannot be written; what was there still is.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        write_synced(new, content)
        new.replace(path)
        sync_folder(path.parent)
    except OSError as exc:
        with contextlib.suppress(OSError):  # the first error is the one to report
            new.unlink(missing_ok=True)
        raise store_error("write", path, exc) from exc


@contextlib.contextmanager
def replacing(path: Path, may_replace: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to, which gets its name at the end of the block.

    By then the file is on the disk. When the block fails, nothing is left behind and what was at
    ``path`` still is. For files that something else writes; :func:`replace_file` takes bytes.

    Args:
        path: of the file.
        may_replace: called just before the file gets its name; raises where it may not.

    Raises:
        StoreError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield partial
        fd = os.open(partial, os.O_RDWR | _BINARY)
        try:
            sync(fd)
        finally:
            os.close(fd)
        may_replace()
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as exc:
        raise store_error("write", path, exc) from exc
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


class Ballast:
    """Space held back so that a full disk still takes what was measured and the stop record.

    The file has no name (or vanishes with its handle on Windows), so a killed process leaves none.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self._reserve = min(RESERVE_BYTES, size // 4)
        self._file: IO[bytes] | None = None
        if size <= 0:
            return
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - until release
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
            else:
                zeros = bytes(1 << 20)
                for start in range(0, size, len(zeros)):
                    write_all(self._file.fileno(), zeros[: size - start])
        except OSError:
            self._file.close()
            raise

    @property
    def free_on_shrink(self) -> int:
        """Bytes that :meth:`shrink` would give back now."""
        return max(self.size - self._reserve, 0)

    def shrink(self) -> bool:
        """Give back all but the reserve for the last records; True when that freed anything."""
        if self._file is None or not self.free_on_shrink:
            return False
        self._file.truncate(self._reserve)
        self.size = self._reserve
        return True

    def release(self) -> None:
        """Give back everything; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.size = 0
