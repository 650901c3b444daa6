from __future__ import annotations

import socket
import time

import numpy as np
import pytest
from hil_drivers.transport import LinkSettings, Session, VisaSession
from hil_drivers.transport.blocks import definite_block, parse_numbers, readings
from hil_drivers.transport.visa import choose_library
from line_server import LineServer

from hil.errors import ConfigError, LinkError, LinkTimeout


def echo(line: bytes) -> bytes:
    return line + b"\n"


def test_a_query_returns_the_line_without_its_end():
    with LineServer(lambda line: line + b"\r\n") as server:
        session = VisaSession(server.resource)
        assert isinstance(session, Session)
        assert session.query("*IDN?") == "*IDN?"
        session.close()


def test_messages_are_counted_and_reads_are_not():
    with LineServer(echo) as server:
        session = VisaSession(server.resource)
        session.write("a")
        session.read()
        session.query("b")
        assert session.transactions == 2
        session.close()


def test_raw_sockets_send_at_once():
    with LineServer(echo) as server:
        session = VisaSession(server.resource)
        assert session._socket is not None
        assert session._socket.link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        session.close()


def test_the_terminators_of_the_instrument_are_used_both_ways():
    seen: list[bytes] = []

    def answer(line: bytes) -> bytes:
        seen.append(line)
        return b"ACK\0"

    with LineServer(answer) as server:
        link = LinkSettings(write_termination="\0\n", read_termination="\0")
        session = VisaSession(server.resource, link)
        assert session.query("ID") == "ACK"
        assert seen == [b"ID\0"]
        session.close()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("known_length", [True, False])
def test_binary_blocks_that_hold_line_feeds_arrive_whole(dtype, known_length):
    values = np.full(3000, np.frombuffer(b"\n" * 8, dtype=dtype)[0], dtype=dtype)
    body = definite_block(values) if known_length else b"#0" + values.tobytes()
    with LineServer(lambda line: body + b"\n") as server:
        session = VisaSession(server.resource)
        got = session.query_binary("read", values.size, dtype)
        assert got == pytest.approx(values.astype(float))
        assert session.query_binary("again", values.size, dtype).size == values.size
        session.close()


def test_a_block_of_another_length_is_a_link_error():
    with LineServer(lambda line: definite_block(np.zeros(4, "<f4")) + b"\n") as server:
        session = VisaSession(server.resource)
        with pytest.raises(LinkError, match="16 bytes came, 20 were asked for"):
            session.query_binary("read", 5, "<f4")
        session.close()


def test_an_indefinite_block_that_is_too_long_is_a_link_error():
    body = b"#0" + np.ones(6, "<f4").tobytes()
    with LineServer(lambda line: body + b"\n") as server:
        session = VisaSession(server.resource)
        with pytest.raises(LinkError, match="does not end where it should"):
            session.query_binary("read", 5, "<f4")
        session.close()


def test_text_where_a_block_was_asked_for_is_a_link_error():
    with LineServer(lambda line: b"nil\n") as server:
        session = VisaSession(server.resource)
        with pytest.raises(LinkError, match="should begin with '#'"):
            session.query_binary("read", 5, "<f4")
        session.close()


def test_a_truncated_block_is_a_timeout():
    with LineServer(lambda line: b"#0" + b"\1" * 7) as server:
        session = VisaSession(server.resource)
        with pytest.raises(LinkTimeout):
            session.query_binary("read", 5, "<f4", timeout_s=0.2)
        session.close()


def test_an_answer_that_never_comes_is_a_timeout_with_the_address_in_its_time():
    with LineServer(lambda line: None) as server:
        session = VisaSession(server.resource)
        begin = time.monotonic()
        with pytest.raises(LinkTimeout, match=str(server.port)):
            session.query("*IDN?", timeout_s=0.2)
        assert time.monotonic() - begin < 2.0
        session.close()


