from __future__ import annotations

import numpy as np
import pytest

from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.forecast import forecast
from hil.control.session import open_session
from hil.errors import ConfigError, LimitError, ProtocolError, RunInterrupted
from hil.record import open_run
from hil.registry import PROTOCOLS, load

ONE = 'schema = 1\n[[array]]\nname = "a"\nrows = 6\ncols = 6\ndevice = "nonlinear"\n'
TWO = ONE + '[[array]]\nname = "b"\nrows = 4\ncols = 6\ndevice = "nonlinear"\n'
HALVES = ONE.replace("[[array]]", '[[array]]\npairs = "two-arrays"')
HALVES += '[[array]]\nname = "b"\nrows = 6\ncols = 6\npairs = "two-arrays"\ndevice = "nonlinear"\n'


def station(text):
    return validate_text(text, Station)


def protocol(tmp_path, text):
    path = tmp_path / "p.toml"
    path.write_text("schema = 1\n" + text)
    return path


def test_a_protocol_runs_on_the_array_asked_for(tmp_path):
    with open_session(station(TWO), sim=True, out=tmp_path) as session:
        first = session.run_protocol("read-map")
        second = session.run_protocol("read-map", array="b")
        assert session.array("b").read().shape == (4, 6)
    assert first.result.n_readings == 36
    assert second.result.n_readings == 24
    assert open_run(second.run).manifest["meta"]["array"] == "b"


def test_leaving_a_session_closes_every_array(tmp_path):
    with open_session(station(TWO), sim=True, out=tmp_path) as session:
        backends = list(session.backends.values())
        assert all(backend.is_open for backend in backends)
    assert not any(backend.is_open for backend in backends)


def test_an_array_that_is_not_open_is_refused(tmp_path):
    with open_session(station(TWO), sim=True, array="b", out=tmp_path) as session:
        assert session.table().name == "b"
        with pytest.raises(ConfigError, match="array 'a' is not open"):
            session.array("a")
        with pytest.raises(ConfigError, match="no array is called 'c'"):
            session.array("c")


def test_pairs_on_two_arrays_open_both(tmp_path):
    with open_session(station(HALVES), sim=True, array="a", out=tmp_path) as session:
        assert sorted(session.backends) == ["a", "b"]
        array = session.array("a")
        plus, minus = array.read_pairs()
        assert plus.shape == minus.shape == (6, 6)
        assert [site.name for site in session.sites()] == ["a"]


def test_the_outcome_and_the_ledger_are_kept_with_the_run(tmp_path):
    path = protocol(tmp_path, 'kind = "ltp-ltd"\ncells = [[1, 2]]\ncycles = 1\npulses = 5\n')
    with open_session(station(ONE), sim=True, out=tmp_path / "runs") as session:
        report = session.run_protocol(path)
    run = open_run(report.run)
    assert run.status == "done"
    assert run.verify() == ()
    with np.load(report.run / "checkpoints" / "outcome.npz") as outcome:
        assert np.array_equal(outcome["g_siemens"], report.result.outcome["g_siemens"])
    with np.load(report.run / "checkpoints" / "ledger.npz") as ledger:
        assert ledger["selected_plus"][1, 2] == ledger["selected_minus"][1, 2] == 5
        assert ledger["selected_plus"].sum() == 5
    assert run.pulses.num_rows == 10
    g0 = run.pulses["g0"].to_numpy()
    g1 = run.pulses["g1"].to_numpy()
    assert (g1[:5] > g0[:5]).all()
    assert (g1[5:] < g0[5:]).all()


def test_a_protocol_beyond_a_limit_makes_no_run(tmp_path):
    limited = ONE + '[limits]\nlevel = ["-0.5 V", "0.5 V"]\n'
    with open_session(station(limited), sim=True, out=tmp_path / "runs") as session:
        with pytest.raises(LimitError):
            session.run_protocol("ltp-ltd")
        session.run_protocol("read-map")
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_an_adaptive_protocol_that_does_not_fit_makes_no_run(tmp_path):
    path = protocol(tmp_path, 'kind = "write-verify"\ncells = [[9, 9]]\ntargets = ["20 uS"]\n')
    with (
        open_session(station(ONE), sim=True, out=tmp_path / "runs") as session,
        pytest.raises(ProtocolError),
    ):
        session.run_protocol(path)
    assert not (tmp_path / "runs").exists()


