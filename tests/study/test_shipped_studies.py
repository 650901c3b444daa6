"""The studies behind the docs' results can be run as they are written by ``hil init --studies``."""

from __future__ import annotations

import pytest
from studies import hil, write_mnist

from hil.cli.commands.init import study_files
from hil.study.file import load_study
from hil.study.points import Planner

STUDIES = [name for name, text in study_files().items() if "\nseeds = " in text]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    with hil("init", folder, "--studies") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    write_mnist(folder / "mnist")
    return folder


def test_every_claim_has_its_studies():
    assert {"linear-response.toml", "nonlinearity.toml", "variation.toml"} <= set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_shipped_study_is_complete_and_fair(written, name):
    study = load_study(written / name)
    Planner(study).check()
    assert len(study.seeds) >= 5
    assert study.tune is None or study.tune.validation_share > 0


def test_rig_and_studies_are_not_written_together(tmp_path):
    with hil("init", tmp_path, "--studies", "--rig") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "exclude one another" in err
    assert list(tmp_path.iterdir()) == []
