"""A training that goes on from a state is the training that was never interrupted."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from hil.control.states import pack, unpack
from hil.control.training import train
from hil.errors import StoreError

METHODS = {
    "M1": ("M1", ""),
    "M2": ("M2", ""),
    "M3": ("M3", "[refresh]\nevery = 7\nthreshold = 0.3\nfloor = 0.05"),
    "M3'": ("M3'", ""),
    "M3c": ("M3c", "[refresh]\nevery = 20\nexchange_every = 3"),
    "columns": ("M3", 'rate = "column"'),
    "progressive": ("progressive", ""),
    "tiki-taka": ("tiki-taka", "[rule.tiki_taka]\nsymmetry_pulses = 40\ngamma = 0.2"),
    "manhattan": ("manhattan", "[rule.manhattan]\nbatch = 8"),
    "threshold": ("threshold", "[rule.threshold]\nthreshold = 2.0"),
    "direct-gradient": ("direct-gradient", "[rule.direct_gradient]\nbatch = 25"),
    "weight-transfer": ("weight-transfer", ""),
    "float": ("float", ""),
}


class Memory:
    """Keeps packed states, and the devices with them, every few samples."""

    def __init__(self, backends, every=17):
        self.backends, self.every = backends, every
        self.kept, self.samples = [], 0

    def beside(self, state):
        self._beside = state

    def begun(self, state):
        self._take(state)

    def epoch_done(self, state):
        self._take(state)

    def sample_done(self, state):
        self.samples += 1
        if self.samples % self.every == 0:
            self._take(state)

    def _take(self, state):
        whole = {
            **self._beside(), "trainer": state(),
            "devices": {k: b.snapshot() for k, b in self.backends.items()},
            "ledgers": {k: b.ledger.tables() for k, b in self.backends.items()},
        }  # fmt: skip
        self.kept.append({name: array.copy() for name, array in pack(whole).items()})


def outcome(result, backends):
    """Return everything that a training leaves, without its wall-clock times."""
    epochs = [{k: v for k, v in asdict(e).items() if k != "seconds"} for e in result.history.epochs]
    return {
        "epochs": epochs, "costs": asdict(result.history.costs),
        "predictions": {k: v.tolist() for k, v in result.history.predictions.items()},
        "pulses": [result.characterise_pulses, result.initial_pulses],
        "float": result.float_accuracy,
        "g": {k: b.true_conductance_siemens().tolist() for k, b in backends.items()},
        "ledgers": {k: {n: np.nan_to_num(t).tolist() for n, t in b.ledger.tables().items()}
                    for k, b in backends.items()},
    }  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_a_training_goes_on_from_any_state_as_if_it_had_never_stopped(
    name, make_training, place, blobs
):
    training = make_training(*METHODS[name])
    network, backends = place(training)
    memory = Memory(backends)
    whole = outcome(train(training, blobs, network, checkpoints=memory), backends)
    assert len(memory.kept) >= 8
    for kept in memory.kept[:: 3 if name not in ("M3", "M3c") else 1]:
        state = unpack(kept)
        network, backends = place(training)
        for k, backend in backends.items():
            backend.restore(state["devices"][k])
            backend.ledger.restore(state["ledgers"][k])
        again = train(training, blobs, network, resume=state)
        assert repr(outcome(again, backends)) == repr(whole)  # bit for bit, NaN included


class Counting:
    """A rule of one's own that remembers how often it was asked."""

    def __init__(self):
        self.asked = 0

    def slots(self, x, delta, rng):
        self.asked += 1
        return ()

    def state(self):
        return {"asked": self.asked}

    def restore(self, state):
        self.asked = state["asked"]


def test_a_rule_of_ones_own_gets_its_state_back():
    from hil.control.learners.pair_updates import restore_rule, rule_state

    rule, again = Counting(), Counting()
    for _ in range(5):
        rule.slots(None, None, None)
    restore_rule(again, rule_state(rule, 0), 0)
    assert again.asked == 5


def test_a_state_keeps_every_digit_and_every_type():
    rng = np.random.default_rng(4)
    state = {
        "a": [rng.normal(), float("nan"), float("-inf"), 2**127 + 1, None, True, "ä", [], {}],
        "b": {"c": rng.normal(size=(2, 3)), "d": [np.arange(3, dtype=np.uint32), np.float64(0.1)]},
        "empty": np.zeros((0, 4)),
    }
    back = unpack(pack(state))
    assert repr(back["a"]) == repr(state["a"])
    assert (back["b"]["c"] == state["b"]["c"]).all()
    assert back["b"]["d"][0].dtype == np.uint32
    assert back["b"]["d"][1] == 0.1
    assert back["empty"].shape == (0, 4)


@pytest.mark.parametrize(
    "arrays", [{}, {"tree": np.frombuffer(b"[1", np.uint8)},
               {"tree": np.frombuffer(b'{"a": {"$array": "gone"}}', np.uint8)},
               {"tree": np.frombuffer(b"[]", np.uint8)}], ids=["none", "cut", "gone", "list"],
)  # fmt: skip
def test_arrays_that_are_no_state_are_refused(arrays):
    with pytest.raises(StoreError, match="no state"):
        unpack(arrays)


def test_a_state_refuses_what_it_could_not_give_back():
    with pytest.raises(TypeError, match="cannot hold set"):
        pack({"a": {"b": {1, 2}}})
