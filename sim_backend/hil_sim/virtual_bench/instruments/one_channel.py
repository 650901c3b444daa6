"""What SCPI source-measure units of one channel have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.scpi import ScpiPersonality
from hil_sim.virtual_bench.scpi_smu import SmuChannel
from hil_sim.virtual_bench.scpi_values import ScpiError
from hil_sim.virtual_bench.terminal import SourceMeter


class OneChannel(ScpiPersonality):
    """Levels, ranges and the end of runs; the settings' keys are those of the command tables.

    Attributes:
        smu: the channel, called ``1``; listed: levels of the list sweep.
    """

    smu: SmuChannel
    listed: NDArray[np.float64]

    @property
    @abstractmethod
    def meter(self) -> SourceMeter:
        """Ranges of the model."""

    @abstractmethod
    def apply(self) -> None:
        """Put the settings on the terminal."""

    def snapshot(self) -> Any:
        """Return the settings that ``*SAV`` keeps; an output is saved as off."""
        return {key: value for key, value in self.values.items() if key[0] != "outp"}

    def restore(self, state: Any) -> None:
        """``*RCL``: output off, settings of before."""
        super().restore(state)
        self.apply()

    def check_suffixes(self, header: str, suffixes: tuple[int, ...]) -> None:
        """Refuse a second channel; lines and stored delays have numbers of their own."""
        free = header.startswith((":DIG", ":TRIG")) or ":USER" in header
        if any(n != 1 for n in suffixes) and not free:
            raise ScpiError(-114, "Header suffix out of range")

    def put_level(self, key: str, *_: int) -> None:
        """Apply a level; one beyond a fixed range is refused and the old one stays."""
        terminal = self.smu.terminal
        fixed = key == "VOLT" and not self.value("auto VOLT", 1)
        top = terminal.range_v * self.meter.overrange
        if fixed and abs(self.value("level VOLT", 1)) > top:
            self.values["level VOLT", (1,)] = terminal.level_v
            raise ScpiError(-222, "Parameter data out of range")
        self.apply()

    def put_source_range(self, key: str, *_: int) -> None:
        """Fix the source range."""
        self.values[f"auto {key}", (1,)] = False
        if key == "VOLT":
            self.smu.terminal.range_v = self.smu.range_v(self.value("range VOLT", 1))

    def put_sense_range(self, key: str, *_: int) -> None:
        """Fix the measuring range."""
        self.values[f"sense auto {key}", (1,)] = False
        self.apply()

    def list_query(self, *_: Any) -> str:
        """Return the levels of the list sweep."""
        return ",".join(self.format_number(float(v)) for v in self.listed)

    def tripped(self) -> str:
        """Return whether the source limits now."""
        on = self.smu.terminal.on
        return str(int(on and self.smu.spot(1e-6).limited))

    def stop(self) -> None:
        """``:ABORt``."""
        self.bench.engine.abort({id(self.smu.terminal)})

    def finish(self) -> None:
        """Wait for the trigger model to be idle."""
        self.bench.wait_until(self, lambda: self.smu.idle)
