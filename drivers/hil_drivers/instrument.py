"""What every driver is: an instrument that is identified, set up, loaded, run, read and made safe.

A driver knows one instrument family and no array. It gets pulse trains per channel
(:class:`ChannelSteps`), says what it will deliver after quantisation (:class:`Delivered`), runs
them inside the instrument and hands out raw readings (:class:`ChannelReadings`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Final, final

from pydantic import ValidationError

from hil.config.quantities import Table
from hil.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    InstrumentError,
    LinkError,
    ReadbackError,
)
from hil_drivers.steps import (
    ChannelCapabilities,
    ChannelReadings,
    ChannelSteps,
    Delivered,
    Identity,
    RunEstimate,
    SpotReading,
    SyncPlan,
    SyncRole,
)
from hil_drivers.transport.session import LinkSettings

if TYPE_CHECKING:
    from hil_drivers.transport.session import Session

__all__ = [
    "ChannelCapabilities", "ChannelReadings", "ChannelSteps", "Delivered", "Identity", "Instrument",
    "NoSettings", "RunEstimate", "SourceInstrument", "SpotReading", "SwitchMatrix", "SyncPlan",
    "SyncRole",
]  # fmt: skip

#: Bit of the standard event status register (IEEE 488.2, 11.5.1.1.1).
POWER_ON: Final = 128


class NoSettings(Table):
    """Settings of a driver that has none."""


class Instrument(ABC):
    """One instrument of a station.

    Life: construct with the station file's settings, :meth:`open` on a session, work, :meth:`safe`,
    then the caller closes the session. One thread uses it; only :meth:`abort` is for another one.
    """

    driver: ClassVar[str]  #: entry point name, e.g. ``keithley-2600b``
    models: ClassVar[str]  #: regular expression that the model in ``*IDN?`` must match whole
    Settings: ClassVar[type[Table]] = NoSettings  #: the station file's ``settings`` table
    link: ClassVar[LinkSettings] = LinkSettings()  #: how its messages are framed
    #: A run needs something that a reset loses, so that none goes on unnoticed after one.
    notices_reset: ClassVar[bool] = False

    def __init__(
        self, name: str, settings: Mapping[str, str | int | float | bool] | None = None
    ) -> None:
        """Validate the settings; nothing is sent.

        Raises:
            ConfigError: a setting is unknown or wrong, with its field.
        """
        self.name = name
        try:
            self.settings = self.Settings.model_validate(dict(settings or {}))
        except ValidationError as exc:
            first = exc.errors()[0]
            field = ".".join(["instrument", name, "settings", *(str(p) for p in first["loc"])])
            raise ConfigError(f"{self.driver}: {first['msg']}", field=field) from exc
        self._session: Session | None = None
        self.identity: Identity | None = None

    # -- life ------------------------------------------------------------------------------

    def open(
        self, session: Session, claim: Callable[[str, Identity], object] | None = None
    ) -> Identity:
        """Take the session, verify that it leads to this family, bring it to a known state.

        ``claim`` is called with name and identity before anything is changed in the instrument.

        Raises:
            BackendUnavailable: another instrument answers at this address.
        """
        self._session = session
        self.identity = self.identify()
        if claim is not None:
            claim(self.name, self.identity)
        self.reset_to_known()
        return self.identity

    def identify(self) -> Identity:
        """Return who answers, from ``*IDN?``.

        Raises:
            BackendUnavailable: it is not an instrument of this driver.
        """
        answer = self.session.query("*IDN?")
        identity = Identity.parse(answer)
        if identity is None or re.fullmatch(self.models, identity.model) is None:
            raise BackendUnavailable(
                f"{self.name} ({self.session.address}): {self.driver} expects a model like "
                f"{self.models}, *IDN? answered {answer!r}"
            )
        return identity

    def take_over(self, session: Session) -> None:
        """Go on with a new session after the old one failed: device clear, stop, all off.

        What the instrument has in its memory is kept; :meth:`open` it before it is used again.
        """
        self._session = session
        self.abort(session)

    def was_reset(self) -> bool:
        """Return whether it was switched on since this was last asked (power-on bit of *ESR?)."""
        answer = self.session.query("*ESR?")
        try:
            return bool(int(float(answer)) & POWER_ON)
        except ValueError as exc:
            raise LinkError(f"*ESR? answered {answer!r}", self.session.address) from exc

    @property
    def session(self) -> Session:
        """The open session; BackendError before :meth:`open`."""
        if self._session is None:
            raise BackendError(f"{self.name} is not open")
        return self._session

    @property
    def transactions(self) -> int:
        """Messages sent to the instrument so far."""
        return 0 if self._session is None else self._session.transactions

    @property
    @abstractmethod
    def channels(self) -> tuple[str, ...]:
        """Names of the channels (terminals of a source; none for a matrix)."""

    @abstractmethod
    def reset_to_known(self) -> None:
        """Reset; outputs off at 0 V, relays open, error queue empty, numbers in a known format."""

    @abstractmethod
    def errors(self) -> list[InstrumentError]:
        """Return and remove all entries of the instrument's error queue, oldest first."""

    @abstractmethod
    def safe(self) -> None:
        """Bring the instrument to its safe state and read that back; idempotent.

        Every step is tried even when one before it fails; the first failure is raised at the end.

        Raises:
            ReadbackError: an output or relay does not say that it is off.
            LinkError: the link is dead, so the state is not known.
        """

    @abstractmethod
    def abort(self, second_session: Session) -> None:
        """Stop and switch off through another session, from any thread: device clear first."""

    @final
    def check_errors(self, command: str) -> None:
        """Raise the first entry of the error queue, if there is one, naming ``command``."""
        found = self.errors()
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise InstrumentError(found[0].code, f"{self.name}: {found[0].text}{more}", command)


