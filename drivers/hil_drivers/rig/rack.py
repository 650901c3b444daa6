"""The instruments of a rig and their sessions: open, route, run, make safe, abort."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from hil.errors import BackendError, HilError, LinkError, ReadbackError
from hil_drivers.instrument import Delivered, Instrument, SourceInstrument, SyncPlan
from hil_drivers.rig.channels import matrices, sources
from hil_drivers.rig.outofband import switch_off
from hil_drivers.rig.programs import Run
from hil_drivers.rig.starting import sync_plans
from hil_drivers.router.wiring import Crosspoint
from hil_drivers.steps import ChannelReadings, Identity
from hil_drivers.transport.exclusive import InstrumentLocks
from hil_drivers.transport.session import Session

Connect = Callable[[str], Session]  #: instrument name -> a new session with it

_MARGIN_S = 2.0  # answers, settling of ranges and output relays
_PER_READING_S = 1e-3


class Rack:
    """Instruments by name; one thread uses it, only :meth:`abort` is for another one.

    Args:
        instruments: constructed, not open.
        connect: opens a session with an instrument, also a second one while the first is in use.
        triggers: the trigger line that each instrument shares with the others, by its own name.
        locks: keep other processes away while it is open.
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        connect: Connect,
        triggers: Mapping[str, str] | None = None,
        locks: InstrumentLocks | None = None,
    ) -> None:
        self.instruments = dict(instruments)
        self.sources: dict[str, SourceInstrument] = sources(instruments)
        self.matrices = matrices(instruments)
        self.triggers = dict(triggers or {})
        self._connect = connect
        self._locks = locks
        self._sessions: dict[str, Session] = {}
        self._suspect: set[str] = set()  # the link failed: a new session comes first
        self._doubtful: set[str] = set()  # took part in what failed: a device clear comes first
        self._stale: set[str] = set()  # settings are not known: open again before it is used
        self._reset: ReadbackError | None = None
        self._quiet = False  # every output is known to be off at 0 V
        self._retired = 0
        self.closed: frozenset[Crosspoint] | None = None  #: relays; None = not known
        self.aborted = threading.Event()
        self.patience = 1.0  #: factor on the margin: an emulator computes, and may have to compile

    # -- life ------------------------------------------------------------------------------

    def open(self) -> None:
        """Open every instrument, sources first, and leave all outputs off and all relays open.

        Raises:
            HilError: an instrument is not there or is another one; those opened are safe.
        """
        self.aborted.clear()
        for names in (self._suspect, self._doubtful, self._stale):
            names.clear()
        try:
            for name in [*self.sources, *self.matrices]:
                if self._locks is not None:
                    self._locks.take(name)
                self._sessions[name] = self._connect(name)
                self._set_up(name)
            for matrix in self.matrices.values():
                matrix.open_all()
        except BaseException as exc:  # also a Ctrl-C
            for name in list(self._sessions):
                if self.instruments[name].identity is not None:
                    try:
                        self.instruments[name].safe()
                    except HilError as more:
                        exc.add_note(f"{name} could not be made safe: {more}")
            self.close()
            raise
        self._quiet, self.closed = True, frozenset()

    def _set_up(self, name: str) -> None:
        """Identify an instrument and bring it to a known state; from now on a reset is noticed."""
        instrument = self.instruments[name]
        instrument.open(self._sessions[name], self._claim)
        instrument.was_reset()

    def _claim(self, name: str, identity: Identity) -> None:
        if self._locks is not None:
            self._locks.identified(name, identity)

    def _renew(self) -> None:
        """Set up what took part in a fault before it is used again; sources first."""
        for name in [n for n in self.instruments if n in self._stale]:
            self._set_up(name)
            self._stale.discard(name)
        self._reset = None

    def close(self) -> None:
        """Close all sessions; the safe state comes first, by the caller."""
        for session in self._sessions.values():
            self._retired += session.transactions
            session.close()
        self._sessions.clear()
        self.closed = None
        if self._locks is not None:
            self._locks.release()

    @property
    def n_open(self) -> int:
        """Instruments with an open session."""
        return len(self._sessions)

    @property
    def transactions(self) -> int:
        """Messages sent to all instruments so far."""
        return self._retired + sum(s.transactions for s in self._sessions.values())

    def identities(self) -> list[str]:
        """Return one line per instrument."""
        return [
            f"{name}: {self.instruments[name].identity or 'not open'}"
            for name in [*self.sources, *self.matrices]
        ]

    # -- relays ----------------------------------------------------------------------------

    def route(self, wanted: frozenset[Crosspoint]) -> None:
        """Close exactly these relays, break before make over all matrices, every source off.

        Raises:
            ReadbackError: a relay or an output is not as it should be.
        """
        self._renew()
        if wanted == self.closed:
            return
        if not self._quiet:
            for source in self.sources.values():
                source.safe()
            self._quiet = True
        before, self.closed = self.closed or frozenset(), None
        moving = {m for m, _ in before ^ wanted}
        try:
            self._move(before, wanted, moving)
        except BaseException as exc:
            self._note_fault(moving, exc)
            raise
        self.closed = wanted

    def _move(
        self, before: frozenset[Crosspoint], wanted: frozenset[Crosspoint], moving: set[str]
    ) -> None:
        """Break before make over all matrices that move."""
        if len(moving) == 1:
            name = next(iter(moving))
            self.matrices[name].route(_on(wanted, name))
            return
        for name in sorted(moving):
            surplus = _on(before - wanted, name)
            if surplus:
                self.matrices[name].open_relays(surplus)
        for name in sorted(moving):
            missing = _on(wanted - before, name)
            if missing:
                self.matrices[name].close(missing)

    def _note_fault(self, names: Iterable[str], exc: BaseException) -> None:
        """Clear the devices that took part before anything else; a lost link comes first."""
        self._doubtful |= set(names)
        if isinstance(exc, LinkError):
            self._suspect |= {n for n in names if self._address(n) == exc.address}

    # -- runs ------------------------------------------------------------------------------

    def sync(self, run: Run) -> dict[str, SyncPlan]:
        """Return each instrument's part in a common start; BackendError without trigger lines."""
        return sync_plans(run, self.triggers)

    def check_start(self, run: Run) -> None:
        """Raise LimitError when an instrument cannot begin a run as planned; nothing is sent."""
        for name, plan in self.sync(run).items():
            self.sources[name].check_start(run.programs[name], plan)

    def delivered(self, run: Run) -> dict[str, Mapping[str, Delivered]]:
        """Return what the run would deliver, by instrument; nothing is sent."""
        return {n: self.sources[n].delivered(p) for n, p in run.programs.items()}

    def execute(self, run: Run) -> dict[str, ChannelReadings]:
        """Load, start, wait and collect one run; outputs are off again when it returns.

        Returns:
            readings by ``instrument.channel``.
        """
        plans = self.sync(run)
        self._renew()
        self._quiet = False
        try:
            for name, programs in run.programs.items():
                self.sources[name].load(programs, plans[name])
            self._refuse_aborted()
            for name in reversed(list(run.programs)):  # followers are armed before the master
                self.sources[name].start()
            timeout_s = (
                run.duration_s * 1.2 + self.patience * _MARGIN_S + _PER_READING_S * run.n_readings
            )
            for name in run.programs:
                self.sources[name].wait(timeout_s)
            self._refuse_aborted()
            out = self._collected(run, run.programs)
        except BaseException as exc:  # Ctrl-C leaves instruments running, too
            self._note_fault(run.programs, exc)
            if isinstance(exc, HilError):
                self._refuse_aborted()  # whatever an instrument says that was stopped
            raise
        self._quiet = True
        return out

    def _collected(self, run: Run, names: Iterable[str]) -> dict[str, ChannelReadings]:
        return {
            f"{name}.{channel}": readings
            for name in names
            for channel, readings in self.sources[name].collect().items()
        }

    def salvage(self, run: Run) -> dict[str, ChannelReadings]:
        """Return what a run that failed has left in the instruments; after the safe state."""
        out: dict[str, ChannelReadings] = {}
        for name in run.programs:
            if name in self._suspect or self.aborted.is_set():
                continue
            try:
                out |= self._collected(run, [name])
            except HilError:
                continue  # there may be nothing to read; the failure is reported already
        return out

    def find_reset(self) -> HilError | None:
        """Return the error of an instrument that was reset since it was set up, if any was."""
        if self._reset is not None or self.aborted.is_set():
            return self._reset
        for name, instrument in self.instruments.items():
            if name in self._sessions and name not in self._suspect:
                try:
                    if instrument.was_reset():
                        return self._note_reset(name)
                except HilError:
                    continue  # it does not answer, which is reported already
        return None

    def refuse_reset(self) -> None:
        """Refuse what was driven when an instrument that would not notice was reset meanwhile.

        Raises:
            ReadbackError: naming it.
        """
        for name, instrument in self.instruments.items():
            if not instrument.notices_reset and instrument.was_reset():
                raise self._note_reset(name)

    def _note_reset(self, name: str) -> ReadbackError:
        """Return the error; it is kept, since an instrument says so only once."""
        self._doubtful.add(name)
        self._stale.add(name)
        self._reset = ReadbackError(
            f"{name} was reset or switched off and on while it was in use (power-on bit of *ESR?): "
            "its settings and closures are lost, and what was driven since is not known"
        )
        return self._reset

    def name_at(self, address: str) -> str:
        """Return the name of the instrument at an address."""
        return next((n for n in self._sessions if self._address(n) == address), "not known")

    def _address(self, name: str) -> str:
        session = self._sessions.get(name)
        return "" if session is None else session.address

    def _refuse_aborted(self) -> None:
        if self.aborted.is_set():
            raise BackendError("aborted: outputs were switched off while a block was running")

    # -- safe state ------------------------------------------------------------------------

    def safe(self) -> None:
        """Outputs to 0 V and off, then relays open, each read back; every instrument is tried.

        An instrument whose link failed gets a new session and a device clear first, so that
        nothing that is still queued in it runs afterwards.

        Raises:
            HilError: the first failure, after all others were tried.
        """
        failed: list[HilError] = []
        for group in (self.sources, self.matrices):
            for name, instrument in group.items():
                if name in self._sessions:
                    try:
                        self._safe_one(name, instrument)
                    except HilError as exc:
                        failed.append(exc)
            if group is self.sources:
                self._quiet = not failed
        self.closed = None if failed else frozenset()
        if failed:
            for more in failed[1:]:
                failed[0].add_note(f"and: {more}")
            raise failed[0]

    def _safe_one(self, name: str, instrument: Instrument) -> None:
        if name not in self._suspect:
            try:
                if name in self._doubtful:
                    self._sessions[name].clear()
                instrument.safe()
            except LinkError:
                self._suspect.add(name)
            else:
                self._settled(name)
                return
        old = self._sessions[name]
        self._retired += old.transactions
        old.close()
        self._sessions[name] = session = self._connect(name)
        instrument.take_over(session)
        instrument.safe()
        self._doubtful.add(name)
        self._settled(name)

    def _settled(self, name: str) -> None:
        """Note that an instrument answered that it is off; what took part in a fault is stale."""
        if name in self._doubtful:
            self._stale.add(name)
        self._doubtful.discard(name)
        self._suspect.discard(name)

    def abort(self) -> None:
        """Switch every source off through second sessions, all at once, from any thread.

        Raises:
            HilError: an instrument could not be reached; the others are off.
        """
        self.aborted.set()
        switch_off({n: s for n, s in self.sources.items() if n in self._sessions}, self._connect)


def _on(points: frozenset[Crosspoint], matrix: str) -> frozenset[str]:
    return frozenset(p for m, p in points if m == matrix)
