"""What is written down before the first pulse: configuration, surroundings, manifest."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

from hil.errors import ConfigError, StoreError
from hil.program import Phase
from hil.record import durable, surroundings
from hil.record.jsonable import jsonable, to_json
from hil.record.levels import Level
from hil.record.schema import FORMAT_VERSION, describe_codes, describe_tables

Kind = Literal["run", "train", "demo"]
#: Free space asked for on top of twice the estimate, for manifest, events and stop record.
MIN_FREE_BYTES: Final = 1 << 20
CLOCKS: Final = ("virtual", "monotonic")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OWN_PLACE: Final = ("operator", "sample", "instruments", "wiring_digest", "clock")


def create_folder(
    root: Path,
    name: str,
    *,
    kind: Kind,
    config: Mapping[str, bytes | Path],
    estimate_bytes: int,
    **facts: Any,
) -> tuple[Path, dict[str, Any]]:
    """Create the folder of a new run with a synced manifest; return its path and the manifest.

    Everything is checked before the folder is made. ``facts`` go to :func:`build_manifest`.

    Raises:
        StoreError: the folder cannot be written, or less than twice the estimate is free.
        ConfigError: a kind, file name or clock that does not exist, a file that cannot be read.
    """
    if kind not in get_args(Kind):
        allowed = ", ".join(get_args(Kind))
        raise ConfigError(f"no kind of run {kind!r}; allowed: {allowed}", field="kind")
    contents = _read_config(config)
    run_id = surroundings.uuid7()
    git = surroundings.checkout(Path.cwd())
    utc_ns, monotonic_ns = time.time_ns(), time.monotonic_ns()
    manifest = build_manifest(
        run_id=run_id,
        name=name,
        kind=kind,
        config=_describe_config(config, contents),
        git=None if git is None else git.describe(),
        utc_ns=utc_ns,
        monotonic_ns=monotonic_ns,
        estimate_bytes=estimate_bytes,
        **facts,
    )
    started = datetime.fromtimestamp(utc_ns / 1e9, UTC)
    path = root / f"{started:%Y%m%dT%H%M%SZ}_{_folder_name(name)}_{run_id[-8:]}"
    try:
        durable.make_folder(root)
        _check_space(root, estimate_bytes)
        path.mkdir()
    except OSError as exc:
        raise durable.store_error("create the run folder", path, exc) from exc
    try:
        if contents:
            (path / "config").mkdir()
        for file_name, content in contents.items():
            durable.write_new(path / "config" / file_name, content)
        _write_environment(path / "env", git)
        durable.write_new(path / "manifest.json", to_json(manifest, indent=2))
        durable.sync_folder(root)
    except OSError as exc:
        remove_unused(path)
        raise durable.store_error("create the run folder", path, exc) from exc
    return path, manifest


def remove_unused(path: Path) -> None:
    """Remove the folder of a run that could not start, so that nothing was driven yet."""
    shutil.rmtree(path, ignore_errors=True)


def check_file_name(name: str, field: str) -> None:
    """Raise ConfigError unless ``name`` is a plain file name on every system."""
    if not _FILE_NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a plain file name", field=field)


def _folder_name(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64]
    return plain or "run"


def _check_space(root: Path, estimate_bytes: int) -> None:
    needed = 2 * estimate_bytes + MIN_FREE_BYTES
    free = shutil.disk_usage(root).free
    if free < needed:
        raise StoreError(
            f"{root}: {free} bytes free, a run of about {estimate_bytes} bytes needs {needed}"
        )


def _read_config(config: Mapping[str, bytes | Path]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for name, source in config.items():
        check_file_name(name, "config")
        if isinstance(source, bytes):
            contents[name] = source
            continue
        try:
            contents[name] = Path(source).read_bytes()
        except OSError as exc:
            raise ConfigError(f"cannot be read: {exc.strerror or exc}", path=source) from exc
    return contents


def _describe_config(
    config: Mapping[str, bytes | Path], contents: Mapping[str, bytes]
) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "source": None if isinstance(config[name], bytes) else str(config[name]),
        }
        for name, content in contents.items()
    }


def _write_environment(folder: Path, git: surroundings.Checkout | None) -> None:
    folder.mkdir()
    durable.write_new(folder / "packages.txt", "\n".join((*surroundings.packages(), "")).encode())
    durable.write_new(folder / "host.json", to_json(surroundings.host(), indent=2))
    if git is not None and git.describe()["diff_stored"]:
        durable.write_new(folder / "git.diff", git.diff)


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
