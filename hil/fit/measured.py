"""What was measured of the devices of one array, as plain columns in SI units; NaN = not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Bits of ``Responses.flag``: a limit was met, a read is missing, the instrument overflowed.
COMPLIANCE, UNREAD, OVERFLOW = 1, 2, 4
POTENTIATION, DEPRESSION = "potentiation", "depression"
BRANCHES: Final = (POTENTIATION, DEPRESSION)


@dataclass(frozen=True, eq=False)
class Responses:
    """Pulses between two reads of a device, one row each, in the order driven within a chain.

    Attributes:
        cells: (n_devices, 2) row and column of every device.
        device: (n,) index into ``cells``.
        cycle: (n,) from 0.
        polarity: (n,) +1 potentiation, −1 depression.
        pulses: (n,) identical pulses between the two reads.
        amplitude_v, width_s: (n,) of the pulse, as delivered.
        before_siemens, after_siemens: (n,) the reads.
        chain: (n,) rows of one number follow each other: the read after one is that before the
            next. A branch of one device in one cycle is one chain unless readings are missing.
        flag: (n,) bits, 0 = good.
        reads: readings averaged for one read.
    """

    cells: Ints
    device: Ints
    cycle: Ints
    polarity: Ints
    pulses: Ints
    amplitude_v: Floats
    width_s: Floats
    before_siemens: Floats
    after_siemens: Floats
    chain: Ints
    flag: NDArray[np.uint8]
    reads: int = 1

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.device.size)

    @property
    def n_devices(self) -> int:
        """Devices, with or without rows."""
        return len(self.cells)

    @property
    def good(self) -> NDArray[np.bool_]:
        """(n,) rows without a flag."""
        good: NDArray[np.bool_] = self.flag == 0
        return good

    def only(self, rows: NDArray[np.bool_]) -> Responses:
        """Return the chosen rows; the devices keep their numbers."""
        return Responses(
            self.cells, self.device[rows], self.cycle[rows], self.polarity[rows],
            self.pulses[rows], self.amplitude_v[rows], self.width_s[rows],
            self.before_siemens[rows], self.after_siemens[rows], self.chain[rows],
            self.flag[rows], self.reads,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rests:
    """Repeated reads of devices that nothing was done to: (n,) columns.

    ``group`` numbers the reads that belong together: one device in one state.
    """

    device: Ints
    g_siemens: Floats
    group: Ints


@dataclass(frozen=True, eq=False)
class Retentions:
    """Reads over the time waited since the devices were programmed, (n,) columns."""

    device: Ints
    wait_s: Floats
    g_siemens: Floats
    group: Ints


@dataclass(frozen=True, eq=False)
class PulseMaps:
    """Response to pulses of several amplitudes and widths from a reset state, (n,) columns.

    ``pulses`` counts those given so far, 0 = the read before the first; ``group`` numbers the reads
    of one device at one point of the grid.
    """

    device: Ints
    polarity: Ints
    amplitude_v: Floats
    width_s: Floats
    pulses: Ints
    g_siemens: Floats
    group: Ints


@dataclass(frozen=True, eq=False)
class Sweeps:
    """Current over voltage at rest, (n,) columns; ``group`` numbers the devices of each sweep."""

    device: Ints
    voltage_v: Floats
    current_a: Floats
    group: Ints


@dataclass(frozen=True, eq=False)
class Disturbs:
    """What half-selection or reading does to devices over the number of pulses, (n,) columns."""

    kind: Literal["half-select", "read"]
    device: Ints
    pulses: Ints
    g_siemens: Floats
    half_selected: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Measured:
    """All that was measured of one array; devices have the same number in all parts."""

    responses: Responses
    rests: Rests | None = None
    retentions: Retentions | None = None
    pulse_maps: PulseMaps | None = None
    sweeps: Sweeps | None = None
    disturbs: tuple[Disturbs, ...] = ()
