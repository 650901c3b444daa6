"""``hil fit``: from recorded pulses to a device file."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.fit.curves import Agreement, CycleCurves
    from hil.fit.reading import Source
    from hil.fit.result import Estimate, FitResult, ModelFit

#: Devices of the twin that is compared with the data, per side of its array.
_TWIN_SIDE = 16
_MOST_CYCLES = 3
#: Share of the window by which a twin's median may differ before it is told.
_POOR = 0.1


def fit(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run of ltp-ltd, or folder of a characterisation; further runs add to it.",
        ),
    ],
    path: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.toml", help="Device file to write.")
    ] = Path("device.toml"),
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Also draw data, model median and spread [default: no]."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model to write [default: the best].")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the device [default: the file's].")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    bootstrap: Annotated[
        int,
        typer.Option(min=0, max=100_000, help="Samples of the bootstrap behind the intervals."),
    ] = 400,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit the simulator's device models to measured pulse responses.

    All models are compared; the best by AIC goes into the device file, with 95 % intervals and the
    runs it was fitted to. The simulator, dry-run and studies take the file as it is.
    """
    from hil.cli.progress import progress
    from hil.fit.curves import agreement, cycle_curves
    from hil.fit.device_file import fitted_device, model_named
    from hil.fit.estimate import fit_devices
    from hil.fit.reading import read_measured
    from hil.fit.writing import check_free, check_model, fitted_alone, tables_of, write_text

    output = Output(as_json)
    check_model(model)
    check_free([path, *([plot] if plot else [])], force)
    source = read_measured(runs)
    responses = source.measured.responses
    _say_source(output, source)
    with progress("fit"):
        result = fit_devices(source.measured, seed=seed, n_bootstrap=bootstrap)
        result = fitted_alone(result, source.measured, model, seed, bootstrap)
    chosen = model_named(result, model)
    tables, table_warnings = tables_of(source.measured, result)
    made = fitted_device(result, source, tables, name or path.stem, model, table_warnings)
    write_text(path, made.text)
    good = [k for k, code in enumerate(result.stuck) if code == 0]
    measured = cycle_curves(responses.only(responses.good), _indices(good))
    simulated = _twin(path, measured, source)
    same = agreement(measured, simulated)
    warnings = list(dict.fromkeys((*source.warnings, *result.warnings, *chosen.warnings,
                                   *table_warnings, *made.warnings)))  # fmt: skip
    _say_models(output, result, chosen)
    _say_parameters(output, chosen, result)
    if same is not None:
        spread = f", spread {same.spread:.2f} of the measured" if isfinite(same.spread) else ""
        output.say(
            f"twin against data: median differs by {same.median:.1%} of the window (root mean "
            f"square, at most {same.largest:.1%}){spread}"
        )
        if same.median > _POOR:
            warnings.insert(0, (
                f"the twin does not respond as the devices did ({same.median:.0%} of the window): "
                "do not use it for more than a look; --plot shows where they part, and a limit "
                "that cuts pulses short (compliance) or devices of several kinds are often why"
            ))  # fmt: skip
    for text in warnings:
        output.say(f"warning: {text}")
    output.say(f"written: {path} ({made.device.model} model)")
    if plot is not None:
        from hil.fit.plot import Picture, plot_fit

        title = f"{made.device.name}: {chosen.model} model, {responses.n_devices} devices"
        plot_fit(Picture(measured, simulated, tables, result, chosen, title), plot)
        output.say(f"plot: {plot}")
    output.result(_json(path, plot, source, result, chosen, warnings, same, made.device.model))


def _indices(values: list[int]) -> Any:
    import numpy as np

    return np.array(values, dtype=np.int64)


