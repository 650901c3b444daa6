"""The simulated backend: a :class:`~hil.backend.Backend` in front of a :class:`SimArray`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.backend import Backend, Restorable, Unfinished
from hil.capabilities import Capabilities
from hil.errors import ConfigError
from hil.geometry import ArrayGeometry
from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock
from hil.program import PulseBlock
from hil_sim.mimic import GridMimic, Mimic, Rehearsed
from hil_sim.models.device import Device, load_device
from hil_sim.readout import READOUTS, Readout

if TYPE_CHECKING:
    from hil_sim.sim_array import SimArray


class SimBackend(Backend):
    """An array of simulated devices behind the interface of every array.

    Args:
        geometry: rows, columns and cell kind; the cell kind must be the device's.
        device: a :class:`Device`, a preset's name, or the path of a device file.
        seed: of everything random; the same seed and programme give the same run, however the
            programme is cut into blocks.
        mimic: a rig to obey: its capabilities (ranges, grids, missing features, sense resolution),
            or a rehearsed rig, which also says in which order it drives what.
        readout: a strategy of :mod:`hil_sim.readout`, or its name.
        g0: conductances to start from in siemens, within the device file's range; None = every
            device at its own g_min. A device whose drawn range is narrower starts at its bound.

    Raises:
        ConfigError: device and geometry do not fit, unknown read-out.
    """

    name = "sim"

    def __init__(
        self, geometry: ArrayGeometry, device: Device | str | Path, *, seed: int = 0,
        limits: SafetyLimits | None = None, mimic: Capabilities | Mimic | None = None,
        readout: str | Readout = "ideal", g0: NDArray[np.float64] | float | None = None,
    ) -> None:  # fmt: skip
        self.device = device if isinstance(device, Device) else load_device(device)
        if self.device.cell != geometry.cell.name:
            raise ConfigError(
                f"device {self.device.name!r} has {self.device.cell} cells, the array "
                f"{geometry.cell.name}", field="cell",
            )  # fmt: skip
        if isinstance(readout, str):
            if readout not in READOUTS:
                raise ConfigError(f"no read-out {readout!r}; there are {', '.join(READOUTS)}",
                                  field="readout")  # fmt: skip
            readout = READOUTS[readout]()
        if isinstance(mimic, Capabilities):
            mimic = GridMimic(geometry, mimic, limits)
        base = Capabilities() if mimic is None else mimic.capabilities
        capabilities = replace(
            base, simulated=True, reciprocal=base.reciprocal and self.device.reciprocal
        )
        super().__init__(geometry, capabilities, limits)
        self.mimic = mimic
        if mimic is not None:
            self.checker = mimic.checker
        self._rehearsed: Rehearsed | None = None
        self.seed, self._readout, self._g0 = seed, readout, g0
        self._array: SimArray | None = None
        self.outputs_on = False  #: from the first block driven until the safe state

    @property
    def array(self) -> SimArray:
        """The simulated array; drawn on first use and kept over close and open."""
        if self._array is None:
            from hil_sim.sim_array import SimArray

            self._array = SimArray(self.geometry, self.device, self.seed, self._readout, self._g0)
            self._array.step_overhead_s = self.capabilities.step_overhead_s
        return self._array

    def true_conductance_siemens(self) -> NDArray[np.float64]:
        """Return the true (n_rows, n_cols) conductances: for tests, no rig can know them."""
        return self.array.conductance_siemens()

    def _open(self) -> None:
        _ = self.array

    def _close(self) -> None:
        """Nothing to disconnect; the devices keep their state."""

    def _prepare(self, block: PulseBlock) -> PulseBlock:
        if self.mimic is None:
            return block
        self._rehearsed = self.mimic.rehearse(block)
        return self._rehearsed.block

    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        self.outputs_on = True
        template = block.template
        promised = block.n_readings if template is None else template.n_readings
        array, rehearsed = self.array, self._rehearsed
        if rehearsed is None:
            taken = array.run(block, promised)
            self.tripped_steps = tuple(sorted(array.tripped)) if array.tripped else ()
            return taken
        array.clock_ns += round(self.capabilities.block_overhead_s * 1e9)
        taken = rehearsed.readings(array.run(block, promised))
        self.tripped_steps = rehearsed.asked(array.tripped)
        return taken

    def _salvage(self, asked: PulseBlock, prepared: PulseBlock) -> Unfinished:
        """Return what was simulated; what a mimicked rig does is not known step by step."""
        left = super()._salvage(asked, prepared)
        if asked is not prepared:
            return left
        step, pulse, readings = self.array.salvage()
        known = left.known.copy()
        known[:step] = asked.repeat[:step]
        known[step : step + 1] = pulse
        return replace(left, known=known, readings=readings)

    def _safe_state(self) -> None:
        """Switch the outputs off; a simulated pulse has ended at 0 V already."""
        self.outputs_on = False
        if self.mimic is not None:
            self.mimic.rest()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return copies of everything that decides what the devices do from now on."""
        relays: dict[str, NDArray[Any]] = {}
        if isinstance(self.mimic, Restorable):
            relays = self.mimic.snapshot()
        return self.array.snapshot() | {f"mimic_{name}": array for name, array in relays.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a snapshot of the same array; ConfigError for that of another."""
        self.array.restore(arrays)
        if isinstance(self.mimic, Restorable):
            relays = {n.removeprefix("mimic_"): a for n, a in arrays.items() if "mimic_" in n}
            self.mimic.restore(relays)

    def clock_ns(self) -> int:
        """Return the virtual clock, which only pulses and waits advance, in nanoseconds."""
        return 0 if self._array is None else self._array.clock_ns

    def identify(self) -> str:
        """Return device, size, seed and what is mimicked."""
        rows, cols = self.geometry.shape
        device = f"{self.device.name} ({self.geometry.cell.name})"
        obeyed = "" if self.mimic is None else f", obeys {self.mimic.name}"
        return f"sim: {device}, {rows} x {cols}, seed {self.seed}{obeyed}"
