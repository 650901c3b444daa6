"""What the router refuses."""

from __future__ import annotations

from hil.errors import LimitError


class RouteRefused(LimitError):
    """The wiring cannot do a step; nothing was driven.

    ``quantity`` says what is missing, ``where`` names the line, ``value`` is what was asked for and
    ``limit`` what there is. ``too_many`` is True when the step would work if it asked for fewer
    things at once.
    """

    def __init__(
        self,
        quantity: str,
        value: float,
        limit: float,
        unit: str,
        *,
        step: int | None = None,
        where: str | None = None,
        note: str | None = None,
        too_many: bool = False,
        block: int | None = None,
    ) -> None:
        super().__init__(
            quantity, value, limit, unit, block=block, step=step, where=where, note=note
        )
        self.too_many, self.note = too_many, note or quantity

    def in_block(self, block: int | None) -> RouteRefused:
        """Return the same refusal with the number of the block in its message."""
        return RouteRefused(
            self.quantity, self.value, self.limit, self.unit, step=self.step, where=self.where,
            note=self.note, too_many=self.too_many, block=block,
        )  # fmt: skip
