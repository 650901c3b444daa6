from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from hil_sim.models.device import preset_text

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.placement import Site, build_network, layer_sizes, lines_needed
from hil.control.training import train
from hil.datasets.dataset import Dataset
from hil.registry import backend_factory

N_STATES = 128


@pytest.fixture(scope="session")
def linear_device(tmp_path_factory):
    """Return the file of a linear, noiseless device of 128 states."""
    path = tmp_path_factory.mktemp("device") / "linear.toml"
    text = preset_text("ideal").replace("states = 1024", f"states = {N_STATES}")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def open_site(linear_device):
    """Open a simulated array as a site; closed at the end of the test."""
    with ExitStack() as stack:

        def make(rows, cols, *, device=linear_device, seed=1, pairs="adjacent", **options):
            backend, op = backend_factory("sim").open_device(
                device, rows, cols, seed=seed, **options
            )
            return Site(stack.enter_context(backend), op, pairs)

        yield make


@pytest.fixture
def blobs():
    """Three classes around three corners of a 6-dimensional cube: easy, but not trivial."""
    rng = np.random.default_rng(8)
    centres = 0.2 + 0.6 * np.repeat(np.eye(3), 2, axis=1)
    y = np.arange(150) % 3
    x = np.clip(centres[y] + 0.15 * rng.standard_normal((150, 6)), 0, 1)
    return Dataset.checked("blobs", x[:120], y[:120], x[120:], y[120:])


def training(text: str = "") -> Training:
    """Return a small training; ``text`` follows the schema line."""
    return validate_text("schema = 1\n" + text, Training)


@pytest.fixture
def small():
    """Make a training of a 6-5-3 network."""

    def make(method="M3", *, epochs=3, more="", refresh="", rule="", pulses=150):
        refresh = f"[refresh]\n{refresh}\n" if refresh else ""
        return training(
            f'seed = 3\n{more}\n[network]\nhidden = [5]\n[rule]\nmethod = "{method}"\n{rule}\n'
            f"[schedule]\nepochs = {epochs}\neta = 0.1\n"
            f"[characterise]\ndevices = 4\npulses = {pulses}\n{refresh}"
        )

    return make


@pytest.fixture
def small_network(open_site, blobs):
    """Place a small training's network on arrays of its own."""

    def make(training, *, seed=1, **options):
        sites = [
            open_site(*lines_needed(size), seed=10 * seed + k, **options)
            for k, size in enumerate(layer_sizes(training, blobs))
        ]
        return build_network(training, blobs, sites)

    return make


@pytest.fixture(scope="session")
def device_file(tmp_path_factory):
    """Write the file of a device with another response or variation than the ideal one."""
    folder = tmp_path_factory.mktemp("devices")

    def make(name, *, states=N_STATES, nu=None, step_d2d=0.0):
        text = preset_text("ideal").replace("states = 1024", f"states = {states}")
        if nu is not None:
            text = text.replace('model = "linear"', 'model = "exponential"')
            text = text.replace(f"states = {states}", f"states = {states}\nnu = {nu}")
        path = folder / f"{name}.toml"
        path.write_text(f"{text}\n[variation]\nstep_d2d = {step_d2d}\n", encoding="utf-8")
        return path

    return make


@pytest.fixture
def run_training(open_site):
    """Train the network of a training file on arrays of its own; return network and result."""

    def run(training, dataset, device, *, wrap=lambda backend: backend, **options):
        sites = []
        for k, size in enumerate(layer_sizes(training, dataset)):
            site = open_site(*lines_needed(size), device=device, seed=(training.seed << 8) + k)
            sites.append(Site(wrap(site.backend), site.op))
        network = build_network(training, dataset, sites)
        return network, train(training, dataset, network, **options)

    return run


@pytest.fixture
def two_array_network(open_site, blobs):
    """Place a small training's network with G+ and G- of every layer on two arrays."""

    def make(training):
        sites = []
        for k, size in enumerate(layer_sizes(training, blobs)):
            rows, cols = lines_needed(size, "two-arrays")
            plus, minus = (open_site(rows, cols, seed=20 + 2 * k + side) for side in (0, 1))
            sites.append(replace(plus, pairs="two-arrays", minus=minus.backend))
        return build_network(training, blobs, sites)

    return make
