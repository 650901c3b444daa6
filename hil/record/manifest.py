"""What is written down before the first pulse: configuration, surroundings, manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hil.errors import ConfigError
from hil.program import Phase
from hil.record import durable, surroundings
from hil.record.jsonable import jsonable, to_json
from hil.record.levels import Level
from hil.record.schema import FORMAT_VERSION, describe_codes, describe_tables

CLOCKS: Final = ("virtual", "monotonic")
_OWN_PLACE: Final = ("operator", "sample", "instruments", "wiring_digest", "clock")


def write_config(folder: Path, config: Mapping[str, bytes | Path]) -> dict[str, dict[str, Any]]:
    """Copy the files used, verbatim and synced; return name -> sha256, bytes and source.

    Raises:
        ConfigError: a file that cannot be read.
        OSError: the copy cannot be written.
    """
    if not config:
        return {}
    contents: dict[str, tuple[bytes, str | None]] = {}
    for name, source in config.items():
        if isinstance(source, bytes):
            contents[name] = source, None
            continue
        try:
            contents[name] = Path(source).read_bytes(), str(source)
        except OSError as exc:
            raise ConfigError(f"cannot be read: {exc.strerror or exc}", path=source) from exc
    folder.mkdir()
    hashes: dict[str, dict[str, Any]] = {}
    for name, (content, origin) in contents.items():
        durable.write_new(folder / name, content)
        digest = hashlib.sha256(content).hexdigest()
        hashes[name] = {"sha256": digest, "bytes": len(content), "source": origin}
    return hashes


def write_environment(folder: Path) -> dict[str, Any] | None:
    """Write packages, host and the git difference of the working folder; return the git facts."""
    folder.mkdir()
    durable.write_new(folder / "packages.txt", "\n".join((*surroundings.packages(), "")).encode())
    durable.write_new(folder / "host.json", to_json(surroundings.host(), indent=2))
    found = surroundings.checkout(Path.cwd())
    if found is None:
        return None
    facts = found.describe()
    if facts["diff_stored"]:
        durable.write_new(folder / "git.diff", found.diff)
    return facts


def build_manifest(
    *,
    run_id: str,
    name: str,
    kind: str,
    backend: str,
    simulated: bool,
    levels: Mapping[Phase, Level],
    config: Mapping[str, Any],
    meta: Mapping[str, Any],
    seeds: Any,
    limits: Any,
    estimate_bytes: int,
    git: Mapping[str, Any] | None,
    utc_ns: int,
    monotonic_ns: int,
) -> dict[str, Any]:
    """Return the manifest as plain values.

    Raises:
        ConfigError: a clock that does not exist, or a value that has no place in JSON.
    """
    clock = meta.get("clock", "virtual" if simulated else "monotonic")
    if clock not in CLOCKS:
        raise ConfigError(f"no clock {clock!r}; allowed: {', '.join(CLOCKS)}", field="meta.clock")
    manifest = {
        "format": FORMAT_VERSION,
        "id": run_id,
        "name": name,
        "kind": kind,
        "backend": backend,
        "simulated": simulated,
        "operator": meta.get("operator"),
        "sample": meta.get("sample"),
        "instruments": meta.get("instruments"),
        "wiring_digest": meta.get("wiring_digest"),
        "utc_epoch": datetime.fromtimestamp(utc_ns / 1e9, UTC).isoformat(),
        "utc_epoch_ns": utc_ns,
        "monotonic_epoch_ns": monotonic_ns,
        "boot_id": surroundings.boot_id(),
        "time_zone": surroundings.time_zone(),
        "clock": clock,
        "levels": {phase.name.lower(): level.value for phase, level in levels.items()},
        "seeds": seeds,
        "limits": limits,
        "estimate_bytes": estimate_bytes,
        "config": config,
        "software": surroundings.software(),
        "git": git,
        "tables": describe_tables(),
        **describe_codes(),
        "meta": {key: value for key, value in meta.items() if key not in _OWN_PLACE},
    }
    try:
        plain: dict[str, Any] = jsonable(manifest)
    except TypeError as exc:
        raise ConfigError(f"cannot go into the manifest: {exc}", field="meta") from exc
    return plain
