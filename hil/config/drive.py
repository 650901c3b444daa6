"""The ``[drive]`` table: the operating point in a station or device file."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from hil.config.quantities import Ampere, Count, Second, Siemens, Table, Volt
from hil.errors import ConfigError
from hil.operating import Coding, Inhibit, OperatingPoint
from hil.program import SensePlan


class SenseTable(Table):
    """How read currents are measured."""

    range: Ampere | None = None
    aperture: Second | None = None
    averages: Count = 1
    settle: Second = 0.0
    delay: Second = 0.0


class DriveTable(Table):
    """Voltages, widths and coding; see :class:`hil.operating.OperatingPoint`."""

    g_min: Siemens = 0.0
    g_max: Siemens = 0.0
    read_voltage: Volt = 0.1
    read_width: Second = 10e-6
    potentiate_voltage: Volt = 1.0
    depress_voltage: Volt = -1.0
    write_width: Second = 10e-6
    erase_voltage: Volt = 0.0
    erase_width: Second = 0.0
    form_voltage: Volt = 0.0
    form_width: Second = 0.0
    form_compliance: Ampere | None = None
    gate_read_voltage: Volt = 0.0
    gate_write_voltage: Volt = 0.0
    gate_form_voltage: Volt = 0.0
    inhibit: Inhibit = "v/2"
    coding: Coding = "width"
    count_levels: Annotated[int, Field(strict=True, ge=1, le=4096)] = 16
    rise: Second = 0.0
    fall: Second = 0.0
    gap: Second = 0.0
    compliance: Ampere | None = None
    sense: SenseTable = SenseTable()

    @model_validator(mode="after")
    def _usable(self) -> DriveTable:
        try:
            self.operating_point()
        except ConfigError as exc:
            raise ValueError(str(exc)) from exc
        return self

    def operating_point(self) -> OperatingPoint:
        """Return the operating point in SI units."""
        sense = self.sense
        return OperatingPoint(
            g_min_siemens=self.g_min, g_max_siemens=self.g_max,
            read_v=self.read_voltage, read_s=self.read_width,
            potentiate_v=self.potentiate_voltage, depress_v=self.depress_voltage,
            write_s=self.write_width, erase_v=self.erase_voltage, erase_s=self.erase_width,
            form_v=self.form_voltage, form_s=self.form_width,
            form_compliance_a=math.inf if self.form_compliance is None else self.form_compliance,
            gate_read_v=self.gate_read_voltage, gate_write_v=self.gate_write_voltage,
            gate_form_v=self.gate_form_voltage, inhibit=self.inhibit, coding=self.coding,
            count_levels=self.count_levels, rise_s=self.rise, fall_s=self.fall, gap_s=self.gap,
            compliance_a=math.inf if self.compliance is None else self.compliance,
            sensing=SensePlan(
                sense.range, sense.aperture, sense.averages, sense.settle, sense.delay
            ),
        )  # fmt: skip
