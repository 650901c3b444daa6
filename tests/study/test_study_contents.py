"""An id covers what the files name: a rule's source and the data; paths are those of their file."""

from __future__ import annotations

import gzip
import sys
import tomllib

import numpy as np
import pytest
from studies import RULE, write_mnist, write_study

from hil.errors import ConfigError
from hil.study.contents import module_sources
from hil.study.file import load_study
from hil.study.points import Planner


def points(file):
    planner = Planner(load_study(file))
    return [p for c in planner.combinations() for p in planner.counting(c, {})]


def ids(file):
    return [p.id for p in points(file)]


def write_npz(path, n_features=8, seed=1):
    rng = np.random.default_rng(seed)
    np.savez(path, x_train=rng.random((40, n_features)), y_train=np.repeat(np.arange(4), 10))


def with_rule(folder, name):
    return write_study(folder, f'[set]\n"training.rule.rule" = "{name}"\n'
                               '"training.rule.method" = "M3"\n')  # fmt: skip


def test_id_changes_with_the_source_of_a_rule_that_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ruled_a.py").write_text("import beside_a\nimport json\n" + RULE)
    (tmp_path / "beside_a.py").write_text("GAIN = 1\n")
    (tmp_path / "other_a.py").write_text("")
    file = with_rule(tmp_path, "ruled_a:Rule")
    first = ids(file)
    (tmp_path / "other_a.py").write_text("# nothing imports it")
    assert ids(file) == first
    (tmp_path / "beside_a.py").write_text("GAIN = 2\n")
    second = ids(file)
    (tmp_path / "ruled_a.py").write_text("import beside_a\n" + RULE)
    third = ids(file)
    assert len({*first, *second, *third}) == 3
    assert "ruled_a" not in sys.modules


