"""What all protocol files share: the table, how it meets an array, and the procedure it becomes."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hil.config.quantities import Count, Table, Volt
from hil.config.toml_file import Loc, key_lines, line_of
from hil.errors import ConfigError, ProtocolError
from hil.operating import Inhibit
from hil.phases.schemes import check_scheme
from hil.procedure import ArrayContext, Procedure, Steps
from hil.program import FloatArray, Programme
from hil_protocols.fields import CellChoice, NegativeVolt, PositiveVolt, Wait, Width
from hil_protocols.plan import Plan
from hil_protocols.selection import Cells, Together, all_cells, listed_cells, sampled_cells

#: Field of a protocol file -> attribute of the operating point that it overrides.
OVERRIDES = {
    "read_voltage": "read_v",
    "read_width": "read_s",
    "potentiate_voltage": "potentiate_v",
    "depress_voltage": "depress_v",
    "write_width": "write_s",
    "gap": "gap_s",
    "inhibit": "inhibit",
    "coding": "coding",
    "count_levels": "count_levels",
}


class ProtocolTable(Table):
    """Fields of every protocol file."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    kind: str
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")] | None = None
    description: Annotated[str, Field(max_length=2000)] = ""

    adaptive: ClassVar[bool] = False

    def for_array(self, context: ArrayContext) -> ArrayContext:
        """Return the context with the file's own voltages, widths and scheme in its point."""
        values = {
            attribute: getattr(self, name)
            for name, attribute in OVERRIDES.items()
            if getattr(self, name, None) is not None
        }
        op = dataclasses.replace(context.op, **values)
        check_scheme(context.geometry, op.inhibit)
        return dataclasses.replace(context, op=op)

    @abstractmethod
    def start(self, context: ArrayContext) -> Plan | Steps:
        """Return the compiled plan, or the generator of an adaptive protocol.

        ``context`` already has the file's operating point.

        Raises:
            ProtocolError: the protocol does not fit this array.
        """

    def notes(self, context: ArrayContext) -> list[str]:
        """Return what was chosen where the file leaves it open, and why."""
        return []

    def targets_siemens(self, context: ArrayContext) -> FloatArray | None:
        """Return (n_rows, n_cols) siemens, NaN where none; None without targets of its own."""
        return None


class CellTable(ProtocolTable):
    """Fields of protocols that read cells."""

    cells: CellChoice = "all"  #: ``"all"`` or a list of [row, col]
    sample: Count | None = None  #: this many cells, drawn by the run's seed
    read_voltage: Volt | None = None
    read_width: Width | None = None
    read_repeat: Count = 1

    @model_validator(mode="after")
    def _one_choice(self) -> CellTable:
        if self.sample is not None and self.cells != "all":
            raise ValueError("sample: give either `cells` or `sample`")
        return self

    def chosen(self, context: ArrayContext) -> Cells:
        """Return the cells to act on."""
        if self.sample is not None:
            return sampled_cells(context.geometry, self.sample, context.seed)
        if self.cells == "all":
            return all_cells(context.geometry)
        return listed_cells(context.geometry, self.cells)


class WriteTable(CellTable):
    """Fields of protocols that also write cells; what is left out is the operating point's."""

    together: Together = "row"  #: cells pulsed in one step: ``cell``, ``row`` or ``array``
    inhibit: Inhibit | None = None
    potentiate_voltage: PositiveVolt | None = None
    depress_voltage: NegativeVolt | None = None
    write_width: Width | None = None
    gap: Wait | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a protocol was written: its path and the line of every key."""

    path: str | None = None
    lines: dict[Loc, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, text: str, path: str | Path | None) -> Source:
        """Return the source of a file's text."""
        return cls(None if path is None else str(path), key_lines(text))

    @contextmanager
    def located(self) -> Iterator[None]:
        """Turn errors of compilation into ones that say file and line."""
        try:
            yield
        except ConfigError as exc:
            if exc.path is not None:
                raise
            field = exc.field
            by_attribute = {attribute: name for name, attribute in OVERRIDES.items()}
            field = by_attribute.get(field or "", field)
            loc: Loc = () if field is None else tuple(field.split("[")[0].split("."))
            line = line_of(self.lines, loc) or self.lines.get(("kind",))
            raise ProtocolError(exc.message, path=self.path, line=line, field=field) from exc


class FileProcedure(Procedure):
    """A protocol file as a procedure.

    Args:
        table: the validated file.
        source: where it was written, for errors.
    """

    def __init__(self, table: ProtocolTable, source: Source | None = None) -> None:
        self.table = table
        self.source = Source() if source is None else source
        self.kind = table.kind
        self.name = table.name or table.kind
        self.adaptive = table.adaptive
        self._last: tuple[ArrayContext, Plan] | None = None

    def _compiled(self, context: ArrayContext) -> Plan | Steps:
        with self.source.located():
            return self.table.start(self.table.for_array(context))

    def steps(self, context: ArrayContext) -> Steps:
        """Return the generator; ProtocolError, with file and line, when it does not fit."""
        started = self._compiled(context) if self.adaptive else self._static(context)
        return started.steps() if isinstance(started, Plan) else started

    def programme(self, context: ArrayContext) -> Programme:
        """Return the static programme; ProtocolError for an adaptive protocol."""
        if self.adaptive:
            return super().programme(context)
        return self._static(context).programme(self.name)

    def notes(self, context: ArrayContext) -> list[str]:
        """Return what was chosen for this array where the file leaves it open, and why."""
        with self.source.located():
            return self.table.notes(self.table.for_array(context))

    def targets_siemens(self, context: ArrayContext) -> FloatArray | None:
        """Return (n_rows, n_cols) siemens, NaN where none; None without targets of its own."""
        with self.source.located():
            return self.table.targets_siemens(self.table.for_array(context))

    def _static(self, context: ArrayContext) -> Plan:
        # The check of a programme and its run follow each other: compile once for both.
        if self._last is None or self._last[0] is not context:
            plan = self._compiled(context)
            if not isinstance(plan, Plan):
                raise ProtocolError(f"{self.kind} is adaptive: its pulses depend on the readings")
            self._last = context, plan
        return self._last[1]


def window(context: ArrayContext, field: str) -> tuple[float, float]:
    """Return (g_min, g_max) in siemens; ProtocolError when the operating point has no window."""
    op = context.op
    if not op.g_max_siemens > op.g_min_siemens:
        raise ProtocolError(
            "the operating point has no conductance window (g_min, g_max); give siemens",
            field=field,
        )
    return op.g_min_siemens, op.g_max_siemens


def field_error(field: str, message: str) -> ProtocolError:
    """Return an error about ``field``; its file and line are added by :class:`FileProcedure`."""
    return ProtocolError(message, field=field)
