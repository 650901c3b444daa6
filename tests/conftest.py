from __future__ import annotations

from hypothesis import settings

# Numba compiles on the first call, which no deadline should count.
settings.register_profile("synapse-hil", deadline=None, max_examples=50)
settings.load_profile("synapse-hil")