def test_a_truncated_line_is_a_timeout():
    with LineServer(lambda line: b"KEITHLEY,MOD") as server:
        session = VisaSession(server.resource)
        with pytest.raises(LinkTimeout):
            session.query("*IDN?", timeout_s=0.2)
        session.close()


def test_a_doubled_reply_is_refused_before_the_next_query():
    with LineServer(lambda line: line + b"\n" + line + b"\n") as server:
        session = VisaSession(server.resource)
        assert session.query("first") == "first"
        with pytest.raises(LinkError, match="unread reply"):
            session.query("second")
        assert server.lines == [b"first"]  # the second question was never asked
        session.close()


def test_a_late_reply_is_not_taken_for_the_next_answer():
    def answer(line: bytes) -> bytes:
        if line == b"slow":
            time.sleep(0.3)
        return line + b"\n"

    with LineServer(answer) as server:
        session = VisaSession(server.resource)
        with pytest.raises(LinkTimeout):
            session.query("slow", timeout_s=0.05)
        time.sleep(1.5)
        with pytest.raises(LinkError, match="unread reply"):
            session.query("quick")
        session.clear()
        assert session.query("quick") == "quick"
        session.close()


def test_a_connection_that_the_instrument_closed_is_a_link_error_at_once():
    with LineServer(echo) as server:
        session = VisaSession(server.resource)
        session.query("a")
        server.hang_up()
        begin = time.monotonic()
        with pytest.raises(LinkError) as caught:
            session.query("b", timeout_s=5.0)
        assert not isinstance(caught.value, LinkTimeout)
        assert time.monotonic() - begin < 4.0
        session.close()
        session.close()


def test_a_session_that_was_closed_is_a_link_error_and_not_a_surprise():
    with LineServer(echo) as server:
        session = VisaSession(server.resource)
        session.close()
        for use in (lambda: session.query("a"), lambda: session.write("a"), session.read,
                    session.clear):  # fmt: skip
            with pytest.raises(LinkError):
                use()


def test_a_closed_port_is_a_link_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    def ask() -> str:
        resource = f"TCPIP0::127.0.0.1::{port}::SOCKET"
        return VisaSession(resource, open_timeout_s=0.5).query("*IDN?", timeout_s=0.5)

    with pytest.raises(LinkError, match=str(port)):
        ask()


def test_an_instrument_that_takes_no_data_does_not_block_for_ever():
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        session = VisaSession(f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET")
        with pytest.raises(LinkTimeout, match="no answer"):
            session.write("x" * 30_000_000, timeout_s=0.3)
        session.close()


def test_unreadable_text_is_a_link_error():
    with LineServer(lambda line: b"\xff\xfe\n") as server:
        session = VisaSession(server.resource)
        with pytest.raises(LinkError, match="not text"):
            session.query("*IDN?")
        session.close()


def test_a_text_that_is_no_resource_is_a_config_error():
    with pytest.raises(ConfigError, match="no VISA resource"):
        VisaSession("192.168.0.5")


def test_the_pure_python_library_is_the_default_and_an_explicit_one_wins():
    assert choose_library("TCPIP0::h::5025::SOCKET") == "@py"
    assert choose_library("GPIB0::17::INSTR", "@ivi") == "@ivi"


def test_overflows_of_both_signs_become_nan_with_a_status():
    values, status = readings(np.array([1e-6, 9.9e37, -9.9e37, 9.91e37, 199.999e99, np.nan]))
    assert values[0] == 1e-6
    assert np.isnan(values[1:]).all()
    assert status.tolist() == [0, 4, 4, 4, 4, 4]


def test_a_single_precision_overflow_is_seen_too():
    assert np.isnan(readings(np.array([9.9e37], dtype="<f4").astype(float))[0][0])


@pytest.mark.parametrize("text", ["1,2", "1,2,x", ""])
def test_a_list_of_another_length_or_with_text_is_a_link_error(text):
    with pytest.raises(LinkError):
        parse_numbers(text, 3)
