"""The trigger model of a 2450: up to 63 blocks that are executed one after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from hil_sim.virtual_bench.engine import RunAborted
from hil_sim.virtual_bench.tsp.front_settings import ILLEGAL, ON, OUT_OF_RANGE

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.front_node import FrontNode

MAX_BLOCKS: Final = 63
BLOCKS: Final = (
    "BUFFER_CLEAR", "CONFIG_NEXT", "CONFIG_PREV", "CONFIG_RECALL", "BRANCH_ALWAYS",
    "BRANCH_COUNTER", "BRANCH_ONCE", "BRANCH_ONCE_EXCLUDED", "BRANCH_ON_EVENT",
    "BRANCH_LIMIT_CONSTANT", "BRANCH_DELTA", "DELAY_CONSTANT", "DIGITAL_IO", "LOG_EVENT", "MEASURE",
    "MEASURE_DIGITIZE", "NOP", "NOTIFY", "RESET_BRANCH_COUNT", "SOURCE_OUTPUT", "WAIT",
)  # fmt: skip
_BREATHE: Final = 64  # blocks between two looks at what other sessions want
Arguments = tuple[Any, ...]


class BlockModel:
    """Blocks by number, and where their execution stands.

    ``initiate`` arms it; it runs when somebody waits for it or looks at its results, as far as it
    goes: a wait block for an event of another instrument keeps its place. Blocks themselves take no
    time.

    Attributes:
        at: block that comes next, 0 = idle.
        running: blocks are being executed at this moment.
        fail_abort: a measurement in which the source limits ends the model, output off.
    """

    def __init__(self, owner: FrontNode) -> None:
        self.owner = owner
        self.blocks: dict[int, tuple[str, Arguments]] = {}
        self.at = 0
        self.outcome = "EMPTY"
        self._counters: dict[int, int] = {}
        self._once: set[int] = set()
        self._last: list[float] = []
        self._begun_s = 0.0
        self._entered = False
        self.fail_abort = False
        self._seen_running = False
        self.running = False
        self._do: dict[str, Callable[..., int | None]] = {
            kind: getattr(self, f"_{kind.lower()}") for kind in BLOCKS
        }
        self._do["DURATION"] = self._duration

    def reset(self) -> None:
        """Forget every block."""
        self.abort()
        self.blocks.clear()
        self.outcome, self.fail_abort = "EMPTY", False

    # Building.

    def put(self, number: float, kind: str, *arguments: Any) -> None:
        """``trigger.model.setblock``."""
        word = str(kind).removeprefix("trigger.BLOCK_")
        if word not in BLOCKS:
            self.owner.post_error(ILLEGAL, f"Parameter {kind} is no trigger block")
        elif not 1 <= int(number) <= MAX_BLOCKS:
            self.owner.post_error(OUT_OF_RANGE, f"Block {number:g} is out of range")
        elif self.at:
            self.owner.post_error(ILLEGAL, "Trigger model is running")
        else:
            self.blocks[int(number)] = (word, arguments)
            self.outcome = "IDLE"

    def fill(self, *blocks: tuple[Any, ...]) -> None:
        """Replace all blocks; each is its kind and arguments."""
        self.blocks = {n: (str(b[0]), tuple(b[1:])) for n, b in enumerate(blocks, start=1)}
        self.outcome = "IDLE" if blocks else "EMPTY"
        self.fail_abort = False

    def listing(self) -> str:
        """``trigger.model.getblocklist``."""
        return "\n".join(
            f"{n:2d}) {kind:24s} {', '.join(str(a) for a in arguments if a is not None)}"
            for n, (kind, arguments) in sorted(self.blocks.items())
        )

    def branch_count(self, number: float) -> int:
        """``trigger.model.getbranchcount``."""
        return self._counters.get(int(number), 0)

    # Running.

    def initiate(self) -> None:
        """Begin at the first block."""
        if not self.blocks:
            self.owner.post_error(ILLEGAL, "Trigger model has no blocks")
            return
        self.at, self.outcome, self._entered = 1, "RUNNING", False
        self._seen_running = False
        self._counters.clear()
        self._once.clear()
        self._begun_s = self.owner.bench.clock_ns * 1e-9

    def abort(self) -> None:
        """Stop where it is."""
        if self.at:
            self.at, self.outcome = 0, "ABORTED"

    def state(self) -> tuple[str, str, float]:
        """``trigger.model.state``: who polls sees a model run at least once."""
        if self.at and not self._seen_running:
            self._seen_running = True
            return "trigger.STATE_RUNNING", "trigger.STATE_RUNNING", float(self.at)
        done = self.proceed()
        word = f"trigger.STATE_{self.outcome if done else 'WAITING'}"
        return word, word, float(self.at)

    def proceed(self) -> bool:
        """Execute blocks as far as they go; return whether the model is idle.

        Raises:
            RunAborted: another session aborted.
        """
        self.running = True
        try:
            return self._proceed()
        finally:
            self.running = False

    def _proceed(self) -> bool:
        owner = self.owner
        for n in itertools.count(1):
            if not self.at:
                return True
            if self.at not in self.blocks:
                self.at, self.outcome = 0, "IDLE"
                return True
            if n % _BREATHE == 0:
                owner.bench.changed.wait(1e-4)
            if owner.abort_requested:
                self.abort()
                raise RunAborted(owner.name)
            kind, arguments = self.blocks[self.at]
            target = self._do[kind](*arguments)
            if target is None:
                return False
            self.at = target
        return True

    # Blocks: each returns the number of the next one, None to stay.

    def _nop(self, *_: Any) -> int:
        return self.at + 1

    _log_event = _nop
    _digital_io = _nop  # lines are events on the bench, they have no level

    def _buffer_clear(self, buffer: Any = None, *_: Any) -> int:
        self.owner.buffers_.find(buffer).clear()
        return self.at + 1

    def _step(self, by: int, names: Arguments) -> int:
        for name in names:
            if name is not None:
                self.owner.lists_of(name).step(name, by)
        return self.at + 1

    def _config_next(self, *names: Any) -> int:
        return self._step(1, names)

    def _config_prev(self, *names: Any) -> int:
        return self._step(-1, names)

    def _config_recall(self, name: str, index: Any = None, second: Any = None,
                       second_index: Any = None, *_: Any) -> int:  # fmt: skip
        self.owner.lists_of(name).recall(name, int(index or 1))
        if second is not None:
            self.owner.lists_of(second).recall(second, int(second_index or 1))
        return self.at + 1

    def _branch_always(self, target: float, *_: Any) -> int:
        return int(target)

    def _branch_counter(self, count: float, target: float, *_: Any) -> int:
        done = self._counters.get(self.at, 0) + 1
        self._counters[self.at] = done
        if done < count:
            return int(target)
        self._counters[self.at] = 0
        return self.at + 1

    def _reset_branch_count(self, number: float, *_: Any) -> int:
        self._counters.pop(int(number), None)
        return self.at + 1

    def _branch_once(self, target: float, *_: Any) -> int:
        first = self.at not in self._once
        self._once.add(self.at)
        return int(target) if first else self.at + 1

    def _branch_once_excluded(self, target: float, *_: Any) -> int:
        first = self.at not in self._once
        self._once.add(self.at)
        return self.at + 1 if first else int(target)

    def _branch_on_event(self, name: str, target: float, *_: Any) -> int:
        if not self.owner.events.latched(name):
            return self.at + 1
        self.owner.events.clear(name)
        return int(target)

    def _branch_limit_constant(self, kind: str, low: float, high: float, target: float,
                               *_: Any) -> int:  # fmt: skip
        value = self._last[-1] if self._last else math.nan
        met = {
            "trigger.LIMIT_ABOVE": value > high, "trigger.LIMIT_BELOW": value < low,
            "trigger.LIMIT_INSIDE": low <= value <= high,
            "trigger.LIMIT_OUTSIDE": value < low or value > high,
        }[kind]  # fmt: skip
        return int(target) if met else self.at + 1

    def _branch_delta(self, difference: float, target: float, *_: Any) -> int:
        close = len(self._last) > 1 and self._last[-2] - self._last[-1] <= difference
        return int(target) if close else self.at + 1

    def _duration(self, seconds: float, target: float) -> int:
        past = self.owner.bench.clock_ns * 1e-9 - self._begun_s
        return int(target) if past < seconds else self.at + 1

    def _delay_constant(self, seconds: float, *_: Any) -> int:
        self.owner.events.dwell(float(seconds))
        return self.at + 1

    def _measure(self, buffer: Any = None, count: Any = None, *_: Any) -> int:
        smu = self.owner.smu
        reading = smu.take(self.owner.buffers_.find(buffer), int(count or 1), smu.settle_s)
        self._last = [*self._last[-1:], reading.reading]
        self.owner.events.give_due()
        if self.fail_abort and smu.channel.terminal.limited:
            smu.switch(False)
            return MAX_BLOCKS + 1
        return self.at + 1

    _measure_digitize = _measure

    def _notify(self, name: str, *_: Any) -> int:
        self.owner.events.post(name)
        return self.at + 1

    def _source_output(self, state: Any, *_: Any) -> int:
        self.owner.smu.switch(state in (ON, 1, True))
        return self.at + 1

    def _wait(self, *arguments: Any) -> int | None:
        names = [a for a in arguments if isinstance(a, str) and a.startswith("trigger.EVENT_")]
        events = self.owner.events
        if "trigger.CLEAR_ENTER" in arguments and not self._entered:
            for name in names:
                events.clear(name)
        self._entered = True
        every = all if "trigger.WAIT_AND" in arguments else any
        if not events.advance(lambda: every(events.latched(name) for name in names)):
            return None
        for name in names:
            events.clear(name)
        self._entered = False
        return self.at + 1
