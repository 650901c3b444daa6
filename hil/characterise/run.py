"""Characterise: part after part, each an ordinary run; devices that trip a rule are left out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from hil.characterise.cells import chosen_cells
from hil.characterise.folder import ALL, LOCK, CharacterisationFolder
from hil.characterise.parts import Protocol as PartProtocol
from hil.characterise.parts import protocol_of
from hil.characterise.plan import PartPlan, check_budget, planned, total
from hil.characterise.rules import Judge
from hil.characterise.suite import PartTable, Suite
from hil.control.checkpointing import restorable
from hil.control.session import Session
from hil.errors import (
    BackendError,
    ConfigError,
    EnduranceError,
    LimitError,
    RunInterrupted,
    SafetyTrip,
    StoreError,
)
from hil.locks import held
from hil.program import PulseBlock
from hil.record.characterisation import Characterisation, LeftOut, PartRuns
from hil.record.reader import open_run

#: What makes a part impossible on a station, rather than fail while it runs.
_IMPOSSIBLE: Final = (ConfigError, LimitError)


class Watch(Protocol):
    """Is told how a characterisation goes."""

    def part_begins(self, plan: PartPlan, run: Path) -> None:
        """A part's run folder exists; its first pulse comes next."""

    def block_done(self, plan: PartPlan, block: PulseBlock) -> None:
        """A block of it was driven."""

    def part_ended(self, plan: PartPlan, left_out: list[LeftOut], left: int) -> None:
        """A part is done, or was cut short by a safety trip; devices have been judged."""

    def check(self) -> None:
        """Called often while nothing is driven; may raise to end the work."""


@dataclass(frozen=True)
class Choice:
    """What to characterise: an array of a session, which devices of it, by which suite.

    Attributes:
        session, array: the array; None = the station's first.
        suite: of parts.
        cells, sample: see :func:`hil.characterise.cells.chosen_cells`.
        name: of the characterisation; None = of station, array and suite.
    """

    session: Session
    array: str | None
    suite: Suite
    cells: tuple[str, ...] = ()
    sample: int | None = None
    name: str | None = None

    @property
    def path(self) -> Path:
        """Folder of the characterisation."""
        session = self.session
        how = "-virtual" if session.virtual else "-sim" if session.backend_name == "sim" else ""
        chip = f"-{session.station.chip}" if session.station.chip else ""
        name = self.name or (
            f"{session.station.name}{chip}-{session.table(self.array).name}-{self.suite.name}{how}"
        )
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
        return session.out / ALL / (readable or "characterisation")

    def index(self) -> Characterisation:
        """Return the index of a characterisation that begins now.

        Raises:
            ConfigError: a device that is not there.
        """
        session, table = self.session, self.session.table(self.array)
        geometry = session.backends[table.name].geometry
        station = session.station.path
        digest = hashlib.sha256(station.read_bytes()).hexdigest() if station else ""
        return Characterisation(
            self.path,
            {
                "name": self.path.name, "station": session.station.name,
                "station_sha256": digest, "array": table.name, "backend": session.backend_name,
                "simulated": session.simulated, "seed": session.seed, "suite": self.suite.text,
            },
            chosen_cells(geometry, self.cells, self.sample, session.seed),
            [PartRuns(part.name, part.protocol) for part in self.suite.part],
        )  # fmt: skip


