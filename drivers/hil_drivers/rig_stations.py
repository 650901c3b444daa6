"""Station files of the four kinds of rig for arrays of any size, as many matrices as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hil.errors import ConfigError

#: Columns of a card and of a 707B with six cards 8 x 12.
_CARD, _MATRIX = 12, 72
_NODE: Final = "keithley-2600b"

_DRIVE: Final = """
[drive]
g_min = "1 uS"
g_max = "100 uS"
read_voltage = "0.2 V"
read_width = "1 ms"
potentiate_voltage = "2 V"
depress_voltage = "-2 V"
write_width = "200 us"
gap = "100 us"
coding = "{coding}"
inhibit = "{inhibit}"
"""
#: Kind -> what it is, and the channels of every line in the order of the matrix's rows.
_KINDS: Final = {
    "a": ("source-measure unit and switch matrix", ("smu.a", "smu.b", "common")),
    "b": ("pulse generator for writing, source-measure unit for reading, switch matrix",
          ("gen.1", "gen.2", "smu.a", "smu.b", "common")),
    "c": ("array boards: one channel per line", ()),
    "d": ("source-measure unit, bias supply for inhibited lines, switch matrix",
          ("smu.a", "smu.b", "bias.a", "bias.b", "common")),
}  # fmt: skip


def station_text(kind: str, sizes: Sequence[tuple[int, int]], device: str = "nonlinear") -> str:
    """Return the station file of a rig of ``kind`` a, b, c or d with arrays of rows x columns.

    Every array has instruments of its own, named with its number where there are several.

    Raises:
        ConfigError: there is no such kind, or an array without rows or columns.
    """
    if kind not in _KINDS:
        raise ConfigError(f"{kind!r} is none of {', '.join(_KINDS)}", field="kind")
    if not sizes or min(min(size) for size in sizes) < 1:
        raise ConfigError("needs arrays of one row and one column or more", field="array")
    what, channels = _KINDS[kind]
    names = ["main"] if len(sizes) == 1 else [f"layer-{k}" for k in range(len(sizes))]
    text = f'# {what[0].upper()}{what[1:]}.\nschema = 1\nname = "rig-{kind}"\n'
    for name, (rows, cols) in zip(names, sizes, strict=True):
        text += (f'\n[[array]]\nname = "{name}"\nrows = {rows}\ncols = {cols}\n'
                 f'device = "{device}"\n')  # fmt: skip
    text += _DRIVE.format(coding="width" if kind == "c" else "amplitude",
                          inhibit="v/3" if kind == "d" else "v/2")  # fmt: skip
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        own = "" if len(sizes) == 1 else str(number)
        wired = _board(name, own, size) if kind == "c" else _rig(kind, name, own, number, size,
                                                                   channels)  # fmt: skip
        text += "".join(wired)
    return text


def _board(array: str, own: str, size: tuple[int, int]) -> Iterator[str]:
    yield _instrument(f"board{own}", "serial-board", f"/dev/ttyACM{own or 0}")
    for group, channel, count in (("WL", "w", size[0]), ("BL", "b", size[1])):
        yield (f'\n[[wiring]]\narray = "{array}"\nline = "{group}0:{count}"\n'
               f'channel = "board{own}.{channel}0"\n')  # fmt: skip


def _rig(
    kind: str, array: str, own: str, number: int, size: tuple[int, int], channels: Sequence[str]
) -> Iterator[str]:
    rows, cols = size
    sources = {"smu": _NODE}
    if kind == "b":
        sources["gen"] = "keysight-81160a"
    if kind == "d":
        sources["bias"] = _NODE
    trigger = 'trigger = "3"\n' if kind == "d" else ""
    address = 10
    for name, driver in sources.items():
        settings = 'settings = { load = "inf" }\n' if name == "gen" else ""
        yield _instrument(f"{name}{own}", driver, _socket(number, address), trigger + settings)
        address += 1
    for unit in range(-(-(rows + cols) // _MATRIX)):
        name = _matrix(own, unit)
        yield _instrument(name, "keithley-707b", _socket(number, address + unit))
    at = 0
    for group, count in (("WL", rows), ("BL", cols)):
        line = 0
        while line < count:
            unit, column = divmod(at, _MATRIX)
            card, within = divmod(column, _CARD)
            n = min(count - line, _CARD - within)
            for row, channel in enumerate(channels):
                source, dot, end = channel.partition(".")
                to = f"{source}{own}{dot}{end}" if dot else channel
                point = f"{card + 1}{'ABCDEFGH'[row]}{within + 1:02d}"
                where = f"{_matrix(own, unit)}/{point}"
                yield (f'\n[[wiring]]\narray = "{array}"\nline = "{group}{line}:{n}"\n'
                       f'channel = "{to}"\ncrosspoint = "{where}"\n')  # fmt: skip
            line, at = line + n, at + n


def _matrix(own: str, unit: int) -> str:
    return f"mux{own}-{unit}"


def _socket(number: int, address: int) -> str:
    return f"TCPIP0::192.168.{number}.{address}::5025::SOCKET"


def _instrument(name: str, driver: str, resource: str, more: str = "") -> str:
    return (f'\n[[instrument]]\nname = "{name}"\ndriver = "{driver}"\n'
            f'resource = "{resource}"\n{more}')  # fmt: skip
