"""Read-out of an array on the bench: path resistances and sources that feed several lines."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.errors import BackendError
from hil_sim.nodes import Network as Moment
from hil_sim.readout import IdealReadout, Solution

_ROUNDS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """One source: the (row or n_rows + column) nodes that it feeds and its current limit."""

    nodes: NDArray[np.int64]
    limit_a: float


class BenchReadout:
    """An :class:`IdealReadout` behind series resistances and shared sources.

    Attributes:
        lines_are_nodes: False makes the array ask this read-out for every step.
        ohm: (n_rows + n_cols,) series resistance of each read line's path.
        feeds: sources whose current limit is for several lines together.
    """

    def __init__(self, n_rows: int, n_cols: int) -> None:
        self.ideal = IdealReadout()
        self.lines_are_nodes = True
        self.n_rows = n_rows
        self.ohm = np.zeros(n_rows + n_cols)
        self.feeds: tuple[Feed, ...] = ()

    def solve(self, network: Moment) -> Solution:
        """Return potentials and currents; see :class:`hil_sim.readout.Readout`.

        Raises:
            BackendError: the potentials or a source's limit are not found.
        """
        if self.lines_are_nodes:
            return self.ideal.solve(network)
        level = np.concatenate([network.row_v, network.col_v])
        solution = self._behind_paths(network, level)
        limited = np.zeros(level.size, dtype=np.bool_)
        for feed in self.feeds:
            total = float(self._line_currents(solution)[feed.nodes].sum())
            if abs(total) <= feed.limit_a * (1 + 1e-9):
                continue
            solution = self._limit(network, level, feed, total)
            limited[feed.nodes] = True
        if not limited.any():
            return solution
        return replace(
            solution,
            row_limited=solution.row_limited | limited[: self.n_rows],
            col_limited=solution.col_limited | limited[self.n_rows :],
        )

    def _limit(self, network: Moment, level: NDArray[np.float64], feed: Feed,
               total_a: float) -> Solution:  # fmt: skip
        """Move the feed's level in place to where its total current is its limit (bisection)."""
        wanted = np.copysign(feed.limit_a, total_a)
        first = float(level[feed.nodes[0]])
        others = np.delete(level, feed.nodes)
        rest = float(others.min() if total_a > 0 else others.max()) if others.size else 0.0
        near, far = first, min(rest, 0.0, first) if total_a > 0 else max(rest, 0.0, first)
        solution = None
        for _ in range(_ROUNDS):
            middle = 0.5 * (near + far)
            level[feed.nodes] = middle
            solution = self._behind_paths(network, level)
            got = float(self._line_currents(solution)[feed.nodes].sum())
            if abs(got - wanted) <= 1e-9 * feed.limit_a:
                return solution
            if abs(got) > feed.limit_a and got * total_a > 0:
                near = middle
            else:
                far = middle
        if solution is None or abs(near - far) > 1e-6:
            raise BackendError("the current limit of a shared source of the bench does not settle")
        return solution

    def _line_currents(self, solution: Solution) -> NDArray[np.float64]:
        current = solution.device_a
        return np.concatenate([current.sum(axis=1), -current.sum(axis=0)])

    def _behind_paths(self, network: Moment, level: NDArray[np.float64]) -> Solution:
        """Return the solution with every driven line behind its path's resistance."""
        n = self.n_rows
        if not self.ohm.any():
            return self.ideal.solve(replace(network, row_v=level[:n], col_v=level[n:]))
        at = level.copy()
        scale = max(float(np.abs(level).max(initial=0.0)), 1e-9)
        free = np.concatenate([network.row_free, network.col_free])
        inverse = _inverse(network.g, self.ohm, free)
        for _ in range(_ROUNDS):
            moment = replace(network, row_v=at[:n].copy(), col_v=at[n:].copy())
            solution = self.ideal.solve(moment)
            wrong = at - level + self.ohm * self._line_currents(solution)
            wrong[free] = 0.0
            if float(np.abs(wrong).max()) <= 1e-12 * scale:
                return solution
            at[~free] -= inverse @ wrong[~free]
        raise BackendError("potentials behind the bench's path resistances do not converge")


def _inverse(
    g: NDArray[np.float64], ohm: NDArray[np.float64], free: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the inverse Jacobian of ``at - level + ohm * current`` at the nodes that are held.

    Floating nodes are eliminated; conductances are taken as constant.
    """
    nodal = np.block([[np.diag(g.sum(axis=1)), -g], [-g.T, np.diag(g.sum(axis=0))]])
    held = ~free
    seen = nodal[np.ix_(held, held)]
    if free.any():
        inner = nodal[np.ix_(free, free)]
        # A floating line that nothing conducts to has no conductance of its own.
        inner[np.diag_indices_from(inner)] += 1e-18 + 1e-12 * np.diag(inner)
        across = nodal[np.ix_(held, free)]
        seen = seen - across @ np.linalg.solve(inner, across.T)
    return np.asarray(np.linalg.inv(np.eye(len(seen)) + ohm[held, None] * seen))
