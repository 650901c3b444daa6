"""A Prologix GPIB-ETHERNET controller (manual 1.6.6) with emulated instruments on its bus.

PyVISA-py opens it as ``PRLGX-TCPIP0::host::port::INTFC``; after that ``GPIB0::17::INSTR`` is the
instrument at address 17.
"""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from hil.errors import ConfigError
from hil_sim.virtual_bench.exchange import MessageExchange
from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.transport import TcpServer

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

FIRST_ADDRESS: Final = 16
_ESCAPE, _LF, _CR = 0x1B, 0x0A, 0x0D
_BOARDS: set[int] = set()  # interface numbers in use in this process
_CONTROLLERS: WeakKeyDictionary[Bench, PrologixServer] = WeakKeyDictionary()
#: settings: command without ``++`` -> value after power-on
_DEFAULTS: Final = {
    "mode": "1", "auto": "0", "eoi": "1", "eos": "0", "eot_enable": "0", "eot_char": "0",
    "read_tmo_ms": "500", "savecfg": "1", "lon": "0",
}  # fmt: skip
_EOS: Final = {"0": b"\r\n", "1": b"\r", "2": b"\n", "3": b""}


class PrologixServer(TcpServer):
    """One controller; ``bus`` has the instruments by primary address."""

    def __init__(self) -> None:
        super().__init__("prologix", lambda: any(i.faults.refuse for i in self.bus.values()))
        self.bus: dict[int, Personality] = {}
        self.board = next(n for n in itertools.count() if n not in _BOARDS)
        _BOARDS.add(self.board)
        self.interface = f"PRLGX-TCPIP{self.board}::127.0.0.1::{self.port}::INTFC"
        self.start()

    def serve(self, connection: socket.socket) -> None:
        """Answer one controlling computer."""
        client = _Client(self, connection)
        while chunk := connection.recv(1 << 16):
            for line in client.lines(chunk):
                client.take(line)

    def close(self) -> None:
        """Switch the controller off; its interface number is free again."""
        _BOARDS.discard(self.board)
        super().close()


class BusPlace:
    """One instrument's place on the bus; see :class:`hil_sim.virtual_bench.transport.Transport`.

    Attributes:
        interface: resource of the controller, which a client opens first.
    """

    def __init__(self, controller: PrologixServer, address: int) -> None:
        self._controller, self._address = controller, address
        self.interface = controller.interface
        self.resource = f"GPIB{controller.board}::{address}::INSTR"

    def drop(self) -> None:
        """Cut the connections to the controller (link loss)."""
        self._controller.drop()

    def close(self) -> None:
        """Take the instrument off; the last one switches the controller off."""
        self._controller.bus.pop(self._address, None)
        if not self._controller.bus:
            self._controller.close()


def place_on_bus(bench: Bench, instrument: Personality) -> BusPlace:
    """Connect an instrument to its bench's controller, at its option ``gpib_address``.

    Raises:
        ConfigError: the address is no GPIB address or taken.
    """
    controller = _CONTROLLERS.get(bench)
    if controller is None or not controller.bus:
        controller = _CONTROLLERS[bench] = PrologixServer()
    free = next(n for n in itertools.count(FIRST_ADDRESS) if n not in controller.bus)
    address = int(instrument.settings.get("gpib_address", free))
    if not 0 <= address <= 30 or address in controller.bus:
        raise ConfigError(f"GPIB address {address} of {instrument.name} is none or taken",
                          field=f"options.{instrument.name}.gpib_address")  # fmt: skip
    controller.bus[address] = instrument
    return BusPlace(controller, address)


class _Client:
    """One connection: what is unfinished, the settings, and a session with every instrument."""

    def __init__(self, controller: PrologixServer, connection: socket.socket) -> None:
        self._controller, self._connection = controller, connection
        self._settings = dict(_DEFAULTS)
        self._address = 0
        self._line = bytearray()
        self._escaped = False
        self._sessions: dict[int, MessageExchange] = {}

    def lines(self, chunk: bytes) -> list[tuple[bytes, bool]]:
        """Return the lines that are complete, unescaped, and whether each is for the controller."""
        out: list[tuple[bytes, bool]] = []
        for byte in chunk:
            if self._escaped or byte not in (_ESCAPE, _LF, _CR):
                # ESC keeps LF, CR, ESC and + from being the controller's own. What starts with an
                # escaped + is data: remember that with a zero before it.
                if self._escaped and not self._line and byte == ord("+"):
                    self._line += b"\0"
                self._line.append(byte)
                self._escaped = False
            elif byte == _ESCAPE:
                self._escaped = True
            elif self._line:
                line, self._line = bytes(self._line), bytearray()
                out.append((line.removeprefix(b"\0"), line.startswith(b"++")))
        return out

    def take(self, line: tuple[bytes, bool]) -> None:
        """Execute a command of the controller, or send a line to the addressed instrument."""
        text, own = line
        if own:
            self._command(text[2:].decode("latin-1").strip())
            return
        link = self._session()
        if link is None:
            return
        end = self._settings["eoi"] == "1"
        link.write(text + _EOS[self._settings["eos"]], end)
        if self._settings["auto"] == "1":
            self._read(link)

    def _session(self) -> MessageExchange | None:
        instrument = self._controller.bus.get(self._address)
        if instrument is None:
            return None
        link = self._sessions.get(self._address)
        if link is None or link.instrument is not instrument:
            link = self._sessions[self._address] = MessageExchange(instrument)
        return link

    def _say(self, text: str) -> None:
        self._connection.sendall(text.encode("latin-1") + b"\r\n")

    def _read(self, link: MessageExchange) -> None:
        """Send a whole reply to the computer; without one the read times out and nothing comes."""
        data, _ = link.read(1 << 30)
        if data and self._settings["eot_enable"] == "1":
            data += bytes([int(self._settings["eot_char"]) & 0xFF])
        if data:
            self._connection.sendall(data)

    def _command(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        link = self._session()
        if word == "addr":
            primary = rest.split()[0] if rest.split() else ""
            if primary.isdigit() and int(primary) <= 30:
                self._address = int(primary)
            elif not rest:
                self._say(str(self._address))
        elif word in self._settings:
            if rest:
                valid = rest.isdigit() and (word != "eos" or rest in _EOS)
                self._settings[word] = rest if valid else self._settings[word]
            else:
                self._say(self._settings[word])
        elif word == "ver":
            self._say("Prologix GPIB-ETHERNET Controller version 01.06.06.00")
        elif word == "rst":
            self._settings = dict(_DEFAULTS)
        elif word in ("ifc", "llo", "loc"):
            pass  # nothing on this bus is held by another controller or its front panel
        elif word == "srq":
            polled = (MessageExchange(i) for i in self._controller.bus.values())
            self._say(str(int(any(p.status_byte() & 64 for p in polled))))
        elif link is not None and word in ("read", "clr", "trg", "spoll"):
            self._addressed(word, link)
        elif link is None and word in ("read", "clr", "trg", "spoll"):
            pass  # nobody listens: a read or poll times out
        else:
            self._say("Unrecognized command")

    def _addressed(self, word: str, link: MessageExchange) -> None:
        if word == "read":
            self._read(link)
        elif word == "clr":
            link.clear()
        elif word == "trg":
            link.trigger()
        else:
            self._say(str(link.status_byte()))
