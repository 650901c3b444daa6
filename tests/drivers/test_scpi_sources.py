from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from golden_files import check
from hil_drivers.instrument import ChannelSteps, SyncPlan, SyncRole
from hil_drivers.keithley_2400 import Keithley2400
from hil_drivers.keithley_2450 import Keithley2450
from hil_drivers.keysight_33500b import Keysight33500B
from hil_drivers.keysight_81160a import Keysight81160A
from hil_drivers.keysight_b2900 import KeysightB2900
from hil_drivers.transport import ReplaySession

from hil.errors import BackendUnavailable, LimitError, LinkError, ReadbackError
from hil.measurement import Status

NO_ERROR = (":SYST:ERR?", '+0,"No error"')
RESET_2400 = (
    "*RST;*CLS;:ROUT:TERM FRON;:SYST:RSEN OFF;:SYST:AZER OFF;:OUTP:SMOD HIMP;:SOUR:FUNC VOLT;"
    ":SOUR:VOLT:MODE FIX;:SOUR:VOLT:LEV 0;:SOUR:DEL:AUTO OFF;:SENS:FUNC:CONC OFF;"
    ":SENS:FUNC 'CURR:DC';:SENS:CURR:RANG:AUTO OFF;:FORM:ELEM CURR,STAT"
)
RESET_2450 = (
    "*RST;*CLS;:ROUT:TERM FRON;:SOUR:FUNC VOLT;:SOUR:VOLT 0;:OUTP:VOLT:SMOD HIMP;"
    ":SOUR:VOLT:READ:BACK OFF;:SOUR:VOLT:DEL:AUTO OFF;:SOUR:VOLT:DEL 0;"
    ':SENS:FUNC "CURR";:SENS:CURR:AZER OFF;:SENS:CURR:RANG:AUTO OFF;:SENS:CURR:RSEN OFF'
)


class Recorder(ReplaySession):
    """Takes every message, answers errors, outputs and loads; keeps what was sent."""

    def __init__(self, idn):
        super().__init__("recorder", [])
        self.idn = idn
        self.sent = []

    def write(self, message, timeout_s=0.0):
        self.sent.append(message)

    def write_binary(self, header, values, timeout_s=0.0):
        runs = " ".join(f"{len(list(same))}x{code}" for code, same in groupby(values.tolist()))
        self.sent.append(f"{header} {values.dtype.str} {runs}")

    def query(self, message, timeout_s=0.0):
        answers = {"*IDN?": self.idn, "*LANG?": "SCPI", ":SYST:ERR?": '0,"No error"'}
        if "LOAD?" in message:
            return "9.9E+37" if "335" in self.idn else "1E6"
        return answers.get(message, ";".join("0" for _ in message.split(";")))


def lowered(kind, idn, programs, sync=None):
    """The messages of ``load``, one command per line."""
    instrument = kind("it")
    session = Recorder(idn)
    instrument.open(session)
    session.sent.clear()
    instrument.load(programs, sync)
    return "\n".join(session.sent).replace(";:", "\n:")


WRITE_READ = {"1": ChannelSteps.build([1.0, 0.1], [8e-3, 12e-3], [16e-3, 16e-3],
                                      measure=[False, True], compliance_a=1e-4, range_a=1e-5,
                                      aperture_s=1e-3)}  # fmt: skip
IDN_2400 = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C32"
IDN_2450 = "KEITHLEY INSTRUMENTS,MODEL 2450,04096331,1.7.0b"
IDN_B2902 = "Keysight Technologies,B2902A,MY51140137,3.4"
IDN_33522 = "Agilent Technologies,33522B,MY52800000,2.03"
IDN_81160 = "Agilent Technologies,81160A,MY51400000,1.0"
TRAIN = ChannelSteps.build([1.5], 1e-3, 4e-3, repeat=250)
SLOW_TRAIN = ChannelSteps.build([1.5], 4e-3, 12e-3, repeat=20)
LONG = ChannelSteps.build(np.linspace(0.5, 1.75, 126), 4e-3, 4e-3, measure=True,
                          compliance_a=1e-3)  # fmt: skip
