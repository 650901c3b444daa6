"""Checks before a fit, its tables, and writing its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hil.errors import ConfigError, FitError, StoreError
from hil.fit.laws import ALL
from hil.fit.lookup import MeasuredTable, Tables, build_tables
from hil.fit.measured import DEPRESSION, POTENTIATION, Measured, Responses
from hil.fit.result import GOOD, FitResult
from hil.record.durable import replace_file

#: Share of read noise in the variance of the steps from which on the rest is a guess.
_MOSTLY_READ_NOISE = 0.8
#: Pulses from which on successive steps tell the read noise.
_MANY = 5000


def check_model(model: str | None) -> None:
    """Raise ConfigError when there is no such model."""
    if model is not None and model not in ALL:
        raise ConfigError(f"no model {model!r}; there are {', '.join(ALL)}", field="model")


def check_free(paths: Sequence[Path], force: bool) -> None:
    """Raise StoreError when a file exists or its folder does not; before the work, not after."""
    for path in paths:
        if not path.absolute().parent.is_dir():
            raise StoreError(f"{path}: its folder does not exist")
        if path.is_dir():
            raise StoreError(f"{path}: is a folder")
        if path.exists() and not force:
            raise StoreError(f"{path}: exists; --force replaces it")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        StoreError: it cannot be written.
    """
    replace_file(path, text.encode("utf-8"))


def fitted_alone(
    result: FitResult, measured: Measured, model: str | None, seed: int, n_bootstrap: int
) -> FitResult:
    """Return ``result`` with ``model`` fitted to all devices, as the best is already.

    Its criteria stay those of the comparison.
    """
    if model is None or model == result.best.model:
        return result
    from hil.fit.estimate import fit_devices

    alone = fit_devices(measured, models=[model], seed=seed, n_bootstrap=n_bootstrap).best
    models = tuple(
        replace(alone, n_parameters=m.n_parameters, n_transitions=m.n_transitions,
                log_likelihood=m.log_likelihood, aic=m.aic, bic=m.bic) if m.model == model else m
        for m in result.models
    )  # fmt: skip
    return replace(result, models=models)


def tables_of(measured: Measured, result: FitResult) -> tuple[Tables | None, list[str]]:
    """Return the look-up tables of devices that are not stuck, and what is to be said of them."""
    responses = measured.responses
    rows = (result.stuck == GOOD)[responses.device]
    devices = result.best.devices
    bounds = {}
    for name in ("range.g_min", "range.g_max"):
        if name in devices.names:
            bounds[name] = devices.values[:, devices.names.index(name)]
    typical = [result.best.parameters.get(name) for name in ("range.g_min", "range.g_max")]
    reached = [e for e in typical if e is not None and e.identifiable]
    both = len(reached) == 2
    try:
        tables = build_tables(
            responses.only(rows),
            range_siemens=(reached[0].value, reached[1].value) if both else None,
            low_siemens=bounds.get("range.g_min") if both else None,
            high_siemens=bounds.get("range.g_max") if both else None,
            read_noise=_read_noise(responses, result),
        )
    except FitError as exc:
        return None, [f"no look-up table: {exc}"]
    if tables.noisy <= _MOSTLY_READ_NOISE:
        return tables, []
    return _with_likely_spread(tables, result), [
        f"{tables.noisy:.0%} of what varies from pulse to pulse is read noise: the spread in the "
        "look-up table is that of the likelihood fit; more reads per pulse (read_repeat) would tell"
    ]


def _read_noise(responses: Responses, result: FitResult) -> tuple[float, float] | None:
    """Return the fitted read noise; None where the many pulses themselves tell it better."""
    if int(responses.good.sum()) >= _MANY:
        return None
    found = [
        result.common.get(f"variation.{name}") for name in ("read_noise", "read_noise_siemens")
    ]
    if not any(e is not None and e.identifiable for e in found):
        return None
    relative, absolute = (0.0 if e is None else e.value for e in found)
    return relative, absolute


def _with_likely_spread(tables: Tables, result: FitResult) -> Tables:
    """Return tables whose spread is that of the best model, and whose noise is normal."""
    changed: dict[str, MeasuredTable] = {}
    for branch, curve in result.best.curves.items():
        table = getattr(tables, branch)
        if table is not None:
            spread = np.interp(table.g_siemens, curve.g_siemens, curve.spread_siemens)
            changed[branch] = replace(table, spread_siemens=spread, quantiles_siemens=None)
    return replace(
        tables,
        potentiation=changed.get(POTENTIATION, tables.potentiation),
        depression=changed.get(DEPRESSION, tables.depression),
    )
