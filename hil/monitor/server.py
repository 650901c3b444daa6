"""The monitor's web server: one page, its files, one stream of events; on this machine only."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from hil.errors import ConfigError
from hil.monitor.board import Board
from hil.monitor.security import Gate

#: Path -> (file of this package, media type). Nothing else is served.
FILES: Final = {
    "/": ("index.html", "text/html"),
    "/monitor.css": ("monitor.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("main", "map", "charts", "panels", "format", "colours")
    },
    "/uPlot.js": ("vendor/uPlot.iife.min.js", "text/javascript"),
    "/uPlot.css": ("vendor/uPlot.min.css", "text/css"),
}
#: Pages that may be open at once.
MOST_STREAMS: Final = 16
#: A comment is sent after this silence, so that a page that has gone is noticed.
_KEEPALIVE_S: Final = 10.0


class Monitor:
    """Serves one run, or the newest of a folder of runs.

    Args:
        folder: the run folder.
        newest: see :class:`~hil.monitor.board.Board`.
        port: TCP port on the loopback interface, 0 = any that is free.

    Attributes:
        url: the address with its token.

    Raises:
        ConfigError: the port is taken.
        StoreError: no run folder, or one of a newer version.
    """

    def __init__(
        self, folder: Path, newest: Callable[[], Path | None] | None = None, port: int = 0
    ) -> None:
        self.board = Board(folder, newest, self._tell)
        self._socket = _listen(port)
        port = self._socket.getsockname()[1]
        routes = [Route(path, _file(*what), methods=["GET"]) for path, what in FILES.items()]
        routes.append(Route("/events", self._events, methods=["GET"]))
        routes.append(Route("/cell/{array}/{row:int}/{col:int}", self._cell, methods=["GET"]))
        gate = Gate(Starlette(routes=routes), port)
        self.url = f"http://127.0.0.1:{port}/?token={gate.token}"
        config = uvicorn.Config(
            gate, log_config=None, access_log=False, lifespan="off", ws="none", http="h11",
            server_header=False, date_header=False, proxy_headers=False,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = _Server(config, self._wake)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._n_streams = 0

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM (Ctrl-C), which is its regular end."""
        asyncio.run(self._serve())

    def stop(self) -> None:
        """End :meth:`run`; from any thread."""
        self._server.should_exit = True

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.board.start()
        try:
            await self._server.serve([self._socket])
        finally:
            self._loop = None
            self.board.close()

    def _tell(self) -> None:
        """Let the streams know that a section is new; called from the board's thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _events(self, request: Request) -> Response:
        if self._n_streams >= MOST_STREAMS:
            return PlainTextResponse("too many pages are open\n", status_code=503)
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        """Yield sections as they change; a slow reader skips versions, it never piles them up."""
        seen: dict[str, int] = {}
        self._n_streams += 1
        try:
            yield "retry: 1000\n\n"
            while not self._server.should_exit:
                news = self._news
                for name, text in self.board.texts(seen):
                    yield f"event: {name.partition(':')[0]}\ndata: {text}\n\n"
                try:
                    await asyncio.wait_for(news.wait(), _KEEPALIVE_S)
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self._n_streams -= 1

    def _cell(self, request: Request) -> Response:
        asked = request.path_params
        try:
            text = self.board.cell(asked["array"], asked["row"], asked["col"])
        except (KeyError, ConfigError):
            return PlainTextResponse("there is no such device\n", status_code=404)
        return Response(text, media_type="application/json")


class _Server(uvicorn.Server):
    """uvicorn that ends on a signal without raising it anew, and wakes its streams to end, too."""

    def __init__(self, config: uvicorn.Config, wake: Callable[[], None]) -> None:
        super().__init__(config)
        self._wake = wake

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the streams see that it is over, then wait for them."""
        self._wake()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the server while the ``with`` block runs."""
        names = ("SIGINT", "SIGTERM", "SIGBREAK")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        try:
            before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        except ValueError:  # not in the main thread: whoever runs it there stops it
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the server; at once where it was asked to before."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback interface alone."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=64)
    except OSError as exc:
        raise ConfigError(
            f"port {port} of this machine cannot be used: {exc.strerror or exc}", field="port"
        ) from exc


def _file(name: str, media_type: str) -> Callable[[Request], Any]:
    content = files("hil.monitor").joinpath("static", *name.split("/")).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer
