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
        (
            "schema = 1\n[rule]\ntrigger = 'T1'\ntheta = 0.1\nbalanced = true\n",
            5,
            "rule.balanced",
            "draws no bits",
        ),
        ("schema = 1\n[rule]\nrule = 'nocolon'\n", 3, "rule.rule", "pattern"),
        ("schema = 1\n[rule]\n[rule.options]\na = 1\n", 3, "rule.options", "of your own"),
        ("schema = 1\n[rule]\nmethod = 'M1'\n[refresh]\nevery = 10\n", 5, "refresh.every", "M1"),
        ("schema = 1\n[refresh]\nthreshold = 0.1\nfloor = 0.2\n", 4, "refresh.floor", "below"),
        (
            "schema = 1\n[rule]\nmethod = 'weight-transfer'\n[rule.weight_transfer]\n"
            "mode = 'open-loop'\ntolerance = 0.01\n",
            6,
            "rule.weight_transfer.tolerance",
            "open-loop",
        ),
        ("schema = 1\n[refresh]\nfloor = 0.2\nbase = 0.2\n", 4, "refresh.base", "due again"),
        ("schema = 1\n[refresh]\nevery = '100'\n", 3, "refresh.every", "integer"),
        ("schema = 1\nseed = true\n", 2, "seed", "integer"),
        ("schema = 1\n[rule]\nmethod = 'M4'\n", 3, "rule.method", "M3c"),
        (
            "schema = 1\n[rule]\nmethod = 'M1'\n[rule.manhattan]\nbatch = 2\n",
            4,
            "rule.manhattan",
            "does not use",
        ),
        ("schema = 1\n[rule]\nmethod = 'manhattan'\nslots = 2\n", 4, "rule.slots", "no trigger"),
        (
            "schema = 1\n[rule]\nmethod = 'float'\ndead_zone = 0.1\n",
            4,
            "rule.dead_zone",
            "no trigger",
        ),
        (
            "schema = 1\n[rule]\nmethod = 'manhattan'\n[rule.manhattan]\nbatch = 0\n",
            5,
            "rule.manhattan.batch",
            "1",
        ),
        (
            "schema = 1\n[rule]\nmethod = 'threshold'\n[rule.threshold]\nthreshold = 0.0\n",
            5,
            "rule.threshold.threshold",
            "greater than 0",
        ),
        (
            "schema = 1\n[rule]\nmethod = 'tiki-taka'\n[rule.tiki_taka]\ngamma = -1.0\n",
            5,
            "rule.tiki_taka.gamma",
            "0",
        ),
        ("schema = 1\n[rule]\nmethod = 'tiki-taka'\nrule = 'a:B'\n", 4, "rule.rule", "no rule"),
        ("schema = 1\n[rule]\nrule = 'a:B'\ntrigger = 'T3'\n", 4, "rule.trigger", "replaces"),
        ("schema = 1\n[rule]\nrate = 'column'\nmean_step = 0.1\n", 3, "rule.rate", "mean_step"),
        (
            "schema = 1\n[rule]\nrate = 'column'\ntrigger = 'T1'\ntheta = 0.1\n",
            3,
            "rule.rate",
            "no learning rate",
        ),
        (
            "schema = 1\n[refresh]\nexchange_every = 5\n",
            3,
            "refresh.exchange_every",
            "exchanges no devices",
        ),
        (
            "schema = 1\n[refresh]\nmode = 'open-loop'\npasses = 2\n",
            4,
            "refresh.passes",
            "does not read",
        ),
        ("schema = 1\n[refresh]\nthreshold = 1.5\n", 3, "refresh.threshold", "1"),
        (
            "schema = 1\n[rule]\nmethod = 'tiki-taka'\n[refresh]\nevery = 10\n",
            5,
            "refresh.every",
            "no refresh",
        ),
        ("schema = 1\n[schedule]\nkind = 'cosine'\ndecay = 0.5\n", 4, "schedule.decay", "none"),
        ("schema = 1\n[schedule]\nfinal = 0.5\n", 3, "schedule.final", "none"),
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


def test_the_refresh_of_m3c_exchanges_and_verifies_unless_told_otherwise():
    text = MINIMAL + '[rule]\nmethod = "M3c"\n'
    refresh = validate_text(text, Training).effective_refresh
    assert (refresh.mode, refresh.exchange_every) == ("write-verify", 40)
    told = validate_text(text + '[refresh]\nmode = "open-loop"\nexchange_every = 60\n', Training)
    assert told.effective_refresh.mode == "open-loop"
    assert told.effective_refresh.exchange_every == 60
    plain = validate_text(MINIMAL, Training).effective_refresh
    assert (plain.mode, plain.exchange_every) == ("open-loop", None)


def test_the_schema_lists_every_method_and_its_settings():
    schema = Training.model_json_schema()
    methods = schema["$defs"]["RuleTable"]["properties"]["method"]["enum"]
    assert {"M1", "M2", "M3", "M3'", "M3c", "float"} <= set(methods)
    tables = {m.replace("-", "_") for m in methods if not m.startswith("M")} - {"float"}
    assert tables <= set(schema["$defs"]["RuleTable"]["properties"])
