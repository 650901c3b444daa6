"""Read-out strategies: from what the sources do to what every device sees, for reads and writes.

A strategy answers one question, :meth:`Readout.solve`: given conductances, sources, floating lines
and current limits, which voltage does each device see and which current does each line carry?
:class:`IdealReadout` has no wire resistance; a strategy with wires answers the same question, and
sets ``lines_are_nodes`` to False because devices of one line then differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hil.errors import BackendError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_LEAK_SIEMENS = 1e-18  # holds a floating line that nothing conducts to at 0 V
_MAX_NEWTON = 200
_TOLERANCE = 1e-13


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """One moment of an array: sources, floating lines and devices.

    Attributes:
        g: (n_rows, n_cols) siemens.
        laws: the record array of ``kernels.law``.
        row_v, col_v: potentials in volts of the lines that are not floating.
        row_free, col_free: floating lines.
        row_limit_a, col_limit_a: current limits of driven lines, inf elsewhere.
        cap_a: (n_rows,) largest current of a row's select transistors; inf without, 0 when off.
    """

    g: FloatArray
    laws: NDArray[Any]
    row_v: FloatArray
    col_v: FloatArray
    row_free: BoolArray
    col_free: BoolArray
    row_limit_a: FloatArray
    col_limit_a: FloatArray
    cap_a: FloatArray


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

        nodes = _Nodes(network)
        seen: set[bytes] = set()
        while True:
            nodes.newton()
            state = nodes.update_limits()
            if state is None:
                break
            if state in seen:
                raise BackendError("current limits of the simulated sources do not settle")
            seen.add(state)
        device_v = np.empty_like(network.g)
        device_voltages(nodes.row_v, nodes.col_v, network.g, network.cap_a, network.laws, device_v)
        n = len(nodes.row_v)
        return Solution(nodes.row_v, nodes.col_v, device_v, nodes.current, nodes.limited[:n],
                        nodes.limited[n:])  # fmt: skip


class _Nodes:
    """Kirchhoff's current law on the free nodes; rows first, then columns."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.n_rows = len(network.row_v)
        self.row_v, self.col_v = network.row_v.copy(), network.col_v.copy()
        self.level = np.concatenate([network.row_v, network.col_v])
        self.floating = np.concatenate([network.row_free, network.col_free])
        self.limit = np.concatenate([network.row_limit_a, network.col_limit_a])
        self.limited = np.zeros(self.level.size, dtype=np.bool_)
        self.injected = np.zeros(self.level.size)
        self.current, self.slope = np.empty_like(network.g), np.empty_like(network.g)

    def _evaluate(self) -> FloatArray:
        """Return the current that each node's source has to supply, less what it injects."""
        from hil_sim.kernels.solved import device_currents

        net = self.network
        device_currents(
            self.row_v, self.col_v, net.g, net.cap_a, net.laws, self.current, self.slope
        )
        out = np.concatenate([self.current.sum(axis=1), -self.current.sum(axis=0)])
        leak: FloatArray = out + _LEAK_SIEMENS * np.concatenate([self.row_v, self.col_v])
        return leak

    def newton(self) -> None:
        """Solve the potentials of the free nodes."""
        free = self.floating | self.limited
        residual = self._evaluate() - self.injected
        if not free.any():
            return
        rows, cols = np.flatnonzero(free[: self.n_rows]), np.flatnonzero(free[self.n_rows :])
        for _ in range(_MAX_NEWTON):
            wrong = residual[free]
            scale = max(float(np.abs(self.current).max(initial=0.0)),
                        float(np.abs(self.injected).max(initial=0.0)), 1e-30)  # fmt: skip
            if np.abs(wrong).max() <= _TOLERANCE * scale:
                return
            step = self._step(rows, cols, residual)
            residual, moved = self._damped(rows, cols, step, free, residual)
            if moved <= 1e-15 * max(float(np.abs(self.level).max(initial=0.0)), 1e-12):
                return
        raise BackendError("potentials of the simulated array's floating lines do not converge")

    def _step(self, rows: Any, cols: Any, residual: FloatArray) -> FloatArray:
        """Return the Newton step; the larger side is eliminated, its block is diagonal."""
        d_row = self.slope[rows].sum(axis=1) + _LEAK_SIEMENS
        d_col = self.slope[:, cols].sum(axis=0) + _LEAK_SIEMENS
        coupling = self.slope[np.ix_(rows, cols)]
        f_row, f_col = residual[rows], residual[self.n_rows + cols]
        if not len(rows):
            return np.asarray(-f_col / d_col)
        if not len(cols):
            return np.asarray(-f_row / d_row)
        if len(rows) <= len(cols):
            schur = np.diag(d_row) - (coupling / d_col) @ coupling.T
            x_row = np.linalg.solve(schur, -(f_row + coupling @ (f_col / d_col)))
            x_col = (-f_col + coupling.T @ x_row) / d_col
        else:
            schur = np.diag(d_col) - (coupling.T / d_row) @ coupling
            x_col = np.linalg.solve(schur, -(f_col + coupling.T @ (f_row / d_row)))
            x_row = (-f_row + coupling @ x_col) / d_row
        return np.concatenate([x_row, x_col])

    def _damped(
        self, rows: Any, cols: Any, step: FloatArray, free: BoolArray, residual: FloatArray
    ) -> tuple[FloatArray, float]:
        """Take the step, halved while the residual grows; return it and the largest move."""
        row_v, col_v = self.row_v[rows].copy(), self.col_v[cols].copy()
        before = float(np.linalg.norm(residual[free]))
        factor = 1.0
        while True:
            self.row_v[rows] = row_v + factor * step[: len(rows)]
            self.col_v[cols] = col_v + factor * step[len(rows) :]
            with np.errstate(over="ignore", invalid="ignore"):
                residual = self._evaluate() - self.injected
                after = float(np.linalg.norm(residual[free]))
            if after < before or factor < 1e-12:
                return residual, factor * float(np.abs(step).max())
            factor /= 2

    def update_limits(self) -> bytes | None:
        """Let sources limit or drive again; return the new state, None when nothing changed."""
        needs = self._evaluate()
        over = ~self.floating & ~self.limited & (np.abs(needs) > self.limit * (1 + 1e-9))
        potential = np.concatenate([self.row_v, self.col_v])
        beyond = self.limited & ((potential - self.level) * np.sign(self.injected) > 1e-12)
        if not (over.any() or beyond.any()):
            return None
        self.limited = (self.limited | over) & ~beyond
        self.injected = np.where(
            self.limited, np.where(over, np.copysign(self.limit, needs), self.injected), 0.0
        )
        driven = ~self.floating & ~self.limited
        self.row_v = np.where(driven[: self.n_rows], self.network.row_v, self.row_v)
        self.col_v = np.where(driven[self.n_rows :], self.network.col_v, self.col_v)
        return self.limited.tobytes() + np.sign(self.injected).tobytes()


READOUTS: dict[str, type[IdealReadout]] = {"ideal": IdealReadout}