MIXED = ChannelSteps.build([2.0, -1.0], [1e-3, 2e-3], [4e-3, 4e-3], repeat=[2, 1])


@pytest.mark.parametrize(
    ("name", "kind", "idn", "programs"),
    [
        ("keithley_2400_write_and_read", Keithley2400, IDN_2400, WRITE_READ),
        ("keithley_2450_write_and_read", Keithley2450, IDN_2450, WRITE_READ),
        ("keithley_2400_long_list", Keithley2400, IDN_2400, {"1": LONG}),
        ("keithley_2450_long_list", Keithley2450, IDN_2450, {"1": LONG}),
        ("keysight_b2900_grid", KeysightB2900, IDN_B2902, WRITE_READ),
        ("keysight_b2900_pulses", KeysightB2900, IDN_B2902,
         {"1": ChannelSteps.build([1.0, 0.5], 1e-4, 1e-3, repeat=[2, 1], measure=True,
                                  compliance_a=1e-3),
          "2": ChannelSteps.build([-1.0, 0.2], 1e-3, 1e-3, repeat=[2, 1], compliance_a=1e-3)}),
        ("keysight_33500b_burst", Keysight33500B, IDN_33522, {"1": TRAIN}),
        ("keysight_33500b_waveform", Keysight33500B, IDN_33522, {"2": MIXED}),
        ("keysight_81160a_burst", Keysight81160A, IDN_81160, {"1": TRAIN}),
        ("keysight_81160a_waveform", Keysight81160A, IDN_81160, {"2": MIXED}),
    ],
)  # fmt: skip
def test_what_load_sends_is_the_reviewed_file(name, kind, idn, programs):
    check(f"{name}.scpi", lowered(kind, idn, programs))


@pytest.mark.parametrize(
    ("name", "kind", "idn", "sync"),
    [
        ("keithley_2400_master", Keithley2400, IDN_2400, SyncPlan(SyncRole.MASTER, "2")),
        ("keithley_2400_follower", Keithley2400, IDN_2400, SyncPlan(SyncRole.FOLLOWER, "2")),
        ("keithley_2400_master_each", Keithley2400, IDN_2400, SyncPlan(SyncRole.MASTER, "2", True)),
        (
            "keithley_2400_follower_each",
            Keithley2400,
            IDN_2400,
            SyncPlan(SyncRole.FOLLOWER, "2", True),
        ),
        ("keithley_2450_master_each", Keithley2450, IDN_2450, SyncPlan(SyncRole.MASTER, "3", True)),
        ("keithley_2450_follower", Keithley2450, IDN_2450, SyncPlan(SyncRole.FOLLOWER, "3")),
        (
            "keithley_2450_follower_each",
            Keithley2450,
            IDN_2450,
            SyncPlan(SyncRole.FOLLOWER, "3", True),
        ),
        ("keysight_b2900_master", KeysightB2900, IDN_B2902, SyncPlan(SyncRole.MASTER, "EXT3")),
        ("keysight_b2900_follower", KeysightB2900, IDN_B2902, SyncPlan(SyncRole.FOLLOWER, "EXT3")),
        ("keysight_33500b_master", Keysight33500B, IDN_33522, SyncPlan(SyncRole.MASTER, "EXT")),
        ("keysight_33500b_follower", Keysight33500B, IDN_33522, SyncPlan(SyncRole.FOLLOWER, "EXT")),
        ("keysight_81160a_follower", Keysight81160A, IDN_81160, SyncPlan(SyncRole.FOLLOWER, "EXT")),
    ],
)
def test_triggered_loads_are_the_reviewed_files(name, kind, idn, sync):
    train = SLOW_TRAIN if kind in (Keithley2400, Keithley2450) else TRAIN
    check(f"{name}.scpi", lowered(kind, idn, {"1": train}, sync))


