"""The array as the controller sees it: cells with named terminals, lines in groups, dead cells.

Every wire of the array is a *line* with one index. Lines are numbered group after group in the
order in which the cell kind names them: word lines first (``WL0`` …), then bit lines (``BL0`` …),
then gates or wells. A cell kind says, for every terminal, whether its line runs along a row, along
a column, or is shared by a block of rows, and between which terminals the device is read, written
and erased.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from hil.errors import GeometryError

Axis = Literal["row", "col", "block"]


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal of every cell and the line group it is wired to."""

    name: str  #: ``word``, ``bit``, ``gate``, ``source`` or ``well``
    axis: Axis  #: one line per row, per column, or per block of rows
    group: str  #: prefix of the line names, e.g. ``WL``


@dataclass(frozen=True, slots=True)
class Port:
    """A pair of terminals; its voltage is ``v[plus] - v[minus]`` in volts."""

    plus: str
    minus: str


@dataclass(frozen=True, slots=True)
class CellKind:
    """How a cell is wired and which terminals read, write and erase it."""

    name: str
    terminals: tuple[Terminal, ...]
    read: Port  #: forward drives ``plus`` lines and senses ``minus`` lines; backward the reverse
    write: Port  #: positive voltage potentiates unless the device preset says otherwise
    erase: Port | None = None  #: block erase, positive voltage erases; None = erase by depression
    select: str | None = None  #: terminal of a transistor in series (1T1R), None without one

    def terminal(self, name: str) -> Terminal:
        """Return the terminal called ``name``."""
        for terminal in self.terminals:
            if terminal.name == name:
                return terminal
        raise GeometryError(
            f"cell kind {self.name} has no terminal {name!r}; "
            f"it has {', '.join(t.name for t in self.terminals)}"
        )


_WORD = Terminal("word", "row", "WL")
_BIT = Terminal("bit", "col", "BL")

ONE_R: Final = CellKind("1R", (_WORD, _BIT), Port("word", "bit"), Port("word", "bit"))
ONE_T_ONE_R: Final = CellKind(
    "1T1R",
    (_WORD, _BIT, Terminal("gate", "row", "GL")),
    Port("word", "bit"),
    Port("word", "bit"),
    select="gate",
)
THREE_TERMINAL: Final = CellKind(
    "3T",
    (_WORD, _BIT, Terminal("gate", "row", "GL"), Terminal("well", "block", "PW")),
    Port("word", "bit"),
    Port("gate", "bit"),
    erase=Port("well", "gate"),
)
CELL_KINDS: Final[dict[str, CellKind]] = {k.name: k for k in (ONE_R, ONE_T_ONE_R, THREE_TERMINAL)}


@dataclass(frozen=True, slots=True, eq=False)
class PortLines:
    """Line indices of a port: ``plus`` and ``minus`` for every row or every column.

    ``plus_by_row`` says whether ``plus`` is indexed by row (length n_rows) or by column.
    """

    plus: NDArray[np.int64]
    minus: NDArray[np.int64]
    plus_by_row: bool
    minus_by_row: bool


