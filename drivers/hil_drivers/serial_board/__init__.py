"""Array boards that speak the framed protocol of docs/serial-protocol.md over a serial line."""

from hil_drivers.serial_board.backend import SerialBoard

__all__ = ["SerialBoard"]
