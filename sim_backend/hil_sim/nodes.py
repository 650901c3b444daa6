"""Kirchhoff's current law on the lines of an array without wire resistance.

Unknown are the potentials of floating lines and of lines whose source limits. Every device and
every limiting source carries a current that rises with its own voltage, so the potentials minimise
a convex function (Millar's content): Newton's direction with a line search along it cannot fail but
for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import BackendError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_LEAK_SIEMENS = 1e-18  # holds a floating line that nothing conducts to at 0 V
_MAX_NEWTON = 400
_MAX_HALVINGS = 80
_MAX_LIMIT_ROUNDS = 20
_TOLERANCE = 1e-12
_STIFFNESS = 1e6  # output conductance of a source over that of all devices, while limits are found


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


class Nodes:
    """The network as nodes: rows first, then columns.

    Attributes:
        row_v, col_v: potentials in volts.
        current: (n_rows, n_cols) device currents in amperes.
        limited: nodes whose source limits.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.n_rows = len(network.row_v)
        self.level = np.concatenate([network.row_v, network.col_v])
        self.floating = np.concatenate([network.row_free, network.col_free])
        self.limit = np.concatenate([network.row_limit_a, network.col_limit_a])
        self.limited = np.zeros(self.level.size, dtype=np.bool_)
        self._potential = np.where(self.floating, 0.0, self.level)
        self._injected = np.zeros(self.level.size)
        self._soft = np.zeros(self.level.size, dtype=np.bool_)
        self._soft_siemens = 0.0
        self.current, self._slope = np.empty_like(network.g), np.empty_like(network.g)

    @property
    def row_v(self) -> FloatArray:
        """(n_rows,) volts."""
        return self._potential[: self.n_rows]

    @property
    def col_v(self) -> FloatArray:
        """(n_cols,) volts."""
        return self._potential[self.n_rows :]

    def solve(self) -> None:
        """Solve all potentials.

        Raises:
            BackendError: no solution was found.
        """
        self._newton(self.floating)
        over, _ = self._wrong_limits()
        if not over.any():
            return
        self._guess_limits()
        for _ in range(_MAX_LIMIT_ROUNDS):
            self._newton(self.floating | self.limited)
            over, beyond = self._wrong_limits()
            if not (over.any() or beyond.any()):
                return
            self._injected[over] = np.copysign(self.limit, self._needs())[over]
            self._injected[beyond] = 0.0
            self.limited = (self.limited | over) & ~beyond
            driven = ~self.floating & ~self.limited
            self._potential[driven] = self.level[driven]
        raise BackendError("current limits of the simulated sources do not settle")

    def _needs(self) -> FloatArray:
        """Return the current that each node's source has to supply, in amperes."""
        from hil_sim.kernels.solved import device_currents

        net = self.network
        device_currents(
            self.row_v, self.col_v, net.g, net.cap_a, net.laws, self.current, self._slope
        )
        out = np.concatenate([self.current.sum(axis=1), -self.current.sum(axis=0)])
        return np.asarray(out + _LEAK_SIEMENS * self._potential)

    def _source(self) -> FloatArray:
        """Return what stiff sources with a limit supply now, in amperes."""
        free = self._soft_siemens * (self.level - self._potential)
        return np.asarray(np.where(self._soft, np.clip(free, -self.limit, self.limit), 0.0))

    def _residual(self) -> FloatArray:
        return self._needs() - self._injected - self._source()

    def _wrong_limits(self) -> tuple[BoolArray, BoolArray]:
        """Return the nodes that exceed their limit, and those that limit but need not."""
        needs = self._needs()
        over = ~self.floating & ~self.limited & (np.abs(needs) > self.limit * (1 + 1e-9))
        excess = (self._potential - self.level) * np.sign(self._injected)
        return over, self.limited & (excess > 1e-9 * np.abs(self.level).max(initial=0.0))

    def _guess_limits(self) -> None:
        """Find which sources limit, all at once, with sources that are stiff instead of ideal."""
        self._soft = ~self.floating & np.isfinite(self.limit)
        self._soft_siemens = _STIFFNESS * float(self._slope.sum())
        self._newton(self.floating | self._soft)
        supplied = self._source()
        self.limited = self._soft & (np.abs(supplied) >= self.limit)
        self._injected = np.where(self.limited, supplied, 0.0)
        self._soft = np.zeros_like(self._soft)
        driven = ~self.floating & ~self.limited
        self._potential[driven] = self.level[driven]

    def _newton(self, free: BoolArray) -> None:
        """Solve the potentials of the ``free`` nodes, the others held where they are."""
        residual = self._residual()
        if not free.any():
            return
        rows, cols = np.flatnonzero(free[: self.n_rows]), np.flatnonzero(free[self.n_rows :])
        for _ in range(_MAX_NEWTON):
            if (np.abs(residual) <= self._allowed(residual.size))[free].all():
                return
            step = self._step(rows, cols, residual)
            residual = self._search(free, step, residual)
        worst = float((np.abs(residual) / self._allowed(residual.size))[free].max())
        raise BackendError(
            f"potentials of the simulated array's lines do not converge (error {worst:.3g} times "
            "what is allowed)"
        )

    def _allowed(self, n: int) -> FloatArray:
        """Return the current error allowed at each node: relative, and what rounding leaves."""
        flow = np.abs(self.current)
        steep = np.concatenate([self._slope.sum(axis=1), self._slope.sum(axis=0)])
        steep += np.where(self._soft, self._soft_siemens, 0.0)
        around = np.concatenate([flow.sum(axis=1), flow.sum(axis=0)]) + np.abs(self._injected)
        rounding = 8 * np.finfo(np.float64).eps * float(np.abs(self._potential).max(initial=0.0))
        return np.asarray(_TOLERANCE * around + rounding * steep + 1e-30)

    def _step(self, rows: Any, cols: Any, residual: FloatArray) -> FloatArray:
        """Return the Newton step; the larger side is eliminated, its block is diagonal."""
        source = self._soft_siemens * (
            self._soft & (np.abs(self._soft_siemens * (self.level - self._potential)) < self.limit)
        )
        slope = np.maximum(self._slope, 1e-9 * self.network.g * (self.network.cap_a > 0.0)[:, None])
        d_row = slope[rows].sum(axis=1) + _LEAK_SIEMENS + source[rows]
        d_col = slope[:, cols].sum(axis=0) + _LEAK_SIEMENS + source[self.n_rows + cols]
        coupling = slope[np.ix_(rows, cols)]
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

    def _search(self, free: BoolArray, step: FloatArray, residual: FloatArray) -> FloatArray:
        """Go along ``step`` until the content stops falling steeply; return the new residual.

        ``residual · step`` is the slope of the content along the step: negative at its start and
        rising all the way, so that its zero can be bracketed.
        """
        start = self._potential[free]
        slope = float(residual[free] @ step)
        low, high, factor = 0.0, np.inf, 1.0
        for _ in range(_MAX_HALVINGS):
            with np.errstate(over="ignore", invalid="ignore"):
                self._potential[free] = start + factor * step
                residual = self._residual()
                here = float(residual[free] @ step)
            if abs(here) <= 0.5 * abs(slope):
                break
            if here < 0.0:
                if not np.isfinite(high):
                    break  # a full step that is still going down is a good step
                low = factor
            else:
                high = factor
            factor = (low + high) / 2
        return residual
