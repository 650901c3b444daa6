"""What the demo found, as numbers, as a table and as the object that ``--json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.control.response import ResponseCurve
from hil.control.training import TrainingResult
from hil.program import FloatArray

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class DemoResult:
    """Results of one demo.

    Attributes:
        m3, m1: the trainings; ``m3.float_accuracy`` is floating-point back-propagation.
        g_siemens: (n_rows, n_cols) conductances of the first array after training with M3.
        window_siemens: (g_min, g_max) of the devices.
        seconds: wall-clock time in all.
        run: the run folder. picture: the PNG file.
        backend: name of the backend. identity: what is behind it.
    """

    m3: TrainingResult
    m1: TrainingResult
    g_siemens: FloatArray
    window_siemens: tuple[float, float]
    seconds: float
    run: Path
    picture: Path
    backend: str
    identity: str

    @property
    def curve(self) -> ResponseCurve:
        """LTP and LTD of the devices that were characterised."""
        return self.m3.curves[0]

    @property
    def accuracy(self) -> dict[str, float]:
        """Test accuracy after the last epoch: ``m3``, ``m1``, ``float``."""
        return {
            "m3": self.m3.history.test_accuracy,
            "m1": self.m1.history.test_accuracy,
            "float": self.m3.float_accuracy[-1],
        }

    @property
    def pulses(self) -> dict[str, int]:
        """Device pulses of the M3 training: ``write`` by updates, ``refresh`` by refreshing."""
        history = self.m3.history
        return {
            "write": history.total("write_pulses"), "refresh": history.total("refresh_pulses"),
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return the object of ``hil demo --json``."""
        return {
            "backend": self.backend,
            "accuracy": self.accuracy,
            "pulses": self.pulses,
            "seconds": self.seconds,
            "run": str(self.run),
            "picture": str(self.picture),
        }

    def columns(self) -> list[str]:
        """Return the heads of the table's columns."""
        return ["", "test accuracy", "write pulses", "refresh pulses", "pairs refreshed",
                "clipped", "time"]  # fmt: skip

    def rows(self) -> list[list[str]]:
        """Return the rows of the table as text."""
        rows = []
        for name, result in (
            ("M3 unidirectional, refresh", self.m3), ("M1 bidirectional", self.m1),
        ):  # fmt: skip
            h = result.history
            clipped = float(np.mean([e.clipped_fraction for e in h.epochs]))
            rows.append([
                name, f"{h.test_accuracy:.1%}", f"{h.total('write_pulses'):,}",
                f"{h.total('refresh_pulses'):,}", f"{h.total('reprogrammed_pairs'):,}",
                f"{clipped:.0%}", f"{sum(e.seconds for e in h.epochs):.1f} s",
            ])  # fmt: skip
        floating = f"{self.accuracy['float']:.1%}"
        rows.append(["floating-point back-propagation", floating, "", "", "", "", ""])
        return rows

    def table(self) -> Table:
        """Return the table for a rich console."""
        from rich.table import Table

        n = len(self.m3.history.epochs)
        out = Table(title=f"64-32-10 network on the digits set, {n} epochs, through pulses")
        for k, column in enumerate(self.columns()):
            out.add_column(column, justify="left" if k == 0 else "right")
        for row in self.rows():
            out.add_row(*row)
        return out
