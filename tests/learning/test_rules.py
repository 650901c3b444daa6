from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.errors import ConfigError, RuleError
from hil.learning.loading import load_rule
from hil.learning.methods import METHODS, ColumnSteps, PairRule, RatedRule, step_per_coincidence
from hil.learning.rule import UpdateRule, UpdateSlots, check_slots
from hil.learning.schedule import Annealing, ExponentialDecay
from hil.learning.triggers import (
    MAX_SLOTS_PER_BLOCK,
    ProductThreshold,
    SeparableThresholds,
    StochasticCoincidence,
)

X = np.array([0.0, 0.2, 0.6, 1.0])
DELTA = np.array([0.5, -0.3, 0.04, 0.0, -0.9])


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def moved(slots, n_in, n_out):
    """Net weight steps (n_in, n_out): potentiated G+ or depressed G- count +1 each."""
    w = np.zeros((n_in, n_out))
    for part in slots:
        check_slots(slots, n_in, n_out)
        for rows, plus, minus in zip(part.rows, part.plus, part.minus, strict=True):
            w += part.polarity * np.outer(rows, plus.astype(int) - minus.astype(int))
    return w


def test_product_threshold_hits_exactly_the_products_above_it(rng):
    rule = PairRule("M3", ProductThreshold(0.1))
    slots = rule.slots(X, DELTA, rng)
    expected = np.sign(DELTA) * (np.outer(X, np.abs(DELTA)) > 0.1)
    assert (moved(slots, 4, 5) == expected).all()


def test_product_threshold_needs_more_than_one_slot_where_products_do_not_separate(rng):
    rows, _ = ProductThreshold(0.1).coincidences(X, np.abs(DELTA), rng)
    assert len(rows) > 1


def test_separable_thresholds_give_one_slot_of_the_expected_bits(rng):
    (slots,) = PairRule("M3", SeparableThresholds(0.5, 0.1)).slots(X, DELTA, rng)
    assert slots.rows.tolist() == [[False, False, True, True]]
    assert slots.plus.tolist() == [[True, False, False, False, False]]
    assert slots.minus.tolist() == [[False, True, False, False, True]]


@pytest.mark.parametrize(
    ("method", "polarities", "steps"),
    [("M1", [1, -1], 2), ("M2", [1, -1], 1), ("M3", [1], 1), ("M3'", [-1], 1)],
)
def test_methods_move_weights_by_the_sign_of_the_error(rng, method, polarities, steps):
    slots = PairRule(method, SeparableThresholds(0.5, 0.1)).slots(X, DELTA, rng)
    assert [part.polarity for part in slots] == polarities
    expected = steps * np.outer(X > 0.5, np.sign(DELTA) * (np.abs(DELTA) > 0.1))
    assert (moved(slots, 4, 5) == expected).all()


def test_fixed_reference_never_pulses_the_minus_device(rng):
    slots = PairRule("M2", SeparableThresholds(0.0, 0.0)).slots(X, DELTA, rng)
    assert not any(part.minus.any() for part in slots)


@pytest.mark.parametrize(("method", "polarity"), [("M3", 1), ("M3'", -1)])
def test_unidirectional_methods_have_one_polarity_for_both_signs(rng, method, polarity):
    rule = PairRule(method, StochasticCoincidence(0.5, 0.05, slots=1, max_slots=64))
    for _ in range(50):
        for part in rule.slots(rng.random(6), rng.uniform(-1, 1, 4), rng):
            assert part.polarity == polarity


def test_bidirectional_method_moves_both_devices_of_a_pair_oppositely(rng):
    up, down = PairRule("M1", SeparableThresholds(0.5, 0.1)).slots(X, DELTA, rng)
    assert (up.plus == down.minus).all()
    assert (up.minus == down.plus).all()
    assert (up.rows == down.rows).all()


