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
    ) -> None:
        super().__init__(quantity, value, limit, unit, step=step, where=where, note=note)
        self.too_many = too_many
