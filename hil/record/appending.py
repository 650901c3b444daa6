"""Appending rows to a run: readings, pulses, operations, at the level of each phase."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from hil.measurement import MeasurementBlock
from hil.program import Phase, PulseBlock
from hil.record.columns import pulse_rows
from hil.record.commit import GroupCommit
from hil.record.deferred import RowSource
from hil.record.levels import Level


class Appender:
    """What the control thread appends rows with; see :class:`~hil.record.folder.RunFolder`.

    ``epoch_ns`` is the zero of the run's clock on the monotonic clock.
    """

    _commit: GroupCommit

    def __init__(self, levels: dict[Phase, Level], epoch_ns: int) -> None:
        self._levels, self._epoch_ns = levels, epoch_ns
        by_phase = [levels[phase] for phase in Phase]
        self._full = [level is Level.FULL for level in by_phase]
        self._operation = [level is not Level.OFF for level in by_phase]

    @property
    def ticket(self) -> int:
        """Ticket of the last row appended."""
        return self._commit.ticket

    @property
    def acked(self) -> int:
        """All rows with a ticket up to this one are on the disk."""
        return self._commit.acked

    @property
    def t_ns(self) -> int:
        """Nanoseconds since the run's start on the monotonic clock."""
        return time.monotonic_ns() - self._epoch_ns

    def level(self, phase: Phase) -> Level:
        """Return the recording level of ``phase``."""
        return self._levels[phase]

    def readings(self, op: int, block_ordinal: int, block: PulseBlock, m: MeasurementBlock) -> int:
        """Append the raw readings ``m`` of ``block`` (level ``full``) and return the ticket.

        The values are copied. Call it before anybody uses them.
        """
        if not self._full[block.phase]:
            return self._commit.ticket
        return self._commit.append(
            "reads",
            (
                op, block_ordinal, m.step, m.line, m.pulse, m.t_ns, m.level_v, m.width_s,
                m.current_a, m.range_a, m.executed, m.status,
            ),
            len(m.step),
        )  # fmt: skip

    def pulses(self, columns: Mapping[str, ArrayLike]) -> int:
        """Append device-level rows (of phases at level ``full``) and return the ticket.

        ``columns`` are those of the ``pulses`` table without ``seq``: arrays of one length, or
        scalars that hold for all rows. ``op``, ``phase``, ``row``, ``col``, ``v``, ``width`` and
        ``count`` are needed; ``t_ns`` defaults to now, ``layer`` and ``status`` to 0, ``i_read`` to
        NaN, the nullable ones to null. In ``executed`` a masked array says what is unknown; in
        ``g0``, ``g1`` and ``temperature`` NaN does, too.

        Raises:
            StoreError: a column that is unknown, missing, of another length or out of its range.
        """
        values, nulls, n = pulse_rows(columns, self.t_ns, self._full)
        return self._commit.append("pulses", values, n, nulls)

    def operation(
        self,
        op: int,
        phase: Phase,
        layer: int = 0,
        *,
        n_steps: int = 0,
        n_pulses: int = 0,
        n_readings: int = 0,
        duration_s: float = 0.0,
        energy_joule: float = float("nan"),
        t_ns: int | None = None,
    ) -> int:
        """Append the summary of one operation and return the ticket.

        It is recorded at the levels ``full`` and ``operation``. ``n_pulses`` counts device pulses,
        ``energy_joule`` is an upper bound, ``t_ns`` defaults to now.
        """
        if not self._operation[phase]:
            return self._commit.ticket
        if t_ns is None:
            t_ns = time.monotonic_ns() - self._epoch_ns
        return self._commit.append_row(
            "ops",
            (t_ns, op, phase, layer, n_steps, n_pulses, n_readings, duration_s, energy_joule),
        )

    def hand_over(
        self, source: RowSource, content: Any, n_tickets: int, n_rows: int, n_bytes: int
    ) -> int:
        """Append what ``source`` makes rows of in the writer thread and return the ticket.

        It is not copied. ``n_tickets`` is what its rows count in the tickets, ``n_rows`` and
        ``n_bytes`` bound how many rows it becomes and what they take. Levels are the caller's.
        """
        return self._commit.hand_over(source, content, n_tickets, n_rows, n_bytes)

    def barrier(self) -> int:
        """Return, with the last ticket, when every row appended so far is on the disk.

        Device-level rows that wait for the reading after their pulse are written without it.

        Raises:
            StoreError: recording failed.
        """
        return self._commit.barrier()
