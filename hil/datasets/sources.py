"""Where data sets come from: the package, a folder with MNIST's files, a user's ``.npz``."""

from __future__ import annotations

import zipfile
import zlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.datasets.dataset import Dataset, stratified_split
from hil.datasets.files import MNIST, idx_file
from hil.datasets.idx import read_idx
from hil.errors import ConfigError

if TYPE_CHECKING:
    from hil.config.training import Training

_NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def load_dataset(training: Training) -> Dataset:
    """Return the data set that a training file asks for, cut to its limits.

    Raises:
        ConfigError: it cannot be read or is wrong.
    """
    table = training.dataset
    if table.kind == "mnist":
        dataset = load_mnist(training.beside(table.folder or ""))
    elif table.kind == "npz":
        dataset = load_npz(
            training.beside(table.file or ""), test_share=table.test_share,
            split_seed=table.split_seed, n_classes=table.classes,
        )  # fmt: skip
    else:
        dataset = load_digits(table.test_share, table.split_seed)
    if table.validation_share is not None:
        dataset = dataset.validating(table.validation_share, table.split_seed)
    return dataset.limited(table.train_limit, table.test_limit)


def load_digits(test_share: float = 0.2, split_seed: int = 0) -> Dataset:
    """Return the shipped 8 x 8 digits (1 797 samples, 10 classes) with a fixed stratified split.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository (1998), https://doi.org/10.24432/C50P49, CC BY 4.0; the test part of the
    data set, in the order of scikit-learn's ``load_digits``.
    """
    source = resources.files("hil.datasets") / "digits.npz"
    with resources.as_file(source) as path, np.load(path, allow_pickle=False) as archive:
        images, labels = archive["images"] / 16.0, archive["labels"].astype(np.int64)
    train, test = stratified_split(labels, test_share, split_seed)
    return Dataset.checked(
        "digits", images[train], labels[train], images[test], labels[test], n_classes=10
    )


def load_mnist(folder: str | Path) -> Dataset:
    """Return MNIST from a folder with its four IDX files, gzipped or not.

    Raises:
        ConfigError: a file is missing, damaged, or does not fit its labels.
    """
    folder = Path(folder)
    parts: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for part, (images_name, labels_name) in MNIST.items():
        images_path, labels_path = idx_file(folder, images_name), idx_file(folder, labels_name)
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise ConfigError(
                f"has {len(labels)} labels, {images_path.name} has {len(images)} images",
                path=labels_path,
            )
        parts[part] = images / 255.0, labels
    return Dataset.checked("mnist", *parts["train"], *parts["test"], n_classes=10, copy=False)


def load_npz(
    path: str | Path,
    *,
    test_share: float = 0.2,
    split_seed: int = 0,
    n_classes: int | None = None,
) -> Dataset:
    """Return a user's own data set from a NumPy archive.

    It holds ``x_train`` and ``y_train``, and ``x_test`` and ``y_test`` or neither; without a test
    part, ``test_share`` of every class becomes one.

    Raises:
        ConfigError: the file cannot be read, lacks an array, or an array is wrong.
    """
    path = Path(path)
    arrays = _archive(path)
    missing = [name for name in _NPZ_ARRAYS[:2] if name not in arrays]
    if missing:
        raise ConfigError(
            f"has no array {missing[0]!r}; it has {', '.join(arrays) or 'none'}", path=path
        )
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise ConfigError("has only one of x_test and y_test", path=path)
    try:
        if "x_test" in arrays:
            x_train, y_train, x_test, y_test = (arrays[name] for name in _NPZ_ARRAYS)
            return Dataset.checked(path.stem, x_train, y_train, x_test, y_test, n_classes)
        x, y = arrays["x_train"], arrays["y_train"]
        whole = Dataset.checked(path.stem, x, y, x, y, n_classes)
        train, test = stratified_split(whole.y_train, test_share, split_seed)
        return Dataset.checked(
            path.stem, whole.x_train[train], whole.y_train[train], whole.x_train[test],
            whole.y_train[test], whole.n_classes,
        )  # fmt: skip
    except ConfigError as exc:
        raise ConfigError(exc.message, path=path, field=exc.field) from exc


def _archive(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ConfigError("is a single array, not an archive of named arrays", path=path)
            with loaded as archive:
                return {name: archive[name] for name in archive.files if name in _NPZ_ARRAYS}
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror or exc}", path=path) from exc
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as exc:
        if isinstance(exc, ConfigError):
            raise
        raise ConfigError(f"is no NumPy archive of plain arrays: {exc}", path=path) from exc
