"""Who may read the monitor: only pages of its own, on this machine, with the cookie it gave.

The address that is printed once carries a random token of 192 bits; the first visit swaps it for a
cookie that scripts cannot read and that no other site's request carries. Requests that name another
host are refused, so that a name which is made to point at this machine (DNS rebinding) opens
nothing, and everything but reading is refused.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Host names under which the monitor may be asked. The port is not looked at: through an SSH tunnel
#: it is another one, and a page elsewhere cannot choose these names.
HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_TOKEN_BYTES: Final = 24

#: No script, style, picture or connection but from the monitor itself; nobody may frame it.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

_ENTER: Final = (
    "<!doctype html><meta charset=utf-8><title>hil monitor</title>"
    '<link rel="icon" href="/icon.svg" type="image/svg+xml">'
    '<meta http-equiv="refresh" content="0; url=/">'
    '<p>The monitor is <a href="/">here</a>.</p>'
)


class Gate:
    """ASGI application that lets through to ``app`` only what may read.

    421: another host is named. 403: another site asks. 405: not a read. 401: no token or a wrong
    one. The token is taken in ``/?token=…`` alone.

    Attributes:
        token: for the address that is printed.
        cookie: name of the cookie; cookies do not know ports, so it names the port.
    """

    def __init__(self, app: App, port: int) -> None:
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.cookie = f"hil-monitor-{port}"
        self._pass = secrets.token_urlsafe(_TOKEN_BYTES)
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        status = self._judge(scope)
        if status is None:
            await self._app(scope, receive, _with_headers(send))
        elif status in (HTTPStatus.OK, HTTPStatus.SEE_OTHER):
            await _answer(send, status, _ENTER, b"text/html; charset=utf-8", self._set_cookie())
        else:
            await _answer(send, status, _REFUSALS[status], b"text/plain; charset=utf-8")

    def _judge(self, scope: Scope) -> HTTPStatus | None:
        """Return the status of a refusal, None to go on, else that of swapping token for cookie.

        From an address that was typed or clicked outside the browser it is a redirection. From a
        link on another site's page a browser would not send the cookie along with that, so there
        a page of our own goes on.
        """
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not _is_ours(f"//{hosts[0]}"):
            return HTTPStatus.MISDIRECTED_REQUEST
        enters = scope["path"] == "/" and self._has_token(scope)
        is_foreign = self._is_foreign(dict(headers))
        if is_foreign and not enters:
            return HTTPStatus.FORBIDDEN
        if scope["method"] not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED
        if enters:
            return HTTPStatus.OK if is_foreign else HTTPStatus.SEE_OTHER
        return None if self._has_cookie(headers) else HTTPStatus.UNAUTHORIZED

    def _is_foreign(self, headers: dict[bytes, str]) -> bool:
        """Return whether another site asks, as far as the browser tells."""
        origin = headers.get(b"origin")
        if origin is not None and origin != f"http://{headers[b'host']}":
            return True
        return headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin")

    def _has_token(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return len(given) == 1 and _same(given[0], self.token)

    def _has_cookie(self, headers: list[tuple[bytes, str]]) -> bool:
        for name, value in headers:
            if name != b"cookie":
                continue
            try:
                found = SimpleCookie(value).get(self.cookie)
            except CookieError:
                continue
            if found is not None and _same(found.value, self._pass):
                return True
        return False

    def _set_cookie(self) -> bytes:
        return f"{self.cookie}={self._pass}; Path=/; HttpOnly; SameSite=Strict".encode()


_REFUSALS: Final = {
    HTTPStatus.MISDIRECTED_REQUEST: "This host is not the monitor's.\n",
    HTTPStatus.FORBIDDEN: "Another site asked. Open the address that `hil monitor` printed.\n",
    HTTPStatus.METHOD_NOT_ALLOWED: "The monitor only reads.\n",
    HTTPStatus.UNAUTHORIZED: "Open the address that `hil monitor` printed, with its token.\n",
}


def _is_ours(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.hostname in HOSTS and parts.username is None and not parts.path
    except ValueError:
        return False


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sending


async def _answer(
    send: Send, status: HTTPStatus, text: str, kind: bytes, cookie: bytes | None = None
) -> None:
    body = text.encode()
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *HEADERS]
    if cookie is not None:
        headers.append((b"set-cookie", cookie))
    if status is HTTPStatus.SEE_OTHER:
        headers.append((b"location", b"/"))
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
