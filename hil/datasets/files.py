"""Which files a data set is read from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hil.errors import ConfigError

#: part -> (images, labels) of MNIST; each may end in ``.gz`` and have ``.`` in place of ``-idx``.
MNIST: Final = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def dataset_files(table: Mapping[str, Any]) -> list[Path]:
    """Return the files of a ``[dataset]`` table; none for a data set of the package.

    Raises:
        ConfigError: the folder lacks one of MNIST's files.
    """
    if table.get("kind") == "mnist" and isinstance(table.get("folder"), str):
        folder = Path(table["folder"])
        return [idx_file(folder, name) for names in MNIST.values() for name in names]
    if table.get("kind") == "npz" and isinstance(table.get("file"), str):
        return [Path(table["file"])]
    return []


def idx_file(folder: Path, name: str) -> Path:
    """Return one of MNIST's files, gzipped or not.

    Raises:
        ConfigError: the folder has none of that name.
    """
    candidates = [folder / n for n in (name, f"{name}.gz")]
    candidates += [folder / n.replace("-idx", ".idx") for n in (name, f"{name}.gz")]
    for path in candidates:
        if path.is_file():
            return path
    raise ConfigError(f"has no file {name} or {name}.gz", path=folder, field="dataset.folder")
