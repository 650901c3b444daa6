"""Fixtures: both boards of the tests, on resistors."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from board_host import Host
from boards import Emulated, Firmware, Resistors, build


@pytest.fixture(scope="session")
def firmware(tmp_path_factory):
    """The compiled firmware."""
    return build(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(params=["emulator", "firmware"])
def new_board(request):
    """Return ``new_board(**options) -> (board, pins)``; the boards are closed at the end."""
    with ExitStack() as stack:

        def make(pins=None, **options):
            pins = Resistors() if pins is None else pins
            if request.param == "emulator":
                board = Emulated(pins, **options)
            else:
                board = Firmware(request.getfixturevalue("firmware"), pins, **options)
            stack.callback(board.close)
            return board, pins

        yield make


@pytest.fixture
def board(new_board):
    """A board on resistors."""
    return new_board()[0]


@pytest.fixture
def host(board):
    """A host with a session, the board armed."""
    host = Host(board.exchange, patience_s=0.0)
    host.hello()
    host.arm()
    return host
