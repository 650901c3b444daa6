"""The wiring of one array: which line reaches which channel, directly or through which relay."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Range
from hil.config.station import COMMON, Wire
from hil.errors import ConfigError
from hil.geometry import ArrayGeometry
from hil_drivers.router.candidates import Owners

MAX_SWITCHED = 62  # channels on the instrument side of the matrices; they are bits of an int64

Crosspoint = tuple[str, str]  #: (matrix, crosspoint in its own grammar)


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """What the router has to know of a channel; the defaults are those of the 0 V rail."""

    name: str
    level_v: Range = field(default_factory=lambda: Range(0.0, 0.0))
    width_s: Range = field(default_factory=lambda: Range(0.0, math.inf))
    min_measured_s: float = 0.0
    can_measure: bool = False
    can_limit: bool = False
    compliance_a: Range = field(default_factory=lambda: Range(0.0, math.inf))
    can_float: bool = False


@dataclass(frozen=True, eq=False)
class Wiring:
    """Lines and channels of one array. Build it with :meth:`build`.

    Attributes:
        geometry: the array.
        channels: every channel that is wired, in the order of the wiring (of equals the router
            takes the first), the 0 V rail last if there is one.
        direct: (n_lines,) channel wired straight to the line, −1 where there is none.
        reach: (n_lines, n_channels) True where a relay connects them.
        crosspoints: (line, channel) -> the relay that connects them.
    """

    geometry: ArrayGeometry
    channels: tuple[ChannelSpec, ...]
    direct: NDArray[np.int64]
    reach: NDArray[np.bool_]
    crosspoints: Mapping[tuple[int, int], Crosspoint]

    @classmethod
    def build(
        cls, geometry: ArrayGeometry, ways: Iterable[Wire], specs: Mapping[str, ChannelSpec]
    ) -> Wiring:
        """Return the wiring after checking that it cannot join two sources by itself.

        Args:
            geometry: the array.
            ways: every way of every line (:func:`hil.config.station.wires`).
            specs: the channels by name; ``common`` is known without one.

        Raises:
            ConfigError: a line is not wired, a channel is unknown, two channels are on one matrix
                input, two lines on one matrix output, or a channel is wired both ways.
        """
        ways = list(ways)
        names = [c for c in dict.fromkeys(w.channel for w in ways) if c != COMMON]
        for name in names:
            if name not in specs:
                raise ConfigError(f"no channel {name!r}; there are {', '.join(sorted(specs))}",
                                  field="wiring.channel")  # fmt: skip
        channels = [specs[n] for n in names]
        if any(w.channel == COMMON for w in ways):
            channels.append(ChannelSpec(COMMON))
        index = {c.name: k for k, c in enumerate(channels)}
        _check_joins(ways)
        direct = np.full(geometry.n_lines, -1, dtype=np.int64)
        reach = np.zeros((geometry.n_lines, len(channels)), dtype=np.bool_)
        crosspoints: dict[tuple[int, int], Crosspoint] = {}
        for way in ways:
            line, channel = geometry.line_index(way.line), index[way.channel]
            if way.matrix is None or way.crosspoint is None:
                direct[line] = channel
            else:
                reach[line, channel] = True
                crosspoints[line, channel] = way.matrix, way.crosspoint
        unwired = np.flatnonzero((direct < 0) & ~reach.any(axis=1))
        if unwired.size:
            raise ConfigError(
                f"line {geometry.line_name(int(unwired[0]))} is not wired "
                f"({unwired.size} of {geometry.n_lines} lines are not)", field="wiring",
            )  # fmt: skip
        switched = reach.any(axis=0)
        if switched.sum() > MAX_SWITCHED:
            raise ConfigError(f"{int(switched.sum())} channels on matrices, {MAX_SWITCHED} are "
                              "possible", field="wiring")  # fmt: skip
        return cls(geometry, tuple(channels), direct, reach, crosspoints)

    @property
    def n_lines(self) -> int:
        """Lines of the array."""
        return self.geometry.n_lines

    @cached_property
    def switched(self) -> NDArray[np.int64]:
        """Lines that go through a matrix."""
        return np.flatnonzero(self.direct < 0)

    @cached_property
    def switched_channels(self) -> NDArray[np.int64]:
        """Channels on the instrument side of a matrix."""
        return np.flatnonzero(self.reach.any(axis=0))

    def owners(self, channels: NDArray[np.int64], synced: Collection[str] | None = None) -> Owners:
        """Return whose the given channels are; ``synced`` start together (None = all)."""
        names = [self.channels[c].name.partition(".")[0] for c in channels]
        known = sorted(set(names) - {COMMON})
        together = known if synced is None else [n for n in known if n in synced]
        return Owners(
            tuple(-1 if name == COMMON else known.index(name) for name in names),
            frozenset(known.index(n) for n in together),
        )

    @cached_property
    def tied(self) -> dict[int, NDArray[np.int64]]:
        """Channel -> the lines wired straight to it, where there are several."""
        out = {}
        for channel in np.unique(self.direct[self.direct >= 0]):
            lines = np.flatnonzero(self.direct == channel)
            if lines.size > 1:
                out[int(channel)] = lines
        return out

    @property
    def one_channel_per_line(self) -> bool:
        """Every line has a channel of its own, without a matrix."""
        return not self.switched.size and not self.tied

    def ways_of(self, line: int) -> list[int]:
        """Return the channels that a line reaches."""
        if self.direct[line] >= 0:
            return [int(self.direct[line])]
        return [int(c) for c in np.flatnonzero(self.reach[line])]

    def closures(self, channel_of_line: NDArray[np.int64]) -> frozenset[Crosspoint]:
        """Return the relays that connect every line as given; −1 = floating."""
        channels = channel_of_line[self.switched]
        closed = np.flatnonzero(channels >= 0)
        return frozenset(self._relays[closed, channels[closed]].tolist())

    @cached_property
    def _relays(self) -> NDArray[np.object_]:
        """(n_switched, n_channels) the relay that connects them, None where there is none."""
        out = np.full((self.switched.size, len(self.channels)), None, dtype=object)
        at = {line: n for n, line in enumerate(self.switched.tolist())}
        for (line, channel), relay in self.crosspoints.items():
            out[at[line], channel] = relay
        return out


def _check_joins(ways: list[Wire]) -> None:
    """Raise ConfigError where wires alone, or one relay, would join channels or lines.

    A crosspoint ends in two digits for the output (the line's side); what stands before them is
    the input (the channel's side). The first character is the card, whose outputs are its own.
    """
    inputs: dict[tuple[str, str], str] = {}
    outputs: dict[tuple[str, str, str], str] = {}
    how: dict[str, str] = {}
    for way in ways:
        kind = "a direct wire" if way.matrix is None else "a matrix"
        if way.channel != COMMON and how.setdefault(way.channel, kind) != kind:
            raise ConfigError(
                f"channel {way.channel} is on a direct wire and on a matrix: closing a relay "
                f"would join line {way.line} with others", field="wiring",
            )  # fmt: skip
        if way.matrix is None or way.crosspoint is None:
            continue
        stem, out = way.crosspoint[:-2], way.crosspoint[-2:]
        first = inputs.setdefault((way.matrix, stem), way.channel)
        if first != way.channel:
            raise ConfigError(
                f"{way.matrix}/{way.crosspoint} of line {way.line}: input {stem} has the channels "
                f"{first} and {way.channel}; two sources would be shorted", field="wiring",
            )  # fmt: skip
        line = outputs.setdefault((way.matrix, way.crosspoint[:1], out), way.line)
        if line != way.line:
            raise ConfigError(
                f"{way.matrix}/{way.crosspoint}: lines {line} and {way.line} are on one output",
                field="wiring",
            )  # fmt: skip
