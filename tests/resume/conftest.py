"""Networks on simulated arrays that are killed and put back within one process."""

from __future__ import annotations

import numpy as np
import pytest

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.placement import Site, build_network, layer_sizes, lines_needed
from hil.datasets.dataset import Dataset
from hil.registry import backend_factory


@pytest.fixture
def blobs():
    """Three classes around three corners of a 6-dimensional cube."""
    rng = np.random.default_rng(8)
    centres = 0.2 + 0.6 * np.repeat(np.eye(3), 2, axis=1)
    y = np.arange(90) % 3
    x = np.clip(centres[y] + 0.15 * rng.standard_normal((90, 6)), 0, 1)
    return Dataset.checked("blobs", x[:60], y[:60], x[60:], y[60:])


@pytest.fixture
def make_training():
    """Make a training of a 6-5-3 network with a method and its tables."""

    def make(method, more="", *, epochs=2):
        scales = "" if method != "threshold" else "init_spread = 0.3\n"
        return validate_text(
            f'schema = 1\nseed = 3\n[network]\nhidden = [5]\n{scales}[rule]\nmethod = "{method}"\n'
            f"{more}\n[schedule]\nepochs = {epochs}\neta = 0.1\n"
            "[characterise]\ndevices = 4\npulses = 120\n",
            Training,
        )

    return make


@pytest.fixture
def place(blobs):
    """Place the network of a training on noisy arrays that always start the same."""
    opened = []

    def make(training, device="nonlinear"):
        sites = []
        for k, size in enumerate(layer_sizes(training, blobs)):
            backend, op = backend_factory("sim").open_device(
                device, *lines_needed(size), seed=40 + k
            )
            backend.open()
            opened.append(backend)
            sites.append(Site(backend, op, "adjacent", f"a{k}"))
        network = build_network(training, blobs, sites)
        return network, {site.name: site.backend for site in sites}

    yield make
    for backend in opened:
        backend.close()