def test_errors_inside_the_dead_zone_give_no_pulse(rng):
    rule = PairRule("M3", SeparableThresholds(0.0, 0.0), dead_zone=0.3)
    (slots,) = rule.slots(X, DELTA, rng)
    assert slots.plus[0].tolist() == [True, False, False, False, False]
    assert slots.minus[0].tolist() == [False, False, False, False, True]
    assert rule.slots(X, np.full(5, 0.29), rng) == ()


@pytest.mark.parametrize(
    ("method", "slots", "max_slots", "eta"),
    [("M3", 1, None, 0.01), ("M3", 4, None, 0.04), ("M3", 1, 40, 0.3), ("M1", 1, 64, 0.3),
     ("M2", 2, 40, 0.1), ("M3'", 1, 64, 0.3)],
)  # fmt: skip
def test_stochastic_coincidence_gives_eta_x_delta_on_average(method, slots, max_slots, eta):
    rng = np.random.default_rng(2)
    up, down = 0.011, 0.007
    step = step_per_coincidence(method, up, down)
    trigger = StochasticCoincidence(eta, step, slots=slots, max_slots=max_slots)
    rule = PairRule(method, trigger)
    total, n = np.zeros((4, 5)), 4000
    for _ in range(n):
        for part in rule.slots(X, DELTA, rng):
            size = up if part.polarity > 0 else down
            total += size * moved([part], 4, 5)
    expected = eta * np.outer(X, DELTA)
    if method == "M2":  # up and down steps differ: the mean of both is what the rate is tied to
        expected = expected * np.where(DELTA > 0, up, down) / step
    # Variance of a mean of n sums of at most step-sized contributions, five standard errors.
    tolerance = 5 * np.sqrt(step * np.abs(expected).max() / n)
    assert total / n == pytest.approx(expected, abs=tolerance)
    assert trigger.clips.fraction == 0.0


@pytest.mark.parametrize(("slots", "max_slots"), [(1, None), (2, 8)])
def test_balanced_bits_give_the_same_mean_and_are_cut_at_far_higher_rates(slots, max_slots):
    rng = np.random.default_rng(8)
    x, delta, eta, step = np.array([1.0, 0.5]), np.array([0.05, -0.02]), 0.15, 0.01
    trigger = StochasticCoincidence(eta, step, slots=slots, max_slots=max_slots, balanced=True)
    plain = StochasticCoincidence(eta, step, slots=slots)
    rule = PairRule("M3", trigger)
    total, n = np.zeros((2, 2)), 8000
    for _ in range(n):
        for part in rule.slots(x, delta, rng):
            total += step * moved([part], 2, 2)
        plain.coincidences(x, np.abs(delta), rng)
    expected = eta * np.outer(x, delta)
    assert total / n == pytest.approx(expected, abs=5 * np.sqrt(step * np.abs(expected).max() / n))
    assert trigger.clips.fraction == 0.0
    assert plain.clips.fraction > 0.2


def test_clipped_probabilities_are_counted_and_lower_the_mean():
    rng = np.random.default_rng(4)
    trigger = StochasticCoincidence(0.16, 0.01)  # root of kappa = 4
    rule = PairRule("M3", trigger)
    total, n = np.zeros((1, 1)), 500
    for _ in range(n):
        total += 0.01 * moved(rule.slots(np.ones(1), np.ones(1), rng), 1, 1)
    assert trigger.clips.fraction == 1.0
    assert total[0, 0] / n == pytest.approx(0.01)


def test_more_slots_are_used_only_where_a_probability_would_exceed_one():
    trigger = StochasticCoincidence(0.16, 0.01, slots=1, max_slots=100)
    assert trigger.slots_for(1.0) == 16
    assert trigger.slots_for(0.5) == 4
    assert trigger.slots_for(0.1) == 1
    trigger.set_rate(0.32)
    assert trigger.slots_for(1.0) == 32


