"""Where a file came from is kept beside its fields, and is no field of it."""

from __future__ import annotations

import pytest

from hil.characterise.suite import Suite
from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.errors import ConfigError
from hil.study.file import Study


@pytest.mark.parametrize("model", [Station, Suite, Study, Training])
def test_no_file_can_say_where_it_came_from(model):
    with pytest.raises(ConfigError, match=f"`path` is not a field of a {model.KIND} file"):
        validate_text('schema = 1\npath = "elsewhere.toml"\n', model)
    assert "path" not in model.model_json_schema()["properties"]