def test_a_stop_closes_the_run_as_interrupted(tmp_path):
    with open_session(station(ONE), sim=True, out=tmp_path) as session:
        backend = session.backends["a"]
        blocks = []

        def stop_after_three(block):
            blocks.append(block)
            if len(blocks) == 3:
                backend.request_stop()

        with pytest.raises(RunInterrupted):
            session.run_protocol("ltp-ltd", progress=stop_after_three)
        session.run_protocol("read-map")  # the stop was honoured once; the array is usable
    runs = {open_run(p).manifest["name"]: open_run(p) for p in tmp_path.iterdir()}
    assert runs["ltp-ltd"].status == "interrupted"
    assert runs["ltp-ltd"].ops.num_rows == 3
    assert runs["read-map"].status == "done"


def test_an_error_says_which_run_it_belongs_to(tmp_path):
    def fail(block):
        raise ValueError("an observer failed")

    with (
        open_session(station(ONE), sim=True, out=tmp_path) as session,
        pytest.raises(ValueError, match="an observer failed") as caught,
    ):
        session.run_protocol("read-map", progress=fail)
    folder = next(tmp_path.iterdir())
    assert caught.value.__notes__ == [f"run: {folder}"]
    assert open_run(folder).status == "failed"


def test_a_forecast_drives_nothing_and_is_what_happens(tmp_path):
    with open_session(station(ONE), sim=True, out=tmp_path, drive=False) as session:
        predicted = forecast(session, "pulse-map")
        assert not session.backends["a"].is_open
        assert session.backends["a"].ledger.device_pulses == 0
    with open_session(station(ONE), sim=True, out=tmp_path) as session:
        result = session.run_protocol("pulse-map").result
    assert predicted.numbers["device_pulses"] == result.n_device_pulses
    assert predicted.numbers["seconds"] == pytest.approx(result.duration_s, rel=1e-6)


@pytest.mark.parametrize("name", sorted(load(PROTOCOLS, "library")().names()))
def test_every_shipped_protocol_can_be_forecast_or_says_why_not(tmp_path, name):
    with open_session(station(ONE), sim=True, out=tmp_path, drive=False) as session:
        if name == "forming":  # these devices come formed: there is no forming pulse
            with pytest.raises(ProtocolError, match="forming"):
                forecast(session, name, seeds=2)
            return
        predicted = forecast(session, name, seeds=2)
    assert predicted.numbers["seconds"] > 0
    assert predicted.numbers["readings"] > 0
    assert predicted.numbers["worst_read_v"] != 0
    writes = predicted.numbers["device_pulses"] > 0
    assert (predicted.numbers["worst_v"] != 0) == writes


def test_trainings_of_one_seed_are_one_training(tmp_path):
    text = "schema = 1\nbaseline = false\n[network]\nhidden = [2]\n"
    text += "[schedule]\nepochs = 1\nsamples = 20\n[characterise]\ndevices = 1\npulses = 16\n"
    training = validate_text(text, Training)
    big = ONE.replace("rows = 6\ncols = 6", "rows = 70\ncols = 20")

    def weights():
        with open_session(station(big), sim=True, out=tmp_path) as session:
            report = session.train(training)
        with np.load(report.run / "checkpoints" / "weights.npz") as stored:
            return stored["layer_0"]

    assert np.array_equal(weights(), weights())


def test_a_training_keeps_what_the_network_took_the_test_samples_for(tmp_path):
    text = (
        'schema = 1\nname = "short"\nbaseline = false\n[schedule]\nepochs = 1\nsamples = 20\n'
        "[characterise]\ndevices = 2\npulses = 32\n[network]\nhidden = []\nweight_scales = [4.0]\n"
    )
    big = ONE.replace("rows = 6\ncols = 6", "rows = 70\ncols = 20")
    with open_session(station(big), sim=True, out=tmp_path) as session:
        report = session.train(validate_text(text, Training))
    with np.load(report.run / "checkpoints" / "predictions.npz") as kept:
        right = float(np.mean(kept["labels"] == kept["predicted"]))
    assert right == report.result.history.test_accuracy
