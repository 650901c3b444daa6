"""Two processes on one instrument: the second is told who has it; the dead block nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from hil_drivers.steps import Identity
from hil_drivers.transport import exclusive
from hil_drivers.transport.exclusive import InstrumentLocks, canonical

from hil.errors import LockedError

RESOURCE = "TCPIP0::192.0.2.1::5025::SOCKET"
OTHER = "USB0::0x05E6::0x2636::1234567::INSTR"
WHO = Identity("Keithley", "2636B", "1234567", "3.4.2")

HOLDER = """
import sys, time
from pathlib import Path
from hil_drivers.transport import exclusive
from hil_drivers.steps import Identity
exclusive.lock_folder = lambda: Path(sys.argv[1])
locks = exclusive.InstrumentLocks({"smu": sys.argv[2]})
locks.take("smu")
locks.identified("smu", Identity("Keithley", "2636B", "1234567", "3.4.2"))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(exclusive, "lock_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), RESOURCE], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_is_told_which_process_has_the_instrument(holder):
    locks = InstrumentLocks({"meter": RESOURCE.lower()})
    with pytest.raises(LockedError, match=rf"'meter'.*in use by process {holder.pid} on"):
        locks.take("meter")


def test_one_instrument_under_two_resources_is_told_apart_by_its_serial_number(holder):
    locks = InstrumentLocks({"smu": OTHER})
    locks.take("smu")
    with pytest.raises(LockedError, match=f"serial 1234567.*process {holder.pid}"):
        locks.identified("smu", WHO)
    locks.release()


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows; terminate is the same there")
def test_the_lock_of_a_killed_process_does_not_block(holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    locks = InstrumentLocks({"smu": RESOURCE})
    locks.take("smu")
    locks.identified("smu", WHO)
    locks.release()


def test_arrays_of_one_process_share_an_instrument_until_the_last_has_closed(folder):
    first, second = InstrumentLocks({"smu": RESOURCE}), InstrumentLocks({"smu": RESOURCE})
    first.take("smu")
    second.take("smu")
    first.release()
    first.release()
    script = HOLDER.replace("time.sleep(60)", "")
    command = [sys.executable, "-c", script, str(folder), RESOURCE]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"LockedError: instrument 'smu' ({RESOURCE}) is in use" in refused.stderr
    second.release()
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == "held\n"


def test_emulators_of_equal_serial_numbers_do_not_lock_each_other(holder):
    locks = InstrumentLocks({"smu": "TCPIP0::127.0.0.1::5025::SOCKET"})
    locks.take("smu")
    locks.identified("smu", WHO)
    locks.release()


def test_spellings_of_a_resource_are_one():
    assert canonical("tcpip::192.0.2.1::5025::socket") == RESOURCE
    assert canonical("nonsense") == "NONSENSE"
