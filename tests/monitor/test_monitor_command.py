from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import monitor_process
from live import start

HIL = [sys.executable, "-m", "hil.cli.main", "monitor"]


def hil_monitor(*arguments):
    return subprocess.run(
        [*HIL, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def visit(url):
    """Open an address as a client that keeps cookies and follows redirections."""
    client = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    return client.open(url, timeout=60)


def test_json_is_one_line_with_the_address(finished):
    with monitor_process(str(finished)) as (process, told):
        assert told["run"] == str(finished)
        assert told["pid"] == process.pid
        with visit(told["url"]) as answer:
            assert b"<title>hil monitor</title>" in answer.read()
        process.terminate()
        assert process.communicate(timeout=60)[0] == ""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_cleanly_while_a_page_is_open(finished, number):
    with monitor_process(str(finished)) as (process, told):
        address = urlsplit(told["url"])
        with visit(told["url"]) as answer:
            assert answer.status == 200
        swapped = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
        swapped.request("GET", f"/?{address.query}")
        cookie = swapped.getresponse().headers["Set-Cookie"].partition(";")[0]
        swapped.close()
        with socket.create_connection(("127.0.0.1", address.port), timeout=60) as page:
            head = f"GET /events HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
            page.sendall(head.encode())
            assert b"200 OK" in page.recv(4096)
            time.sleep(0.5)
            begin = time.monotonic()
            process.send_signal(number)
            assert process.wait(60) == 0
            assert time.monotonic() - begin < 10.0
        noise = process.stderr.read()
    assert "Traceback" not in noise
    assert noise.count("\n") == 3, noise  # run, address, how to end it


def test_no_run_is_said_with_the_exit_code_of_the_store(tmp_path):
    for arguments in ((tmp_path / "none",), ("latest", "--out", tmp_path)):
        done = hil_monitor(*arguments)
        assert done.returncode == 7
        assert done.stderr.startswith("hil: ")
        assert len(done.stderr.splitlines()) == 1


def test_a_run_of_a_newer_format_is_refused(tmp_path):
    with start(tmp_path) as folder:
        pass
    manifest = {**folder.manifest, "format": 99}
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    done = hil_monitor(folder.path)
    assert done.returncode == 7
    assert "format 99 is newer" in done.stderr


def test_the_newest_run_is_meant_without_a_name(tmp_path):
    with start(tmp_path) as folder, monitor_process("--out", str(tmp_path)) as (_, told):
        assert told["run"] == str(folder.path)
    with monitor_process(folder.path.name, "--out", str(tmp_path)) as (_, told):
        assert Path(told["run"]) == folder.path


def test_a_missing_extra_is_named(finished):
    code = (
        "import sys; sys.modules['starlette.applications'] = None\n"
        "from hil.cli.main import main\n"
        f"main(['monitor', {str(finished)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert 'pip install "synapse-hil[monitor]"' in done.stderr


def test_watching_writes_nothing_into_the_run(tmp_path):
    with start(tmp_path) as folder:
        pass
    before = {f: f.stat().st_mtime_ns for f in folder.path.rglob("*")}
    with monitor_process(str(folder.path)) as (_, told):
        visit(told["url"]).close()
        time.sleep(0.5)
    assert {f: f.stat().st_mtime_ns for f in folder.path.rglob("*")} == before
