from __future__ import annotations

import pytest


@pytest.fixture(params=["1R", "1T1R", "3T"])
def cell(request: pytest.FixtureRequest) -> str:
    return str(request.param)
