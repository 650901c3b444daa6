"""The net list: instrument terminals, through matrix relays, to the lines of the arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hil.config.station import COMMON, Station, wires
from hil.errors import ConfigError
from hil_sim.virtual_bench.terminal import Rail, Terminal

Node = tuple[int, int]  #: array number, line number
Crosspoint = tuple[str, str]  #: row (instrument side) and column (array side) of a matrix

_GRAMMARS: dict[str, re.Pattern[str]] = {
    "keithley-707b": re.compile(r"(?P<card>[1-6])(?P<row>[A-H])(?P<col>\d\d)"),
    "keithley-3706a": re.compile(r"(?P<card>[1-6])(?P<row>\d)(?P<col>\d\d)"),
    "keysight-b2200a": re.compile(r"(?P<card>[0-4])(?P<row>\d\d)(?P<col>\d\d)"),
}


def parse_crosspoint(driver: str, text: str) -> Crosspoint | None:
    """Return (row, column) of a crosspoint in a matrix' own grammar, None when it is none.

    Rows are common to all cards (analogue backplane); columns belong to their card.
    """
    grammar = _GRAMMARS.get(driver)
    match = grammar.fullmatch(text) if grammar else None
    if match is None or int(match["col"]) == 0:
        return None
    return match["row"], f"{match['card']}:{int(match['col'])}"


@dataclass(eq=False)
class Network:
    """Which terminal reaches which lines now.

    Attributes:
        terminals: by (instrument, channel).
        direct: lines wired straight to a terminal.
        rows: (matrix, row) -> terminal; columns: (matrix, column) -> line.
        closed: relays that conduct, by matrix; ``version`` counts their changes.
        path_ohm: series resistance of each line's path, by line.
        relay_ohm: of every closed relay.
    """

    terminals: dict[tuple[str, str], Terminal]
    direct: list[tuple[Terminal, Node]] = field(default_factory=list)
    rows: dict[tuple[str, str], Terminal] = field(default_factory=dict)
    columns: dict[tuple[str, str], Node] = field(default_factory=dict)
    closed: dict[str, set[Crosspoint]] = field(default_factory=dict)
    path_ohm: dict[Node, float] = field(default_factory=dict)
    relay_ohm: float = 0.0
    version: int = 0
    _cache: tuple[int, list[tuple[Terminal, Node]]] | None = None

    def links(self) -> list[tuple[Terminal, Node]]:
        """Return (terminal, line) for every line that a terminal reaches now."""
        if self._cache is not None and self._cache[0] == self.version:
            return self._cache[1]
        out = list(self.direct)
        for matrix, closed in self.closed.items():
            for row, col in sorted(closed):
                terminal, node = self.rows.get((matrix, row)), self.columns.get((matrix, col))
                if terminal is not None and node is not None:
                    out.append((terminal, node))
        self._cache = (self.version, out)
        return out

    def set_closed(self, matrix: str, closed: set[Crosspoint]) -> None:
        """Replace the closed relays of one matrix."""
        self.closed[matrix] = set(closed)
        self.version += 1

    def lines_of(self, terminal: Terminal) -> list[Node]:
        """Return the lines that ``terminal`` reaches now."""
        return [node for other, node in self.links() if other is terminal]

    def resistance_ohm(self, array: int, lines: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the series resistance from terminal to line, for ``lines`` of one array."""
        out = np.zeros(lines.size)
        if not self.path_ohm and self.relay_ohm == 0.0:
            return out
        wired = {line for _, (number, line) in self.direct if number == array}
        for k, line in enumerate(lines.tolist()):
            relay = 0.0 if line in wired else self.relay_ohm
            out[k] = self.path_ohm.get((array, line), 0.0) + relay
        return out


def build_network(station: Station, terminals: Mapping[tuple[str, str], Terminal]) -> Network:
    """Return the net list of a station file, every relay open.

    Raises:
        ConfigError: an unknown channel or crosspoint; one input of a matrix wired to two channels,
            one output to two lines.
    """
    own_names = {key: t for key, t in terminals.items() if t.channel == key[1]}
    net = Network(own_names)
    net.terminals[COMMON, ""] = Rail()
    drivers = {table.name: table.driver for table in station.instrument}
    for number, table in enumerate(station.array):
        geometry = table.geometry()
        for wire in wires(station, table.name):
            node = (number, geometry.line_index(wire.line))
            instrument, _, channel = wire.channel.partition(".")
            terminal = net.terminals.get((instrument, channel))
            if terminal is None:
                terminal = terminals.get((instrument, channel))
            if terminal is None:
                known = ", ".join(".".join(key) for key in terminals)
                raise ConfigError(f"no channel {wire.channel!r}; there are {known}",
                                  path=station.path, field="wiring.channel")  # fmt: skip
            if wire.matrix is None or wire.crosspoint is None:
                net.direct.append((terminal, node))
                continue
            point = parse_crosspoint(drivers[wire.matrix], wire.crosspoint)
            if point is None:
                raise ConfigError(
                    f"{wire.crosspoint!r} is no crosspoint of a {drivers[wire.matrix]}",
                    path=station.path, field="wiring.crosspoint",
                )  # fmt: skip
            row, col = point
            if net.rows.setdefault((wire.matrix, row), terminal) is not terminal:
                other = net.rows[wire.matrix, row].name
                raise ConfigError(
                    f"input {row} of {wire.matrix} is wired to {other} and to {terminal.name}",
                    path=station.path, field="wiring.crosspoint",
                )  # fmt: skip
            if net.columns.setdefault((wire.matrix, col), node) != node:
                raise ConfigError(f"output {col} of {wire.matrix} is wired to two lines",
                                  path=station.path, field="wiring.crosspoint")  # fmt: skip
            net.closed.setdefault(wire.matrix, set())
    return net
