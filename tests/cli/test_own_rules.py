"""What `hil` says of own rules, of layers that do not fit, and of settings to think over."""

from __future__ import annotations

import numpy as np
import pytest
from command import SHORT_TRAINING, STATION, error_line, hil, write

from hil.record import open_run

TRAINING_STATION = STATION.replace("rows = 8\ncols = 8", "rows = 70\ncols = 20")
RULE = """
class Late:
    n = 0
    def slots(self, x, delta, rng):
        self.n += 1
        if self.n > 9:
            raise RuntimeError("boom")
        return []
"""


def training_with(rule):
    # M1 has no refresh: there is nothing to warn of.
    return SHORT_TRAINING + f'[rule]\nmethod = "M1"\nrule = "{rule}"\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "late_rules.py").write_text(RULE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write(tmp_path, "station.toml", TRAINING_STATION)
    write(tmp_path, "late.toml", training_with("late_rules:Late"))
    write(tmp_path, "missing.toml", training_with("no_such_module:Rule"))
    return tmp_path


def test_an_error_of_a_users_rule_is_the_users(folder):
    error = error_line("train", "late.toml", "--station", "station.toml", "--sim", cwd=folder,
                       code=3)  # fmt: skip
    assert "late_rules:Late, layer 0: slots() raised RuntimeError: boom at " in error
    assert "late_rules.py:7 (sample " in error


def test_a_rule_that_cannot_be_imported_is_found_by_check_and_before_a_pulse(folder):
    message = "missing.toml: rule.rule: 'no_such_module' cannot be imported"
    assert message in error_line("check", "missing.toml", cwd=folder, code=3)
    arguments = "train", "missing.toml", "--station", "station.toml", "--sim"
    assert message in error_line(*arguments, cwd=folder, code=3)
    assert hil("check", "late.toml", cwd=folder).returncode == 0


def test_layers_that_do_not_fit_name_both_files(folder):
    write(folder, "wide.toml", SHORT_TRAINING.replace("[4]", "[40]"))
    error = error_line("train", "wide.toml", "--station", "station.toml", "--sim", cwd=folder,
                       code=3)  # fmt: skip
    assert error.startswith("hil: wide.toml: placement.layers: the layers do not fit")
    assert "(arrays of station.toml: main 70 x 20)" in error


def test_warnings_are_on_standard_error_and_in_the_run(folder):
    x, y = np.random.default_rng(0).random((40, 5)), np.repeat([0, 2], 20)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    write(folder, "gaps.toml", SHORT_TRAINING.replace("pulses = 32", "pulses = 8") + (
        '[dataset]\nkind = "npz"\nfile = "data.npz"\n[refresh]\nthreshold = 0.99\n'
    ))  # fmt: skip
    done = hil("train", "gaps.toml", "--station", "station.toml", "--sim", cwd=folder)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("hil: warning: ")]
    assert len(said) == 2
    assert "1 of 3 classes have no training sample (1)" in said[0]
    assert "refresh.threshold: 0.99" in said[1]
    (run,) = (folder / "runs").iterdir()
    noted = [event["what"] for event in open_run(run).events if event["kind"] == "warning"]
    assert [f"hil: warning: {text}" for text in noted] == said
