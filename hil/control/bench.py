"""What a session needs of a rig: its virtual bench, its wire log and its plan before a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hil.config.station import Station
from hil.errors import BackendError, ConfigError
from hil.program import PulseBlock
from hil.registry import BENCHES, BackendFactory, load

#: Name of the wire log in a run folder.
WIRE_LOG = "wire.jsonl"


class WireLog(Protocol):
    """Every exchange with every instrument; in memory until it is given a file."""

    path: Path | None

    @property
    def n_exchanges(self) -> int:
        """Exchanges logged so far."""

    def move_to(self, path: Path) -> None:
        """Write what is in memory, and all that follows, to a file. Raises StoreError."""

    def close(self) -> None:
        """Write no more."""


@runtime_checkable
class Wired(Protocol):
    """A backend factory whose arrays hang on instruments.

    Its ``create`` also takes ``wire_log``, ``virtual`` and ``wait`` (seconds -> waits, on the
    bench's clock).
    """

    def wire_log(self) -> WireLog:
        """Return a wire log, still in memory."""


@runtime_checkable
class Planning(Protocol):
    """A backend that can say before a run what is batched and how long it takes."""

    def preview(self, programme: Iterable[PulseBlock]) -> list[str]:
        """Return the plan in lines; nothing is driven. Raises LimitError."""

    def predicted_s(self, programme: Iterable[PulseBlock]) -> float:
        """Return the time in seconds that the plan predicts. Raises LimitError."""


class Bench(Protocol):
    """A virtual bench that is up."""

    resources: Mapping[str, str]  #: VISA resource by instrument

    def dwell(self, seconds: float) -> None:
        """Let time pass on its clock."""


@dataclass(frozen=True)
class Reach:
    """How a session reaches its instruments.

    Attributes:
        station: the station; on a virtual bench with the resources of the emulators.
        options: what the factory's ``create`` gets besides.
        log: the wire log, if one was asked for.
    """

    station: Station
    options: dict[str, Any] = field(default_factory=dict)
    log: WireLog | None = None


@contextmanager
def bench_up(station: Station, *, seed: int, realistic: bool = False) -> Iterator[Bench]:
    """Emulate every instrument of a station while the ``with`` block runs.

    Args:
        station: what is there and how it is wired.
        seed: of the simulated devices.
        realistic: every message takes the time that the instrument's manual states.

    Raises:
        ConfigError: no instruments, or wiring or devices that cannot be emulated.
        BackendUnavailable: the bench, an emulator or the extra ``bench`` is not installed.
    """
    if not station.instrument:
        raise ConfigError(
            "a virtual bench needs [[instrument]] tables", path=station.path, field="instrument"
        )
    opened: AbstractContextManager[Bench] = load(BENCHES, "virtual")(
        station, seed=seed, realistic=realistic
    )
    with opened as bench:
        yield bench


@contextmanager
def reach(
    station: Station, factory: BackendFactory, *, virtual: bool, wire_log: bool, seed: int,
    out: Path,
) -> Iterator[Reach]:  # fmt: skip
    """Yield how to reach the station's instruments; a virtual bench is up meanwhile.

    The log of a session that failed before it had a run is kept in ``out``.

    Raises:
        ConfigError: this kind of backend has no instruments.
        BackendUnavailable: see :func:`bench_up`.
    """
    if not (virtual or wire_log):
        yield Reach(station)
        return
    if not isinstance(factory, Wired):
        what = "to emulate" if virtual else "whose exchanges could be logged"
        raise ConfigError(
            f"backend {factory.name!r} has no instruments {what}", path=station.path,
            field="backend",
        )  # fmt: skip
    options: dict[str, Any] = {}
    with ExitStack() as stack:
        log = None
        if wire_log:
            log = options["wire_log"] = factory.wire_log()
            stack.callback(log.close)
        if virtual:
            bench = stack.enter_context(bench_up(station, seed=seed))
            station = station.at(bench.resources)
            options.update(virtual=True, wait=bench.dwell)
        try:
            yield Reach(station, options, log)
        except BackendError as exc:
            if log is not None and log.path is None and log.n_exchanges:
                out.mkdir(parents=True, exist_ok=True)
                log.move_to(out / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}_{WIRE_LOG}")
                exc.add_note(f"wire log: {log.path}")
            raise