def test_long_pulse_trains_are_cut_into_blocks_without_losing_a_slot():
    rng = np.random.default_rng(0)
    rule = PairRule("M1", StochasticCoincidence(1.0, 0.01, slots=1, max_slots=100))
    slots = rule.slots(np.ones(3), np.ones(2), rng)
    assert max(len(part.rows) for part in slots) == MAX_SLOTS_PER_BLOCK
    assert (moved(slots, 3, 2) == 200).all()


def test_same_seed_gives_the_same_bits():
    rule = PairRule("M3", StochasticCoincidence(0.1, 0.02))
    a = rule.slots(X, DELTA, np.random.default_rng(9))
    b = rule.slots(X, DELTA, np.random.default_rng(9))
    assert (moved(a, 4, 5) == moved(b, 4, 5)).all()


def test_a_rule_refuses_nan_and_negative_activities(rng):
    rule = PairRule("M3", StochasticCoincidence(0.1, 0.02))
    with pytest.raises(RuleError, match="NaN"):
        rule.slots(X, np.array([np.nan, 0, 0, 0, 0]), rng)
    with pytest.raises(RuleError, match="activities"):
        rule.slots(-X, DELTA, rng)
    with pytest.raises(RuleError, match="finite"):
        rule.slots(np.array([0.0, np.inf, 0.0, 1.0]), DELTA, rng)


def test_a_rule_takes_activities_that_its_caller_scaled_beyond_one():
    rule = PairRule("M3", SeparableThresholds(0.5, 0.1))
    (slots,) = rule.slots(3.0 * X, DELTA, np.random.default_rng(0))
    assert slots.rows.tolist() == [[False, True, True, True]]


def _bits(*shape):
    return np.ones(shape, dtype=np.bool_)


