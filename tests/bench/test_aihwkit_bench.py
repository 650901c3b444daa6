"""The same network and data through IBM's aihwkit and through our whole path, in one run.

Skipped without aihwkit, which builds from its sources; docs/performance.md says how, and what is
compared. ``HIL_MNIST`` names the folder with MNIST's files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hil_sim.backend import SimBackend
from mnist_training import ETA, cpu_s, prepared

from hil.geometry import ArrayGeometry
from hil.learning.neuron import one_hot
from hil.operating import OperatingPoint
from hil.phases.writing import CoincidenceUpdate

WHY = "aihwkit is not installed; docs/performance.md says how to build it"
SETTLED, TIMED, UPDATES, ROUNDS = 300, 2000, 200, 5


@pytest.fixture
def torch(monkeypatch) -> Any:
    # Before OpenMP is loaded: its idle threads spin, which would count as CPU time of aihwkit.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytest.importorskip("aihwkit", reason=WHY)
    module = pytest.importorskip("torch", reason=WHY)
    module.set_num_threads(1)
    return module


def one_pulse_config() -> Any:
    """Return ReRAM-like devices (exponential steps, own variation) that get one slot per sample."""
    from aihwkit.simulator.configs import ExpStepDevice, SingleRPUConfig

    config = SingleRPUConfig(device=ExpStepDevice())
    config.update.desired_bl = 1
    config.update.update_bl_management = config.update.update_management = False
    config.mapping.max_input_size = config.mapping.max_output_size = 0  # one array per layer
    return config


def aihwkit_s(torch: Any, x: np.ndarray, targets: np.ndarray, order: np.ndarray) -> float:
    """Return the CPU time in seconds of learning ``order``, one sample at a time."""
    from aihwkit.nn import AnalogLinear, AnalogSequential
    from aihwkit.optim import AnalogSGD

    model = AnalogSequential(
        AnalogLinear(784, 200, True, rpu_config=one_pulse_config()), torch.nn.Hardsigmoid(),
        AnalogLinear(200, 10, True, rpu_config=one_pulse_config()), torch.nn.Hardsigmoid(),
    )  # fmt: skip
    optimizer = AnalogSGD(model.parameters(), lr=ETA)
    optimizer.regroup_param_groups(model)
    inputs, wanted = (torch.from_numpy(a.astype(np.float32)) for a in (x, targets))

    def learn(samples: np.ndarray) -> None:
        for k in samples:
            optimizer.zero_grad()
            loss = 0.5 * ((model(inputs[k : k + 1]) - wanted[k : k + 1]) ** 2).sum()
            loss.backward()
            optimizer.step()

    learn(order[:SETTLED])
    return cpu_s(lambda: learn(order[SETTLED:]))[0]


def test_an_epoch_beside_aihwkit(torch, mnist, tmp_path, show):
    order = np.random.default_rng(0).permutation(len(mnist.x_train))[: SETTLED + TIMED]
    targets = one_hot(mnist.y_train, 10)
    with prepared(tmp_path, mnist) as prep:

        def learn(samples: np.ndarray) -> None:
            for k in samples:
                prep.learner.learn(mnist.x_train[k], targets[k])

        learn(order[:SETTLED])
        ours_s, _ = cpu_s(lambda: learn(order[SETTLED:]))
    theirs_s = aihwkit_s(torch, mnist.x_train, targets, order)
    show(
        f"an epoch of 60 000: {ours_s / TIMED * 6e4:.1f} s with refresh and recording, aihwkit "
        f"{theirs_s / TIMED * 6e4:.1f} s; ratio {theirs_s / ours_s:.2f}\n"
    )


def update_s(update: Callable[[], Any]) -> float:
    """Return the CPU time of one of ``UPDATES`` updates in seconds."""
    return cpu_s(lambda: [update() for _ in range(UPDATES)])[0] / UPDATES


def test_the_update_of_784_by_200_devices_beside_aihwkit(torch, show):
    from aihwkit.nn import AnalogLinear

    layer = AnalogLinear(784, 200, False, rpu_config=one_pulse_config())
    tile = next(layer.analog_tiles())
    x, d = torch.ones(1, 784), torch.ones(1, 200)
    tile.set_learning_rate(1.0)  # every probability is cut to 1: one pulse per device
    before = tile.get_weights()[0].clone()
    tile.update(x, d)
    assert (tile.get_weights()[0] != before).float().mean() > 0.99
    geometry, rows = ArrayGeometry(784, 200), np.arange(784)
    op = OperatingPoint(potentiate_v=2.0, write_s=1e-6, gap_s=1e-6)
    update = CoincidenceUpdate(geometry, op, rows)
    every = (
        np.ones((1, 784), np.bool_),
        (np.ones((1, 200), np.bool_), update.col_lines(np.arange(200))),
    )
    block = update.block(1, every[0], every[1])
    with SimBackend(geometry, "nonlinear", seed=1) as backend:
        backend.run_block(block)
        updates = (lambda: backend.run_block(block), lambda: tile.update(x, d))
        rounds = [[update_s(update) for update in updates] for _ in range(ROUNDS)]
    ours_s, theirs_s = np.min(rounds, axis=0)  # the least: others on the machine only add
    n = 784 * 200
    show(
        f"784 x 200 update, one pulse per device: {n / ours_s / 1e6:.0f} M/s through limits, "
        f"physics and ledger, aihwkit {n / theirs_s / 1e6:.0f} M/s; ratio {theirs_s / ours_s:.1f}\n"
    )
