"""The commands of ``hil``, one file each; they import what they need when they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hil.cli.commands.bench import bench
from hil.cli.commands.calibrate import calibrate
from hil.cli.commands.characterise import characterise
from hil.cli.commands.check import check
from hil.cli.commands.demo import demo
from hil.cli.commands.device import DEVICE
from hil.cli.commands.doctor import doctor
from hil.cli.commands.dry_run import dry_run
from hil.cli.commands.explain import explain
from hil.cli.commands.export import export
from hil.cli.commands.fit import fit
from hil.cli.commands.init import init
from hil.cli.commands.monitor import monitor
from hil.cli.commands.predict import predict
from hil.cli.commands.report import report
from hil.cli.commands.resume import resume
from hil.cli.commands.run import run
from hil.cli.commands.runs import runs, seal
from hil.cli.commands.schema import schema
from hil.cli.commands.show import show
from hil.cli.commands.study import STUDY
from hil.cli.commands.train import train

COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "demo": demo,
    "init": init,
    "check": check,
    "explain": explain,
    "dry-run": dry_run,
    "run": run,
    "train": train,
    "resume": resume,
    "show": show,
    "report": report,
    "runs": runs,
    "seal": seal,
    "monitor": monitor,
    "export": export,
    "fit": fit,
    "calibrate": calibrate,
    "characterise": characterise,
    "predict": predict,
    "bench": bench,
    "schema": schema,
    "doctor": doctor,
}

#: Groups of commands: name -> (help, commands). The first command is the one meant by default.
GROUPS: Final[dict[str, tuple[str, dict[str, Callable[..., None]]]]] = {
    "study": ("Sweep fields over many runs: `hil study FILE`, `hil study show FOLDER`.", STUDY),
    "device": ("Device files to and from aihwkit, NeuroSim and CrossSim.", DEVICE),
}
