"""What a protocol file becomes: a procedure that yields pulse blocks and may use the readings.

A static procedure is a :class:`~hil.program.Programme`, checked whole before anything is driven. An
adaptive one (write-verify, forming) is a generator: it yields a block, is sent the readings, and
returns its outcome as named arrays and numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from hil.capabilities import Capabilities
from hil.geometry import ArrayGeometry
from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.pairs import PairMap
from hil.program import FloatArray, Programme, PulseBlock

#: Arrays and numbers that a procedure returns, units in the names.
Outcome: TypeAlias = Mapping[str, Any]
Steps: TypeAlias = Generator[PulseBlock, MeasurementBlock, Outcome]


@dataclass(frozen=True, slots=True)
class ArrayContext:
    """The array that a procedure is compiled for."""

    geometry: ArrayGeometry
    op: OperatingPoint
    capabilities: Capabilities
    limits: SafetyLimits
    pairs: PairMap | None = None
    seed: int = 0


class Procedure(ABC):
    """A protocol, ready to be compiled for an array.

    Attributes:
        name: the protocol's own name.
        kind: which kind of the library it is, e.g. ``ltp-ltd``.
        adaptive: True when later pulses depend on readings.
        first_block: number of its first block, above 0 where others were driven before.
    """

    name: str
    kind: str
    adaptive: bool = False
    first_block: int = 0

    @abstractmethod
    def steps(self, context: ArrayContext) -> Steps:
        """Return the generator that yields blocks, takes readings and returns the outcome.

        Raises:
            ProtocolError: the protocol does not fit this array (raised before the first block).
        """

    def notes(self, context: ArrayContext) -> list[str]:
        """Return what was chosen for this array where the protocol leaves it open, and why."""
        return []

    def targets_siemens(self, context: ArrayContext) -> FloatArray | None:
        """Return (n_rows, n_cols) siemens that devices are brought to, NaN where none is.

        None for a procedure that aims at no conductances, or not at ones known beforehand.
        """
        return None

    def programme(self, context: ArrayContext) -> Programme:
        """Return the static programme; ProtocolError for an adaptive procedure."""
        from hil.errors import ProtocolError

        raise ProtocolError(f"{self.kind} is adaptive: its pulses depend on the readings")


@runtime_checkable
class ProtocolProvider(Protocol):
    """What an entry point of the group ``hil.protocols`` names: loads protocol files."""

    def names(self) -> Mapping[str, str]:
        """Return the shipped protocols: name -> what it measures, in one line."""

    def text(self, name: str) -> str:
        """Return the file of a shipped protocol."""

    def load(self, path: str | Path) -> Procedure:
        """Return the procedure of a file, or of a shipped protocol by name.

        Raises:
            ProtocolError: with file, line and field.
        """

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of protocol files."""
