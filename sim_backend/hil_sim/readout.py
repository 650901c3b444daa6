"""Read-out strategies: from what the sources do to what every device sees, for reads and writes.

A strategy answers one question, :meth:`Readout.solve`: given conductances, sources, floating lines
and current limits, which voltage does each device see and which current does each line carry?
:class:`IdealReadout` has no wire resistance; a strategy with wires answers the same question, and
sets ``lines_are_nodes`` to False because devices of one line then differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hil_sim.nodes import Network, Nodes

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What :class:`Network` does.

    Attributes:
        row_v, col_v: line potentials at the source (or of the floating line), volts.
        device_v: (n_rows, n_cols) voltage across each device itself, plus − minus.
        device_a: (n_rows, n_cols) current through it, plus to minus.
        row_limited, col_limited: lines whose source limits.
    """

    row_v: FloatArray
    col_v: FloatArray
    device_v: FloatArray
    device_a: FloatArray
    row_limited: BoolArray
    col_limited: BoolArray


class Readout(Protocol):
    """A way to find what each device sees."""

    lines_are_nodes: bool  #: every device of a line sees the line's one potential

    def solve(self, network: Network) -> Solution:
        """Return potentials and currents.

        Raises:
            BackendError: no solution was found.
        """


class IdealReadout:
    """No wire resistance: a line is one node. Floating and limiting lines obey Kirchhoff's law."""

    lines_are_nodes = True

    def solve(self, network: Network) -> Solution:
        """Return potentials and currents; Newton on the free lines, one step when ohmic."""
        from hil_sim.kernels.solved import device_voltages

        nodes = Nodes(network)
        nodes.solve()
        device_v = np.empty_like(network.g)
        device_voltages(nodes.row_v, nodes.col_v, network.g, network.cap_a, network.laws, device_v)
        n = len(nodes.row_v)
        return Solution(nodes.row_v, nodes.col_v, device_v, nodes.current, nodes.limited[:n],
                        nodes.limited[n:])  # fmt: skip


READOUTS: dict[str, type[IdealReadout]] = {"ideal": IdealReadout}
