from __future__ import annotations

import base64
import http.client
import socket
from urllib.parse import parse_qs, urlsplit

import pytest

from hil.errors import ConfigError
from hil.monitor.server import FILES, Monitor

FETCH = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def ask(served, path="/", *, method="GET", host=None, headers=(), read=True):
    """Return the monitor's answer to one request with exactly these headers."""
    address = urlsplit(served.url)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for value in [address.netloc] if host is None else host:
            connection.putheader("Host", value)
        for name, value in dict(headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read() if read else b"")
    finally:
        connection.close()


@pytest.fixture(scope="module")
def token(serving):
    return parse_qs(urlsplit(serving.url).query)["token"][0]


@pytest.fixture(scope="module")
def cookie(serving, token):
    given = ask(serving, f"/?token={token}").headers["Set-Cookie"]
    return {"Cookie": given.partition(";")[0]}


def test_the_token_is_of_192_bits_and_new_every_time(serving, finished, token):
    other = Monitor(finished)
    other._socket.close()
    assert len(base64.urlsafe_b64decode(token)) == 24
    assert token not in other.url


def test_the_token_is_swapped_for_a_cookie_that_scripts_and_other_sites_never_get(serving, token):
    answer = ask(serving, f"/?token={token}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    name, *flags = answer.headers["Set-Cookie"].split("; ")
    assert set(flags) == {"Path=/", "HttpOnly", "SameSite=Strict"}
    assert token not in name
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_a_link_on_another_page_with_the_token_opens_it_too(serving, token):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = ask(serving, f"/?token={token}", headers=headers)
    assert answer.status == 200
    assert b'http-equiv="refresh"' in answer.body  # a navigation of our own, which has the cookie
    assert "SameSite=Strict" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("path", [*FILES, "/events", "/cell/main/0/0", "/nothing"])
def test_without_cookie_there_is_nothing_but_401(serving, path):
    answer = ask(serving, path)
    assert answer.status == 401
    assert b"<" not in answer.body


@pytest.mark.parametrize(
    "path", ["/?token=", "/?token=wrong", "/?token=a&token=b", "/?token=%ff%00", "/events?token="]
)
def test_a_wrong_token_gives_401_and_no_cookie(serving, path):
    answer = ask(serving, path)
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers


def test_the_token_opens_the_front_page_alone(serving, token):
    assert ask(serving, f"/events?token={token}").status == 401
    assert ask(serving, f"/main.js?token={token}").status == 401


@pytest.mark.parametrize(
    "text", ["hil-monitor-1=x", "=", "a=b; {name}=wrong", '{name}="', "{name}", "\x7f"]
)
def test_a_wrong_cookie_gives_401(serving, cookie, text):
    name = cookie["Cookie"].partition("=")[0]
    assert ask(serving, headers={"Cookie": text.format(name=name)}).status == 401


@pytest.mark.parametrize(
    "host",
    [["evil.example"], ["127.0.0.1.evil.example"], ["localhost.evil.example:80"], [""],
     ["user@127.0.0.1"], ["127.0.0.1/x"], ["0.0.0.0"], ["[::1"], ["127.0.0.2"], ["2130706433"]],
    ids=str,
)  # fmt: skip
def test_another_host_gives_421_even_with_the_cookie(serving, cookie, token, host):
    assert ask(serving, host=host, headers=cookie).status == 421
    assert ask(serving, f"/?token={token}", host=host).status == 421


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:80", "LOCALHOST"], ids=str)
def test_a_tunnel_from_another_port_is_let_in(serving, cookie, host):
    assert ask(serving, host=[host], headers=cookie).status == 200


def test_two_hosts_or_none_are_refused(serving, cookie):
    port = urlsplit(serving.url).port
    assert ask(serving, host=[f"127.0.0.1:{port}", "evil.example"], headers=cookie).status >= 400
    assert ask(serving, host=[], headers=cookie).status >= 400


@pytest.mark.parametrize("path", ["/", "/events", "/main.js", "/cell/main/0/0"])
@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}],
    ids=str,
)  # fmt: skip
def test_another_site_gives_403_even_with_the_cookie(serving, cookie, path, headers):
    assert ask(serving, path, headers={**cookie, **headers}).status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
def test_nothing_can_be_written(serving, cookie, method):
    answer = ask(serving, method=method, headers=cookie)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    ["/../hil/errors.py", "/static/index.html", "/%2e%2e/%2e%2e/etc/passwd", "/vendor/",
     "/cell/main/-1/0", "/cell/main/16/0", "/cell/other/0/0", "/cell/main/0/99999999999999999999"],
)  # fmt: skip
def test_nothing_but_its_own_files_and_devices_is_served(serving, cookie, path):
    assert ask(serving, path, headers=cookie).status == 404


@pytest.mark.parametrize("path", FILES)
def test_every_file_forbids_all_but_itself(serving, cookie, path):
    answer = ask(serving, path, headers={**cookie, **FETCH})
    assert answer.status == 200
    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[k] for k in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Server" not in answer.headers


def test_the_stream_needs_the_cookie_and_gives_the_run(serving, cookie):
    address = urlsplit(serving.url)
    with socket.create_connection(("127.0.0.1", address.port), timeout=10) as link:
        request = (
            f"GET /events HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookie['Cookie']}\r\n\r\n"
        )
        link.sendall(request.encode())
        got = b""
        while b"event: map" not in got:
            piece = link.recv(65536)
            assert piece
            got += piece
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert b"event: run" in got


def test_only_this_machine_can_reach_it(serving):
    assert serving._socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_said(serving, finished):
    port = urlsplit(serving.url).port
    with pytest.raises(ConfigError, match=f"port {port} of this machine cannot be used"):
        Monitor(finished, port=port)


def test_a_web_socket_is_refused(serving, cookie):
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    headers = {**cookie, **upgrade}
    answer = ask(serving, headers=headers)
    assert answer.status != 101