def test_a_2400_run_reads_the_last_point_of_every_pulse():
    load = lowered(Keithley2400, IDN_2400, WRITE_READ).replace("\n:", ";:")
    # On a grid of 4 ms the read pulse ends with point 4 + 3 = 7 of 8.
    data = ",".join(f"{i * 1e-6:.6e},{8 if i == 6 else 0}" for i in range(8))
    smu = Keithley2400("smu")
    session = ReplaySession.of([
        ("*IDN?", IDN_2400), (RESET_2400, None), NO_ERROR, (load, None),
        (":TRIG:CLE;:OUTP ON;:INIT;*WAI;:SOUR:VOLT:MODE FIX;:SOUR:VOLT:LEV 0;:OUTP OFF", None),
        (":OUTP?", "0"), NO_ERROR, (":TRAC:DATA?", data),
    ])  # fmt: skip
    smu.open(session)
    smu.load(WRITE_READ)
    smu.start()
    smu.wait(1.0)
    reading = smu.collect()["1"]
    session.finish()
    assert reading.step.tolist() == [1]
    assert reading.current_a == pytest.approx([6e-6])
    assert reading.status.tolist() == [Status.I_COMPLIANCE]
    assert reading.t_ns.tolist() == [16_000_000]


@pytest.mark.parametrize(
    ("kind", "idn", "count", "data"),
    [
        (Keithley2400, IDN_2400, ":TRAC:POIN:ACT?", ":TRAC:DATA?"),
        (Keithley2450, IDN_2450, ':TRAC:ACT? "defbuffer1"',
         ':TRAC:DATA? 1,2,"defbuffer1",READ,SOURSTAT'),
    ],
)  # fmt: skip
def test_a_run_that_broke_off_gives_what_the_buffer_holds(kind, idn, count, data):
    smu = kind("smu")
    session = Recorder(idn)
    smu.open(session)
    steps = ChannelSteps.build([0.1, 0.2], 4e-3, 8e-3, measure=True, compliance_a=1e-3)
    smu.load({"1": steps})
    smu.start()
    answers = {count: "2", data: "1e-6,0,2e-6,0"}  # the first pulse and its gap
    session.query = lambda message, timeout_s=0.0: answers[message]
    reading = smu.collect()["1"]
    assert reading.step.tolist() == [0]
    assert reading.current_a == pytest.approx([1e-6])
    answers[count] = "0"
    assert len(smu.collect()["1"]) == 0


def test_a_b2900_run_that_broke_off_gives_what_the_buffer_holds():
    smu = KeysightB2900("smu")
    session = Recorder(IDN_B2902)
    smu.open(session)
    smu.load({"1": ChannelSteps.build([1.0, 0.5], 1e-4, 1e-3, measure=True, compliance_a=1e-3)})
    smu.start()
    session.query = {":TRAC1:POIN:ACT?": "1"}.__getitem__
    session.query_binary = lambda message, count, *_: np.array([2e-6, 0.0])[:count]
    reading = smu.collect()["1"]
    assert reading.step.tolist() == [0]
    assert reading.current_a == pytest.approx([2e-6])


@pytest.mark.parametrize("sentinel", ["9.9E37", "+9.910000E+37", "-9.9E37", "199.999E+99"])
@pytest.mark.parametrize(("kind", "idn"), [(Keithley2400, IDN_2400), (Keithley2450, IDN_2450)])
def test_an_overflow_is_no_number_and_flagged(kind, idn, sentinel):
    smu = kind("smu")
    session = Recorder(idn)
    smu.open(session)
    smu.load({"1": ChannelSteps.build([0.1], 4e-3, 4e-3, measure=True, compliance_a=1e-3)})
    smu._complete = True
    session.query = lambda message, timeout_s=0.0: f"{sentinel},0"
    reading = smu.collect()["1"]
    assert np.isnan(reading.current_a).all()
    assert reading.status.tolist() == [Status.OVERFLOW]


