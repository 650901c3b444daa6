"""What instruments this computer can reach; nothing is driven."""

from __future__ import annotations

import warnings
from pathlib import Path


def visa() -> list[str]:
    """Return the VISA library and the resources that it lists, one line each."""
    import pyvisa
    from pyvisa.errors import Error

    with warnings.catch_warnings():  # pyvisa-py warns of every optional package that is missing
        warnings.simplefilter("ignore")
        try:
            manager = pyvisa.ResourceManager()
            try:
                resources = manager.list_resources("?*")
            finally:
                manager.close()
        except (Error, OSError, ValueError) as exc:
            return [f"no VISA library is usable: {exc}"]
    return [f"library {manager.visalib}", *(resources or ["no resources"])]


def serial_ports() -> list[str]:
    """Return the serial ports, their names by id, and who answers on each, one line each.

    Ports are opened and asked at the same time. Nothing is driven: see
    :func:`hil_drivers.serial_board.probe.who_answers`. A port that does not answer is asked as an
    ArC ONE.
    """
    from concurrent.futures import ThreadPoolExecutor

    from serial.tools import list_ports

    ports = list_ports.comports()
    if not ports:
        return ["no serial ports"]
    with ThreadPoolExecutor(len(ports)) as pool:
        answers = list(pool.map(_answer, [port.device for port in ports]))
    lasting = by_id()
    lines = []
    for port, answer in zip(ports, answers, strict=True):
        also = f" = {lasting[port.device]}" if port.device in lasting else ""
        lines.append(f"{port.device}{also} ({port.description}): {answer}")
    return lines


def _answer(resource: str) -> str:
    from hil_drivers.arc_one.probe import firmware_at
    from hil_drivers.serial_board.probe import who_answers

    answer = who_answers(resource)
    if answer.startswith("no answer") and (firmware := firmware_at(resource)) is not None:
        return "ArC ONE, firmware {}.{}".format(*firmware)
    return answer


def by_id(folder: str = "/dev/serial/by-id") -> dict[str, str]:
    """Return port -> the path that leads to the same board wherever it is plugged in (Linux)."""
    found = Path(folder)
    if not found.is_dir():
        return {}
    return {str(link.resolve()): str(link) for link in sorted(found.iterdir())}
