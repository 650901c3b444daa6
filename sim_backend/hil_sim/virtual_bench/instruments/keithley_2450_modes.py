"""A 2450 with its three command sets: SCPI, TSP, and the emulation of a 2400."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from hil.errors import ConfigError
from hil_sim.virtual_bench.instruments.keithley_2400 import Keithley2400
from hil_sim.virtual_bench.instruments.keithley_2450 import METERS, Keithley2450
from hil_sim.virtual_bench.personality import Personality, Setting
from hil_sim.virtual_bench.tsp.front_node import FrontNode

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

LANGUAGES: Final = ("SCPI", "TSP", "SCPI2400")


class Keithley2450Modes(Personality):
    """The instrument; what is said to it goes to the emulation of the command set that is active.

    ``*LANG <set>`` is kept in memory and becomes active when the instrument is switched off and on
    (2450-901-01 rev. B p. B-5). On the bench that is a power cycle, or the moment when its last
    session has closed, since nobody can reach the switch. The option ``language`` is the command
    set at the start.
    """

    driver: ClassVar[str] = "keithley-2450"
    default_model: ClassVar[str] = "2450"
    settings_known: ClassVar[frozenset[str]] = Personality.settings_known | {"language"}

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(bench, name, settings)
        if self.model not in METERS:
            raise ConfigError(f"there is no model {self.model}; there are {', '.join(METERS)}",
                              field=f"options.{name}.model")  # fmt: skip
        self.language = self.wanted = str(settings.get("language", "SCPI"))
        if self.language not in LANGUAGES:
            raise ConfigError(f"{self.language!r} is none of {', '.join(LANGUAGES)}",
                              field=f"options.{name}.language")  # fmt: skip
        self._sessions = 0
        self.face = self._make_face()
        self.errors = self.face.errors
        self.terminals["1"] = self.face.terminals["1"]

    def _make_face(self) -> FrontNode | Keithley2400 | Keithley2450:
        settings = {k: v for k, v in self.settings.items() if k != "language"}
        settings["model"] = self.model
        if self.language == "TSP":
            return FrontNode(self.bench, self.name, settings, METERS[self.model])
        if self.language == "SCPI2400":
            return _As2400(self.bench, self.name, settings)
        return Keithley2450(self.bench, self.name, settings)

    # The active command set.

    @property
    def block_aware(self) -> bool:  # type: ignore[override]
        """Whether messages may hold binary blocks."""
        return self.face.block_aware

    def post_error(self, code: int, text: str) -> None:
        """Append to the error queue of the active command set."""
        self.face.post_error(code, text)

    def status_byte(self) -> int:
        """Return the status byte."""
        return self.face.status_byte()

    def is_urgent(self, message: bytes) -> bool:
        """Whether a message interrupts a run of another session."""
        return self.face.is_urgent(message)

    def clear(self) -> None:
        """Device clear."""
        super().clear()
        self.face.clear()

    def interrupt(self) -> None:
        """Stop the run that another session waits for."""
        self.face.abort_requested = True
        super().interrupt()

    def before_run(self) -> None:
        """Arm what waits for triggers of other instruments."""
        self.face.before_run()

    def watch_interlock(self) -> None:
        """Do what an interlock that opened or closed does."""
        self.face.watch_interlock()

    def reset(self) -> None:
        """``*RST``."""
        self.face.reset()

    def handle(self, message: bytes) -> bytes | None:
        """Hand a message to the active command set; ``*LANG`` is the instrument's own."""
        forced = self.faults.language
        if forced is not None and forced != self.language:
            self.wanted = forced
            self._restart()
        text = message.strip().upper()
        if text.startswith(b"*LANG"):
            return self._language(text[5:].strip().decode("latin-1"))
        self.face.abort_requested = self.abort_requested
        reply = self.face.handle(message)
        self.owed_s += self.face.owed_s
        self.face.owed_s = 0.0
        return reply

    def _language(self, word: str) -> bytes | None:
        if word == "?":
            return self.language.encode() + b"\n"
        if word in LANGUAGES:
            self.wanted = word
        else:
            self.post_error(-224, "Illegal parameter value")
        return None

    # Off and on.

    def power_cycle(self) -> None:
        """Go off and on: the command set that was asked for becomes active."""
        super().power_cycle()
        self._restart()

    def session_opened(self) -> None:
        """Count sessions."""
        self._sessions += 1

    def session_closed(self) -> None:
        """Restart when the last session is gone and another command set was asked for."""
        self._sessions -= 1
        if self._sessions == 0 and self.wanted != self.language:
            self._restart()

    def _restart(self) -> None:
        terminal = self.terminals["1"]
        self.bench.engine.abort({id(terminal)})
        self.bench.engine.wires.pop(self.name, None)
        self.language = self.wanted
        self.face = self._make_face()
        self.errors = self.face.errors
        # The wiring knows the instrument's own terminal: the new command set acts on that one.
        channel = self.face.smu.channel if isinstance(self.face, FrontNode) else self.face.smu
        channel.terminal = self.face.terminals["1"] = terminal
        self.face.reset()


class _As2400(Keithley2400):
    """A 2450 that speaks as a 2400 does, but for its name."""

    driver: ClassVar[str] = "keithley-2450"

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"KEITHLEY INSTRUMENTS INC.,MODEL {self.model},{self.serial},1.7.12b"
