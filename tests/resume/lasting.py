"""Real devices, as far as a test can have them: they outlive the process, and go back to nothing.

As a program it runs a protocol or a training on them and dies at a block, by its own hand.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import hil.registry
from hil.backend import Backend
from hil.ledger import Ledger

_load = hil.registry.load


class Devices:
    """Devices in a file: what they are, and what they really received."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inner = self.ledger = None
        self.blocks = []

    def join(self, inner) -> None:
        self.inner, self.ledger = inner, Ledger(inner.geometry)
        if self.path.exists():
            with np.load(self.path) as kept:
                inner.restore({n: kept[n] for n in kept.files if not n.startswith("ledger/")})
                self.ledger.restore(
                    {n.removeprefix("ledger/"): kept[n] for n in kept.files if "ledger/" in n}
                )

    def save(self) -> None:
        tables = {f"ledger/{name}": table for name, table in self.ledger.tables().items()}
        np.savez(self.path, **self.inner.snapshot(), **tables)


class LastingRig(Backend):
    """Drives :class:`Devices`; it cannot put them back."""

    name = "lasting"

    def __init__(self, inner, devices, die=None) -> None:
        self.devices, self.die, self.at = devices, die, 0
        devices.join(inner)
        super().__init__(inner.geometry, replace(inner.capabilities, simulated=False), inner.limits)

    def _open(self):
        pass

    def _close(self):
        self.devices.save()

    def _safe_state(self):
        pass

    def identify(self):
        return "devices that last"

    def _execute(self, block):
        now = self.die is not None and self.at == self.die[0]
        self.at += 1
        if now and self.die[1] == "before":
            self._end()
        readings = self.devices.inner._execute(block)
        self.devices.ledger.add(block)
        self.devices.blocks.append(block)
        if now:
            self._end()
        return readings

    def _end(self):
        self.devices.save()
        os.kill(os.getpid(), signal.SIGKILL)


class LastingFactory:
    """Makes the rig of the station's (one) array."""

    name, simulated = "lasting", False

    def __init__(self, devices, die=None) -> None:
        self.devices, self.die, self._sim = devices, die, _load("hil.backends", "sim")()

    def create(self, station, array, *, seed):
        inner = self._sim.create(station, array, seed=seed)
        inner._open()
        return LastingRig(inner, self.devices, self.die)

    def operating_point(self, station, array):
        return self._sim.operating_point(station, array)

    def open_device(self, *arguments, **options):
        raise NotImplementedError

    def schemas(self):
        return {}

    def templates(self):
        return {}

    def doctor(self):
        return []

    def device_text(self, name):
        return self._sim.device_text(name)


def loading(factory):
    """Return a ``hil.registry.load`` that also knows the backend ``lasting``."""

    def load(group, name):
        if (group, name) == ("hil.backends", "lasting"):
            return lambda: factory
        return _load(group, name)

    return load


def die_at(folder: Path, what: str, block: int, when: str) -> Path:
    """Run ``what`` (protocol or training file) in ``folder``; the process dies at a block."""
    before = set((folder / "runs").glob("*/manifest.json"))
    done = subprocess.run(
        [sys.executable, __file__, str(folder), what, str(block), when], capture_output=True,
        text=True, timeout=120, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    (manifest,) = set((folder / "runs").glob("*/manifest.json")) - before
    return manifest.parent


def main(folder: Path, what: str, block: str, when: str) -> None:
    devices = Devices(folder / "devices.npz")
    hil.registry.load = loading(LastingFactory(devices, (int(block), when)))
    if what.startswith("suite"):
        from hil.cli.main import main as command

        command(["characterise", "station.toml", "--suite", what])
    from hil.control.session import open_session

    with open_session(folder / "station.toml", out=folder / "runs") as session:
        if what.startswith("training"):
            session.train(folder / what)
        else:
            session.run_protocol(folder / what)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