@pytest.mark.parametrize(("kind", "idn"), [(Keithley2400, IDN_2400), (Keithley2450, IDN_2450)])
def test_long_lists_go_down_in_hundreds_each_in_its_own_message(kind, idn):
    smu = kind("smu")
    session = Recorder(idn)
    smu.open(session)
    levels = np.linspace(0.1, 1.0, 130)
    session.sent.clear()
    smu.load({"1": ChannelSteps.build(levels, 4e-3, 8e-3)})
    lists = [[c for c in m.split(";") if c.startswith(":SOUR:LIST")] for m in session.sent]
    assert [len(commands) for commands in lists] == [1, 1, 1, 0]
    counts = [commands[0].count(",") + 1 for commands in lists if commands]
    assert counts == [100, 100, 60]
    assert [":APP " in commands[0] for commands in lists if commands] == [False, True, True]


@pytest.mark.parametrize(("kind", "idn"), [(Keithley2400, IDN_2400), (Keithley2450, IDN_2450)])
def test_a_line_that_paces_pulses_of_different_periods_is_refused(kind, idn):
    smu = kind("smu")
    session = Recorder(idn)
    smu.open(session)
    steps = {"1": ChannelSteps.build([0.1, 0.2], 4e-3, [8e-3, 12e-3])}
    session.sent.clear()
    with pytest.raises(LimitError, match="one period"):
        smu.load(steps, SyncPlan(SyncRole.FOLLOWER, "1", each_pulse=True))
    with pytest.raises(LimitError, match="trigger line"):
        smu.load(steps, SyncPlan(SyncRole.MASTER, "9"))
    assert session.sent == []


def test_a_2450_in_tsp_mode_is_refused_with_what_to_do():
    session = ReplaySession.of([("*IDN?", IDN_2450), ("*LANG?", "TSP")])
    with pytest.raises(BackendUnavailable, match=r"TSP command set; send `\*LANG SCPI`"):
        Keithley2450("smu").open(session)
    session.finish()


def test_a_2450_run_reads_the_last_point_of_every_pulse():
    load = lowered(Keithley2450, IDN_2450, WRITE_READ).replace("\n:", ";:")
    data = ",".join(f"{i * 1e-6:.6e},{32 + 128 if i == 6 else 128}" for i in range(8))
    smu = Keithley2450("smu")
    session = ReplaySession.of([
        ("*IDN?", IDN_2450), ("*LANG?", "SCPI"), (RESET_2450, None), NO_ERROR, (load, None),
        (":OUTP ON;:INIT;*WAI;:SOUR:VOLT 0;:OUTP OFF", None), (":OUTP?", "0"), NO_ERROR,
        (':TRAC:DATA? 1,8,"defbuffer1",READ,SOURSTAT', data),
    ])  # fmt: skip
    smu.open(session)
    smu.load(WRITE_READ)
    smu.start()
    smu.wait(1.0)
    reading = smu.collect()["1"]
    session.finish()
    assert reading.current_a == pytest.approx([6e-6])
    assert reading.status.tolist() == [Status.I_COMPLIANCE]


def b2900_run(words):
    smu = KeysightB2900("smu")
    session = Recorder(IDN_B2902)
    smu.open(session)
    smu.load({"1": ChannelSteps.build([1.0, 0.5], 1e-4, 1e-3, measure=True, compliance_a=1e-3)})
    values = np.array([[2e-6, words[0]], [9.91e37, words[1]]], ">f8").ravel()
    smu._complete = True
    session.query_binary = lambda message, count, dtype, timeout_s=0.0: values[:count]
    return smu.collect()["1"]


def test_b2900_status_words_become_bits():
    readings = b2900_run([0b010, 1 << 13])
    assert readings.current_a[0] == pytest.approx(2e-6)
    assert np.isnan(readings.current_a[1])
    assert readings.status.tolist() == [Status.I_COMPLIANCE, Status.OVERFLOW]