GOOD = UpdateSlots(1, _bits(2, 3), _bits(2, 4), _bits(2, 4))


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (None, "sequence"),
        ("no", "sequence"),
        ([3], r"slots\[0\] is int"),
        ([GOOD, replace(GOOD, polarity=0)], r"slots\[1\].polarity"),
        ([replace(GOOD, rows=_bits(2, 2))], r"rows has shape \(2, 2\)"),
        ([replace(GOOD, plus=_bits(1, 4))], r"plus has shape"),
        ([replace(GOOD, minus=_bits(2, 4).astype(float))], "boolean"),
        ([replace(GOOD, rows=np.full((2, 3), np.nan))], "boolean"),
        ([replace(GOOD, rows=[[True]])], "boolean"),
        ([replace(GOOD, rows=_bits(3))], "rows has shape"),
    ],
)
def test_wrong_rule_output_is_named(slots, message):
    check_slots([GOOD], 3, 4)
    with pytest.raises(RuleError, match=message):
        check_slots(slots, 3, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProductThreshold(-1.0),
        lambda: ProductThreshold(float("nan")),
        lambda: SeparableThresholds(0.1, float("inf")),
        lambda: StochasticCoincidence(-0.1, 0.1),
        lambda: StochasticCoincidence(0.1, 0.0),
        lambda: StochasticCoincidence(0.1, float("nan")),
        lambda: StochasticCoincidence(0.1, 0.1, slots=0),
        lambda: StochasticCoincidence(0.1, 0.1, slots=4, max_slots=2),
        lambda: PairRule("M4", ProductThreshold(0.1)),
        lambda: PairRule("M3", ProductThreshold(0.1), dead_zone=-0.1),
        lambda: step_per_coincidence("M4", 1.0, 1.0),
        lambda: ExponentialDecay(0.0),
        lambda: ExponentialDecay(0.1, 1.5),
        lambda: Annealing(0.1, 0),
        lambda: Annealing(-0.1, 3),
        lambda: Annealing(0.1, 3, 0.0),
        lambda: Annealing(0.1, 3, 0.1, "square"),
        lambda: PairRule("M3", ProductThreshold(0.1), steps=ColumnSteps(*np.zeros((4, 5)))),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_learning_rate_decays_by_epoch():
    schedule = ExponentialDecay(0.143, 0.85)
    assert schedule.rate(0) == 0.143
    assert schedule.rate(3) == pytest.approx(0.143 * 0.85**3)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_annealing_goes_from_eta_to_its_final_share(shape):
    schedule = Annealing(0.2, 5, 0.1, shape)
    rates = [schedule.rate(epoch) for epoch in range(5)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[-1] == pytest.approx(0.02)
    assert rates[2] == pytest.approx(0.11)
    assert rates == sorted(rates, reverse=True)
    assert Annealing(0.2, 1, 0.1, shape).rate(0) == 0.2


@pytest.mark.parametrize("method", METHODS)
def test_a_rate_per_column_moves_every_column_by_eta_x_delta(method):
    rng = np.random.default_rng(5)
    relative = np.array([0.5, 1.0, 1.5, 0.8, 1.2])
    # Columns of G+ step as `relative`, those of G- the other way round; down is half of up.
    up, down, eta = 0.012, 0.006, 0.05
    steps = ColumnSteps(up * relative, up * relative[::-1], down * relative, down * relative[::-1])
    mean = step_per_coincidence(method, up, down)
    trigger = StochasticCoincidence(eta, mean, max_slots=64)
    rule = PairRule(method, trigger, steps=steps)
    total, n = np.zeros((4, 5)), 4000
    for _ in range(n):
        for part in rule.slots(X, DELTA, rng):
            size = up if part.polarity > 0 else down
            for rows, plus, minus in zip(part.rows, part.plus, part.minus, strict=True):
                pulse = plus * relative - minus * relative[::-1]
                total += part.polarity * size * np.outer(rows, pulse)
    expected = eta * np.outer(X, DELTA)
    tolerance = 6 * np.sqrt(2 * mean * np.abs(expected).max() / n)
    assert total / n == pytest.approx(expected, abs=tolerance)
    assert trigger.clips.fraction == 0.0


def test_every_method_makes_a_rule_with_a_rate():
    for method in METHODS:
        rule = PairRule(method, StochasticCoincidence(0.1, 0.1))
        assert isinstance(rule, UpdateRule)
        assert isinstance(rule, RatedRule)


class EveryPair:
    """A user's own rule: potentiate every pair of the first output."""

    def __init__(self, output: int = 0) -> None:
        self.output = output

    def slots(self, x, delta, rng):
        plus = np.zeros((1, delta.size), dtype=np.bool_)
        plus[0, self.output] = True
        return [UpdateSlots(1, np.ones((1, x.size), np.bool_), plus, np.zeros_like(plus))]


class NoRule:
    """Not a rule: it has no ``slots``."""


class Unmakeable:
    """Its constructor fails."""

    def __init__(self) -> None:
        raise OSError("no file")


def test_a_users_rule_is_loaded_by_name_with_its_options(rng):
    rule = load_rule(f"{__name__}:EveryPair", {"output": 2})
    assert (moved(rule.slots(X, DELTA, rng), 4, 5)[:, 2] == 1).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no colon", {}, "package.module:Class"),
        ("os.path; x:Y", {}, "package.module:Class"),
        ("no_such_package_at_all:Rule", {}, "cannot be imported"),
        (f"{__name__}:Missing", {}, "has no class"),
        (f"{__name__}:DELTA", {}, "has no class"),
        (f"{__name__}:EveryPair", {"wrong": 1}, "cannot be made"),
        (f"{__name__}:NoRule", {}, "no method slots"),
        (f"{__name__}:Unmakeable", {}, "cannot be made: OSError: no file"),
    ],
)
def test_a_rule_that_cannot_be_loaded_says_why(name, options, message):
    with pytest.raises(ConfigError, match=message):
        load_rule(name, options)


def test_a_rules_module_that_fails_while_it_is_imported_says_why(tmp_path, monkeypatch):
    (tmp_path / "rule_with_a_typo.py").write_text("class Rule(:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot be imported: SyntaxError: .*rule_with_a_typo"):
        load_rule("rule_with_a_typo:Rule")
