"""What the rig's factory offers a command: calibrate a rig, check its contacts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import ConfigError

if TYPE_CHECKING:
    from hil.backend import Backend
    from hil.config.station import ArrayTable, Station
    from hil.operating import OperatingPoint
    from hil_drivers.calibration.contact import ContactCheck
    from hil_drivers.calibration.work import Work
    from hil_drivers.rig.backend import RigBackend


class Calibrates:
    """Members of a factory whose arrays hang on instruments."""

    def calibration_path(self, station: Station, array: ArrayTable) -> Path:
        """Return the calibration file that the station names, or the usual one beside it."""
        from hil_drivers.calibration.station import calibration_path

        usual = "calibration.json" if len(station.array) == 1 else "calibration-{array}.json"
        return calibration_path(station, array, station.calibration or usual)

    def calibration(
        self,
        backend: Backend,
        station: Station,
        array: ArrayTable,
        op: OperatingPoint,
        *,
        steps: Sequence[str] = (),
        reference_ohm: float | None = None,
        level_v: float | None = None,
        short_v: float | None = None,
        ranges_a: Sequence[float] = (),
        shorts: Sequence[str] = (),
        every_line: bool = False,
        averages: int = 8,
        base: Path | None = None,
    ) -> Work:
        """Return the calibration of an open backend of this factory; nothing is driven yet.

        Args:
            backend: open, made without a calibration.
            station: its station file.
            array: which of its arrays.
            op: its operating point, from which levels and ranges follow.
            steps: ``zero``, ``open``, ``short``, ``reference``; none = all.
            reference_ohm: value of the reference resistor.
            level_v, short_v: voltages; None = the read voltage, 10 mV.
            ranges_a: measuring ranges; none = those that the array's currents need.
            shorts: ``row,column`` shorted one after the other; none = all lines joined.
            every_line: measure the reference through every line, not only through every channel.
            averages: readings averaged for each value.
            base: calibration file from which the rest is taken.

        Raises:
            ConfigError: a wish that does not fit.
            LimitError: a level is beyond a limit.
            ReadbackError: the base is of other instruments.
        """
        import math

        from hil_drivers.calibration.plan import Wish, check_steps
        from hil_drivers.calibration.station import wiring_digest
        from hil_drivers.calibration.work import Work, load_base, parse_places

        wish = Wish(
            check_steps(steps), math.nan if reference_ohm is None else reference_ohm, level_v,
            short_v, tuple(ranges_a), parse_places(shorts), every_line, averages,
        )  # fmt: skip
        return Work(
            _rig(backend), op, wish, array=array.name,
            wiring_sha256=wiring_digest(station, array), base=load_base(base),
        )  # fmt: skip

    def contacts(
        self, backend: Backend, op: OperatingPoint, *, level_v: float | None = None,
        open_below_siemens: float | None = None, short_above_siemens: float | None = None,
    ) -> ContactCheck:  # fmt: skip
        """Return the contact check of an open backend of this factory; nothing is driven yet.

        Raises:
            LimitError: the voltage is beyond a limit.
        """
        from hil_drivers.calibration.contact import ContactCheck

        return ContactCheck(_rig(backend), op, level_v, open_below_siemens, short_above_siemens)


def _rig(backend: Backend) -> RigBackend:
    from hil_drivers.rig.backend import RigBackend

    if not isinstance(backend, RigBackend):
        raise ConfigError(f"{backend.name} is no rig of instruments: its contacts and its "
                          "calibration are not at hand", field="instrument")  # fmt: skip
    return backend
