from __future__ import annotations

import gzip
import struct
from importlib import resources

import numpy as np
import pytest

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.datasets.dataset import Dataset, stratified_split
from hil.datasets.idx import read_idx
from hil.datasets.sources import load_dataset, load_digits, load_mnist, load_npz
from hil.errors import ConfigError


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(np.uint8).tobytes()


def test_digits_are_the_uci_test_set_with_its_source_and_licence():
    digits = load_digits()
    labels = np.concatenate([digits.y_train, digits.y_test])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.x_train.shape[1] == 64
    assert digits.x_train.max() == 1.0
    text = (resources.files("hil.datasets") / "DIGITS.txt").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "10.24432/C50P49" in text


def test_shipped_digits_are_small():
    assert len((resources.files("hil.datasets") / "digits.npz").read_bytes()) <= 100_000


def test_digits_split_is_stratified_and_fixed_by_its_seed():
    a, b, c = load_digits(split_seed=4), load_digits(split_seed=4), load_digits(split_seed=5)
    assert (a.x_test == b.x_test).all()
    assert a.y_test.size == c.y_test.size
    assert not (a.x_test == c.x_test).all()
    share = np.bincount(a.y_test) / np.bincount(np.concatenate([a.y_train, a.y_test]))
    assert share == pytest.approx(0.2, abs=0.005)


def test_split_parts_are_disjoint_and_complete():
    labels = np.random.default_rng(1).integers(0, 4, 101)
    train, test = stratified_split(labels, 0.3, 7)
    assert sorted([*train, *test]) == list(range(101))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dots", [False, True])
def test_mnist_is_read_from_four_idx_files(tmp_path, packed, dots):
    rng = np.random.default_rng(3)
    content = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (12, 5, 4)),
        "train-labels-idx1-ubyte": np.arange(12) % 10,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (6, 5, 4)),
        "t10k-labels-idx1-ubyte": np.arange(6),
    }
    for name, values in content.items():
        raw = idx(values)
        name = name.replace("-idx", ".idx") if dots else name
        if packed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(raw, mtime=0))
        else:
            (tmp_path / name).write_bytes(raw)
    mnist = load_mnist(tmp_path)
    assert mnist.x_train == pytest.approx(content["train-images-idx3-ubyte"].reshape(12, 20) / 255)
    assert mnist.y_test.tolist() == list(range(6))
    assert mnist.n_classes == 10


def test_a_missing_mnist_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="train-images-idx3-ubyte"):
        load_mnist(tmp_path)


GOOD_IDX = idx(np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file"),
        (b"hello world", "no IDX file"),
        (GOOD_IDX[:9], "cut short"),
        (GOOD_IDX[:-1], "cut short"),
        (GOOD_IDX + b"x", "longer"),
        (idx(np.arange(3)), "magic number 0x0801, expected 0x0803"),
        (b"\0\0\x0d\x03" + GOOD_IDX[4:], "magic number 0x0d03"),
        (gzip.compress(GOOD_IDX, mtime=0)[:-6], "cut short or damaged"),
        (gzip.compress(GOOD_IDX[:-3], mtime=0), "cut short"),
        (gzip.compress(GOOD_IDX, mtime=0)[:12] + b"\xff" * 20, "damaged"),
    ],
    ids=[
        "empty",
        "text",
        "head",
        "byte missing",
        "byte more",
        "labels",
        "doubles",
        "gz cut",
        "gz of a cut file",
        "gz overwritten",
    ],
)
def test_a_damaged_idx_file_gives_one_clear_error(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


def test_an_idx_file_comes_back_as_written(tmp_path):
    (tmp_path / "a").write_bytes(GOOD_IDX)
    assert (read_idx(tmp_path / "a", 3) == np.arange(24).reshape(2, 3, 4)).all()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_idx(tmp_path / "none", 3)


def test_labels_and_images_must_be_equally_many(tmp_path):
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 2, 2))))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(4)))
    with pytest.raises(ConfigError, match="4 labels"):
        load_mnist(tmp_path)