def test_b2900_grids_finer_than_its_interval_are_refused():
    smu = KeysightB2900("smu")
    steps = ChannelSteps.build([1.0, 1.0], [100e-6, 103e-6], [1e-3, 1e-3])
    with pytest.raises(LimitError, match="time grid"):
        smu.delivered({"1": steps})


def test_lists_longer_than_the_memory_are_refused_with_numbers():
    steps = ChannelSteps.build([1.0, 2.0], [2e-3, 4e-3], [3.0, 5.0])
    with pytest.raises(
        LimitError, match=r"points of a list 4000 .* limit 2500 .*on a grid of 0.002 s"
    ):
        Keithley2400("smu").delivered({"1": steps})


def test_a_waveform_keeps_its_period_and_begins_at_zero():
    generator = Keysight33500B("gen")
    negative = ChannelSteps.build([-1.0], 1e-3, 4e-3, repeat=5)
    train = generator._lowered({"1": negative})["1"]
    assert train.cycles == 5
    assert train.codes is not None
    assert len(train.codes) * train.point_s == pytest.approx(4e-3)
    assert train.codes[0] == 0
    assert (train.codes == -32767).sum() * train.point_s == pytest.approx(1e-3)


def test_a_held_level_becomes_one_waveform_without_gaps():
    generator = Keysight81160A("gen")
    train = generator._lowered({"1": ChannelSteps.build([1.0], 4e-3, 4e-3, repeat=3)})["1"]
    assert train.cycles == 1
    assert train.codes is not None
    assert train.codes[0] == 0
    assert (train.codes[1:] == 8191).all()
    assert (len(train.codes) - 1) * train.point_s == pytest.approx(12e-3)


def test_two_channels_pulse_at_the_same_time_when_one_needs_a_waveform():
    generator = Keysight33500B("gen")
    half = ChannelSteps.build([0.75], 2e-4, 1e-3, repeat=5)
    minus = ChannelSteps.build([-0.75], 2e-4, 1e-3, repeat=5)
    trains = generator._lowered({"1": half, "2": minus})
    one, two = trains["1"], trains["2"]
    assert one.codes is not None
    assert two.codes is not None
    assert (one.codes == -two.codes).all()
    assert one.point_s == two.point_s
    assert one.cycles == two.cycles == 5
    # The first point delays the pulses by a hundredth of their grid of 200 us at most.
    assert one.point_s <= 2e-6


def test_a_load_that_is_not_kept_is_a_readback_error():
    class Wrong(Recorder):
        def query(self, message, timeout_s=0.0):
            return "50" if "LOAD?" in message else super().query(message)

    with pytest.raises(ReadbackError, match="levels would be wrong"):
        Keysight33500B("gen").open(Wrong(IDN_33522))


def test_a_strange_error_queue_is_a_link_error():
    session = ReplaySession.of([("*IDN?", IDN_2400), (RESET_2400, None), (":SYST:ERR?", "what?")])
    with pytest.raises(LinkError, match="error queue"):
        Keithley2400("smu").open(session)


@pytest.mark.parametrize(
    ("model", "channels"),
    [("33509B", 1), ("33510B", 2), ("33511B", 1), ("33512B", 2), ("33519B", 1), ("33520B", 2),
     ("33521A", 1), ("33522B", 2), ("33611A", 1), ("33612A", 2), ("33621A", 1), ("33622A", 2)],
)  # fmt: skip
def test_every_33500_and_33600_has_the_channels_of_its_model(model, channels):
    generator = Keysight33500B("gen")
    generator.open(Recorder(f"Agilent Technologies,{model},MY335,2.03"))
    assert len(generator.channels) == channels


def test_an_81160a_with_one_channel_is_set_up_for_one():
    generator = Keysight81160A("gen", {"channels": 1})
    session = Recorder(IDN_81160)
    generator.open(session)
    assert generator.channels == ("1",)
    assert "OUTP2" not in " ".join(session.sent)
