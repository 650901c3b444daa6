"""``hil doctor`` on serial ports: who answers, and that nothing could have been driven."""

from __future__ import annotations

import os
import select
import string
import threading

import pytest
from hil_drivers import inventory
from hil_drivers.serial_board import frames, messages
from hil_drivers.serial_board.frames import Frame
from hil_drivers.serial_board.messages import Op
from hil_drivers.serial_board.probe import QUIET, who_answers
from hil_drivers.transport.serialport import SerialPort
from serial_bench import on_bench, station_of, text_of

pty = pytest.importorskip("pty", reason="pseudo terminals need a POSIX system")


class Text:
    """An instrument that answers lines; ``heard`` is every byte that came."""

    def __init__(self, answer):
        import tty

        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.path, self.slave, self.heard, self._answer = os.ttyname(slave), slave, b"", answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while not self._stop.is_set():
            if not select.select([self.master], [], [], 0.02)[0]:
                continue
            got = os.read(self.master, 4096)
            self.heard += got
            if b"*IDN?" in got and self._answer:
                os.write(self.master, self._answer)

    def close(self):
        self._stop.set()
        self._thread.join()
        os.close(self.slave)
        os.close(self.master)


def asked(answer, patience_s=0.5):
    instrument = Text(answer)
    try:
        return who_answers(instrument.path, patience_s=patience_s), instrument.heard
    finally:
        instrument.close()


def test_a_framed_board_is_told_with_its_size_and_limits():
    with on_bench(station_of(text_of(rows=6, cols=4))) as (_, bench):
        said = who_answers(bench.resources["board"])
        assert said.startswith("framed board: synapse-hil,")
        assert "6 x 4" in said
        assert "0.0005 V" in said
        assert bench.safe
        assert bench.message_counts.get("board", 0) <= 2


def test_an_instrument_that_knows_idn_is_told_as_that():
    said, _ = asked(b"Maker,Model 7,0042,1.0\r\n", patience_s=10.0)
    assert said == "answers *IDN?: Maker,Model 7,0042,1.0"


@pytest.mark.parametrize("answer", [None, b"\x92\x00\xfe\n", b"1\n"], ids=["mute", "noise", "echo"])
def test_a_port_without_an_identity_is_sent_no_frame(answer):
    said, heard = asked(answer)
    assert said.startswith("no answer to *IDN?")
    assert set(heard.split(b"\n")) == {b"", b"*IDN?"}


def test_the_frame_that_is_sent_holds_nothing_that_reads_as_text():
    coded = frames.pack(Frame(0, 0, Op.HELLO, messages.CHALLENGE.pack(QUIET)))
    assert not set(coded) & set(string.printable.encode())


def test_a_port_in_use_is_left_alone():
    with on_bench(station_of(text_of())) as (_, bench):
        path = bench.resources["board"]
        port = SerialPort(path)
        try:
            said = who_answers(path, patience_s=0.1)
        finally:
            port.close()
    assert said.startswith(("in use", "cannot be opened"))


def test_a_port_that_is_not_there_is_told_as_that(tmp_path):
    assert who_answers(str(tmp_path / "ttyACM9")).startswith("cannot be opened")


def test_ports_are_listed_with_their_lasting_names(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from serial.tools import list_ports

    with on_bench(station_of(text_of())) as (_, bench):
        device = os.path.realpath(bench.resources["board"])
        (tmp_path / "usb-Lab_Board_1-if00").symlink_to(device)
        port = SimpleNamespace(device=device, description="Lab board")
        monkeypatch.setattr(list_ports, "comports", lambda: [port])
        names = inventory.by_id(str(tmp_path))
        monkeypatch.setattr(inventory, "by_id", lambda: names)
        (line,) = inventory.serial_ports()
    assert line.startswith(f"{device} = {tmp_path / 'usb-Lab_Board_1-if00'} (Lab board): framed")
    monkeypatch.setattr(list_ports, "comports", list)
    assert inventory.serial_ports() == ["no serial ports"]


def test_a_computer_without_names_by_id_has_none(tmp_path):
    assert inventory.by_id(str(tmp_path / "missing")) == {}
