"""Discrete-event simulation of trigger models: timers, sweeps and the events between them.

An event is a number; 0 is none. A *timer* turns an event into a train of events. A *sweep* is one
source-measure channel's trigger model (Keithley 2600B reference manual, "Remote triggering"): for
every point it waits for a source event, sets the level, waits for a measure event, measures, waits
for an end-pulse event, ends the pulse. Every wait latches one event that came early. A *wire*
passes an event on as another, a *blender* gives its event when each of its stimuli has come.
Deliveries are counted by event, which is what event detectors look at. Times are seconds; all
arrays are columns over timers, sweeps or blenders.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numba import njit

# Columns of the integer table of sweeps.
(
    STATE, POINT, POINTS, ARM, ARMS, STIM_ARM, STIM_SOURCE, STIM_MEASURE, STIM_END, LATCH_ARM,
    LATCH_SOURCE, LATCH_MEASURE, LATCH_END, EV_ARMED, EV_SOURCE, EV_MEASURE, EV_PULSE, EV_SWEEP,
    EV_IDLE, HAS_MEASURE, HAS_END, ASYNC, OFFSET, MEASURED,
) = range(24)  # fmt: skip
SWEEP_INTS = 24
# Columns of the float table of sweeps.
SOURCE_DELAY, MEASURE_DELAY, MEASURE_S, END_DELAY = 0, 1, 2, 3
SWEEP_FLOATS = 4
# States.
WAIT_ARM, WAIT_SOURCE, SOURCING, WAIT_MEASURE, MEASURING, WAIT_END, ENDING, DONE = range(8)
# Columns of the integer table of timers.
T_STIM, T_EVENT, T_COUNT, T_PASS, T_FIRST, T_DELAYS, T_LEFT, T_DONE, T_NEXT = range(9)
TIMER_INTS = 9
# Columns of the integer table of blenders: event, four stimuli, a latch for each.
B_EVENT, B_STIM, B_LATCH = 0, 1, 5
BLENDER_INTS, BLENDER_INPUTS = 9, 4
_EVENT, _SWEEP, _TIMER = 0, 1, 2
_IDLE_LIMIT = 1_000_000  # events without progress of any sweep: only free-running timers are left


def _listeners_of(event: int, wires: Any, timers: Any, sweeps: Any, sweep_f: Any, queue: Any,
                  heap: Any, now: float, sequence: int, base: Any, blenders: Any,
                  counts: Any, t_measure: Any, p_measure: Any) -> int:  # fmt: skip
    """Deliver one event: latch it, start timers, pass it on; return the next sequence number."""
    counts[event] += 1
    for w in range(wires.shape[0]):
        if wires[w, 0] == event:
            queue.append((_EVENT, wires[w, 1]))
    for b in range(blenders.shape[0]):
        row = blenders[b]
        heard, missing = False, False
        for n in range(BLENDER_INPUTS):
            if row[B_STIM + n] == event:
                row[B_LATCH + n] = 1
                heard = True
            missing = missing or (row[B_STIM + n] != 0 and row[B_LATCH + n] == 0)
        if heard and not missing:
            row[B_LATCH:] = 0
            queue.append((_EVENT, row[B_EVENT]))
    for k in range(timers.shape[0]):
        if timers[k, T_STIM] == event and timers[k, T_LEFT] == 0:
            timers[k, T_LEFT], timers[k, T_DONE] = timers[k, T_COUNT], 0
            base[k] = now
            heapq.heappush(heap, (now, sequence, _TIMER, k, 1))
            sequence += 1
            if timers[k, T_PASS]:
                queue.append((_EVENT, timers[k, T_EVENT]))
    for s in range(sweeps.shape[0]):
        row = sweeps[s]
        woken = False
        for stim, latch in ((STIM_ARM, LATCH_ARM), (STIM_SOURCE, LATCH_SOURCE),
                            (STIM_MEASURE, LATCH_MEASURE), (STIM_END, LATCH_END)):  # fmt: skip
            if row[stim] == event:
                row[latch] = 1
                woken = True
        if row[ASYNC] and row[STIM_MEASURE] == event and row[STATE] != WAIT_ARM:
            _measure_apart(row, sweep_f[s], now, t_measure, p_measure)
        if woken and row[STATE] != DONE:
            queue.append((_SWEEP, s))
    return sequence


def _measure_apart(row: Any, times: Any, now: float, t_measure: Any, p_measure: Any) -> None:
    """Measure beside the source loop (2600B reference manual, asynchronous mode).

    A trigger that comes during a measurement is taken when that has ended. As many are kept as the
    sweep has points.
    """
    n = row[OFFSET] + row[MEASURED]
    if row[STATE] == DONE or row[MEASURED] >= row[POINTS] * row[ARMS]:
        return
    start = now
    if row[MEASURED]:
        start = max(start, t_measure[n - 1] + times[MEASURE_S])
    t_measure[n] = start + times[MEASURE_DELAY]
    p_measure[n] = row[ARM] * row[POINTS] + row[POINT]
    row[MEASURED] += 1


def _advance(s: int, row: Any, times: Any, now: float, queue: Any, heap: Any, sequence: int,
             t_source: Any, t_measure: Any, p_measure: Any, t_end: Any,
             due: bool) -> tuple[int, bool]:  # fmt: skip
    """Move one sweep as far as it can go now; return sequence number and whether it moved."""
    moved = False
    while True:
        state = row[STATE]
        at = row[OFFSET] + row[ARM] * row[POINTS] + row[POINT]
        if state == WAIT_ARM:
            if row[STIM_ARM] != 0 and row[LATCH_ARM] == 0:
                return sequence, moved
            row[LATCH_ARM] = 0
            row[STATE] = WAIT_SOURCE
            queue.append((_EVENT, row[EV_ARMED]))
            if row[STIM_SOURCE] != 0:
                # What ARMED starts (a timer that passes it through) may be this channel's source.
                queue.append((_SWEEP, s))
                return sequence, True
        elif state == WAIT_SOURCE:
            if row[STIM_SOURCE] != 0 and row[LATCH_SOURCE] == 0:
                return sequence, moved
            row[LATCH_SOURCE] = 0
            t_source[at] = now
            row[STATE] = SOURCING
            due = False
            if times[SOURCE_DELAY] > 0.0:
                heapq.heappush(heap, (now + times[SOURCE_DELAY], sequence, _SWEEP, s, 0))
                return sequence + 1, True
            due = True
        elif state == SOURCING:
            if not due:
                return sequence, moved
            due = False
            queue.append((_EVENT, row[EV_SOURCE]))
            row[STATE] = WAIT_MEASURE if row[HAS_MEASURE] and not row[ASYNC] else WAIT_END
            if row[HAS_MEASURE] and row[ASYNC] and row[STIM_MEASURE] == 0:
                _measure_apart(row, times, now, t_measure, p_measure)
            # The event may latch this sweep's own next wait: look again after it is delivered.
            queue.append((_SWEEP, s))
            return sequence, True
        elif state == WAIT_MEASURE:
            if row[STIM_MEASURE] != 0 and row[LATCH_MEASURE] == 0:
                return sequence, moved
            row[LATCH_MEASURE] = 0
            t_measure[at] = now + times[MEASURE_DELAY]
            p_measure[at] = at - row[OFFSET]
            row[STATE] = MEASURING
            done = now + times[MEASURE_DELAY] + times[MEASURE_S]
            heapq.heappush(heap, (done, sequence, _SWEEP, s, 0))
            return sequence + 1, True
        elif state == MEASURING:
            if not due:
                return sequence, moved
            due = False
            queue.append((_EVENT, row[EV_MEASURE]))
            row[STATE] = WAIT_END
            queue.append((_SWEEP, s))
            return sequence, True
        elif state == WAIT_END:
            if row[HAS_END] and row[STIM_END] != 0 and row[LATCH_END] == 0:
                return sequence, moved
            row[LATCH_END] = 0
            row[STATE] = ENDING
            if times[END_DELAY] > 0.0:
                heapq.heappush(heap, (now + times[END_DELAY], sequence, _SWEEP, s, 0))
                return sequence + 1, True
            due = True
        elif state == ENDING:
            if not due:
                return sequence, moved
            due = False
            t_end[at] = now
            queue.append((_EVENT, row[EV_PULSE]))
            row[POINT] += 1
            row[STATE] = WAIT_SOURCE
            moved = True
            if row[POINT] == row[POINTS]:
                row[POINT] = 0
                row[ARM] += 1
                queue.append((_EVENT, row[EV_SWEEP]))
                row[STATE] = WAIT_ARM
                if row[ARM] == row[ARMS]:
                    row[STATE] = DONE
                    queue.append((_EVENT, row[EV_IDLE]))
            queue.append((_SWEEP, s))
            return sequence, True
        else:
            return sequence, moved


_measure_apart = njit(cache=True)(_measure_apart)
_listeners_of = njit(cache=True)(_listeners_of)
_advance = njit(cache=True)(_advance)


def _simulate(
    start_s: float, fired: Any, wires: Any, blenders: Any, counts: Any, timers: Any, delays: Any,
    sweeps: Any, sweep_f: Any, t_source: Any, t_measure: Any, p_measure: Any, t_end: Any,
) -> tuple[float, int]:  # fmt: skip
    """Run from ``start_s`` until nothing moves; return the time reached and events delivered.

    ``fired`` are events delivered at the start. The tables of sweeps, timers and blenders keep the
    state, so that a sweep that waits for an event goes on in a later call; ``counts`` adds up the
    deliveries of every event. The times of every point are written from a sweep's OFFSET on.
    """
    heap = [(start_s, 0, _EVENT, 0, 0)]
    heap.pop()
    queue = [(_EVENT, 0)]
    queue.pop()
    base = np.full(timers.shape[0], start_s)
    sequence, now, reached, delivered, idle = 0, start_s, start_s, 0, 0
    for s in range(sweeps.shape[0]):
        queue.append((_SWEEP, s))  # noqa: PERF401 - compiled by Numba
    for k in range(fired.size):
        queue.append((_EVENT, fired[k]))  # noqa: PERF401 - compiled by Numba
    while True:
        at = 0
        while at < len(queue):
            kind, which = queue[at]
            at += 1
            if kind == _EVENT:
                delivered += 1
                if which != 0:
                    sequence = _listeners_of(which, wires, timers, sweeps, sweep_f, queue, heap,
                                             now, sequence, base, blenders, counts,
                                             t_measure, p_measure)  # fmt: skip
            else:
                sequence, moved = _advance(
                    which, sweeps[which], sweep_f[which], now, queue, heap, sequence,
                    t_source, t_measure, p_measure, t_end, False,
                )  # fmt: skip
                if moved:
                    reached, idle = now, 0
        queue.clear()
        if len(heap) == 0 or idle > _IDLE_LIMIT:
            return reached, delivered
        now, _, kind, which, first = heapq.heappop(heap)
        if kind == _SWEEP:
            sequence, _ = _advance(
                which, sweeps[which], sweep_f[which], now, queue, heap, sequence,
                t_source, t_measure, p_measure, t_end, True,
            )  # fmt: skip
            reached, idle = now, 0
            continue
        idle += 1
        timer = timers[which]
        if not first:
            queue.append((_EVENT, timer[T_EVENT]))
            timer[T_DONE] += 1
            if timer[T_COUNT] > 0:
                timer[T_LEFT] -= 1
            else:
                timer[T_LEFT] = 1
        elif timer[T_COUNT] == 0:
            timer[T_LEFT] = 1  # count 0 runs for ever
        if timer[T_LEFT] > 0:
            n = timer[T_DELAYS]
            if n == 1:
                when = base[which] + (timer[T_DONE] + 1) * delays[timer[T_FIRST]]
            else:
                # Every delay is the next of the list, whatever triggered it (2600BS-901-01
                # rev. F, Timers).
                when = now + delays[timer[T_FIRST] + timer[T_NEXT] % n]
                timer[T_NEXT] += 1
            heapq.heappush(heap, (when, sequence, _TIMER, which, 0))
            sequence += 1


simulate = njit(cache=True)(_simulate)