def test_id_covers_the_whole_package_of_a_rule(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "rules_b" / "deep"
    package.mkdir(parents=True)
    (tmp_path / "rules_b" / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "mine.py").write_text(RULE)
    (package / "notes.txt").write_text("no code")
    names = [name for _, name in module_sources("rules_b.deep.mine")]
    assert names == ["rules_b/__init__.py", "rules_b/deep/mine.py"]
    file = with_rule(tmp_path, "rules_b.deep.mine:Rule")
    first = ids(file)
    (package / "more.py").write_text("")
    assert ids(file) != first


def test_installed_modules_beside_a_rule_are_not_of_it():
    assert {name.partition("/")[0] for _, name in module_sources("numpy.linalg")} == {"numpy"}
    assert module_sources("no_such_module_anywhere") == []


def test_id_changes_with_the_content_of_the_data_sets_file(tmp_path):
    write_npz(tmp_path / "dat.npz")
    file = write_study(tmp_path, '[set]\n"training.dataset" = { kind = "npz", file = "dat.npz" }')
    first = ids(file)
    assert ids(file) == first
    write_npz(tmp_path / "dat.npz", seed=2)
    assert ids(file) != first


def test_id_changes_with_every_file_of_mnist(tmp_path):
    write_mnist(tmp_path / "mnist")
    file = write_study(tmp_path, '[set]\n"training.dataset" = {kind = "mnist", folder = "mnist"}')
    found = set(ids(file))
    for n, path in enumerate(sorted((tmp_path / "mnist").iterdir()), start=2):
        path.write_bytes(gzip.compress(path.read_bytes()))  # another content of the same length
        found |= set(ids(file))
        assert len(found) == n


def test_file_is_read_once_per_planning(tmp_path, monkeypatch):
    write_npz(tmp_path / "dat.npz")
    file = write_study(
        tmp_path,
        """
        seeds = [1, 2, 3]
        [set]
        "training.dataset" = { kind = "npz", file = "dat.npz" }
        [grid]
        "training.schedule.eta" = [0.1, 0.2]
        """,
    )
    from hil.study import contents

    read, digest = [], contents._digest

    def counted(path):
        read.append(path.name)
        return digest(path)

    monkeypatch.setattr(contents, "_digest", counted)
    assert len(set(ids(file))) == 6
    assert read == ["dat.npz"]


def test_paths_are_relative_to_the_file_that_says_them(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    file = write_study(
        inner,
        """
        [set]
        "station.calibration" = "cal-{array}.json"
        [[case]]
        name = "own"
        [[case]]
        name = "studys"
        set = { "training.dataset.file" = "dat.npz", "station.array.0.device" = "./dev.toml" }
        """,
    )
    for name in ("station.toml", "training.toml"):
        (inner / name).rename(tmp_path / name)
    text = (tmp_path / "training.toml").read_text()
    (tmp_path / "training.toml").write_text(text + 'kind = "npz"\nfile = "dat.npz"\n')
    file.write_text(
        file.read_text().replace('"station.toml"', '"../station.toml"')
        .replace('"training.toml"', '"../training.toml"')
    )  # fmt: skip
    own, studys = points(file)
    trainings = [tomllib.loads(p.texts["training.toml"])["dataset"] for p in (own, studys)]
    assert [t["file"] for t in trainings] == [
        str((folder / "dat.npz").resolve()) for folder in (tmp_path, inner)
    ]
    stations = [tomllib.loads(p.texts["station.toml"]) for p in (own, studys)]
    assert {s["calibration"] for s in stations} == {str((inner / "cal-{array}.json").resolve())}
    assert stations[0]["array"][0]["device"] == "device.toml"
    assert stations[1]["array"][0]["device"] == str((inner / "dev.toml").resolve())
    (inner / "cal-main.json").write_text("{}")
    (tmp_path / "dat.npz").write_bytes(b"1")
    changed = ids(file)
    (inner / "dev.toml").write_text("# 2")
    again = ids(file)
    assert changed[0] not in (own.id, studys.id)
    assert changed[0] == again[0]
    assert changed[1] != again[1]


def test_rule_that_was_edited_after_it_was_loaded_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ruled_c.py").write_text(RULE)
    file = with_rule(tmp_path, "ruled_c:Rule")
    Planner(load_study(file)).check()
    Planner(load_study(file)).check()
    (tmp_path / "ruled_c.py").write_text(RULE + "\n# another\n")
    with pytest.raises(ConfigError, match="was edited after this process had loaded it"):
        Planner(load_study(file)).check()


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (RULE, "ruled_d:Ruled", "has no class 'Ruled'"),
        (RULE, "no_module_d:Rule", "cannot be imported"),
        ("import json\n\nboom\n", "ruled_e:Rule", "NameError: .*boom"),
        ("def f(:\n", "ruled_f:Rule", "SyntaxError"),
    ],
    ids=["class", "module", "name", "syntax"],
)
def test_rule_that_cannot_be_loaded_is_refused_before_the_first_run(
    tmp_path, monkeypatch, source, name, message
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{name.partition(':')[0].replace('no_module', 'ruled')}.py").write_text(source)
    with pytest.raises(ConfigError, match=message) as caught:
        Planner(load_study(with_rule(tmp_path, name))).check()
    assert caught.value.field == 'set."training.rule.rule"'


def test_data_set_and_network_are_checked_before_the_first_run(tmp_path):
    file = write_study(tmp_path, '[set]\n"training.dataset" = { kind = "npz", file = "dat.npz" }')
    with pytest.raises(ConfigError, match=r"dat\.npz: cannot be read") as caught:
        Planner(load_study(file)).check()
    assert caught.value.field == 'set."training.dataset"'
    Planner(load_study(file)).check(data=False)
    write_npz(tmp_path / "dat.npz", n_features=200)
    with pytest.raises(
        ConfigError, match=r"layers do not fit as tiles.*201 x 16.*100 x 128"
    ) as caught:
        Planner(load_study(file)).check()
    assert caught.value.path == str(file)
    assert "(arrays: main 100 x 128)" in caught.value.message
    write_npz(tmp_path / "dat.npz")
    Planner(load_study(file)).check()
