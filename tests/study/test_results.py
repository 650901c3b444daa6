"""Means, intervals, the picture."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_1samp
from studies import hil, write_study

from hil.errors import ConfigError
from hil.study.plot import plot_study
from hil.study.points import short
from hil.study.table import Mean, Row


def test_interval_is_the_one_of_the_t_test():
    values = [0.91, 0.93, 0.925, 0.94, 0.90]
    mean = Mean.of(values)
    low, high = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (mean.mean - mean.half, mean.mean + mean.half) == pytest.approx((low, high))
    assert mean.std == pytest.approx(np.std(values, ddof=1))
    assert str(mean) == "0.921 ± 0.016"
    wide = bootstrap((values,), np.mean, rng=1, n_resamples=2000).confidence_interval
    assert mean.half > (wide.high - wide.low) / 2, "five values are few: t is wider"


@pytest.mark.parametrize(
    ("values", "text"), [([], "–"), ([0.5], "0.5"), ([2, 2], "2 ± 0")], ids=["none", "one", "same"]
)
def test_few_values_claim_no_spread(values, text):
    assert str(Mean.of(values)) == text
    assert math.isnan(Mean.of(values).half) == (len(values) < 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("device.potentiation.nu", "potentiation.nu"),
        ("device.potentiation.nu, device.depression.nu", "nu"),
        ("device.range.g_max, training.seed", "range.g_max, seed"),
        ("case", "case"),
    ],
)
def test_fields_have_short_names(name, expected):
    assert short(name) == expected


def table(n=4):
    return [
        Row({"case": case, "device.potentiation.states": 16 * 2**k}, {}, 3, 0,
            {"test_accuracy": Mean.of([0.8 + 0.02 * k, 0.82 + 0.02 * k, 0.81])})
        for case in ("M1", "M3")
        for k in range(n)
    ]  # fmt: skip


def test_picture_is_written_and_unknown_names_are_refused(tmp_path):
    for suffix in ("png", "svg"):
        plot_study(table(), "potentiation.states", tmp_path / f"a.{suffix}", title="states")
        assert (tmp_path / f"a.{suffix}").stat().st_size > 5000
    plot_study(table(), "case", tmp_path / "b.png")
    with pytest.raises(ConfigError, match="not one of the swept fields: case, device"):
        plot_study(table(), "nu", tmp_path / "c.png")
    with pytest.raises(ConfigError, match="no run that is done gave it"):
        plot_study(table(), "case", tmp_path / "c.png", y="speed")
    with pytest.raises(ConfigError, match="not supported"):
        plot_study(table(), "case", tmp_path / "c.xyz")


def test_command_runs_shows_and_draws(tmp_path):
    file = write_study(tmp_path, 'seeds = [1, 2]\n[grid]\n"training.schedule.eta" = [0.05, 0.2]')
    out = tmp_path / "out"
    with hil("study", file, "--out", out, "--workers", 1, "--json") as process:
        answer, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = json.loads(answer)
    assert (found["ran"], found["skipped"], found["failed"]) == (4, 0, {})
    assert "4 of 4 runs done" in err
    with hil("study", "show", out / "small", "-n", "write_pulses") as process:
        text, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert text.splitlines()[1].split() == ["schedule.eta", "runs", "write_pulses"]
    assert len(text.splitlines()) == 4
    with hil("study", "plot", out / "small", "--x", "schedule.eta") as process:
        process.communicate(timeout=60)
    assert (out / "small" / "test_accuracy-schedule.eta.png").exists()
    with hil("study", "show", out / "small", "-n", "speed") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "speed: no run gave it" in err
