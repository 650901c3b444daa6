"""What TCP_NODELAY is worth, and what the session costs over a bare socket."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hil_drivers.transport import VisaSession

sys.path.insert(0, str(Path(__file__).parents[1] / "drivers"))
from line_server import LineServer


def answer(line: bytes) -> bytes | None:
    return line + b"\n" if line.endswith(b"?") else None


def per_call_s(call: Callable[[], object], n: int) -> float:
    call()
    begin = time.perf_counter()
    for _ in range(n):
        call()
    return (time.perf_counter() - begin) / n


def test_write_then_query_with_and_without_nodelay(capsys: pytest.CaptureFixture[str]) -> None:
    with LineServer(answer) as server:
        session = VisaSession(server.resource)

        def pair() -> None:
            session.write("set 1")
            session.query("ask?")

        quick_s = per_call_s(pair, 500)
        assert session._socket is not None
        session._socket.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        slow_s = per_call_s(pair, 10)
        session.close()
    with capsys.disabled():
        print(f"\nwrite + query: {quick_s * 1e3:.3f} ms with TCP_NODELAY, "
              f"{slow_s * 1e3:.1f} ms without ({slow_s / quick_s:.0f}x)")  # fmt: skip


def test_a_query_against_the_bare_socket(capsys: pytest.CaptureFixture[str]) -> None:
    with LineServer(answer) as server:
        session = VisaSession(server.resource)
        ours_s = per_call_s(lambda: session.query("ask?"), 2000)
        session.close()
        bare = socket.create_connection(("127.0.0.1", server.port))
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask() -> bytes:
            bare.sendall(b"ask?\n")
            return bare.recv(4096)

        bare_s = per_call_s(ask, 2000)
        bare.close()
    with capsys.disabled():
        print(f"\nquery: {ours_s * 1e6:.0f} us, bare socket {bare_s * 1e6:.0f} us "
              f"({ours_s / bare_s:.2f}x)")  # fmt: skip
