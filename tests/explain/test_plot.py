"""The picture of line waveforms: what is drawn, and clear errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hil.capabilities import Capabilities
from hil.errors import BackendUnavailable, ConfigError, GeometryError, ProtocolError, StoreError
from hil.explain import plot_lines
from hil.explain.waveforms import chosen_lines, waveforms
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.reading import idle, read_map, read_rows
from hil.phases.writing import program_counts
from hil.program import LineState, Phase, PulseBlock

OP = OperatingPoint(read_v=0.2, potentiate_v=2.0, depress_v=-2.0, write_s=1e-6, gap_s=1e-6)
PNG = b"\x89PNG\r\n\x1a\n"


def programme(geometry):
    read = read_rows(
        geometry, OP, Capabilities(), np.arange(geometry.n_rows), np.arange(geometry.n_cols)
    )
    return [read, program_counts(geometry, OP, np.ones(geometry.shape, dtype=np.int64)), read]


@pytest.mark.parametrize("kind", ["1R", "1T1R", "3T"])
@pytest.mark.parametrize("cell", [None, (1, 2)])
def test_a_picture_is_written_for_every_cell_kind(tmp_path, kind, cell):
    geometry = ArrayGeometry(4, 4, CELL_KINDS[kind])
    path = tmp_path / "lines.png"
    plot_lines(programme(geometry), geometry, path, cell=cell)
    assert path.read_bytes()[:8] == PNG
    assert path.stat().st_size > 10_000


def test_a_picture_needs_no_global_state(tmp_path):
    import sys

    geometry = ArrayGeometry(4, 4)
    plot_lines(programme(geometry), geometry, tmp_path / "lines.svg", lines=["WL0", "BL3"])
    assert "matplotlib.pyplot" not in sys.modules
    text = (tmp_path / "lines.svg").read_text(encoding="utf-8")
    assert text.count("<svg") == 1


def test_the_area_under_a_drawn_pulse_is_level_times_width_whatever_its_edges():
    block = PulseBlock.build(
        Phase.PROGRAM, [[LineState.DRIVE, LineState.GROUND]], [[2.0, 0.0]], 5e-6, rise_s=1e-6,
        fall_s=3e-6, gap_s=1e-6,
    )  # fmt: skip
    (pulse,) = waveforms([block], 10).pulses
    x, y = pulse.shape(0)
    area = sum((x[k + 1] - x[k]) * (y[k + 1] + y[k]) / 2 for k in range(len(x) - 1))
    assert area == pytest.approx(2.0 * 5e-6)
    assert x == sorted(x)
    assert pulse.shape(1) == ([pulse.x, pulse.end_x], [0.0, 0.0])


def test_the_axis_is_time_while_steps_are_alike_and_bends_for_long_waits():
    geometry = ArrayGeometry(4, 4)
    alike = waveforms(read_map(geometry, OP, Capabilities()), 100)
    assert alike.linear
    assert alike.pulses[3].x == pytest.approx(33e-6)
    found = waveforms([*programme(geometry), idle(geometry, 100.0), *programme(geometry)], 100)
    assert not found.linear
    shown = found.pulses[-1].end_x
    wait = next(p for p in found.pulses if p.block.phase is Phase.IDLE)
    assert wait.end_x - wait.x < 0.2 * shown
    assert found.pulses[-1].t_s > 100.0


def test_only_the_first_pulses_are_drawn_of_a_long_programme():
    geometry = ArrayGeometry(4, 4)
    found = waveforms(iter(programme(geometry) * 1000), 20)
    assert len(found.pulses) == 20
    assert found.left_out
    repeats = program_counts(geometry, OP, np.full((4, 4), 10**9))
    assert len(waveforms([repeats], 5).pulses) == 5


def test_lines_that_do_nothing_are_left_out_and_the_cell_s_lines_come_first():
    geometry = ArrayGeometry(40, 40)
    counts = np.zeros((40, 40), dtype=np.int64)
    counts[:, 7] = 1
    found = waveforms([program_counts(geometry, OP, counts)], 100)
    lines, left_out = chosen_lines(found, geometry, None, [39, 40 + 8], 24)
    assert len(lines) == 24
    assert left_out == 18
    assert {39, 48} <= set(lines)


def test_a_line_or_cell_that_is_not_there_is_refused(tmp_path):
    geometry = ArrayGeometry(4, 4)
    path = tmp_path / "x.png"
    with pytest.raises(GeometryError, match="no line 'WL9'"):
        plot_lines(programme(geometry), geometry, path, lines=["WL9"])
    with pytest.raises(ProtocolError, match="line 99 is not within 0 … 7"):
        plot_lines(programme(geometry), geometry, path, lines=[99])
    with pytest.raises(GeometryError, match=r"cell \(0, 4\) is outside"):
        plot_lines(programme(geometry), geometry, path, cell=(0, 4))
    assert not path.exists()


def test_an_empty_programme_an_unknown_format_and_a_missing_folder_are_said(tmp_path):
    geometry = ArrayGeometry(4, 4)
    with pytest.raises(ConfigError, match="no steps"):
        plot_lines([], geometry, tmp_path / "x.png")
    with pytest.raises(ConfigError, match="cannot draw"):
        plot_lines(programme(geometry), geometry, tmp_path / "x.nonsense")
    with pytest.raises(StoreError, match="cannot be written"):
        plot_lines(programme(geometry), geometry, tmp_path / "none" / "x.png")


def test_without_matplotlib_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    geometry = ArrayGeometry(4, 4)
    with pytest.raises(BackendUnavailable, match=r"synapse-hil\[plot\]"):
        plot_lines(programme(geometry), geometry, tmp_path / "x.png")
