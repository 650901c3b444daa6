"""A wire log that looks up everything that drivers send in the command tables."""

from __future__ import annotations

from command_tables import unknown
from hil_drivers.transport.wirelog import WireLog
from lua_50 import too_new


class CommandLog(WireLog):
    """Logs in memory; ``invented`` are commands that are in no table, by instrument.

    Args:
        drivers: driver names by instrument.
    """

    def __init__(self, drivers):
        super().__init__()
        self.drivers = dict(drivers)
        self.messages = 0
        self.invented = []

    def add(self, instrument, op, **fields):
        super().add(instrument, op, **fields)
        sent = fields.get("sent", "")
        if not sent:
            return
        self.messages += 1
        driver = self.drivers[instrument]
        message = f"{sent}#block" if op == "write_binary" else sent
        self.invented += [(instrument, command) for command in unknown(driver, message)]
        if driver in ("keithley-2600b", "keithley-707b", "keithley-3706a"):
            self.invented += [(instrument, token) for token in too_new(message)]
