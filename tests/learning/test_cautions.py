"""A training says what its author may not want, and goes on."""

from __future__ import annotations

import numpy as np
import pytest

from hil.control.cautions import of_dataset, of_response
from hil.control.response import ResponseCurve
from hil.control.training import train
from hil.datasets.dataset import Dataset


@pytest.fixture
def warnings_of(small_network):
    def run(training, dataset):
        events = []
        train(training, dataset, small_network(training),
              on_event=lambda kind, fields: events.append((kind, fields)))  # fmt: skip
        return [fields["what"] for kind, fields in events if kind == "warning"]

    return run


def short(training):
    schedule = training.schedule.model_copy(update={"samples": 20})
    return training.model_copy(update={"schedule": schedule, "baseline": False})


def test_a_threshold_that_devices_do_not_reach_is_named(small, blobs, warnings_of):
    # 150 pulses cross the 128 states; 64 get half-way.
    refresh = "threshold = 0.9"
    assert warnings_of(short(small(epochs=1, refresh=refresh, pulses=150)), blobs) == []
    texts = warnings_of(short(small(epochs=1, refresh=refresh, pulses=64)), blobs)
    assert len(texts) == 2  # an array per layer
    assert texts[0].startswith("refresh.threshold: 0.9 of the conductance window is hardly ever")
    assert "64 pulses took the measured devices of layer 0 to 0.5" in texts[0]


@pytest.mark.parametrize(("method", "used", "said"), [("M3", 0.8, 1), ("M3", 0.95, 0),
                                                      ("M3'", 0.8, 1), ("M3'", 0.95, 0),
                                                      ("M1", 0.8, 0)])  # fmt: skip
def test_the_threshold_is_held_against_the_end_that_pulses_move_towards(
    small, small_network, method, used, said
):
    up = np.linspace(0.0, 1.0, 11)
    curve = ResponseCurve(up * used, 1.0 - up * used, up, up)
    training = small(method, refresh="threshold = 0.9" if method != "M1" else "")
    layers = small_network(training).layers
    texts = of_response(training, [layers[0]], [curve])
    assert len(texts) == said
    assert all("10 pulses took the measured devices of layer 0 to 0.8" in text for text in texts)


def with_labels(blobs, largest):
    y = np.where(blobs.y_train == 2, largest, blobs.y_train)
    return Dataset.checked("gaps", blobs.x_train, y, blobs.x_test, blobs.y_test)


def test_classes_without_a_sample_are_named(small, blobs):
    training = small()
    assert of_dataset(training, blobs) == []
    (text,) = of_dataset(training, with_labels(blobs, 5))
    assert "3 of 6 classes have no training sample (2, 3, 4), the largest label is 5" in text
    table = training.dataset.model_copy(update={"kind": "npz", "classes": 6})
    meant = training.model_copy(update={"dataset": table})
    assert of_dataset(meant, with_labels(blobs, 5)) == []
