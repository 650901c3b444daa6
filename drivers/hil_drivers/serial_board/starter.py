"""The starter station file of a board, for ``hil init --board``."""

from __future__ import annotations

from typing import Final

STATION: Final = """\
# An array board on a serial port: every row and column has a line of its own on the board.
schema = 1
name = "bench"

[[array]]
rows = 4
cols = 4
# What stands in for the real devices with --sim and --virtual: a preset or a device file.
device = "device.toml"

[drive]
g_min = "1 uS"
g_max = "100 uS"
read_voltage = "0.2 V"
read_width = "100 us"
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
write_width = "10 us"
gap = "10 us"

# The board's own limits hold, too: the stricter of both.
[limits]
level = ["-2 V", "2 V"]

# `hil doctor` lists the ports and who answers. Windows: "COM3". Linux: a path in
# /dev/serial/by-id leads to the same board wherever it is plugged in.
[[instrument]]
name = "board"
driver = "serial-board"
resource = "/dev/ttyACM0"

# Without [[wiring]], line k of the array is line k of the board. Otherwise say it for every line:
# [[wiring]]
# line = "WL0:4"
# channel = "board.w0"
# [[wiring]]
# line = "BL0:4"
# channel = "board.b0"
"""
