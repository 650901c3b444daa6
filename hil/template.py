"""Block templates: the static part of a block, checked once, filled for every pass of a loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import ProtocolError
from hil.program import BoolArray, FloatArray, LineState, PulseBlock, frozen

_GROUND: Final = int(LineState.GROUND)


@dataclass(eq=False)
class BlockTemplate:
    """The static part of a block, checked once per backend; :meth:`fill` gives cheap blocks.

    Levels and widths of a filled block stay inside ``bounds``: for every line, levels between
    ``level_lo_v`` and ``level_hi_v`` and widths up to the block's. The limits are checked for the
    worst combination of these bounds, so that a filled block needs no further check.

    Attributes:
        block: the static block; its levels and widths are the bound with the largest magnitude.
        level_lo_v, level_hi_v: (n_steps, n_lines) volts.
        off_state, off_level_v: what :meth:`fill_bits` gives a line whose bit is 0; None = ground.
        corners: blocks that are checked in place of the bounds, for templates that switch lines.
        checked_by: the limit checkers that have passed it.
        plans: what those who run or count its blocks have found out about it, by themselves.
    """

    block: PulseBlock
    level_lo_v: FloatArray
    level_hi_v: FloatArray
    off_state: NDArray[np.uint8] | None = None
    off_level_v: FloatArray | None = None
    corners: tuple[PulseBlock, ...] = ()
    checked_by: set[object] = field(init=False, default_factory=set)
    plans: dict[object, Any] = field(init=False, default_factory=dict)
    _readings: int = field(init=False)

    def __post_init__(self) -> None:
        self._readings = self.block.n_readings
        self.level_lo_v = frozen(np.minimum(self.level_lo_v, 0.0))
        self.level_hi_v = frozen(np.maximum(self.level_hi_v, 0.0))

    @classmethod
    def around(cls, block: PulseBlock) -> BlockTemplate:
        """Return the template of all blocks with levels and widths between 0 and ``block``'s."""
        return cls(block, np.minimum(block.level_v, 0.0), np.maximum(block.level_v, 0.0))

    @classmethod
    def switching(
        cls,
        on: PulseBlock,
        off_state: NDArray[np.uint8],
        off_level_v: FloatArray,
        corners: tuple[PulseBlock, ...],
    ) -> BlockTemplate:
        """Return the template in which each line is as in ``on`` or as in the off arrays.

        ``corners`` are the combinations that hold the worst cases (all on, rows alone, columns
        alone, none); each is checked as a block of its own.
        """
        grounded = bool((off_state == LineState.GROUND).all())
        return cls(
            on,
            np.minimum(on.level_v, off_level_v),
            np.maximum(on.level_v, off_level_v),
            None if grounded else off_state,
            None if grounded else off_level_v,
            corners,
        )

    def fill_bits(self, on: BoolArray) -> PulseBlock:
        """Return the block with every line on or off; in bounds by construction.

        ``on`` is (n_steps, n_lines) and becomes the block's selected set.
        """
        base = self.block
        if on.shape != base.state.shape:
            raise ProtocolError(f"shape {on.shape}, template {base.state.shape}", field="bits")
        if self.off_state is None or self.off_level_v is None:
            state, level = np.empty_like(base.state), np.empty_like(base.level_v)
            _loaded().switch_lines(on, base.state, base.level_v, _GROUND, state, level)
        else:
            level = np.where(on, base.level_v, self.off_level_v)
            state = np.where(on, base.state, self.off_state)
        return PulseBlock(
            base.phase, frozen(state), frozen(level), base.width_s, base.rise_s, base.fall_s,
            base.gap_s, base.compliance_a, base.repeat, base.sense, frozen(on), base.sensing,
            base.target, self, True,
        )  # fmt: skip

    def is_own(self, block: PulseBlock) -> bool:
        """Return whether a filled block has the states, levels and widths of :attr:`block`."""
        base = self.block
        return (
            block.level_v is base.level_v
            and block.width_s is base.width_s
            and block.state is base.state
        )

    def differs_in_widths(self, block: PulseBlock) -> bool:
        """Return whether a filled block has the states and levels of :attr:`block`, widths per line
        of its own, and nothing else."""
        base = self.block
        return (
            block.width_s is not base.width_s
            and block.level_v is base.level_v
            and block.state is base.state
            and block.width_s.ndim == 2
        )

    @property
    def n_readings(self) -> int:
        """Readings that a filled block promises."""
        return self._readings

    def _check_widths(self, width_s: FloatArray) -> None:
        longest_s = self.block.width_s
        if width_s.shape != longest_s.shape:
            raise ProtocolError(
                f"shape {width_s.shape}, template {longest_s.shape}", field="width_s"
            )
        if not _within_widths(width_s, longest_s):
            raise ProtocolError("a width is NaN or outside the template's bounds", field="width_s")

    def fill(
        self,
        *,
        level_v: FloatArray | None = None,
        width_s: FloatArray | None = None,
        state: NDArray[np.uint8] | None = None,
        selected: BoolArray | None = None,
        target: NDArray[np.int64] | None = None,
    ) -> PulseBlock:
        """Return a block with other levels, widths or states inside the bounds.

        ``state`` may only turn a driven line to GROUND. The arrays are taken over, not copied: the
        caller gives up writing to them.

        Raises:
            ProtocolError: a value is outside the template's bounds, or has another shape.
        """
        base = self.block
        others_given = any(given is not None for given in (level_v, state, selected, target))
        if width_s is not None and not others_given:  # as for every product
            self._check_widths(width_s)
            width_s.setflags(write=False)
            return PulseBlock(
                base.phase, base.state, base.level_v, width_s, base.rise_s, base.fall_s, base.gap_s,
                base.compliance_a, base.repeat, base.sense, base.selected, base.sensing,
                base.target, self,
            )  # fmt: skip
        if level_v is None:
            level_v = base.level_v
        elif level_v.shape != base.level_v.shape:
            raise ProtocolError(
                f"shape {level_v.shape}, template {base.level_v.shape}", field="level_v"
            )
        elif not _within(level_v, self.level_lo_v, self.level_hi_v):
            raise ProtocolError("a level is NaN or outside the template's bounds", field="level_v")
        if width_s is None:
            width_s = base.width_s
        else:
            self._check_widths(width_s)
        if state is None:
            state = base.state
        elif (
            state.shape != base.state.shape
            or not ((state == base.state) | (state == LineState.GROUND)).all()
        ):
            raise ProtocolError("a state may only turn to GROUND in a template", field="state")
        if selected is None:
            selected = base.selected
        elif selected.shape != base.selected.shape:
            raise ProtocolError(
                f"shape {selected.shape}, template {base.selected.shape}", field="selected"
            )
        if target is None:
            target = base.target
        return PulseBlock(
            base.phase, frozen(state), frozen(level_v), frozen(width_s), base.rise_s,
            base.fall_s, base.gap_s, base.compliance_a, base.repeat, base.sense, frozen(selected),
            base.sensing, frozen(target), self,
        )  # fmt: skip


@cache
def _loaded() -> Any:
    from hil import _kernels

    return _kernels


def _within(values: FloatArray, low: FloatArray, high: FloatArray) -> bool:
    return bool(_loaded().within(values, low, high))


def _within_widths(width_s: FloatArray, longest_s: FloatArray) -> bool:
    if width_s.ndim == 1:
        return bool((width_s >= 0.0).all() and (width_s <= longest_s).all())
    return bool(_loaded().within_widths(width_s, longest_s))
