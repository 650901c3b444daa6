"""Serial ports as byte streams: exact reads, time-outs, a wait that is cancelled, and the log."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from hil_drivers.transport import WireLog, load_wire_log
from hil_drivers.transport.exclusive import canonical
from hil_drivers.transport.serialport import SerialPort, has_parity

from hil.errors import ConfigError, LinkError, LinkTimeout


@contextmanager
def socket_port(**options):
    """Yield (port, the other end), over TCP, as on Windows."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = SerialPort(f"socket://127.0.0.1:{server.getsockname()[1]}", **options)
        other, _ = server.accept()
        with other:
            yield port, other
        port.close()


@contextmanager
def pseudo_port(**options):
    """Yield (port, descriptor of the other end) of a pseudo terminal."""
    pty, tty = pytest.importorskip("pty"), pytest.importorskip("tty")
    master, slave = pty.openpty()
    tty.setraw(slave)
    port = SerialPort(os.ttyname(slave), **options)
    os.close(slave)
    yield port, master
    port.close()
    os.close(master)


@pytest.fixture(params=["socket", "pty"])
def ends(request):
    """Return (port, what sends to it, what reads from it)."""
    if request.param == "socket":
        with socket_port() as (port, other):
            yield port, other.sendall, lambda: other.recv(4096)
    else:
        with pseudo_port() as (port, master):
            yield port, lambda data: os.write(master, data), lambda: os.read(master, 4096)


def test_reads_return_what_was_asked_for_and_keep_the_rest(ends):
    port, send, receive = ends
    port.write(b"hello")
    assert receive() == b"hello"
    assert port.transactions == 1
    send(b"abcdef\nrest")
    assert port.read_exactly(3) == b"abc"
    assert port.read_until(b"\n") == b"def\n"
    assert port.read_exactly(4) == b"rest"
    assert port.unread == 0


def test_a_reply_that_is_too_short_stays_unread(ends):
    port, send, _ = ends
    send(b"ab")
    with pytest.raises(LinkTimeout, match="2 of 4 bytes came"):
        port.read_exactly(4, 0.05)
    send(b"cd")
    assert port.read_exactly(4) == b"abcd"
    assert port.read_some(0.02) == b""


def test_a_line_without_an_end_is_an_error(ends):
    port, send, _ = ends
    send(b"x" * 100)
    with pytest.raises(LinkError, match="100 bytes came without"):
        port.read_until(b"\n", most=64)
    assert port.drain(0.02, 1.0) == 100


def test_a_wait_is_cancelled_from_another_thread(ends):
    port, _, _ = ends
    threading.Timer(0.05, port.cancel).start()
    begin = time.monotonic()
    with pytest.raises(LinkError, match="cancelled"):
        port.read_exactly(1, 10.0)
    assert time.monotonic() - begin < 5.0


def test_a_port_that_was_closed_says_so(ends):
    port, _, _ = ends
    port.close()
    port.close()
    for use in (lambda: port.write(b"x"), lambda: port.read_exactly(1), lambda: port.unread):
        with pytest.raises(LinkError, match="closed"):
            use()


@pytest.mark.skipif(os.name == "nt", reason="a socket takes all; pseudo-terminals are POSIX's")
def test_a_port_is_not_closed_under_a_thread_that_writes(monkeypatch):
    with pseudo_port() as (port, _):
        give, close = port._give, port._port.close
        inside, at_close, begun = [], [], threading.Event()

        def counted(payload):
            inside.append(payload)
            begun.set()
            try:
                give(payload)  # a terminal that nobody reads takes some of it and no more
            finally:
                inside.clear()

        def noted():
            at_close.append(len(inside))
            close()

        monkeypatch.setattr(port, "_give", counted)
        monkeypatch.setattr(port._port, "close", noted)
        failed = []

        def send():
            try:
                port.write(bytes(1 << 20))
            except LinkTimeout as exc:
                failed.append(exc)

        writer = threading.Thread(target=send)
        writer.start()
        assert begun.wait(10.0)
        port.close()
        writer.join()
        assert at_close == [0]
        assert len(failed) == 1


def test_a_wait_ends_when_another_thread_closes_the_port(ends):
    port, _, _ = ends
    threading.Timer(0.05, port.close).start()
    begun_s = time.monotonic()
    with pytest.raises(LinkError, match=r"cancelled|closed"):
        port.read_exactly(4, 30.0)
    assert time.monotonic() - begun_s < 10.0


def test_the_other_end_going_away_is_a_link_error():
    with socket_port() as (port, other):
        other.close()
        with pytest.raises(LinkError) as caught:
            port.read_exactly(1, 1.0)
        assert not isinstance(caught.value, LinkTimeout)


def test_a_port_has_one_owner():
    with pseudo_port() as (port, _), pytest.raises(LinkError, match="another program has the port"):
        SerialPort(port.address)


def test_a_name_that_is_no_port_is_a_wrong_setting():
    with pytest.raises(ConfigError, match="is no serial port"):
        SerialPort("nobody://here")


def test_a_port_that_is_not_there_is_a_link_error():
    missing = "COM250" if sys.platform == "win32" else "/dev/ttyNOBODY"
    with pytest.raises(LinkError, match="there is no such port; `hil doctor` lists"):
        SerialPort(missing)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.EACCES, "could not open port"), "group `dialout`"),
        (OSError("could not open port 'COM3': PermissionError(13, 'Access is denied.', None, 5)"),
         "another program has the port open"),
        (OSError("could not open port 'COM9': FileNotFoundError(2, 'cannot find', None, 2)"),
         "no such port"),
        (OSError(errno.EIO, "could not open port"), "opening: .*could not open port"),
    ],
    ids=["not allowed on Linux", "taken on Windows", "not there on Windows", "anything else"],
)  # fmt: skip
def test_a_port_that_does_not_open_says_what_to_do(raised, said, monkeypatch):
    def refuse(*_, **__):
        raise raised

    monkeypatch.setattr("serial.serial_for_url", refuse)
    with pytest.raises(LinkError, match=f"^COM3: .*{said}"):
        SerialPort("COM3")


def test_parity_is_for_ports_that_have_one():
    assert has_parity("COM3")
    assert has_parity("/dev/ttyACM0")
    assert not has_parity("socket://127.0.0.1:4000")
    with pseudo_port(parity="even") as (port, _):
        assert not has_parity(port.address)


@pytest.mark.skipif(os.name == "nt", reason="links to devices are those of udev")
def test_a_lasting_name_is_locked_as_the_port_that_it_leads_to(tmp_path):
    (tmp_path / "ttyACM0").touch()
    (tmp_path / "usb-Board").symlink_to(tmp_path / "ttyACM0")
    assert canonical(str(tmp_path / "usb-Board")) == canonical(str(tmp_path / "ttyACM0"))


def test_every_byte_is_logged_text_as_text_and_the_rest_in_base64(tmp_path):
    with WireLog(tmp_path / "wire.jsonl") as log, socket_port(log=log, name="board") as (port, end):
        port.write(b"*IDN?\n")
        end.sendall(b"\x00\xff")
        port.read_exactly(2)
        with pytest.raises(LinkTimeout):
            port.read_exactly(1, 0.02)
    sent, came, late = load_wire_log(tmp_path / "wire.jsonl")["board"]
    assert (sent.op, sent.sent) == ("write", "*IDN?\n")
    assert (came.op, came.block, came.dtype) == ("read", "AP8=", "|u1")
    assert late.error.startswith("LinkTimeout")
