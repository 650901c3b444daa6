"""What a learner is: everything that a method drives for a sample, and around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.control.array import SynapseArray
from hil.control.network import ArrayNetwork
from hil.control.states import State
from hil.datasets.dataset import Dataset
from hil.learning.triggers import ClipCount
from hil.program import FloatArray


@dataclass(slots=True)
class Work:
    """Pulses on selected devices so far.

    Attributes:
        write: by updates.
        refresh: by resetting pairs and programming them again, and by what else a method does to
            keep devices where it needs them.
        pairs: pairs that were programmed again.
    """

    write: int = 0
    refresh: int = 0
    pairs: int = 0

    def copy(self) -> Work:
        """Return a copy that does not count on."""
        return Work(self.write, self.refresh, self.pairs)


class Learner(ABC):
    """Trains a network sample by sample; made by :func:`hil.control.learners.making.make_learner`.

    Everything that it does to a device is a pulse block that a backend runs, so that it trains a
    rig like a simulated array.
    """

    def __init__(self, network: ArrayNetwork) -> None:
        self.network = network
        self.work = Work()
        self.predicted: NDArray[np.int64] | None = None  #: classes of the last :meth:`accuracy`

    @abstractmethod
    def initialise(self, weights: Sequence[FloatArray]) -> int:
        """Bring the pairs to their initial weights and return the device pulses.

        Args:
            weights: (n_inputs, n_outputs) per layer, as shares of the window within ± 1/2.
        """

    def set_rate(self, eta: float) -> None:  # noqa: B027 - methods without a rate keep this
        """Take over the learning rate of the epoch."""

    @abstractmethod
    def learn(self, x: FloatArray, target: FloatArray) -> FloatArray:
        """Learn one sample and return the outputs before the update; counts in :attr:`work`.

        Raises:
            RunInterrupted: a stop was requested; the array is in the safe state.
        """

    def finish(self) -> dict[str, Any]:
        """Do what is left after the last sample of the last epoch; return what there is to note."""
        return {}

    def state(self) -> State:
        """Return what it takes to go on learning from here; conductances are the arrays' own."""
        return {"work": asdict(self.work), "predicted": self.predicted}

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`, with the same training file and network."""
        self.work = Work(**state["work"])
        self.predicted = state["predicted"]

    def reread(self) -> None:  # noqa: B027 - most methods remember nothing of the devices
        """Read what the method remembers of the devices: they went on without it."""

    @property
    def matrices(self) -> tuple[SynapseArray, ...]:
        """Every matrix of pairs that is driven."""
        return self.network.matrices

    @property
    def clips(self) -> ClipCount:
        """Probabilities that were drawn and cut to 1 so far."""
        return ClipCount()

    @property
    def ready(self) -> bool:
        """Whether :meth:`accuracy` means what was learnt so far."""
        return True

    def accuracy(self, dataset: Dataset, *, batch: int = 128) -> float:
        """Return the share of test samples that the network classifies right, read now."""
        self.predicted = self.network.classify(dataset.x_test, batch=batch)
        return float(np.mean(self.predicted == dataset.y_test))
