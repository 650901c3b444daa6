"""``hil predict``: what a device would be worth in a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output


def predict(
    device: Annotated[
        str, typer.Argument(metavar="DEVICE", help="Device file, e.g. of `hil fit`, or a preset.")
    ],
    station: Annotated[
        Path | None,
        typer.Option(
            "--station",
            "-s",
            help="Use the arrays, limits and instruments of this station [default: arrays of the "
            "network's size].",
        ),
    ] = None,
    training: Annotated[
        Path | None, typer.Option("--training", help="Training file to start from.")
    ] = None,
    mnist: Annotated[
        Path | None, typer.Option("--mnist", metavar="FOLDER", help="Folder with MNIST's files.")
    ] = None,
    hidden: Annotated[
        str | None, typer.Option("--hidden", metavar="N,N", help="Hidden layers; 0 = none.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each method.")] = 3,
    devices: Annotated[
        int, typer.Option("--devices", min=1, max=65_536, help="Devices in the curves.")
    ] = 256,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune/--no-tune",
            help="Choose each method's learning rate on a validation part first.",
        ),
    ] = True,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes [default: one per core].")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of all predictions.")] = Path(
        "predictions"
    ),
    as_json: AsJson = False,
) -> None:
    """Predict accuracy, pulses, energy and time with a device, and draw a paper's figures.

    Trains with M1 and M3, and in floating point, on simulated arrays of the device. Called again,
    it goes on: what is done is not run again.
    """
    from hil.cli.progress import progress
    from hil.cli.stopping import interruptible
    from hil.predict.inputs import Wishes
    from hil.predict.run import predict as run
    from hil.predict.write import table
    from hil.study.engines import LocalEngine

    output = Output(as_json)
    wishes = Wishes(
        device, station, training, mnist, layers_of(hidden), epochs, tuple(range(1, seeds + 1)),
        devices, tune,
    )  # fmt: skip
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(device).name.removesuffix(".toml")) or "device"
    folder = out / name
    with interruptible("runs that are open start over"), progress("predict") as report:
        found = run(wishes, folder, LocalEngine(workers), report)
    for why in found.failed:
        output.note(f"hil: failed: {why}")
    about = found.about
    output.say(
        f"{found.device}: {about['data_set']}, {about['network']}, {about['epochs']} epochs, "
        f"{about['seeds']} seeds; simulated"
    )
    shown = table(found.methods)
    output.table(shown.head, shown.rows)
    for method in found.methods:
        if method.rig_note:
            output.say(f"{method.name}: time on the rig is not known: {method.rig_note}")
    for file in found.files:
        if file.suffix in (".html", ".png", ".json", ".csv"):
            output.say(f"wrote {file}")
    output.result({
        "folder": folder, "device": found.device, **about,
        "methods": {m.name: {"numbers": m.means(), "tuned": m.tuned, "rig_note": m.rig_note,
                             "failed": m.failed} for m in found.methods},
        "files": found.files,
    })  # fmt: skip
    if found.failed:
        raise typer.Exit(5)


def layers_of(text: str | None) -> tuple[int, ...] | None:
    """Return the hidden layers of ``"250,125"``; none for 0, None for None.

    Raises:
        ConfigError: it is something else.
    """
    from hil.errors import ConfigError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"{text!r} are no layers; write e.g. 200 or 250,125", field="--hidden")
    layers = tuple(int(part) for part in parts)
    if layers == (0,):
        return ()
    if 0 in layers:
        raise ConfigError("a layer of no neurons", field="--hidden")
    return layers
