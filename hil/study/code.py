"""Which code a point was computed with: a digest of the sources that can change its result."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import hil
from hil.registry import BACKENDS, INSTRUMENTS, PROTOCOLS


@cache
def code_version() -> str:
    """Return ``<version>+<digest>`` of this package and of every installed backend and protocol.

    The digest covers the sources and data files of the packages, so it is the same wherever they
    are installed, and changes with any edit of them.
    """
    packages = {"hil"} | {
        entry.module.partition(".")[0]
        for group in (BACKENDS, PROTOCOLS, INSTRUMENTS)
        for entry in entry_points(group=group)
    }
    digest = hashlib.sha256()
    for package in sorted(packages):
        spec = find_spec(package)
        for folder in () if spec is None else spec.submodule_search_locations or ():
            _add(digest, package, Path(folder))
    return f"{hil.__version__}+{digest.hexdigest()[:12]}"


def _add(digest: hashlib._Hash, package: str, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = f"{package}/{path.relative_to(folder).as_posix()}".encode()
            digest.update(b"%d:%b" % (len(name), name))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
