"""What a study file says, and what is refused before anything is run."""

from __future__ import annotations

import pytest
from studies import write_study

from hil.errors import ConfigError
from hil.registry import backend_factory
from hil.study.fields import with_fields
from hil.study.file import load_study
from hil.study.points import Planner
from hil.study.removal import can_hold, schema_of


def planned(file):
    planner = Planner(load_study(file))
    planner.check()
    return planner


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[grid]\n"training.schedule.etta" = [0.1]', "etta.*unknown field; did you mean 'eta'"),
        ('[grid]\n"device.potentiation.states" = [0, 64]', "states"),
        ('[grid]\n"protocol.pulses" = [1]', "names no protocol file"),
        (
            '[grid]\n"traning.schedule.eta" = [0.1]',
            r"'traning.schedule.eta' is of no file: a field begins with training, station, device "
            r"or protocol; did you mean 'training'\?",
        ),
        ('[grid]\n"training.schedule..eta" = [0.1]', "no field such as 'training.schedule.eta'"),
        ("[grid]\ntraining = [0.1]", "'training' is no field such as"),
        ('[grid]\n"station.array.3.rows" = [8]', "no position in a list of 1"),
        ('[grid]\n"training.schedule.epochs.x" = [8]', "no table"),
        ("seeds = [1, 1]", "same seed twice"),
        ('[[case]]\nname = "a"\n[[case]]\nname = "a"', "same name"),
        ('[[case]]\nname = "a"\ntune = {"training.schedule.eta" = [1.0]}', r"no \[tune\] table"),
        ("[tune]\nseeds = 2", "nothing to choose from"),
        ('[tune]\ngrid = {"training.schedule.etta" = [1.0, 2.0]}', "etta"),
        ('protocol = "read-map"', "either a training file or a protocol"),
        ('colour = "red"', r"unknown field \(known: case, grid, level, name, protocol, schema"),
        ('path = "x"', "`path` is not a field of a study file"),
        ("path = 3", "`path` is not a field of a study file"),
        ('[[case]]\nname = "a"\nremove = ["trainin.refresh"]', "did you mean 'training'"),
        ('[[case]]\nname = "a"\nremove = ["training.refesh"]', "can have the field .*refesh"),
        ('[[case]]\nname = "a"\nremove = ["training.refresh.evry"]', "refresh.evry"),
        ('[[case]]\nname = "a"\nremove = ["station.array.0.colour"]', "array.0.colour"),
        ('[[case]]\nname = "a"\nremove = ["device.potentiation.mu"]', "potentiation.mu"),
        ('[[case]]\nname = "a"\nremove = ["training.network.hidden.x"]', "hidden.x"),
    ],
    ids=lambda text: text.splitlines()[-1][:30],
)
def test_bad_study_is_refused_with_its_field(tmp_path, text, message):
    file = write_study(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        planned(file)


@pytest.mark.parametrize(
    "field",
    [
        "training.refresh", "training.refresh.base", "training.schedule.samples",
        "training.rule.options.gain", "station.twin.as_rig", "station.limits.lines.WL0.level",
        "device.potentiation.nu", "device.variation.step_d2d", "station.array.0.dead.0",
    ],
)  # fmt: skip
def test_field_that_a_file_may_have_can_be_removed(field):
    file, *path = field.split(".")
    assert can_hold(schema_of(file, backend_factory("sim")), path)


def test_removal_of_a_field_that_is_absent_changes_nothing(tmp_path):
    planned(write_study(tmp_path, '[[case]]\nname = "a"\nremove = ["training.refresh.base"]'))


def test_error_names_line_and_field_of_a_wrong_name(tmp_path):
    file = write_study(tmp_path, '\n[grid]\n"traning.schedule.eta" = [0.1]')
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    assert (caught.value.line, caught.value.field) == (8, "grid.traning.schedule.eta")


def test_error_names_line_and_field_of_the_study_file(tmp_path):
    file = write_study(tmp_path, '\n[grid]\n"training.schedule.etta" = [0.1]')
    with pytest.raises(ConfigError) as caught:
        planned(file)
    assert caught.value.path == str(file)
    assert caught.value.line == 8
    assert caught.value.field == 'grid."training.schedule.etta"'


def test_cases_must_have_the_same_number_of_trials(tmp_path):
    file = write_study(
        tmp_path,
        """
        [tune]
        grid = {"training.schedule.eta" = [0.1, 0.2]}
        [[case]]
        name = "a"
        tune = {"training.rule.dead_zone" = [0.0, 0.1]}
        [[case]]
        name = "b"
        """,
    )
    with pytest.raises(ConfigError, match="same number of trials, but: a 2, b 1"):
        load_study(file)


def test_points_are_cases_times_grid_times_seeds(tmp_path):
    file = write_study(
        tmp_path,
        """
        seeds = [1, 2, 3]
        [grid]
        "device.potentiation.nu, device.depression.nu" = [0.0, 2.0]
        [[case]]
        name = "M3"
        [[case]]
        name = "M1"
        set = {"training.rule.method" = "M1"}
        """,
    )
    planner = planned(file)
    points = [p for c in planner.combinations() for p in planner.counting(c, {})]
    assert len(points) == planner.study.n_points == 12
    assert len({p.id for p in points}) == 12
    assert {(p.settings["case"], p.seed) for p in points} == {
        (case, seed) for case in ("M3", "M1") for seed in (1, 2, 3)
    }
    text = points[-1].texts["device.toml"]
    assert text.count("nu = 2.0") == 2
    assert 'method = "M1"' in points[-1].texts["training.toml"]


def test_points_that_tune_never_see_the_test_part(tmp_path):
    file = write_study(tmp_path, '[tune]\nseeds = 2\ngrid = {"training.schedule.eta" = [0.1, 0.2]}')
    planner = planned(file)
    (combination,) = planner.combinations()
    tuning = planner.tuning(combination)
    assert len(tuning) == 4
    assert all("validation_share = 0.1" in p.texts["training.toml"] for p in tuning)
    counting = planner.counting(combination, {"training.schedule.eta": 0.2})
    assert "validation_share" not in counting[0].texts["training.toml"]
    assert not {p.seed for p in tuning} & {p.seed for p in counting}


def test_id_changes_with_the_seed_and_any_file(tmp_path):
    file = write_study(tmp_path, "seeds = [1, 2]")
    first = [p.id for c in planned(file).combinations() for p in planned(file).counting(c, {})]
    assert len(set(first)) == 2
    (tmp_path / "training.toml").write_text((tmp_path / "training.toml").read_text() + "\n# more")
    again = [p.id for c in planned(file).combinations() for p in planned(file).counting(c, {})]
    assert again == first, "a comment changes nothing"
    write_study(tmp_path, "seeds = [1, 2]", samples=21)
    assert not {
        p.id for c in planned(file).combinations() for p in planned(file).counting(c, {})
    } & set(first)


def test_fields_are_set_and_removed_in_a_copy():
    files = {"training": [{"rule": {"method": "M3"}, "refresh": {"every": 3}}]}
    out = with_fields(files, {"training.rule.options.gain": 2.0}, ("training.refresh",))
    assert out["training"][0] == {"rule": {"method": "M3", "options": {"gain": 2.0}}}
    assert "refresh" in files["training"][0]
