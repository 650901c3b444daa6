"""Rows of simulated devices that were put back, while and before a run is watched."""

from __future__ import annotations

import json

import numpy as np
from following import followed, unpacked, wait_for
from live import Pulses, start

from hil.monitor.board import Board


def undo_the_last(folder, source, n_rows, kept):
    """Put the devices back as a resumed run of simulated ones does, and note it."""
    folder.barrier()
    source.rows, source.g = source.rows - n_rows, kept
    end = folder.rows["pulses"]
    folder.event("undone", rows={"pulses": [end - n_rows, end]})


def test_rows_that_were_undone_are_left_out(tmp_path):
    with start(tmp_path, n=16) as folder:
        source = Pulses(folder, 16)
        source.append(200)
        for n_rows in (150, 30):
            kept = source.g.copy()
            source.append(n_rows)
            undo_the_last(folder, source, n_rows, kept)
        source.append(100)
        folder.barrier()
        feed = followed(folder.path)
    devices = feed.arrays["main"]
    assert not feed.is_outdated
    assert devices.pulses_up.sum() == 300
    assert devices.history.trace(10).pulses.tolist() == [1, 2]
    g = source.g.reshape(16, 16).astype(np.float32)  # as it is stored
    np.testing.assert_array_equal(devices.g_siemens.astype(np.float32), g)


def test_a_run_that_is_watched_while_it_is_resumed_shows_what_stands(tmp_path):
    with start(tmp_path, n=16) as folder:
        source = Pulses(folder, 16)
        source.append(256)
        folder.barrier()
        board = Board(folder.path)
        board.start()
        try:
            wait_for(board, lambda shown: map_of(shown) == source.g.astype(np.float32).tolist())
            kept = source.g.copy()
            source.append(256)
            folder.barrier()
            wait_for(board, lambda shown: map_of(shown) == source.g.astype(np.float32).tolist())
            undo_the_last(folder, source, 256, kept)
            wait_for(board, lambda shown: map_of(shown) == kept.astype(np.float32).tolist())
        finally:
            board.close()


def map_of(shown):
    view = json.loads(shown.get("map:main", "{}"))
    return view and unpacked(view["g"], "<f4", 256).tolist()