def _twin(path: Path, measured: CycleCurves, source: Source) -> CycleCurves:
    """Run the protocol that was fitted on simulated devices of the new file."""
    import numpy as np

    from hil.control.twin_response import twin_response
    from hil.fit.curves import CycleCurves as Curves

    steps = np.diff(measured.pulse)
    every = int(np.bincount(steps).argmax()) if steps.size else 1
    n_up = measured.n_up or int(measured.pulse[-1])
    outcome = twin_response(
        path, pulses=n_up, cycles=min(max(source.cycles, 1), _MOST_CYCLES), rows=_TWIN_SIDE,
        cols=_TWIN_SIDE, seed=1, read_every=every,
    )  # fmt: skip
    pulse, polarity = outcome["pulse"], outcome["polarity"]
    x = np.where(polarity < 0, n_up + pulse, pulse).astype(np.int64)
    grid, at = np.unique(x, return_inverse=True)
    cycle = outcome["cycle"].astype(np.int64)
    g = outcome["g_siemens"]
    table = np.full((int(cycle.max()) + 1, grid.size, g.shape[1]), np.nan)
    table[cycle, at] = g
    return Curves(grid, n_up, table)


def _say_source(output: Output, source: Source) -> None:
    r = source.measured.responses
    for run in source.runs:
        output.say(f"run: {run.path.name}, {run.kind}, {run.status}")
    output.say(
        f"{r.n} pulse responses of {r.n_devices} device{'s' * (r.n_devices != 1)} in "
        f"{source.cycles} cycle{'s' * (source.cycles != 1)}, "
        f"{int((~r.good).sum())} left out"
    )


def _say_models(output: Output, result: FitResult, chosen: ModelFit) -> None:
    best = result.best.aic
    rows = []
    for m in result.models:
        mark = "best" if m is result.best else ""
        mark += (", " if mark else "") + "written" if m is chosen else ""
        tails = [m.residual_quantiles[q] for q in (0.025, 0.975) if q in m.residual_quantiles]
        rows.append([m.model, f"{m.n_parameters:g}", f"{m.aic:.1f}", f"{m.aic - best:.1f}",
                     " … ".join(f"{t:.2f}" for t in tails), mark])  # fmt: skip
    output.table(["model", "parameters", "AIC", "ΔAIC", "residuals 2.5 … 97.5 %", ""], rows)


def _say_parameters(output: Output, chosen: ModelFit, result: FitResult) -> None:
    rows = []
    for name, e in {**chosen.parameters, **result.common}.items():
        note = e.note if e.identifiable else f"not identifiable{': ' * bool(e.note)}{e.note}"
        rows.append([name, _text(e, e.value), f"{_text(e, e.low)} … {_text(e, e.high)}", note])
    output.table(["parameter", "value", "95 % interval", ""], rows)


def _text(estimate: Estimate, value: float) -> str:
    from hil.units import format_quantity

    return format_quantity(value, estimate.unit) if estimate.unit else f"{value:.4g}"


def _estimate(e: Estimate) -> dict[str, Any]:
    return {"value": e.value, "low": e.low, "high": e.high, "unit": e.unit,
            "identifiable": e.identifiable, "note": e.note}  # fmt: skip


def _json(
    path: Path, plot: Path | None, source: Source, result: FitResult, chosen: ModelFit,
    warnings: list[str], same: Agreement | None, written: str,
) -> dict[str, Any]:  # fmt: skip
    models = [
        {"model": m.model, "n_parameters": m.n_parameters, "n_transitions": m.n_transitions,
         "log_likelihood": m.log_likelihood, "aic": m.aic, "bic": m.bic, "converged": m.converged,
         "residual_quantiles": {f"{q:g}": v for q, v in m.residual_quantiles.items()},
         "parameters": {k: _estimate(e) for k, e in m.parameters.items()}}
        for m in result.models
    ]  # fmt: skip
    agree = None
    if same is not None:
        agree = {"median": same.median, "largest": same.largest, "spread": same.spread}
    return {
        "device": path, "plot": plot, "model": chosen.model, "best": result.best.model,
        "written_as": written,
        "runs": [{"path": r.path, "id": r.id, "kind": r.kind, "digest": r.digest}
                 for r in source.runs],
        "devices": len(result.stuck), "fitted_devices": int((result.stuck == 0).sum()),
        "models": models, "common": {k: _estimate(e) for k, e in result.common.items()},
        "correlations": {f"{a} ~ {b}": v for (a, b), v in result.correlations.items()},
        "left_out": result.left_out, "twin": agree, "warnings": warnings,
    }  # fmt: skip
