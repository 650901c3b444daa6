"""Forecast of a training: the whole of it on simulated twins, with several seeds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from hil.backend import Backend, Unfinished
from hil.config.training import Training
from hil.control.dryrun import Exposure, Forecast, distribution
from hil.control.opening import make_backend
from hil.control.placement import build_network
from hil.control.recorder import Recorder
from hil.control.running import TRAINING_LEVELS
from hil.control.session import Session
from hil.control.training import train
from hil.datasets.sources import load_dataset
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.program import Phase, PulseBlock

#: A training is long; fewer seeds than for a protocol.
N_TRAINING_SEEDS = 3
#: What adds up over arrays; the rest is the worst of them.
_SUMS = frozenset(
    {"seconds", "pulse_seconds", "blocks", "steps", "readings", "device_pulses", "half_selects",
     "read_pulses", "bytes"}
)  # fmt: skip


class BlockCounter(Recorder):
    """Counts what a recorder would be given, array by array; nothing is written."""

    def __init__(self) -> None:
        self.upcoming_op = 1
        self.exposures: dict[Backend, Exposure] = {}
        self._operation = {Phase[name.upper()] for name in TRAINING_LEVELS}

    def before(self, backend: Backend, block: PulseBlock) -> None:
        """Nothing is written that a crash could leave unknown."""

    def refused(self, backend: Backend) -> None:
        """Nothing was announced."""

    def block(
        self, backend: Backend, op_point: OperatingPoint, op_id: int, ordinal: int, layer: int,
        start_ns: int, n_pulses: int, block: PulseBlock, readings: MeasurementBlock, *,
        ends: bool = False, status: int = 0,
    ) -> None:  # fmt: skip
        """Count a block that was driven."""
        exposure = self.exposures.get(backend)
        if exposure is None:
            exposure = Exposure(backend.geometry, backend.capabilities, self._operation)
            self.exposures[backend] = exposure
        exposure.add(block)

    def unfinished(
        self, backend: Backend, op_point: OperatingPoint, op_id: int, ordinal: int, layer: int,
        start_ns: int, left: Unfinished, failure: BaseException,
    ) -> None:  # fmt: skip
        """A forecast ends with the failure."""

    def flush(self) -> None:
        """Nothing waits."""


def forecast_training(
    session: Session,
    training: Training,
    *,
    seeds: int = N_TRAINING_SEEDS,
    progress: Callable[[float, str], None] | None = None,
) -> Forecast:
    """Return what a training would do to a station's arrays, and how well it would learn.

    The whole training runs on simulated twins, once per seed of the devices. Times, pulses and
    bytes are sums over the arrays, worst cases the worst of them; ``test_accuracy`` is in the
    numbers, too.

    Args:
        session: it need not be open (``open_session(..., drive=False)``).
        training: a loaded training file.
        seeds: simulated trainings.
        progress: called with the share done and a note.

    Raises:
        ConfigError: the layers do not fit the arrays, or the data set is wrong.
    """
    show = progress or (lambda share, note: None)
    dataset = load_dataset(training)
    chosen = range(session.seed, session.seed + seeds)
    table, exposures = [], []
    for done, seed in enumerate(chosen):
        with ExitStack() as stack:
            twin = Session(session.station, "sim", True, seed, session.out)
            for array in session.station.array:
                if array.name in session.backends:
                    backend, op = make_backend(session.station, array, sim=True, seed=seed)
                    twin.backends[array.name] = stack.enter_context(backend)
                    twin.ops[array.name] = op
            counter = BlockCounter()
            network = build_network(training, dataset, twin.sites(), counter)

            def report(n: int, total: int, done: int = done) -> None:
                show((done + n / total) / seeds, f"training {done + 1} of {seeds}")

            result = train(training, dataset, network, on_progress=report)
        runs = list(counter.exposures.values())
        rows = [run.numbers() for run in runs]
        numbers = {"test_accuracy": result.history.test_accuracy}
        for name in rows[0]:
            values = [row[name] for row in rows]
            numbers[name] = float(sum(values) if name in _SUMS else max(values, key=abs))
        table.append(numbers)
        exposures += runs
    return distribution(training.name, "training", chosen, table, exposures)
