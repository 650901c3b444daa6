"""Array boards that speak the framed protocol of docs/serial-protocol.md over a serial line."""