@dataclass(frozen=True)
class ArrayGeometry:
    """Rows, columns, cell kind and dead cells of one physical array.

    ``dead`` is a boolean (n_rows, n_cols) mask of cells that mappings avoid; ``block_rows`` is the
    number of rows that share a line of a per-block terminal (0 = the whole array).
    """

    n_rows: int
    n_cols: int
    cell: CellKind = ONE_R
    dead: NDArray[np.bool_] | None = field(default=None, compare=False)
    block_rows: int = 0

    def __post_init__(self) -> None:
        if self.n_rows < 1 or self.n_cols < 1:
            raise GeometryError(
                f"an array needs at least 1 x 1 cells, got {self.n_rows} x {self.n_cols}"
            )
        if self.block_rows < 0 or self.block_rows > self.n_rows:
            raise GeometryError(f"block_rows {self.block_rows} is not within 0 … {self.n_rows}")
        if self.dead is not None:
            dead = np.asarray(self.dead, dtype=np.bool_)
            if dead.shape != self.shape:
                raise GeometryError(f"dead mask has shape {dead.shape}, the array {self.shape}")
            dead = dead.copy()
            dead.setflags(write=False)
            object.__setattr__(self, "dead", dead)

    @classmethod
    def with_dead_cells(
        cls, n_rows: int, n_cols: int, dead: Iterable[tuple[int, int]], cell: CellKind = ONE_R
    ) -> ArrayGeometry:
        """Return a geometry whose dead cells are given as (row, col) pairs."""
        mask = np.zeros((n_rows, n_cols), dtype=np.bool_)
        for row, col in dead:
            if not (0 <= row < n_rows and 0 <= col < n_cols):
                raise GeometryError(
                    f"dead cell ({row}, {col}) is outside the {n_rows} x {n_cols} array"
                )
            mask[row, col] = True
        return cls(n_rows, n_cols, cell, mask)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_cols)."""
        return self.n_rows, self.n_cols

    @property
    def dead_mask(self) -> NDArray[np.bool_]:
        """Boolean (n_rows, n_cols), True where a cell is dead."""
        return np.zeros(self.shape, dtype=np.bool_) if self.dead is None else self.dead

    @cached_property
    def n_blocks(self) -> int:
        """Number of row blocks that share a per-block line."""
        return 1 if self.block_rows == 0 else -(-self.n_rows // self.block_rows)

    @cached_property
    def groups(self) -> dict[str, slice]:
        """Line group name -> slice of line indices."""
        count = {"row": self.n_rows, "col": self.n_cols, "block": self.n_blocks}
        out: dict[str, slice] = {}
        start = 0
        for terminal in self.cell.terminals:
            out[terminal.group] = slice(start, start + count[terminal.axis])
            start += count[terminal.axis]
        return out

    @cached_property
    def n_lines(self) -> int:
        """Number of lines of all groups."""
        return int(max(s.stop for s in self.groups.values()))

    def lines(self, terminal: str) -> slice:
        """Return the slice of line indices that ``terminal`` is wired to."""
        return self.groups[self.cell.terminal(terminal).group]

    def line_name(self, line: int) -> str:
        """Return the name of a line, e.g. ``WL3``."""
        for group, span in self.groups.items():
            if span.start <= line < span.stop:
                return f"{group}{line - span.start}"
        raise GeometryError(f"line {line} is not within 0 … {self.n_lines - 1}")

    def line_index(self, name: str) -> int:
        """Return the index of the line called ``name``, e.g. ``BL12``."""
        for group, span in self.groups.items():
            number = name.removeprefix(group)
            if name.startswith(group) and number.isdecimal():
                line = int(span.start) + int(number)
                if line < span.stop:
                    return line
                raise GeometryError(
                    f"no line {name!r}: {group} has lines 0 … {span.stop - span.start - 1}"
                )
        raise GeometryError(f"no line {name!r}; the groups are {', '.join(self.groups)}")

    def _terminal_lines(self, name: str) -> tuple[NDArray[np.int64], bool]:
        terminal = self.cell.terminal(name)
        span = self.groups[terminal.group]
        if terminal.axis == "col":
            return np.arange(span.start, span.stop), False
        if terminal.axis == "row":
            return np.arange(span.start, span.stop), True
        rows_per_block = self.block_rows or self.n_rows
        return span.start + np.arange(self.n_rows) // rows_per_block, True

    def port_lines(self, port: Port) -> PortLines:
        """Return which lines give ``port`` its two potentials, per row or per column."""
        plus, plus_by_row = self._terminal_lines(port.plus)
        minus, minus_by_row = self._terminal_lines(port.minus)
        return PortLines(plus, minus, plus_by_row, minus_by_row)

    @cached_property
    def read_lines(self) -> PortLines:
        """Lines of the read port."""
        return self.port_lines(self.cell.read)

    @cached_property
    def write_lines(self) -> PortLines:
        """Lines of the write port."""
        return self.port_lines(self.cell.write)

    @cached_property
    def gate_lines(self) -> NDArray[np.int64]:
        """(n_rows,) line of the select transistor's gate of every row; empty without one."""
        if self.cell.select is None:
            return np.empty(0, dtype=np.int64)
        return self._terminal_lines(self.cell.select)[0]

    @cached_property
    def erase_lines(self) -> PortLines | None:
        """Lines of the erase port, None without one."""
        return None if self.cell.erase is None else self.port_lines(self.cell.erase)
