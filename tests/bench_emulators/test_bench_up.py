"""``hil bench up``: every instrument answers on a bare socket; Ctrl-C ends it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import serial
from hil_sim.virtual_bench.catalogue import EMULATORS

CHANNELS = {"keithley-2600b": "a", "keithley-2450": "1", "keithley-2400": "1",
            "keysight-b2900": "1", "keysight-33500b": "1", "keysight-81160a": "1"}  # fmt: skip
NAMES = {"keithley-2600b": "2636B", "keithley-2450": "2450", "keithley-2400": "2400",
         "keysight-b2900": "B2902A", "keysight-33500b": "33522B", "keysight-81160a": "81160A",
         "keithley-707b": "707B", "keithley-3706a": "3706A",
         "keysight-b2200a": "B2200A", "serial-board": "Array board"}  # fmt: skip


def station_of_all(path: Path) -> Path:
    """Write a station with one instrument of every kind, sources on lines of their own."""
    lines = ["schema = 1", "[[array]]", "rows = 6", "cols = 1", 'device = "ideal"']
    for driver in EMULATORS:
        lines += ["[[instrument]]", f'name = "{driver}"', f'driver = "{driver}"',
                  'resource = "TCPIP0::192.0.2.1::5025::SOCKET"']  # fmt: skip
    for row, (driver, channel) in enumerate(CHANNELS.items()):
        lines += ["[[wiring]]", f'line = "WL{row}"', f'channel = "{driver}.{channel}"']
    lines += ["[[wiring]]", 'line = "BL0"', 'channel = "common"']
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def ask_over_serial(resource: str, message: bytes, end: bytes) -> bytes:
    with serial.serial_for_url(resource, timeout=20) as port:
        port.write(message + b"\n")
        return bytes(port.read_until(end))


def ask(resource: str, message: bytes) -> str:
    if "::" not in resource:
        return ask_over_serial(resource, message, b"\n").decode()
    host, port = resource.split("::")[1:3]
    with socket.create_connection((host, int(port)), 20) as link:
        link.sendall(message + b"\n")
        link.settimeout(20)
        got = b""
        while not got.endswith(b"\n"):
            got += link.recv(4096)
    return got.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")
@pytest.mark.parametrize("realistic", [False, True])
def test_every_instrument_answers_and_ctrl_c_ends_it(tmp_path: Path, realistic: bool) -> None:
    path = station_of_all(tmp_path / "station.toml")
    command = [sys.executable, "-m", "hil.cli.main", "bench", "up", str(path), "--json"]
    with subprocess.Popen(
        command + ["--realistic"] * realistic, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=tmp_path, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            resources = json.loads(process.stdout.readline())
            # ArC ONE has no *IDN?; this asks for its firmware's version, 2.1.
            version = ask_over_serial(resources["arc-one"], b"999", b"\2\0\1\0")
            assert version == b"\2\0\1\0"
            for driver in NAMES:
                assert NAMES[driver] in ask(resources[driver], b"*IDN?"), driver
            assert {*NAMES, "arc-one"} == set(EMULATORS)
        finally:
            process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert rest == ""
    assert process.returncode == 0
