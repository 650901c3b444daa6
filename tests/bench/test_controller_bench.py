"""Speed of the controller's own part: compiling, checking, counting, recording.

Figures are printed beside a baseline of the same run (`pytest tests/bench -s`); nothing is asserted
on time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

import hil
from hil.control.recorder import Recorder
from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.reading import read_rows
from hil.phases.writing import program_counts, pulse_train
from hil.program import BlockTemplate, Phase, PulseBlock, line_levels
from hil.record import RunFolder


def median_s(call: Callable[[], object], n: int) -> float:
    call()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


@pytest.fixture
def show(capsys):
    def printed(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return printed


def one_object_per_pulse(counts: np.ndarray) -> list[tuple[int, int, float, float]]:
    return [
        (int(r), int(c), 1.0, 1e-6)
        for r, c in np.argwhere(counts > 0)
        for _ in range(int(counts[r, c]))
    ]


def test_compiling_a_64_by_64_half_bias_programme(rng, show):
    geometry, op = ArrayGeometry(64, 64), OperatingPoint()
    counts = np.array([rng.permutation(np.repeat(np.arange(32), 2)) for _ in range(64)])
    block = program_counts(geometry, op, counts)
    assert block.n_steps == 64 * 31
    mine = median_s(lambda: program_counts(geometry, op, counts), 30)
    baseline = median_s(lambda: one_object_per_pulse(counts), 3)
    show(
        f"compile {block.n_steps} steps, {counts.sum()} device pulses: {mine * 1e3:.2f} ms; "
        f"one object per pulse {baseline * 1e3:.1f} ms; ratio {baseline / mine:.1f}"
    )


def test_an_empty_templated_run(show):
    with hil.open_array("ideal", rows=64, cols=64) as array:
        geometry = array.geometry
        state, level = line_levels(geometry, 0)
        empty = PulseBlock.build(Phase.UPDATE, state, level, 1e-6)
        template = BlockTemplate.around(empty)
        backend = array.backend

        def run() -> None:
            for _ in backend.run((template.fill(),)):
                pass

        def baseline() -> list[int]:
            return list(iter([1]))

        mine, base = median_s(run, 3000), median_s(baseline, 3000)
        show(f"empty templated run: {mine * 1e6:.1f} us; an empty generator {base * 1e6:.2f} us")


def test_one_pulse_and_one_read_through_check_physics_and_recording(tmp_path, show):
    folder = RunFolder.create(
        tmp_path, "bench", kind="run", backend="sim", simulated=True, levels="full",
        config={}, meta={}, seeds={}, limits={},
    )  # fmt: skip
    with folder, hil.open_array("nonlinear", rows=64, cols=64, recorder=Recorder(folder)) as array:
        context, one = array.context, np.array([3])
        op, runner = context.op, array._sides[0]
        pulse = pulse_train(context.geometry, op, one, one, op.potentiate_v, op.write_s)
        read = read_rows(context.geometry, op, context.capabilities, one, one)

        def pulse_and_read() -> None:
            runner.block(pulse)
            runner.block(read)

        def bare() -> tuple[float, list[tuple[float, float]]]:
            rows.append((1.0, 1e-6))
            return float(g[3, 3]) * 0.2, rows

        g, rows = np.ones((64, 64)), []
        mine, base = median_s(pulse_and_read, 500), median_s(bare, 500)
    show(f"one pulse + one read, recorded: {mine * 1e6:.0f} us; a list append {base * 1e6:.2f} us")


def test_recording_a_characterisation_run_in_full(tmp_path, show):
    def characterise(recorder: Recorder | None) -> float:
        with hil.open_array("nonlinear", rows=32, cols=32, recorder=recorder) as array:
            array.read()
            start = time.perf_counter()
            array.run("ltp-ltd")
            return time.perf_counter() - start

    characterise(None)
    plain, recorded = [], []
    for n in range(3):
        plain.append(characterise(None))
        folder = RunFolder.create(
            tmp_path, f"bench{n}", kind="run", backend="sim", simulated=True, levels="full",
            config={}, meta={}, seeds={}, limits={},
        )  # fmt: skip
        with folder:
            recorded.append(characterise(Recorder(folder)))
    mine, base = min(recorded), min(plain)
    show(
        f"ltp-ltd on 32 x 32 recorded in full: {mine:.2f} s, unrecorded {base:.2f} s; "
        f"overhead {100 * (mine / base - 1):.0f} %"
    )
