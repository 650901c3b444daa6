import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hil_drivers.router.errors import RouteRefused
from rigs import OP, RIGS, rig_a, rig_b, rig_c, rig_d

from hil.errors import BackendError, LimitError, LinkError
from hil.operating import OperatingPoint
from hil.phases.matvec import MatVec
from hil.phases.reading import idle, read_map
from hil.phases.writing import CoincidenceUpdate, program_counts
from hil.program import Phase, PulseBlock
from hil.testing import BackendContract


def read(backend, op=OP):
    """Return the conductances by a read map."""
    rows, cols = backend.geometry.shape
    programme = list(read_map(backend.geometry, op, backend.capabilities))
    current = np.concatenate([m.current_a for m in backend.run(programme)])
    return -current.reshape(rows, cols) / op.read_v


class OnFakes(BackendContract):
    kind = "a"

    def make(self, limits=None):
        backend, self.world = RIGS[self.kind](limits=limits)
        return backend, OP

    def outputs_on(self, backend):
        assert not self.world.incidents
        return bool(self.world.on)


class TestDualSmu(OnFakes):
    pass


class TestPulseGeneratorAndSmu(OnFakes):
    kind = "b"


class TestChannelPerLine(OnFakes):
    kind = "c"


class TestBiasSupplies(OnFakes):
    kind = "d"


@pytest.mark.parametrize("kind", RIGS)
def test_a_read_map_gives_the_conductances_of_the_array(kind):
    backend, world = RIGS[kind]()
    with backend:
        assert read(backend) == pytest.approx(world.g, rel=1e-6)
    assert not world.incidents


@pytest.mark.parametrize("kind", RIGS)
@pytest.mark.parametrize("coding", ["amplitude", "count"])
@pytest.mark.parametrize("backward", [False, True])
def test_forward_and_backward_products_are_right_on_every_wiring(kind, coding, backward, rng):
    backend, world = RIGS[kind]()
    op = replace(OP, coding=coding, count_levels=8)
    geometry = backend.geometry
    word, bit = geometry.read_lines.plus, geometry.read_lines.minus
    drive, sense = (bit, word) if backward else (word, bit)
    product = MatVec(
        geometry, op, backend.capabilities, drive, sense, np.arange(4),
        Phase.BACKWARD if backward else Phase.FORWARD, backward=backward,
    )  # fmt: skip
    x = rng.integers(-8, 9, (3, 4)) / 8
    with backend:
        block = product.block(x, signed=True)
        (readings,) = backend.run([block])
        y = product.decode(block, readings, 3, signed=True)
    expected = x @ (world.g.T if backward else world.g)
    assert y == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert not world.incidents


def test_reads_with_more_levels_than_channels_are_added_up_and_say_so(rng):
    backend, _ = rig_a()
    op = replace(OP, coding="amplitude")
    lines = backend.geometry.read_lines
    product = MatVec(
        backend.geometry, op, backend.capabilities, lines.plus, lines.minus, np.arange(4),
        Phase.FORWARD,
    )  # fmt: skip
    with backend:
        list(backend.run([product.block(np.array([[0.1, 0.2, 0.3, 0.4]]))]))
    (note,) = backend.strategies
    assert "one level at a time" in note
    assert "smu.a, smu.b, common" in note


def test_columns_are_read_in_parallel_where_every_line_has_a_meter():
    backend, world = rig_c()
    assert backend.capabilities.parallel_sense
    with backend:
        read(backend)
    assert [e for e in world.log if e[0] == "run"] == [
        ("run", ("node0", "node1", "node2", "node3"), 4)
    ]


@pytest.mark.parametrize("kind", RIGS)
def test_a_coincidence_update_moves_the_coincident_devices(kind):
    backend, world = RIGS[kind]()
    before = world.g.copy()
    rows, cols = np.array([True, False, True, False]), np.array([False, True, True, False])
    update = CoincidenceUpdate(backend.geometry, OP, np.arange(4))
    with backend:
        list(
            backend.run([update.block(1, rows[None], (cols[None], update.col_lines(np.arange(4))))])
        )
    assert world.g - before == pytest.approx(np.outer(rows, cols) * world.dg)
    assert not world.incidents


