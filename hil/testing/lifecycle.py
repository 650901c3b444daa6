"""Contract: life cycle, limits before anything is driven, and the safe state."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hil.backend import Backend
from hil.capabilities import Range
from hil.errors import BackendError, HilError, LimitError, RunInterrupted
from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock, Status, reading_index
from hil.operating import OperatingPoint
from hil.program import Programme, PulseBlock
from hil.testing import programs
from hil.testing.base import Contract


class LifecycleContract(Contract):
    """Opening, closing, refusing, and ending safely."""

    def test_open_and_close_are_idempotent(self) -> None:
        """Opening twice and closing twice is opening and closing; it can be opened again."""
        backend, op = self.make()
        for _ in range(2):
            backend.open()
            backend.open()
            assert backend.is_open
            assert self.run(backend, self.programme(backend.geometry, op))
            backend.close()
            backend.close()
            assert not backend.is_open
            self.assert_safe(backend)

    def test_use_before_open_and_after_close_is_refused(self) -> None:
        """A closed backend drives nothing."""
        backend, op = self.make()
        block = programs.read_steps(
            backend.geometry, op, np.eye(1, backend.geometry.n_rows, dtype=np.bool_)
        )
        for _ in range(2):
            with pytest.raises(BackendError, match="not open"):
                backend.run([block])
            with pytest.raises(BackendError, match="not open"):
                backend.run_block(block)
            with backend:
                pass

    def test_it_says_what_is_behind_it(self) -> None:
        """``identify`` is one line and ``name`` is not empty."""
        backend, _ = self.make()
        with backend:
            assert backend.name
            assert backend.identify().strip()
            assert "\n" not in backend.identify()

    def _limited(self) -> tuple[Backend, OperatingPoint, PulseBlock, PulseBlock]:
        _, op = self.make()
        top = max(abs(v) for v in (op.read_v, op.potentiate_v, op.depress_v, op.erase_v,
                                   op.gate_read_v, op.gate_write_v))  # fmt: skip
        backend, op = self.make(SafetyLimits(level_v=Range(-top, top)))
        good = programs.write_step(backend.geometry, op, [0], [0])
        bad = programs.write_step(backend.geometry, op, [0], [0], scale=4 * top / op.potentiate_v)
        return backend, op, good, bad

    def test_an_illegal_level_is_refused_and_nothing_is_applied(self) -> None:
        """LimitError names line, value and limit; conductances and ledger stay as they were."""
        backend, op, _, bad = self._limited()
        with backend:
            before = self.conductances(backend, op)
            for attempt in (lambda: backend.run_block(bad), lambda: list(backend.run([bad]))):
                with pytest.raises(LimitError) as caught:
                    attempt()
                assert caught.value.where is not None
                assert abs(caught.value.value) > abs(caught.value.limit)
            assert backend.ledger.device_pulses == 0
            after = self.conductances(backend, op)
        assert after == pytest.approx(before, rel=self.read_tolerance)

    def test_a_static_programme_is_checked_whole_before_anything_is_driven(self) -> None:
        """An error in the last block of a list or Programme drives none of it."""
        backend, _, good, bad = self._limited()
        with backend:
            for static in ([good, good, bad], Programme.of(good, good, bad)):
                with pytest.raises(LimitError) as caught:
                    list(backend.run(static))
                assert caught.value.block == 2
            assert backend.ledger.device_pulses == 0

    def test_an_adaptive_stream_is_checked_block_by_block(self) -> None:
        """Blocks before the bad one are driven and counted, and the outputs end off."""
        backend, _, good, bad = self._limited()
        with backend:
            stream = backend.run(iter([good, good, bad]))
            assert len([next(stream), next(stream)]) == 2
            with pytest.raises(LimitError) as caught:
                next(stream)
            assert caught.value.block == 2
            assert backend.ledger.device_pulses == 2
            self.assert_safe(backend)

    def test_a_failure_while_driving_ends_in_the_safe_state(self) -> None:
        """An error inside the backend or in the stream of blocks switches the outputs off."""
        backend, op = self.make()
        block = programs.write_step(backend.geometry, op, [0], [0])
        execute = backend._execute

        def failing(block: PulseBlock) -> MeasurementBlock:
            execute(block)
            raise BackendError("made to fail")

        def broken_stream() -> Iterator[PulseBlock]:
            yield block
            raise ValueError("made to fail")

        with backend:
            with pytest.raises(ValueError, match="made to fail"):
                list(backend.run(broken_stream()))
            self.assert_safe(backend)
            backend._execute = failing  # type: ignore[method-assign]
            for attempt in (lambda: backend.run_block(block), lambda: list(backend.run([block]))):
                with pytest.raises(BackendError, match="made to fail"):
                    attempt()
                self.assert_safe(backend)

    def test_a_block_that_fails_is_counted_as_far_as_it_may_have_run(self) -> None:
        """An error after the pulses counts them: what may have run is never left out."""
        backend, op = self.make()
        block = programs.write_step(backend.geometry, op, [0], [0], repeat=3)
        execute = backend._execute

        def failing(block: PulseBlock) -> MeasurementBlock:
            execute(block)
            raise BackendError("made to fail")

        with backend:
            backend._execute = failing  # type: ignore[method-assign]
            with pytest.raises(BackendError, match="made to fail"):
                backend.run_block(block)
            left = backend.unfinished
            assert left is not None
            assert left.block is block
            assert (left.known <= left.possible).all()
            assert left.possible.tolist() == block.repeat.tolist()
            assert backend.ledger.device_pulses == 3
            del backend._execute
            backend.run_block(block)
            assert backend.unfinished is None
            assert backend.ledger.device_pulses == 6

    def test_readings_taken_before_a_failure_are_kept(self) -> None:
        """A read that fails in its middle keeps what was read, and says which pulses ran."""
        backend, op = self.make()
        block = self.programme(backend.geometry, op)
        if not backend.capabilities.parallel_sense:
            block = programs.one_line_each(block)
        with backend:
            if not self.break_midway(backend):
                pytest.skip("there is no way to make this backend fail in the middle of a block")
            with pytest.raises((HilError, KeyboardInterrupt)):
                list(backend.run([block]))
            self.assert_safe(backend)
            left = backend.unfinished
            assert left is not None
            assert 0 < left.known.sum() < block.repeat.sum()
            assert (left.known <= left.possible).all()
            assert (left.possible <= block.repeat).all()
            m = left.readings
            step, line, pulse = reading_index(block)
            promised = list(zip(step.tolist(), line.tolist(), pulse.tolist(), strict=True))
            taken = list(zip(m.step.tolist(), m.line.tolist(), m.pulse.tolist(), strict=True))
            assert [row for row in promised if row in set(taken)] == taken
            sure = [row for row in promised if row[2] < left.known[row[0]]]
            assert set(sure) <= set(taken)
            good = np.isfinite(m.current_a)
            assert good[[row in set(sure) for row in taken]].all()
            assert ((m.status[~good] & np.uint32(Status.COUNT_UNKNOWN)) != 0).all()

    def test_an_early_stop_ends_in_the_safe_state(self) -> None:
        """A stop request is honoured before the next block, once."""
        backend, op = self.make()
        block = programs.write_step(backend.geometry, op, [0], [0])
        with backend:
            driven = 0
            for _ in backend.run(iter([block] * 5)):
                driven += 1
                backend.request_stop()
            assert driven == 1
            assert backend.was_stopped
            assert backend.ledger.device_pulses == 1
            self.assert_safe(backend)
            assert len(list(backend.run([block]))) == 1
            backend.request_stop()
            with pytest.raises(RunInterrupted):
                backend.run_block(block)
            self.assert_safe(backend)

    def test_an_abandoned_named_generator_ends_in_the_safe_state(self) -> None:
        """Leaving the context enforces the safe state though the generator is still alive."""
        backend, op = self.make()
        block = programs.write_step(backend.geometry, op, [0], [0])
        with backend:
            abandoned = backend.run(iter([block] * 3))
            next(abandoned)
        self.assert_safe(backend)
        assert next(abandoned, None) is None
        assert backend.ledger.device_pulses == 1

    def test_after_an_abort_nothing_is_driven_until_reopened(self) -> None:
        """Abort switches off at once and blocks further runs."""
        backend, op = self.make()
        block = programs.write_step(backend.geometry, op, [0], [0])
        with backend:
            backend.run_block(block)
            backend.abort()
            self.assert_safe(backend)
            with pytest.raises(BackendError, match="abort"):
                backend.run_block(block)
        with backend:
            backend.run_block(block)
