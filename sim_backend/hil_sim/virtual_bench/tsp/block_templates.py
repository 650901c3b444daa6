"""Trigger models of a 2450 that come ready made: templates, and those that sweeps fill in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hil_sim.virtual_bench.tsp.front_settings import ILLEGAL, ON
from hil_sim.virtual_bench.tsp.front_smu import level_list

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.block_model import BlockModel

Arguments = tuple[Any, ...]


def load(model: BlockModel, template: str, *a: Any) -> None:
    """``trigger.model.load`` with the templates of 2450-901-01 rev. B p. 3-104."""
    given = [*a, *(None,) * 8]
    if template == "Empty":
        model.fill()
    elif template == "SimpleLoop":
        _loop(model, ("BRANCH_COUNTER", int(given[0]), 2), given[1], given[2])
    elif template == "DurationLoop":
        _loop(model, ("DURATION", float(given[0]), 2), given[1], given[2], switches_on=True)
    elif template == "LoopUntilEvent":
        _loop(model, ("BRANCH_ON_EVENT", given[0], 6), given[3], given[4], forever=True)
    elif template == "LogicTrigger":
        line, out = f"trigger.EVENT_DIGIO{int(given[0])}", int(given[1])
        model.owner.events.outputs["DIGIO", out] = "trigger.EVENT_NOTIFY1"
        model.fill(
            ("BUFFER_CLEAR", given[5]), ("WAIT", line, given[3]),
            ("DELAY_CONSTANT", given[4] or 0.0), ("MEASURE", given[5], 1),
            ("NOTIFY", "trigger.EVENT_NOTIFY1"), ("BRANCH_COUNTER", int(given[2]), 2),
        )  # fmt: skip
    elif template == "ConfigList":
        count = len(model.owner.smu.source_lists.lists.get(given[1], ()))
        model.fill(
            ("BUFFER_CLEAR", given[3]), ("CONFIG_RECALL", given[0], 1, given[1], 1),
            ("SOURCE_OUTPUT", ON), ("DELAY_CONSTANT", given[2] or 0.0),
            ("MEASURE", given[3], 1), ("BRANCH_COUNTER", count, 8), ("BRANCH_ALWAYS", 10),
            ("CONFIG_NEXT", given[0], given[1]), ("BRANCH_ALWAYS", 4),
            ("SOURCE_OUTPUT", "smu.OFF"),
        )  # fmt: skip
    else:
        model.owner.post_error(ILLEGAL, f"Parameter {template} is no trigger model")


def _loop(
    model: BlockModel, end: tuple[Any, ...], delay: Any, buffer: Any, *,
    switches_on: bool = False, forever: bool = False,
) -> None:  # fmt: skip
    begin = ("SOURCE_OUTPUT", ON) if switches_on else ("BUFFER_CLEAR", buffer)
    again = [("BRANCH_ALWAYS", 2)] if forever else []
    model.fill(begin, ("DELAY_CONSTANT", delay or 0.0), ("MEASURE", buffer, 1), end, *again)


def _sweep(model: BlockModel, name: str, first: int, points: int, delay: Any, count: Any, fail: Any,
          buffer: Any) -> None:  # fmt: skip
    """Load a sweep over a source configuration list; the output is off after it."""
    model.fill(
        ("BUFFER_CLEAR", buffer), ("CONFIG_RECALL", name, first), ("SOURCE_OUTPUT", ON),
        ("BRANCH_ALWAYS", 6), ("CONFIG_NEXT", name),
        ("DELAY_CONSTANT", 0.0 if delay in (None, "smu.DELAY_AUTO") else float(delay)),
        ("MEASURE", buffer, 1), ("BRANCH_COUNTER", points * int(count or 1), 5),
        ("SOURCE_OUTPUT", "smu.OFF"),
    )  # fmt: skip
    model.fail_abort = fail in (None, ON)


def sweep_functions(model: BlockModel) -> dict[str | int, Callable[..., None]]:
    """Return ``sweeplinear``, ``sweeplinearstep``, ``sweeplog`` and ``sweeplist``."""

    def over(name: str, levels: list[float], rest: Arguments) -> None:
        delay, count, range_type, fail, _, buffer = (*rest, *(None,) * 6)[:6]
        model.owner.smu.sweep_levels(name, levels, range_type)
        _sweep(model, name, 1, len(levels), delay, count, fail, buffer)

    def both(rest: Arguments) -> bool:
        return len(rest) > 4 and rest[4] == ON

    def linear(name: str, start: float, stop: float, points: float, *rest: Any) -> None:
        over(name, level_list(start, stop, int(points), both_ways=both(rest)), rest)

    def step(name: str, start: float, stop: float, size: float, *rest: Any) -> None:
        points = math.floor(abs(stop - start) / abs(size) + 1e-9) + 1
        end = start + math.copysign((points - 1) * abs(size), stop - start)
        over(name, level_list(start, end, points, both_ways=both(rest)), rest)

    def log(name: str, start: float, stop: float, points: float, *rest: Any) -> None:
        asymptote = float(rest[6] or 0.0) if len(rest) > 6 else 0.0
        over(name, level_list(start, stop, int(points), both_ways=both(rest), logarithmic=True,
                              asymptote=asymptote), rest)  # fmt: skip

    def of_list(name: str, *rest: Any) -> None:
        index, delay, count, fail, buffer = (*rest, *(None,) * 5)[:5]
        first = int(index or 1)
        size = len(model.owner.smu.source_lists.lists.get(name, ()))
        if not 1 <= first <= size:
            model.owner.post_error(ILLEGAL, f"Configuration list {name} has no index {first}")
            return
        _sweep(model, name, first, size - first + 1, delay, count, fail, buffer)

    return {"sweeplinear": linear, "sweeplinearstep": step, "sweeplog": log,
            "sweeplist": of_list}  # fmt: skip