class SourceInstrument(Instrument):
    """Sources, with or without measuring: load pulse trains, start, wait, collect.

    ``load`` … ``collect`` is one *run*. The channels named in ``load`` are switched on by ``start``
    and idle at 0 V between pulses; when the run has ended they are at 0 V and off again. Channels
    not named stay off (floating where ``can_float``). Nothing is driven before ``start``.
    """

    @abstractmethod
    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return what the channel of the model found can do (widest limits before ``open``)."""

    @abstractmethod
    def delivered(self, programs: Mapping[str, ChannelSteps]) -> Mapping[str, Delivered]:
        """Return what ``load`` would deliver, after quantisation; nothing is sent.

        Raises:
            LimitError: outside the channel's capabilities, or the list is too long.
        """

    def check_start(self, programs: Mapping[str, ChannelSteps], sync: SyncPlan) -> None:
        """Refuse what :meth:`load` would refuse about a common start; nothing is sent.

        An instrument without trigger lines need not write it: :meth:`load` refuses them.

        Raises:
            LimitError: no such trigger line, or it cannot pace every pulse of these programs.
        """

    @abstractmethod
    def estimate(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> RunEstimate:
        """Return transactions and time of the run, for the preview; nothing is sent.

        ``sync`` is given where several instruments start together.
        """

    @abstractmethod
    def load(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> Mapping[str, Delivered]:
        """Upload the pulse trains; all channels share ``period_s`` and ``repeat``.

        Raises:
            LimitError: as :meth:`delivered`; nothing was sent.
        """

    @abstractmethod
    def start(self) -> None:
        """Switch the loaded channels on and begin, or arm and wait for the trigger line."""

    @abstractmethod
    def wait(self, timeout_s: float) -> None:
        """Return when the run has ended, its outputs are off and its error queue was empty.

        Raises:
            LinkTimeout: not within ``timeout_s``; the pulses that ran are unknown.
            InstrumentError: the queue had an entry; :meth:`collect` still gives what was measured.
            ReadbackError: an output is still on.
        """

    @abstractmethod
    def collect(self) -> Mapping[str, ChannelReadings]:
        """Return the readings of the steps asked to be measured, in the order taken.

        After a run that failed, also one that was taken over by a new session, it returns the
        readings that are in the instrument's memory, possibly fewer.
        """

    @abstractmethod
    def measure_once(
        self,
        channel: str,
        *,
        level_v: float,
        compliance_a: float,
        range_a: float | None = None,
        aperture_s: float | None = None,
    ) -> SpotReading:
        """Return one DC reading in amperes at ``level_v``; the output is off before and after.

        Raises:
            LimitError: outside the capabilities, or the channel cannot measure.
        """


class SwitchMatrix(Instrument):
    """A relay matrix. Crosspoints are named in the instrument's own grammar (``1A01``)."""

    crosspoint_pattern: ClassVar[str]  #: regular expression of one crosspoint
    settle_s: ClassVar[float]  #: time of one closure or opening, from the manual
    parallel_moves: ClassVar[bool] = False  #: relays of one command move together
    messages_per_move: ClassVar[int] = 1  #: of a :meth:`route`, read back included

    _in_grammar: frozenset[str] = frozenset()  # crosspoints that were checked

    @property
    def channels(self) -> tuple[str, ...]:
        """A matrix has no channels of its own."""
        return ()

    @final
    def check_crosspoints(self, crosspoints: Iterable[str]) -> frozenset[str]:
        """Return the crosspoints as a set.

        Raises:
            ConfigError: one of them does not fit the matrix's grammar or cards.
        """
        chosen = frozenset(crosspoints)
        for crosspoint in sorted(chosen - self._in_grammar):
            if re.fullmatch(self.crosspoint_pattern, crosspoint) is None:
                raise ConfigError(
                    f"{self.name}: {crosspoint!r} is no crosspoint of a {self.driver}, "
                    f"which look like {self.crosspoint_pattern}", field="crosspoint"
                )  # fmt: skip
        self._in_grammar |= chosen
        return chosen

    @final
    def verify(self, expected: frozenset[str], closed: frozenset[str] | None = None) -> None:
        """Compare the relays that are closed (read now unless given) with ``expected``.

        Raises:
            ReadbackError: naming what is closed and should not be, and the reverse.
        """
        if closed is None:
            closed = self.closed()
        if closed != expected:
            stuck = ", ".join(sorted(closed - expected)) or "none"
            missing = ", ".join(sorted(expected - closed)) or "none"
            raise ReadbackError(f"{self.name}: relays closed that should be open: {stuck}; "
                                f"open that should be closed: {missing}")  # fmt: skip

    @abstractmethod
    def closed(self) -> frozenset[str]:
        """Return the crosspoints that the instrument says are closed."""

    @abstractmethod
    def close(self, crosspoints: Iterable[str]) -> None:
        """Close these besides those already closed; read back all and compare.

        Raises:
            ReadbackError: the relays are not as they should be.
            InstrumentError: the matrix refused (no card in the slot).
        """

    @abstractmethod
    def open_relays(self, crosspoints: Iterable[str]) -> None:
        """Open these; read back all and compare."""

    @abstractmethod
    def open_all(self) -> None:
        """Open every relay; read back that none is closed."""

    @abstractmethod
    def route(self, crosspoints: Iterable[str]) -> None:
        """Make exactly these closed: open what is surplus first, then close what is missing.

        Break before make over the whole set, in one transaction where the instrument can; read back
        and compared.
        """
