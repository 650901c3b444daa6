"""IDX files (the format of MNIST), plain or gzipped, read and checked.

Format: two zero bytes, a type code, the number of dimensions, then every dimension as a big-endian
32-bit integer, then the values (http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hil.errors import ConfigError

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
#: Largest content that is read, in bytes; MNIST's training images are 47 MB.
MAX_BYTES = 1 << 30


def read_idx(path: str | Path, n_dimensions: int) -> NDArray[np.uint8]:
    """Return the unsigned bytes of an IDX file with ``n_dimensions`` dimensions.

    Raises:
        ConfigError: it cannot be read, is no such IDX file, or is shorter or longer than it says.
    """
    path = Path(path)
    content = _content(path)
    head = 4 + 4 * n_dimensions
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ConfigError("is no IDX file (it does not start with its magic number)", path=path)
    if content[2] != _UNSIGNED_BYTE or content[3] != n_dimensions:
        raise ConfigError(
            f"has magic number 0x{content[2]:02x}{content[3]:02x}, expected "
            f"0x{_UNSIGNED_BYTE:02x}{n_dimensions:02x} (unsigned bytes, {n_dimensions} dimensions)",
            path=path,
        )
    if len(content) < head:
        raise ConfigError(f"is cut short: {len(content)} bytes, the header has {head}", path=path)
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", n_dimensions, 4))
    size = 1
    for n in shape:
        size *= n
    if len(content) != head + size:
        what = "is cut short" if len(content) < head + size else "is longer than its header says"
        raise ConfigError(
            f"{what}: {len(content) - head} bytes of values, the header says {size}", path=path
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
        if not zipped:
            if path.stat().st_size > MAX_BYTES:
                raise ConfigError(f"is larger than {MAX_BYTES} bytes", path=path)
            return path.read_bytes()
        with gzip.open(path) as stream:
            content = stream.read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise ConfigError(f"is cut short or damaged: {exc}", path=path) from exc
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror or exc}", path=path) from exc
    if len(content) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES} bytes unpacked", path=path)
    return content
