"""What all SCPI sources share: starting, waiting, the safe state and aborting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from hil.errors import BackendError, InstrumentError, LimitError, LinkError, ReadbackError
from hil_drivers.instrument import SourceInstrument
from hil_drivers.safely import Attempts
from hil_drivers.scpi import chain, poll_errors
from hil_drivers.steps import SOFTWARE_START, Delivered, SyncPlan, SyncRole
from hil_drivers.transport.session import SHORT_TIMEOUT_S, Session


class ScpiSource(SourceInstrument):
    """A source that is loaded, started and switched off by chained SCPI messages."""

    _running = False
    _last = ""
    _run_s = 0.0  #: time of the run that is loaded
    _sync = SOFTWARE_START

    @abstractmethod
    def _off(self) -> Sequence[str]:
        """Commands that bring every level to 0 V and every output off."""

    @abstractmethod
    def _output_queries(self) -> Sequence[str]:
        """One query per output that answers 0 when it is off."""

    @abstractmethod
    def _begin_commands(self) -> Sequence[str]:
        """Outputs on and begin, or be armed; empty when nothing is loaded."""

    @abstractmethod
    def _end_commands(self) -> Sequence[str]:
        """Wait for the end of the run inside the instrument, then levels 0 V and outputs off."""

    def errors(self) -> list[InstrumentError]:
        """Return and remove the entries of the error queue."""
        return poll_errors(self.session, self._last)

    def safe(self) -> None:
        """Stop what runs, levels 0 V, outputs off, read back; idempotent."""
        attempts = Attempts(self.name)
        if self._running:
            attempts.run(self.session.clear)
        attempts.run(lambda: self.session.write(chain(*self._off())))
        # Over a raw socket nothing overtakes a run: what was sent is done when it has ended.
        left_s = self._run_s if self._running else 0.0
        attempts.run(lambda: self._verify_off(SHORT_TIMEOUT_S + left_s))
        attempts.finish()
        self._running = False

    def abort(self, second_session: Session) -> None:
        """Device clear, stop, outputs off through another session."""
        attempts = Attempts(self.name)
        attempts.run(second_session.clear)
        attempts.run(lambda: second_session.write(chain(*self._off())))
        attempts.finish()

    def start(self) -> None:
        """Outputs on and begin; the instrument switches off by itself at the end.

        A follower is armed when this returns: a trigger that came before would be lost.
        """
        commands = self._begin_commands()
        if not commands:
            raise BackendError(f"{self.name}: nothing is loaded")
        self._running = True
        if self._sync.role is not SyncRole.FOLLOWER:
            self._send(*commands, *self._end_commands())
            return
        self._send(*commands)
        self.session.query(chain(*self._output_queries()))  # answered after what was sent before

    def wait(self, timeout_s: float) -> None:
        """Return when the outputs answer that they are off; they do so after the run."""
        if self._sync.role is SyncRole.FOLLOWER:
            self._send(*self._end_commands())
        self._verify_off(timeout_s)
        self._running = False
        self.check_errors(self._last)

    def _note_duration(self, delivered: Delivered) -> None:
        self._run_s = float((delivered.repeat * delivered.period_s).sum())

    def _send(self, *commands: str) -> None:
        """Send commands as one message, remembered for error reports."""
        self._last = commands[-1]
        message = chain(*commands)
        self.session.write(message, SHORT_TIMEOUT_S + len(message) / 1e5)

    def _verify_off(self, timeout_s: float) -> None:
        queries = self._output_queries()
        answer = self.session.query(chain(*queries), timeout_s)
        states = answer.split(";")
        if len(states) != len(queries):
            raise LinkError(f"{chain(*queries)} answered {answer!r}", self.session.address)
        for query, state in zip(queries, states, strict=True):
            if state.strip() not in ("0", "+0", "OFF"):
                raise ReadbackError(f"{self.name}: an output is still on ({query} is {state!r})")

    def _own(self, channel: str) -> None:
        if channel not in self.channels:
            raise LimitError("channels", len(self.channels) + 1, len(self.channels), "",
                             where=f"{self.name}.{channel}",
                             note=f"it has {', '.join(self.channels)}")  # fmt: skip

    def _software_only(self, sync: SyncPlan | None) -> None:
        """Refuse a common start that this driver cannot do."""
        if sync is not None and sync.role is not SyncRole.SOFTWARE:
            raise LimitError("trigger lines", 1, 0, "", where=self.name,
                             note=f"a {self.driver} only starts by software here")  # fmt: skip
