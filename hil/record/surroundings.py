"""Where a run took place: host, packages, version control, clock; and the run's id."""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import hil

_GIT_TIMEOUT_S: Final = 10.0
#: A larger difference is named in the manifest by its size only.
MAX_DIFF_BYTES: Final = 16 << 20


def uuid7() -> str:
    """Return a new UUIDv7 (RFC 9562): 48 bits of Unix time in ms, then random bits."""
    value = int.from_bytes(secrets.token_bytes(16), "big")
    value = (time.time_ns() // 1_000_000) << 80 | value & (1 << 80) - 1
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def boot_id() -> str | None:
    """Return the system's boot id, None where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def time_zone() -> dict[str, Any]:
    """Return name and offset from UTC in seconds of the local time zone."""
    now = datetime.now(UTC).astimezone()
    offset = now.utcoffset()
    return {"name": now.tzname(), "utc_offset_s": 0.0 if offset is None else offset.total_seconds()}


@cache
def packages() -> tuple[str, ...]:
    """Return ``name==version`` of every installed distribution, sorted."""
    found = {
        f"{dist.name}=={dist.version}"
        for dist in metadata.distributions()
        if dist.name  # a broken installation leaves distributions without a name
    }
    return tuple(sorted(found, key=str.lower))


def host() -> dict[str, Any]:
    """Return what is known of the computer."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "python": sys.version,
        "executable": sys.executable,
        "pid": os.getpid(),
        "folder": str(Path.cwd()),
        "command": sys.argv,
    }


def software() -> dict[str, str]:
    """Return the versions of synapse-hil and of what its numbers depend on."""
    versions = {"synapse-hil": hil.__version__, "python": platform.python_version()}
    for name in ("numpy", "numba", "scipy", "pyarrow", "pydantic"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True, slots=True)
class Checkout:
    """A git checkout: its top folder, commit, and the difference from it."""

    top: str
    commit: str
    dirty: bool
    diff: bytes

    def describe(self) -> dict[str, Any]:
        """Return it as plain values for the manifest."""
        return {
            "top": self.top,
            "commit": self.commit,
            "dirty": self.dirty,
            "diff_bytes": len(self.diff),
            "diff_stored": 0 < len(self.diff) <= MAX_DIFF_BYTES,
        }


def checkout(folder: Path) -> Checkout | None:
    """Return the git checkout around ``folder``; None without one, without git or on time-out."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    commit = _git(folder, "rev-parse", "HEAD") if top else None
    if not top or not commit:
        return None
    status = _git(folder, "status", "--porcelain")
    diff = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "HEAD")
    if status is None or diff is None:
        return None
    return Checkout(top.decode().strip(), commit.decode().strip(), bool(status.strip()), diff)


def _git(folder: Path, *arguments: str) -> bytes | None:
    command = ["git", "-c", "core.fsmonitor=false", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
