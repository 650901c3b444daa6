"""Building blocks of static protocols: reads, pulses and long repetitions as checked-once shots."""

from __future__ import annotations

from collections.abc import Iterator

from hil.errors import ProtocolError
from hil.phases.cells import CellRead, checked_once, pieces, repeated
from hil.phases.reading import idle
from hil.phases.writing import erase_rows
from hil.procedure import ArrayContext
from hil.program import Phase, PulseBlock
from hil_protocols.plan import Shot
from hil_protocols.selection import Cells, Together, write_groups

MAX_CELLS = 500_000  # steps x lines of a block, about 6 MB


class Reader:
    """The read of the chosen cells, compiled once and shot as often as needed."""

    def __init__(
        self,
        context: ArrayContext,
        cells: Cells,
        repeat: int = 1,
        *,
        read_v: float | None = None,
        phase: Phase = Phase.READ,
    ) -> None:
        self.read = CellRead(
            context.geometry, context.op, context.capabilities, cells.mask(context.geometry.shape),
            phase=phase, repeat=repeat, read_v=read_v,
        )  # fmt: skip
        self.read.blocks = [checked_once(block) for block in self.read.blocks]

    def at(self, *point: float) -> Iterator[Shot]:
        """Yield the shots of one point of the curve."""
        for block in self.read.blocks:
            yield Shot(block, point)


class Pulses:
    """A short sequence of write blocks, repeated any number of times in bounded blocks.

    Args:
        context: the array.
        sequence: the blocks of one repetition.
        times: largest number of repetitions asked for at once.
    """

    def __init__(self, context: ArrayContext, sequence: PulseBlock, times: int = 1) -> None:
        self._context = context
        capabilities = context.capabilities
        per_block = max(capabilities.max_steps // max(sequence.n_steps, 1), 1)
        if sequence.duration_s > 0:
            per_block = min(per_block, max(int(capabilities.max_block_s / sequence.duration_s), 1))
        per_block = min(per_block, max(MAX_CELLS // max(sequence.state.size, 1), 1))
        self._unit = min(per_block, times)
        self._sequence = sequence
        self._cache: dict[int, list[PulseBlock]] = {}

    def _blocks(self, times: int) -> list[PulseBlock]:
        if times not in self._cache:
            block = repeated(self._sequence, times)
            self._cache[times] = [
                checked_once(piece) for piece in pieces(block, self._context.capabilities)
            ]
        return self._cache[times]

    def shots(self, times: int = 1) -> Iterator[Shot]:
        """Yield ``times`` repetitions."""
        for _ in range(times // self._unit):
            for block in self._blocks(self._unit):
                yield Shot(block)
        rest, part = times % self._unit, 1
        while rest:  # powers of two, so that any rest is made of few compiled blocks
            if rest & 1:
                for block in self._blocks(part):
                    yield Shot(block)
            rest, part = rest >> 1, part << 1


def nominal_pulse(
    context: ArrayContext,
    cells: Cells,
    together: Together,
    polarity: int,
    *,
    repeat: int = 1,
    v: float | None = None,
    width_s: float | None = None,
) -> PulseBlock:
    """Return ``repeat`` potentiation (+1) or depression (−1) pulses on every chosen cell."""
    op = context.op
    nominal_v = op.potentiate_v if polarity > 0 else op.depress_v
    return write_groups(
        context.geometry, op, cells.groups(context.geometry.shape, together),
        nominal_v if v is None else v, op.write_s if width_s is None else width_s, repeat=repeat,
    )  # fmt: skip


def erase_shots(context: ArrayContext, cells: Cells) -> list[Shot]:
    """Return the block erase of the blocks that hold ``cells``; ProtocolError without one."""
    block = erase_rows(context.geometry, context.op, cells.rows)
    return [Shot(checked_once(piece)) for piece in pieces(block, context.capabilities)]


def can_erase(context: ArrayContext) -> bool:
    """Return True when the cells have an erase port and the operating point an erase pulse."""
    op = context.op
    return context.geometry.cell.erase is not None and op.erase_v != 0 and op.erase_s > 0


def depression(choice: str, context: ArrayContext) -> str:
    """Return ``erase`` or ``pulses``; ``auto`` erases where the array can.

    Raises:
        ProtocolError: ``erase`` on an array without block erase.
    """
    if choice == "auto":
        return "erase" if can_erase(context) else "pulses"
    if choice == "erase" and not can_erase(context):
        cell = context.geometry.cell
        why = (
            f"{cell.name} cells have no erase port"
            if cell.erase is None
            else "the operating point has no erase pulse"
        )
        raise ProtocolError(f"'erase' is not possible: {why}", field="depression")
    return choice


def wait(context: ArrayContext, wait_s: float) -> Iterator[Shot]:
    """Yield a wait with every output off; nothing for 0 s."""
    if wait_s > 0:
        yield Shot(idle(context.geometry, wait_s))
