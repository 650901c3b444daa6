from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings

# Numba compiles on the first call, which no deadline should count.
settings.register_profile("synapse-hil", deadline=None, max_examples=50)
settings.load_profile("synapse-hil")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261121)
