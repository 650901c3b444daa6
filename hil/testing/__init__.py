"""The suite that every backend must pass; needs pytest, which nothing else of ``hil`` imports.

Subclass :class:`BackendContract` in a test module, name the class ``Test…`` and write ``make``::

    class TestMyRig(BackendContract):
        def make(self, limits=None):
            return MyBackend(limits=limits), OperatingPoint(...)
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("hil.testing.lifecycle", "hil.testing.physics")

from hil.testing.contract import BackendContract  # noqa: E402

__all__ = ["BackendContract"]
