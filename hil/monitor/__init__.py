"""The live monitor: a web page on this machine that shows a run while it is recorded.

It runs in a process of its own and only reads the run folder, so that nothing it does can reach a
pulse.
"""