class Characteriser:
    """Plans and runs what is left of a characterisation; make it with :func:`open_characteriser`.

    Attributes:
        folder: of the characterisation.
        judge: the stop rules.
    """

    def __init__(self, choice: Choice, folder: CharacterisationFolder) -> None:
        self._session, self._array, self._suite = choice.session, choice.array, choice.suite
        self.folder = folder
        self._table = choice.session.table(choice.array)
        self._backend = choice.session.backends[self._table.name]
        self._kept = restorable(choice.session.backends)
        self.judge = Judge(choice.suite.stop, choice.session.ops[self._table.name])

    @property
    def left(self) -> int:
        """Devices that no rule has taken out."""
        return len(self.folder.index.remaining)

    def plans(self, watch: Callable[[], None] | None = None) -> list[PartPlan]:
        """Return what every part will do; nothing is driven.

        Raises:
            ConfigError, LimitError: a part that is not optional cannot be run; a note says which.
            EnduranceError: all parts together would take a device over its pulses.
        """
        plans = []
        for number, part in enumerate(self._suite.part, 1):
            runs = self.folder.part(part.name)
            if self.folder.done(runs, self._kept) is not None:
                plans.append(PartPlan(part.name, runs.kind, len(self._protocol(part).cells)
                                      if self.left else 0, state="done"))  # fmt: skip
            elif not self.left:
                plans.append(PartPlan(part.name, runs.kind, 0, state="left out",
                                      why="no device is left"))  # fmt: skip
            else:
                plans.append(self._planned(number, part, watch)[0])
        check_budget(self._session, self._array, total(plans))
        return plans

    def run(self, watch: Watch) -> None:
        """Run every part that is not done; stops early when no device is left.

        Raises:
            RunInterrupted: a stop was requested; another call goes on.
            SafetyTrip: a limit was met, and no device was found that is to blame.
        """
        for number, part in enumerate(self._suite.part, 1):
            runs = self.folder.part(part.name)
            done = self.folder.done(runs, self._kept)
            if done is not None:
                # A call that was killed between the end of the run and this did not judge.
                self._judge(runs, done)
            while self.left and self.folder.done(runs, self._kept) is None:
                plan, protocol = self._planned(number, part, watch.check)
                if protocol is None:
                    runs.skipped = plan.why
                    self.folder.index.write()
                    break
                self._drive(number, runs, plan, protocol, watch)
        self.folder.write_devices()

    def _drive(
        self, number: int, runs: PartRuns, plan: PartPlan, protocol: PartProtocol, watch: Watch
    ) -> None:
        file = self.folder.protocol(protocol.file_name(number), protocol.text)
        runs.kind, runs.skipped = protocol.kind, None
        self._backend.trips.clear()  # they are counted part by part

        def started(path: Path, seconds: float | None) -> None:
            runs.runs.append(path.resolve())
            self.folder.index.write()
            watch.part_begins(plan, path)

        try:
            report = self._session.run_protocol(
                file, array=self._array, started=started,
                progress=lambda block: watch.block_done(plan, block),
                checking=lambda so_far: watch.check(),
            )  # fmt: skip
        except SafetyTrip:
            found = self._judge(runs, runs.runs[-1])
            watch.part_ended(plan, found, self.left)
            if not found:
                raise
            return  # once more, without the devices that were too much
        except (RunInterrupted, BackendError, StoreError) as exc:
            exc.add_note("the same command goes on with the characterisation")
            raise
        found = self._judge(runs, report.run)
        self.folder.keep(self._session, runs.name)
        watch.part_ended(plan, found, self.left)

    def _judge(self, runs: PartRuns, run: Path) -> list[LeftOut]:
        index = self.folder.index
        found = self.judge.left_out(
            runs.name, runs.kind, open_run(run), index.remaining, self._backend.trips.count
        )
        if found:
            index.left_out += found
            index.write()
            self.folder.write_devices()
        return found

    def _planned(
        self, number: int, part: PartTable, check: Callable[[], None] | None
    ) -> tuple[PartPlan, PartProtocol | None]:
        """Return the plan of a part and its protocol; None where it is optional and impossible."""
        try:
            protocol = self._protocol(part)
            return planned(self._session, self._array, protocol, check), protocol
        except EnduranceError as exc:
            exc.add_note(f"part {part.name!r}")
            raise
        except _IMPOSSIBLE as exc:
            if not part.optional:
                exc.add_note(f"part {part.name!r} of suite {self._suite.name!r}")
                raise
            kind = self.folder.part(part.name).kind
            return PartPlan(part.name, kind, 0, state="left out", why=str(exc)), None

    def _protocol(self, part: PartTable) -> PartProtocol:
        index = self.folder.index
        return protocol_of(
            self._suite, part, index.remaining, self._backend.geometry, self._session.seed,
            {(e.row, e.col) for e in index.left_out},
        )  # fmt: skip


@contextmanager
def open_characteriser(choice: Choice, *, drive: bool = True) -> Iterator[Characteriser]:
    """Hold the characterisation's folder, and go on from what is done.

    Args:
        choice: what to characterise.
        drive: False only looks, and makes no folder.

    Raises:
        LockedError: another process works on it.
        ConfigError: another characterisation has that name; says what differs.
        StoreError: the folder is damaged or cannot be written.
    """
    wanted = choice.index()
    if not drive and not (choice.path / "characterisation.json").exists():
        yield Characteriser(choice, CharacterisationFolder(choice.path, wanted, False))
        return
    try:
        choice.path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"cannot make {choice.path}: {exc.strerror or exc}") from exc
    with held(choice.path / LOCK, f"characterisation {choice.path.name}"):
        folder = CharacterisationFolder.at(choice.path, wanted, choice.suite)
        folder.put_back(choice.session)
        yield Characteriser(choice, folder)
