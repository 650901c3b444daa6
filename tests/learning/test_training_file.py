from __future__ import annotations

import pytest

from hil.config.toml_file import validate_text
from hil.config.training import STARTER, Training, load_training
from hil.errors import ConfigError

MINIMAL = "schema = 1\n"


def test_the_starter_file_is_the_demos_setting():
    training = validate_text(STARTER, Training)
    assert training.network.scales == (4.0, 8.0)
    assert training.schedule.eta == 0.143
    refresh = training.effective_refresh
    assert refresh is not None
    assert (refresh.every, refresh.threshold) == (100, 0.5)


def test_a_minimal_file_is_the_64_32_10_network_on_digits():
    training = validate_text(MINIMAL, Training)
    assert training.dataset.kind == "digits"
    assert training.network.hidden == (32,)
    assert training.rule.method == "M3"
    assert training.effective_refresh is not None


def test_bidirectional_training_has_no_refresh():
    assert validate_text(MINIMAL + '[rule]\nmethod = "M1"\n', Training).effective_refresh is None


def test_scales_follow_the_depth_of_the_network():
    training = validate_text(MINIMAL + "[network]\nhidden = [250, 125]\n", Training)
    assert training.network.scales == (4.0, 4.0, 8.0)
    assert validate_text(MINIMAL + "[network]\nhidden = []\n", Training).network.scales == (8.0,)


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        ("name = 'x'\n", None, "schema", "required"),
        ("schema = 2\n", 1, "schema", "1"),
        ("schema = 1\nsede = 3\n", 2, "sede", "did you mean 'seed'"),
        ("schema = 1\npath = 'x'\n", None, "", "not a field"),
        ("schema = 1\n[schedule]\nepochs = 0\n", 3, "schedule.epochs", "1"),
        ("schema = 1\n[schedule]\neta = -1\n", 3, "schedule.eta", "greater than 0"),
        ("schema = 1\n[schedule]\neta = nan\n", 3, "schedule.eta", "finite"),
        ("schema = 1\n[schedule]\ndecay = 1.5\n", 3, "schedule.decay", "1"),
        ("schema = 1\n[network]\nhidden = [0]\n", 3, "network.hidden[0]", "1"),
        ("schema = 1\n[network]\nweight_scales = [1.0]\n", 3, "network.weight_scales", "2 layers"),
        ("schema = 1\n[dataset]\nkind = 'cifar'\n", 3, "dataset.kind", "digits"),
        ("schema = 1\n[dataset]\nkind = 'mnist'\n", 3, "dataset.kind", "folder"),
        ("schema = 1\n[dataset]\nkind = 'npz'\nfolder = 'x'\n", 4, "dataset.folder", "none"),
        ("schema = 1\n[dataset]\ntest_share = 1.0\n", 3, "dataset.test_share", "1"),
        ("schema = 1\n[rule]\ntrigger = 'T1'\n", 3, "rule.trigger", "theta"),
        ("schema = 1\n[rule]\ntheta = 0.1\n", 3, "rule.theta", "no such threshold"),
        ("schema = 1\n[rule]\nslots = 8\nmax_slots = 4\n", 4, "rule.max_slots", "below"),
        ("schema = 1\n[rule]\nrule = 'nocolon'\n", 3, "rule.rule", "pattern"),
        ("schema = 1\n[rule]\n[rule.options]\na = 1\n", 3, "rule.options", "of your own"),
        ("schema = 1\n[rule]\nmethod = 'M1'\n[refresh]\nevery = 10\n", 5, "refresh.every", "M1"),
        ("schema = 1\n[refresh]\nthreshold = 0.1\nfloor = 0.2\n", 4, "refresh.floor", "below"),
        ("schema = 1\n[refresh]\nevery = '100'\n", 3, "refresh.every", "integer"),
        ("schema = 1\nseed = true\n", 2, "seed", "integer"),
    ],
)
def test_a_wrong_training_file_says_line_field_and_what(tmp_path, text, line, field, message):
    path = tmp_path / "training.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        load_training(path)
    assert error.value.path == str(path)
    assert error.value.line == line
    assert (error.value.field or "") == field


def test_paths_are_relative_to_the_training_file(tmp_path):
    path = tmp_path / "training.toml"
    path.write_text(MINIMAL, encoding="utf-8")
    assert load_training(path).beside("data") == tmp_path / "data"