def test_bias_supplies_hold_the_inhibited_lines_of_a_v3_write():
    op = replace(OP, inhibit="v/3")
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[1, 2] = 3
    backend, world = rig_d()
    before = world.g.copy()
    with backend:
        list(backend.run([program_counts(backend.geometry, op, counts)]))
    assert world.g - before == pytest.approx(counts * world.dg)
    backend, _ = rig_a()
    with backend, pytest.raises(RouteRefused, match=r"smu\.a, smu\.b, common"):
        list(backend.run([program_counts(backend.geometry, op, counts)]))


def test_a_whole_train_is_one_run_and_a_handful_of_transactions():
    backend, world = rig_a()
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[2, 3] = 400
    with backend:
        world.log.clear()
        list(backend.run([program_counts(backend.geometry, OP, counts)]))
        assert [e[0] for e in world.log] == ["route", "run"]
        assert world.log[1] == ("run", ("smu",), 400)


def test_lists_longer_than_the_memory_are_cut():
    backend, world = rig_a()
    state, level = [[2, 1, 1, 1, 1, 1, 1, 1]] * 3, [[0.2, *[0.0] * 7]] * 3
    sense = np.zeros((3, 8), dtype=bool)
    sense[1, 5] = True
    block = PulseBlock.build(
        Phase.READ, state, level, 5e-4, repeat=[450, 450, 90], gap_s=1e-4, sense=sense
    )
    with backend:
        (m,) = list(backend.run([block]))
    assert (m.pulse == np.arange(450)).all()
    assert (np.diff(m.t_ns) > 0).all()
    assert m.current_a == pytest.approx(-0.2 * world.g[0, 1])
    pulses = [e[2] for e in world.log if e[0] == "run"]
    assert sum(pulses) == 990
    assert max(pulses) <= 500


def test_sources_are_off_before_any_relay_moves():
    backend, world = rig_b()
    with backend:
        read(backend)
        counts = np.full((4, 4), 2)
        list(backend.run([program_counts(backend.geometry, OP, counts)]))
        read(backend)
    assert not world.incidents
    assert sum(e[0] == "route" for e in world.log) > 20


def test_the_pulse_generator_is_refused_where_compliance_is_asked():
    backend, _ = rig_b()
    op = replace(OP, write_s=1e-5, compliance_a=1e-4)
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[0, 0] = 1
    with (
        backend,
        pytest.raises(RouteRefused, match=r"WL0: pulse width 1e-05 s .*only smu\.a, smu\.b can"),
    ):
        list(backend.run([program_counts(backend.geometry, op, counts)]))


def test_instruments_that_have_to_start_together_need_a_trigger_line():
    backend, world = rig_c(triggers=False)
    with backend, pytest.raises(BackendError, match=r"no trigger line.*\[\[instrument\]\]"):
        read(backend)
    assert not any(e[0] == "run" for e in world.log)


def test_readings_are_averaged_as_often_as_the_block_asks():
    backend, world = rig_a()
    op = replace(OP, sensing=replace(OP.sensing, averages=5))
    with backend:
        assert read(backend, op) == pytest.approx(world.g, rel=1e-6)
        assert sum(e[2] for e in world.log if e[0] == "run") == 5 * 16


def test_waiting_keeps_every_output_off():
    backend, world = rig_a()
    with backend:
        world.log.clear()
        list(backend.run([idle(backend.geometry, 0.01)]))
        assert not world.log
        assert backend.clock_ns() >= 10_000_000


def test_the_safe_state_is_reached_with_a_dead_instrument_and_says_which():
    backend, world = rig_b()
    backend.open()
    read(backend)
    world.dead.add("gen")
    with pytest.raises(LinkError, match="fake::gen"):
        backend.close()
    assert not world.closed
    assert not world.on


