"""Memory of a training grows with its arrays, not with the samples that they learn."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.learners.making import make_learner
from hil.control.placement import build_network, layer_sizes, lines_needed
from hil.control.recorder import Recorder
from hil.control.training import measure_layers
from hil.record import RunFolder

TRAINING = """\
schema = 1
[network]
hidden = [5]
[schedule]
eta = 0.1
[refresh]
every = 20
[characterise]
pulses = 100
"""
FIRST, MORE, WINDOWS = 300, 500, 4
MOST_BYTES = 8_000  # 16 bytes a sample: less than any object that could be kept of one


def test_memory_does_not_grow_with_the_samples(open_site, blobs, tmp_path):
    training = validate_text(TRAINING, Training)
    sites = [
        open_site(*lines_needed(size), device="nonlinear", seed=k + 1)
        for k, size in enumerate(layer_sizes(training, blobs))
    ]
    with RunFolder.create(
        tmp_path, "memory", kind="train", backend="sim", simulated=True, levels="operation"
    ) as run:
        network = build_network(training, blobs, sites, Recorder(run))
        curves, _ = measure_layers(training, network.matrices)
        learner = make_learner(training, network, curves, np.random.default_rng(1))
        learner.set_rate(0.1)
        targets = np.eye(3)[blobs.y_train]

        def bytes_after(samples: int) -> int:
            for n in range(samples):
                k = n % len(targets)
                learner.learn(blobs.x_train[k], targets[k])
            run.barrier()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        held = [bytes_after(FIRST), *(bytes_after(MORE) for _ in range(WINDOWS))]
        tracemalloc.stop()
    assert learner.work.refresh > 0
    # Other tests' threads and late imports allocate once; what a sample keeps grows every window.
    assert np.diff(held).min() < MOST_BYTES, held