RNG = np.random.default_rng(0)
X, Y = RNG.random((20, 3)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"x_train": np.zeros((0, 3)), "y_train": np.zeros(0, int)}, "x_train", "empty"),
        ({"x_train": np.zeros(20)}, "x_train", "shape"),
        ({"x_train": np.where(X[3, 1] == X, np.nan, X)}, "x_train", "sample 3, feature 1 is nan"),
        ({"x_train": X * 255}, "x_train", "within 0 … 1"),
        ({"x_train": X - 0.5}, "x_train", "within 0 … 1"),
        ({"x_train": np.array([["a", "b"]] * 20)}, "x_train", "numbers"),
        ({"y_train": Y[:5]}, "y_train", "shape"),
        ({"y_train": Y - 1}, "y_train", "label -1 of sample 0"),
        ({"y_train": np.where(Y == 1, 10**9, 0)}, "y_train", "label 1000000000 of sample 1"),
        ({"y_train": Y + 0.5}, "y_train", "whole numbers"),
        ({"y_train": np.full(20, np.nan)}, "y_train", "whole numbers"),
        ({"x_test": X[:4, :2], "y_test": Y[:4]}, "x_test", "2 features"),
        ({"x_test": X[:4], "y_test": Y[:4] + 5}, "y_test", "label 5 of sample 0"),
    ],
)
def test_wrong_arrays_of_a_users_data_set_are_named(tmp_path, change, field, message):
    path = tmp_path / "mine.npz"
    np.savez(path, **{"x_train": X, "y_train": Y, **change})
    with pytest.raises(ConfigError, match=message) as error:
        load_npz(path)
    assert error.value.field == field
    assert error.value.path == str(path)


def test_labels_beyond_the_stated_classes_are_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=X, y_train=np.arange(20))
    with pytest.raises(ConfigError, match="label 5 of sample 5 is not within 0 … 4"):
        load_npz(tmp_path / "mine.npz", n_classes=5)


def test_a_data_set_without_a_test_part_is_split(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=X.reshape(20, 3, 1), y_train=Y.astype(float))
    mine = load_npz(tmp_path / "mine.npz", test_share=0.2)
    assert (len(mine.x_train), len(mine.x_test), mine.n_classes) == (16, 4, 2)
    with pytest.raises(ConfigError, match="test share"):
        load_npz(tmp_path / "mine.npz", test_share=0.001)


def test_a_users_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "single.npy", X)
    np.savez(tmp_path / "half.npz", x_train=X, y_train=Y, x_test=X)
    np.savez(tmp_path / "other.npz", x=X)
    np.savez(tmp_path / "objects.npz", x_train=np.array([None]), y_train=Y)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "half.npz").read_bytes()[:-40])
    for name, message in (
        ("text.npz", "no NumPy archive"),
        ("single.npy", "single array"),
        ("half.npz", "only one of"),
        ("other.npz", "has no array 'x_train'"),
        ("objects.npz", "plain arrays"),
        ("cut.npz", "no NumPy archive"),
        ("none.npz", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_npz(tmp_path / name)


def test_a_training_file_names_its_data_set_and_its_limits(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=X, y_train=Y)
    text = 'schema = 1\n[dataset]\nkind = "npz"\nfile = "mine.npz"\ntrain_limit = 5\n'
    training = validate_text(text, Training).model_copy(update={"path": tmp_path / "t.toml"})
    dataset = load_dataset(training)
    assert len(dataset.x_train) == 5
    assert isinstance(dataset, Dataset)


def test_validation_part_comes_from_the_training_part_only():
    whole = load_digits()
    held = whole.validating(0.25, seed=3)
    assert len(held.x_train) + len(held.x_test) == len(whole.x_train)
    assert held.x_test.shape[0] == pytest.approx(len(whole.x_train) / 4, abs=6)
    test_rows = {row.tobytes() for row in whole.x_test}
    train_rows = {row.tobytes() for row in whole.x_train}
    assert all(row.tobytes() in train_rows for row in held.x_test)
    assert not any(row.tobytes() in test_rows - train_rows for row in held.x_test)
