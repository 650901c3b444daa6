"""What a point depends on beside its own files: data files, calibrations, a user's rule."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ModuleSpec
from pathlib import Path
from typing import Any, Final

from hil.config.toml_file import is_file_name
from hil.datasets.files import dataset_files
from hil.errors import ConfigError
from hil.study.fields import Files

_CODE: Final = (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)


class Contents:
    """Digests of files and of the sources of modules; each is read once."""

    def __init__(self) -> None:
        self._files: dict[Path, str | None] = {}
        self._modules: dict[str, str | None] = {}

    def used_by(self, files: Files) -> list[str | None]:
        """Return a digest for everything that a point's files name by absolute paths or as a rule.

        It is None for what cannot be found.
        """
        found: list[str | None] = []
        for station in files.get("station", []):
            arrays = [t for t in station.get("array", []) if isinstance(t, dict)]
            # Those that are not absolute are beside the point's station file, as part of the point.
            devices = [t["device"] for t in arrays if is_file_name(t.get("device"))]
            found += [self.file(device) for device in devices if Path(device).is_absolute()]
            calibration = station.get("calibration")
            if isinstance(calibration, str):
                names = [str(table.get("name", "main")) for table in arrays]
                found += [self.file(calibration.replace("{array}", name)) for name in names]
        for training in files.get("training", []):
            dataset, rule = training.get("dataset"), training.get("rule")
            if isinstance(dataset, dict):
                found += self._dataset(dataset)
            if isinstance(rule, dict) and isinstance(rule.get("rule"), str):
                found.append(self.module(rule["rule"].partition(":")[0]))
        return found

    def _dataset(self, table: dict[str, Any]) -> list[str | None]:
        try:
            return [self.file(path) for path in dataset_files(table)]
        except ConfigError:
            return [None]

    def file(self, path: str | Path) -> str | None:
        """Return the SHA-256 of a file, None when it cannot be read."""
        path = Path(path)
        if path not in self._files:
            self._files[path] = _digest(path)
        return self._files[path]

    def module(self, name: str) -> str | None:
        """Return a digest of the sources behind the module ``name``, None when there are none."""
        if name not in self._modules:
            digest, any_found = hashlib.sha256(), False
            for path, shown in module_sources(name):
                digest.update(f"{shown}\0{self.file(path)}\0".encode())
                any_found = True
            self._modules[name] = digest.hexdigest() if any_found else None
        return self._modules[name]


def module_sources(name: str) -> list[tuple[Path, str]]:
    """Return the files behind a user's module, and their names in the folder that they are in.

    They are the module, or the whole package that it is in, and what these import from the same
    folder (not from a folder of installed packages). Nothing is imported to find them.
    """
    installed = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    root: Path | None = None
    seen: set[str] = {"hil"}  # the digest of the code covers it
    todo = [name.partition(".")[0]]
    found: dict[Path, str] = {}
    while todo:
        top = todo.pop()
        if top in seen:
            continue
        seen.add(top)
        for path, folder in _files_of(_spec_of(top)):
            if root is None:
                root = folder
            if folder == root:
                found[path] = path.relative_to(folder).as_posix()
                if root not in installed and path.suffix == ".py":
                    todo += _imported(path)
    return sorted(found.items(), key=lambda item: item[1])


def _spec_of(top: str) -> ModuleSpec | None:
    """Return where a top-level module is; what is imported already is looked up all the same."""
    for finder in sys.meta_path:
        spec = finder.find_spec(top, None)
        if spec is not None:
            return spec
    return None


def _files_of(spec: ModuleSpec | None) -> Iterator[tuple[Path, Path]]:
    """Yield the code files of a module or package, with the folder that holds all of it."""
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        if spec.has_location and spec.origin is not None:
            path = Path(spec.origin).resolve()
            yield path, path.parent
        return
    for location in spec.submodule_search_locations:
        folder = Path(location).resolve()
        for path in sorted(folder.rglob("*")):
            if path.name.endswith(_CODE) and path.is_file():
                yield path, folder.parent


def _imported(path: Path) -> Iterable[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # loading the rule says so better
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