def test_a_lost_link_gets_a_new_session_and_a_device_clear_before_the_safe_state():
    backend, world = rig_a()
    smu = backend.rack.sources["smu"]

    def lose():
        smu.during = None
        world.log.append(("lost",))
        raise LinkError("reset by peer", "fake::smu")

    with backend:
        smu.during = lose
        with pytest.raises(LinkError, match="reset by peer"):
            read(backend)
        after = world.log[world.log.index(("lost",)) + 1 :]
        assert after[0] == ("clear", "smu")
        assert ("safe", "smu") in after
        assert not world.on
        assert world.sessions["smu"] == 2
        assert read(backend) == pytest.approx(world.g, rel=1e-6)


def test_an_error_while_running_is_not_replaced_by_one_of_the_safe_state():
    backend, world = rig_a()

    def die():
        world.dead.add("smu")
        raise LinkError("gone", "fake::smu")

    backend.open()
    backend.rack.sources["smu"].during = die
    with pytest.raises(LinkError, match="gone") as caught:
        read(backend)
    assert any("safe state was not confirmed" in note for note in caught.value.__notes__)
    assert not world.closed
    with pytest.raises(LinkError):
        backend.close()


def test_abort_switches_off_from_another_thread_while_a_block_runs():
    backend, world = rig_a()
    smu = backend.rack.sources["smu"]
    running, off_after = threading.Event(), []

    def block_until_off():
        running.set()
        deadline = time.monotonic() + 5
        while world.on and time.monotonic() < deadline:
            time.sleep(0.001)

    def second_ctrl_c():
        running.wait(5)
        begin = time.monotonic()
        backend.abort()
        off_after.append(time.monotonic() - begin)

    thread = threading.Thread(target=second_ctrl_c)
    backend.open()
    smu.during = block_until_off
    thread.start()
    with pytest.raises(BackendError, match="aborted"):
        read(backend)
    thread.join()
    smu.during = None
    assert off_after[0] < 0.2
    assert ("abort", "smu") in world.log
    assert world.sessions["smu"] == 2
    backend.close()
    assert not world.on


def test_a_block_is_refused_by_the_check_before_anything_is_driven():
    backend, world = rig_a()
    good = PulseBlock.build(Phase.UPDATE, [[2] + [1] * 7], [[1.0] + [0.0] * 7], 5e-4)
    bad = PulseBlock.build(Phase.UPDATE, [[2] * 8], [np.arange(1, 9) / 10], 5e-4)
    with backend, pytest.raises(LimitError, match=r"block 1, step 0, .*separate potentials"):
        list(backend.run([good, bad]))
    assert not any(e[0] == "run" for e in world.log)


def test_the_preview_says_what_is_batched_and_how_long_it_takes():
    backend, world = rig_a()
    text = "\n".join(backend.preview([program_counts(backend.geometry, OP, np.full((4, 4), 50))]))
    assert "200 pulses" in text  # all columns of a row at once
    assert "4 sets, 20 relay moves" in text
    assert "batched: all pulses" in text
    assert "predicted time: 0." in text
    assert not world.log


def test_quantised_levels_are_recorded():
    backend, _ = rig_a()
    op = OperatingPoint(**{**{f: getattr(OP, f) for f in OP.__dataclass_fields__},
                           "read_v": 0.20004})  # fmt: skip
    with backend:
        lines = backend.geometry.read_lines.plus
        state = np.ones((1, 8), dtype=np.uint8)
        state[0, lines[0]] = 2
        sense = np.zeros((1, 8), dtype=bool)
        sense[0, lines[0]] = True
        level = np.where(state == 2, op.read_v, 0.0)
        (m,) = backend.run([PulseBlock.build(Phase.READ, state, level, 1e-3, sense=sense)])
    assert m.level_v[0] == pytest.approx(0.2)
