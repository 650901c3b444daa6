"""Export a device file to a file of another simulator, and import one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final, Literal, get_args

from hil_sim.models.device import Device, load_device

from hil.errors import ConfigError, StoreError
from hil.interchange.exchange import Exported, Imported

Format = Literal["aihwkit", "neurosim", "crosssim", "crosssim-ramps"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)


def export_device(
    device: str | Path | Device, to: str, *, class_name: str | None = None, as_json: bool = False
) -> Exported:
    """Return a device in another simulator's format.

    Args:
        device: a device file, the name of a preset, or a device.
        to: one of :data:`FORMATS`.
        class_name: aihwkit: device class, None = the simplest that has the device's steps.
        as_json: aihwkit: JSON instead of Python text.

    Raises:
        ConfigError: unknown format, a wrong device file, or a class that does not suit.
    """
    found = device if isinstance(device, Device) else load_device(device)
    _known(to, "--to")
    if to != "aihwkit" and (class_name is not None or as_json):
        raise ConfigError(f"only aihwkit has classes and JSON, not {to}", field="--class, --json")
    if to == "aihwkit":
        from hil.interchange import aihwkit

        return aihwkit.export(found, "json" if as_json else "python", class_name)
    if to == "neurosim":
        from hil.interchange import neurosim

        return neurosim.export(found)
    from hil.interchange import crosssim

    return crosssim.export(found) if to == "crosssim" else crosssim.export_ramps(found)


def import_device(
    path: str | Path, source: str, like: str | Path | Device, *, read_v: float | None = None
) -> Imported:
    """Return the device of another simulator's file or folder.

    Args:
        path: the file; of CrossSim the folder, or one of its two files.
        source: one of :data:`FORMATS`.
        like: device file or preset that gives what the format does not hold.
        read_v: CrossSim's ramps: read voltage in volts, None = that of ``like``.

    Raises:
        ConfigError: unknown format, or a file that is wrong or makes no device.
    """
    _known(source, "--from")
    rest = like if isinstance(like, Device) else load_device(like)
    where = Path(path)
    if read_v is not None and source != "crosssim-ramps":
        raise ConfigError(f"belongs to crosssim-ramps, not to {source}", field="--read-voltage")
    try:
        if source == "aihwkit":
            from hil.interchange import aihwkit

            return aihwkit.import_(_text(where), rest, str(where))
        if source == "neurosim":
            from hil.interchange import neurosim

            return neurosim.import_(_text(where), rest, str(where))
        from hil.interchange import crosssim

        folder = where if where.is_dir() else where.parent
        names = crosssim.TABLES if source == "crosssim" else crosssim.RAMPS
        texts = {name: _text(folder / name) for name in names}
        if source == "crosssim":
            return crosssim.import_(texts, rest, str(folder))
        volts = rest.drive.read_voltage if read_v is None else read_v
        if not volts > 0.0:
            raise ConfigError(f"{volts:g} V is not above 0", field="--read-voltage")
        return crosssim.import_ramps(texts, rest, volts, str(folder))
    except ValueError as exc:
        if isinstance(exc, ConfigError):
            raise
        raise ConfigError(f"makes no device: {exc}", path=where) from exc


def checked(made: Exported, to: str) -> str | None:
    """Return who has loaded an export, None where the other simulator is not installed.

    Raises:
        ConfigError: it refuses the file.
    """
    if to != "aihwkit" or importlib.util.find_spec("aihwkit") is None:
        return None
    from hil.interchange.aihwkit_check import load

    return load(made.files[""])


def write_files(made: Exported, path: Path, *, force: bool = False) -> list[Path]:
    """Write an export's files and return their paths.

    Args:
        made: one file goes to ``path``; several go into it as a folder.
        path: file or folder.
        force: replace files that exist.

    Raises:
        StoreError: a file exists.
    """
    targets = {path / name if name else path: text for name, text in made.files.items()}
    for target in targets:
        refuse(target, force)
    for target, text in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
    return list(targets)


def refuse(target: Path, force: bool) -> None:
    """Raise StoreError where ``target`` exists and is not to be replaced."""
    if target.exists() and not force:
        raise StoreError(f"{target} exists; --force replaces it")


def _known(name: str, field: str) -> None:
    if name not in FORMATS:
        raise ConfigError(f"{name!r} is none of {', '.join(FORMATS)}", field=field)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError("is no text in UTF-8", path=path) from exc
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror or exc}", path=path) from exc
