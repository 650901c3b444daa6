"""Forecasts of protocols on a station: counted where they are static, simulated where adaptive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hil.control.array import load_protocol
from hil.control.dryrun import (
    N_SEEDS,
    Exposure,
    Forecast,
    forecast_adaptive,
    forecast_static,
)
from hil.control.opening import default_pairs, make_backend
from hil.control.runner import ProcedureResult, Runner
from hil.control.session import Session
from hil.procedure import ArrayContext, Procedure
from hil.program import PulseBlock


def forecast(
    session: Session,
    protocol: Procedure | str | Path,
    *,
    array: str | None = None,
    seeds: int = N_SEEDS,
    progress: Callable[[int], None] | None = None,
    checking: Callable[[Exposure], None] | None = None,
) -> Forecast:
    """Return what a protocol would do to an array, without driving it.

    An adaptive protocol runs on the simulator, whatever the session's backend is.

    Args:
        session: it need not be open (``open_session(..., drive=False)``).
        protocol: a file, the name of a shipped protocol, or a procedure.
        array: name of the array, None = the station's first.
        seeds: simulated runs of an adaptive protocol.
        progress: called with the number of simulated runs done.
        checking: called while a static protocol is compiled and checked.

    Raises:
        ProtocolError: it does not fit the array. LimitError: a step is out of range.
    """
    procedure = load_protocol(protocol) if isinstance(protocol, str | Path) else protocol
    table = session.table(array)
    if not procedure.adaptive:
        return forecast_static(
            procedure, session.context(array), session.backends[table.name], checking
        )

    def run(seed: int, watch: Callable[[PulseBlock], None]) -> None:
        simulate(session, procedure, array, seed, watch)

    capabilities = make_backend(session.station, table, sim=True)[0].capabilities
    return forecast_adaptive(
        procedure, table.geometry(), capabilities, run,
        range(session.seed, session.seed + seeds), progress,
    )  # fmt: skip


def simulate(
    session: Session,
    procedure: Procedure,
    array: str | None,
    seed: int,
    watch: Callable[[PulseBlock], None],
) -> ProcedureResult:
    """Run a procedure on a fresh simulated twin of an array; nothing is recorded.

    ``watch`` is called with every block that was driven.
    """
    table = session.table(array)
    backend, op = make_backend(session.station, table, sim=True, seed=seed)
    context = ArrayContext(
        backend.geometry, op, backend.capabilities, backend.limits,
        default_pairs(backend, table.pairs), seed,
    )  # fmt: skip
    with backend:
        return Runner(backend, op).procedure(procedure, context, watch)
