"""The shipped library: loads, fits every suitable cell kind, and does as many pulses as it says."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from hil_protocols.loader import KINDS, parse
from protocol_arrays import LIBRARY, device_pulses, drive, setup_of

from hil.capabilities import Capabilities
from hil.errors import ProtocolError
from hil.ledger import Ledger
from hil.procedure import ArrayContext, Procedure, ProtocolProvider
from hil.program import Phase, by_phase
from hil.registry import backend_factory

NAMES = list(LIBRARY.names())
STATIC = [n for n in NAMES if not LIBRARY.load(n).adaptive]
ADAPTIVE = [n for n in NAMES if LIBRARY.load(n).adaptive]
NOT_FOR = {("3T", "forming")}


def test_the_provider_has_the_promised_members():
    assert isinstance(LIBRARY, ProtocolProvider)


def test_every_kind_is_in_the_library():
    assert {LIBRARY.load(n).kind for n in NAMES} == set(KINDS)


def test_the_promised_files_are_there():
    assert set(NAMES) >= {
        "read-map", "iv-sweep", "ltp-ltd", "pulse-map", "write-verify", "write-verify-ispp",
        "write-verify-width", "forming", "endurance", "retention", "half-select-disturb",
        "read-disturb", "pair-init", "forward", "backward", "update", "refresh",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_file_begins_with_what_it_measures(name):
    text = LIBRARY.text(name)
    head = [line for line in text.splitlines() if line.startswith("#")][:2]
    assert text.startswith("# ")
    assert len(LIBRARY.names()[name]) > 30
    assert head[0].endswith(".")
    assert isinstance(LIBRARY.load(name), Procedure)


@pytest.mark.parametrize("n", [4, 8])
@pytest.mark.parametrize("name", STATIC)
def test_a_static_file_compiles_and_stays_within_the_operating_point(name, n, cell):
    setup = setup_of(cell, n)
    table = tomllib.loads(LIBRARY.text(name))
    assert table["schema"] == 1
    programme = LIBRARY.load(name).programme(setup.context)
    blocks = 0
    for index, block in enumerate(programme):
        setup.checker.check(block, index)
        blocks += 1
    assert blocks == sum(1 for _ in programme)
    assert blocks > 0


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_first_blocks_of_an_adaptive_file_stay_within_the_operating_point(name, cell):
    if (cell, name) in NOT_FOR:
        pytest.skip("three-terminal cells need no forming")
    setup = setup_of(cell, 4)
    steps = LIBRARY.load(name).steps(setup.context)
    setup.checker.check(next(steps))


def test_a_static_protocol_has_no_programme_when_it_is_adaptive():
    with pytest.raises(ProtocolError, match="adaptive"):
        LIBRARY.load("write-verify").programme(setup_of("1R").context)


def test_three_terminal_cells_refuse_forming():
    with pytest.raises(ProtocolError, match=r"forming\.toml:5: kind: 3T cells need no forming"):
        LIBRARY.load("forming").steps(setup_of("3T").context)


def test_read_map_reads_every_cell_once(cell):
    setup = setup_of(cell, 8)
    (block,) = LIBRARY.load("read-map").programme(setup.context)
    assert block.n_steps == 8
    assert block.n_readings == 64


@pytest.mark.parametrize("n", [4, 8])
def test_ltp_ltd_gives_n_pulses_each_way_and_reads_after_each(n, cell):
    context = setup_of(cell, n).context
    blocks = list(LIBRARY.load("ltp-ltd").programme(context))
    cycles, pulses = 2, 50
    ledger = Ledger(context.geometry)
    for block in blocks:
        ledger.add(block)
    assert (ledger.selected_plus == cycles * pulses).all()
    readings = sum(b.n_readings for b in blocks)
    if cell == "3T":  # one erase per cycle in place of the depression pulses
        assert (ledger.selected_minus == cycles).all()
        assert sum(b.phase is Phase.ERASE for b in blocks) == cycles
        assert readings == cycles * (1 + pulses + 1) * n * n
    else:
        assert (ledger.selected_minus == cycles * pulses).all()
        assert readings == cycles * (1 + 2 * pulses) * n * n


def test_ltp_ltd_depresses_a_three_terminal_cell_by_pulses_when_told():
    context = setup_of("3T").context
    procedure = parse('schema = 1\nkind = "ltp-ltd"\npulses = 7\ndepression = "pulses"\n')
    ledger = Ledger(context.geometry)
    for block in procedure.programme(context):
        assert block.phase is not Phase.ERASE
        ledger.add(block)
    assert (ledger.selected_minus == 7).all()


@pytest.mark.parametrize("together", ["cell", "row", "array"])
def test_how_many_cells_go_together_changes_steps_but_not_pulses(together, cell):
    context = setup_of(cell, 4).context
    procedure = parse(
        f'schema = 1\nkind = "ltp-ltd"\npulses = 3\ndepression = "pulses"\n'
        f'together = "{together}"\n'
    )
    blocks = list(procedure.programme(context))
    assert (device_pulses(context, blocks) == 6).all()
    steps = sum(b.n_pulses for b in blocks if b.phase is Phase.PROGRAM)
    assert steps == 6 * {"cell": 16, "row": 4, "array": 1}[together]


def test_pulse_map_visits_every_amplitude_and_width(cell):
    context = setup_of(cell, 4).context
    blocks = list(LIBRARY.load("pulse-map").programme(context))
    reads = sum(b.n_readings for b in blocks)
    assert reads == 4 * 3 * (1 + 5) * 4  # amplitudes x widths x reads x sampled cells
    op = context.op
    seen_v, seen_s = set(), set()
    lines = context.geometry.write_lines
    for block in blocks:
        if block.phase is not Phase.PROGRAM:
            continue
        v = block.level_v[:, lines.plus].max(axis=1) - block.level_v[:, lines.minus].min(axis=1)
        if v.max() > 0 and block.n_pulses <= 4:
            seen_v |= set(np.round(v / op.potentiate_v, 6))
            seen_s |= set(np.round(block.width_s / op.write_s, 6))
    assert seen_v >= {0.7, 0.8, 0.9, 1.0}
    assert seen_s == {0.5, 1.0, 2.0}


def test_endurance_counts_every_cycle_whether_it_is_read_or_not(cell):
    context = setup_of(cell, 4).context
    procedure = LIBRARY.load("endurance")
    blocks = list(procedure.programme(context))
    counts = device_pulses(context, blocks)
    if cell == "3T":
        assert sorted(np.unique(counts)) == [1000, 2000]  # erased with the block; also set
        assert (counts == 2000).sum() == 4
    else:
        assert (counts == 2000).sum() == 4
        assert counts.sum() == 4 * 2000
    reads = sum(b.n_readings for b in blocks)
    assert reads == 2 * 4 * len(procedure.table.read_cycles())


def test_retention_waits_as_long_as_it_says(cell):
    context = setup_of(cell, 4).context
    blocks = list(LIBRARY.load("retention").programme(context))
    waits = [b.duration_s for b in blocks if b.phase is Phase.IDLE]
    assert waits == pytest.approx([1, 2, 7, 20, 70])
    assert sum(b.n_readings for b in blocks) == 6 * 16
    assert (device_pulses(context, blocks) == 20).all()


def test_half_select_disturb_pulses_the_aggressor_alone(cell):
    context = setup_of(cell, 4).context
    blocks = list(LIBRARY.load("half-select-disturb").programme(context))
    counts = device_pulses(context, blocks)
    assert counts[0, 0] == 1000
    assert counts.sum() == 1000
    assert sum(b.n_readings for b in blocks) == 11 * 16


def test_read_disturb_counts_its_silent_reads(cell):
    context = setup_of(cell, 4).context
    blocks = list(LIBRARY.load("read-disturb").programme(context))
    ledger = Ledger(context.geometry)
    for block in blocks:
        ledger.add(block)
    assert (ledger.row_reads == 10_000 + 11).all()
    assert sum(b.n_readings for b in blocks) == 11 * 16


def test_update_reads_before_between_and_after(cell):
    context = setup_of(cell, 4).context
    blocks = list(LIBRARY.load("update").programme(context))
    assert sum(b.n_steps for b in blocks if b.phase is Phase.UPDATE) == 100
    assert sum(b.n_readings for b in blocks) == 6 * 16
    again = list(LIBRARY.load("update").programme(context))
    for a, b in zip(blocks, again, strict=True):
        assert np.array_equal(a.selected, b.selected)  # bits follow from the seed


def test_bidirectional_update_takes_two_polarities():
    context = setup_of("1R").context
    procedure = parse(
        'schema = 1\nkind = "update"\nslots = 50\nmethod = "both"\nd = [0.9]\nx = [1.0]\n'
    )
    ledger = Ledger(context.geometry)
    for block in procedure.programme(context):
        ledger.add(block)
    plus, minus = ledger.selected_plus, ledger.selected_minus
    assert (plus[:, 0::2] > 30).all()
    assert (plus[:, 1::2] == 0).all()
    assert (minus[:, 1::2] > 30).all()
    assert (minus[:, 0::2] == 0).all()


def test_a_name_close_to_a_shipped_one_is_suggested():
    with pytest.raises(ProtocolError, match="did you mean 'ltp-ltd'"):
        LIBRARY.load("ltp-ldt")


def test_a_file_of_ones_own_is_loaded_by_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(LIBRARY.text("read-map"), encoding="utf-8")
    assert LIBRARY.load(path).kind == "read-map"


def serial(cell):
    return setup_of(cell, 4, capabilities=Capabilities(parallel_sense=False)).context


def test_ltp_ltd_finishes_one_cell_before_the_next_where_lines_are_sensed_one_by_one():
    context = serial("1R")
    procedure = parse('schema = 1\nkind = "ltp-ltd"\npulses = 3\ncells = [[0, 1], [2, 3]]\n')
    first, second = procedure.programme(context)
    for n, (block, row, col) in enumerate(((first, 0, 1), (second, 2, 3))):
        assert (block.target // 7 == n).all()
        writes, reads = by_phase(block)
        ledger = Ledger(context.geometry)
        assert ledger.add(writes) == ledger.selected()[row, col] == 6
        assert reads.repeat.tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
        assert reads.sense[:, context.geometry.read_lines.minus[col]].sum() == 7
    assert "cell by cell" in procedure.notes(context)[0]
    assert "one line at a time" in procedure.notes(context)[0]


def test_ltp_ltd_goes_round_all_cells_where_lines_are_sensed_together_or_blocks_are_erased():
    procedure = parse('schema = 1\nkind = "ltp-ltd"\npulses = 3\n')
    for context, why in (
        (setup_of("1R", 4).context, "sensed together"),
        (serial("3T"), "erase depresses whole blocks"),
    ):
        assert "interleaved" in procedure.notes(context)[0]
        assert why in procedure.notes(context)[0]


def test_as_many_trains_share_a_block_as_its_length_allows():
    train_s = 6 * 2e-6 + 7 * 11e-6
    capabilities = Capabilities(parallel_sense=False, max_block_s=3.5 * train_s)
    context = setup_of("1R", 8, capabilities=capabilities).context
    blocks = list(parse('schema = 1\nkind = "ltp-ltd"\npulses = 3\n').programme(context))
    assert [b.n_steps // 13 for b in blocks] == [3, 3, 2] * 8
    assert all(b.duration_s <= capabilities.max_block_s for b in blocks)
    cell = np.concatenate([b.target // 7 for b in blocks])
    assert (cell == np.repeat(np.arange(64), 13)).all()


def test_a_block_erase_cannot_go_cell_by_cell():
    procedure = parse('schema = 1\nkind = "ltp-ltd"\norder = "cell"\ndepression = "erase"\n')
    with pytest.raises(ProtocolError, match="order: a block erase depresses the whole block"):
        procedure.programme(serial("3T"))


def test_ltp_ltd_gives_the_same_outcome_in_either_order_and_cut_into_pieces():
    outcomes = []
    for order, more in (("interleaved", {}), ("cell", {}), ("cell", {"max_steps": 9})):
        capabilities = Capabilities(**more)
        backend, op = backend_factory("sim").open_device("ideal", 3, 3, seed=1)
        context = ArrayContext(backend.geometry, op, capabilities, backend.limits)
        procedure = parse(
            f'schema = 1\nkind = "ltp-ltd"\npulses = 7\nread_every = 3\nread_repeat = 2\n'
            f'cells = [[0, 2], [1, 0]]\norder = "{order}"\n'
        )
        with backend:
            outcomes.append(drive(backend, procedure.steps(context)))
    for other in outcomes[1:]:
        assert set(other) == set(outcomes[0])
        for name, values in outcomes[0].items():
            np.testing.assert_allclose(other[name], values, rtol=1e-6, err_msg=name)
    assert np.unique(outcomes[0]["g_siemens"]).size > 4
