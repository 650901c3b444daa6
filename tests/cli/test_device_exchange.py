"""``hil device``: what the two commands print, write and refuse."""

from __future__ import annotations

import json

from command import hil, hil_json


def test_a_device_goes_to_every_format_and_back(tmp_path):
    for name, target in (("aihwkit", "device.json"), ("neurosim", "device.txt"),
                         ("crosssim-ramps", "ramps")):  # fmt: skip
        made = hil_json("device", "export", "taox", "--to", name, "-o", target, cwd=tmp_path)
        assert made["not_held"]
        assert all((tmp_path / file).is_file() for file in made["files"])
        back = hil_json(
            "device", "import", target, "--from", name, "--like", "taox", "-o", f"{name}.toml",
            cwd=tmp_path,
        )  # fmt: skip
        assert back["assumed"]
        text = (tmp_path / f"{name}.toml").read_text(encoding="utf-8")
        for line in (*back["not_held"], *back["approximate"], *back["assumed"]):
            assert " ".join(line.split()) in " ".join(text.replace("#", " ").split())
        checked = hil("check", f"{name}.toml", cwd=tmp_path)
        assert checked.returncode == 0, checked.stderr
    config = json.loads((tmp_path / "device.json").read_text(encoding="utf-8"))
    assert config["rpu_config"]["device"]["class"] == "LinearStepDevice"


def test_a_file_is_replaced_only_when_it_is_said(tmp_path):
    arguments = ("device", "export", "ideal", "--to", "aihwkit", "-o", "device.py")
    first = hil(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "not held: [range]" in first.stdout
    again = hil(*arguments, cwd=tmp_path)
    assert again.returncode == 7
    assert "--force replaces it" in again.stderr
    assert hil(*arguments, "--force", cwd=tmp_path).returncode == 0


def test_wrong_arguments_and_files_have_the_exit_code_of_wrong_input(tmp_path):
    (tmp_path / "x.py").write_text("x = 1", encoding="utf-8")
    common = ("--like", "ideal", "-o", "out.toml")
    for arguments, message in (
        (("device", "import", "x.py", "--from", "aihwkit", *common), "needs one device"),
        (("device", "import", "none.py", "--from", "aihwkit", *common), "cannot be read"),
        (("device", "import", "x.py", "--from", "spice", *common), "none of aihwkit"),
        (("device", "export", "taox", "--to", "neurosim", "--class", "X", "-o", "f"), "classes"),
    ):
        done = hil(*arguments, cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert message in done.stderr
    assert not (tmp_path / "out.toml").exists()
