"""Keithley Series 2600B System SourceMeter (2600BS-901-01): TSP, two channels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.terminal import SourceMeter
from hil_sim.virtual_bench.tsp.runtime import TspPersonality
from hil_sim.virtual_bench.tsp.smu import Smu
from hil_sim.virtual_bench.tsp.triggers import TriggerObjects

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_LOW: Final = (0.1, 1.0, 6.0, 40.0)
_HIGH: Final = (0.2, 2.0, 20.0, 200.0)
_AMPS: Final = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FINE: Final = (1e-10, 1e-9, 1e-8)


def _meter(ranges_v: tuple[float, ...], ranges_a: tuple[float, ...]) -> SourceMeter:
    # Level resolution 5 uV on 0.2 V … 5 mV on 200 V, current 1 pA on 1 uA (specification tables).
    return SourceMeter(ranges_v, ranges_a, 4e4, 1e6, 1.02, 9.91e37)


METERS: Final = {
    "2602B": _meter(_LOW, (*_AMPS, 3.0)),
    "2604B": _meter(_LOW, (*_AMPS, 3.0)),
    "2612B": _meter(_HIGH, (*_AMPS, 1.5)),
    "2614B": _meter(_HIGH, (*_AMPS, 1.5)),
    "2634B": _meter(_HIGH, (*_FINE[1:], *_AMPS, 1.5)),
    "2636B": _meter(_HIGH, (*_FINE, *_AMPS, 1.5)),
}
MEASUREMENT_CURRENT_LIMIT: Final = 2  # bit 1 of status.measurement.instrument.smuX


class Keithley2600B(TspPersonality):
    """A dual-channel 2600B; the station calls its channels ``a`` and ``b``."""

    driver: ClassVar[str] = "keithley-2600b"
    default_model: ClassVar[str] = "2636B"
    factory_scripts: ClassVar[str] = "factory.lua"

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        self._made: dict[str, Smu] = {}
        super().__init__(bench, name, settings)

    def root_objects(self) -> dict[str, Any]:
        """Return ``smua``, ``smub`` and the trigger tables beside the common objects."""
        objects = super().root_objects()
        meter = METERS.get(self.model, METERS["2636B"])
        self.triggers = TriggerObjects(self)
        for letter in ("a", "b"):
            smu = Smu(self, letter, meter)
            self._made[letter] = smu
            self.terminals[letter] = smu.terminal
            objects[f"smu{letter}"] = smu.lua_object(letter)
        objects["trigger"] = self.triggers.trigger_object()
        objects["digio"] = self.triggers.digio_object()
        objects["tsplink"] = self.triggers.tsplink_object()
        objects["status"] = self._status()
        objects["display"] = self._display()
        return objects

    def _condition(self, letter: str) -> int:
        return MEASUREMENT_CURRENT_LIMIT * self._made[letter].compliance()

    def _sweeping(self, bits: dict[str, int]) -> int:
        """Return the bits of the channels that sweep.

        Who polls sees a sweep at least once, however short it is: it runs after the first answer.
        """
        out = 0
        for letter, bit in bits.items():
            armed = self._made[letter].sweep.armed
            out |= bit if armed is not None and not armed.done else 0
        self.bench.run(self)
        return out

    def _status(self) -> Any:
        limits: dict[str | int, Any] = {}
        busy: dict[str | int, Any] = {}
        for letter in self._made:
            limits[f"smu{letter}"] = self.object({"condition": partial(self._condition, letter)})
            busy[f"smu{letter}"] = self.object({"condition": partial(self._sweeping, {letter: 8})})
        measurement = self.object(objects={"instrument": self.object(objects=limits)})
        sweeping = self.object({"condition": partial(self._sweeping, {"a": 2, "b": 4})})
        operation = self.object(
            objects={"instrument": self.object(objects=busy), "sweeping": sweeping}
        )
        return self.object(
            {"condition": lambda: 4 if self.errors else 0},
            objects={"reset": self.reset_status, "measurement": measurement, "operation": operation,
                     "standard": self.standard_events()},
        )  # fmt: skip

    def _stored(self, names: dict[str, Any], objects: dict[str | int, Any] | None = None) -> Any:
        """Return an object whose attributes only keep what was set."""
        return self.object(
            {name: partial(names.__getitem__, name) for name in names},
            {name: partial(names.__setitem__, name) for name in names},
            objects,
        )

    def _display(self) -> Any:
        objects: dict[str | int, Any] = {
            "clear": lambda *_: None, "settext": lambda *_: None, "setcursor": lambda *_: None,
            "MEASURE_DCAMPS": 0, "MEASURE_DCVOLTS": 1, "MEASURE_OHMS": 2, "MEASURE_WATTS": 3,
            "SMUA": 0, "SMUB": 1, "SMUA_SMUB": 2, "USER": 3,
            "trigger": self.triggers.key_object(), "loadmenu": self._menu(),
        }  # fmt: skip
        for letter in self._made:
            measure = self._stored({"func": 1})
            objects[f"smu{letter}"] = self._stored({"digits": 5}, {"measure": measure})
        return self._stored({"screen": 2}, objects)

    def _menu(self) -> Any:
        """Return ``display.loadmenu``: entries of the front panel's LOAD key, by name."""
        entries: dict[str, str] = {}
        return self.object(
            objects={
                "add": lambda name, code, *_: entries.__setitem__(str(name), str(code)),
                "delete": lambda name: entries.pop(str(name), None),
                "catalog": lambda: ",".join(sorted(entries)),
            }
        )

    def press_trigger_key(self) -> None:
        """Press TRIG on the front panel: the event ``display.trigger.EVENT_ID``."""
        with self.bench.changed:
            self.triggers.fire(self.triggers.key_event)

    def watch_interlock(self) -> None:
        """Switch off what needs the interlock when it is open."""
        for smu in self._made.values():
            smu.check_interlock()

    def reset(self) -> None:
        """``reset()`` and ``*RST``: channels and triggers; errors and buffers stay."""
        for smu in self._made.values():
            smu.reset()
        self.triggers.reset()

    def trigger(self) -> None:
        """``*TRG``: the event ``trigger.EVENT_ID``."""
        self.triggers.fire(self.triggers.command_event)

    def wait_complete(self) -> None:
        """Block until the sweeps of both channels are done."""
        sweeps = [s.sweep.armed for s in self._made.values() if s.sweep.armed is not None]
        self.bench.wait_until(self, lambda: all(s.done for s in sweeps))
