"""Labs to calibrate in, and commands run in this process."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "cli"))

from calibration_lab import station_text
from command import hil, write

from hil.cli.main import main
from hil.registry import backend_factory


@pytest.fixture(scope="session")
def kilo():
    device = backend_factory("sim").device_text("ideal")
    return device.replace('g_min = "1 uS"', 'g_min = "10 uS"')


@pytest.fixture
def lab(tmp_path, kilo):
    write(tmp_path, "kilo.toml", kilo)
    write(tmp_path, "station.toml", station_text())
    write(tmp_path, "used.toml", station_text("calibration.json"))
    return tmp_path


@pytest.fixture(scope="session")
def made(tmp_path_factory, kilo):
    """Return the text of a calibration file and what the command printed."""
    folder = tmp_path_factory.mktemp("made")
    write(folder, "kilo.toml", kilo)
    write(folder, "station.toml", station_text())
    done = hil("calibrate", "station.toml", "--virtual", "--averages", 2, cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "calibration.json").read_text(encoding="utf-8"), done.stdout


@pytest.fixture
def calibrated(lab, made):
    write(lab, "calibration.json", made[0])
    return lab


@pytest.fixture
def here(lab, monkeypatch, capsys):
    """Run commands in this process, in the lab; return exit code, output and error output."""
    monkeypatch.chdir(lab)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    yield run
    for number, handler in before.items():  # an interrupted command ignores further ones
        signal.signal(number, handler)


@pytest.fixture
def told(here):
    """Run a command with --json that must succeed; return its object and its error output."""

    def run(*arguments):
        code, out, err = here(*arguments, "--json")
        assert code == 0, err
        return json.loads(out), err

    return run


@pytest.fixture
def refused(here):
    """Run a command that must fail with a code; return its one line."""

    def run(code, *arguments):
        ended, _, said = here(*arguments)
        assert ended == code, said
        (line,) = [line for line in said.splitlines() if "hil: " in line]
        return line[line.index("hil: ") :]

    return run
