"""Figures of a report, one idea per file; each draws gathered data into a figure or a part of one.

matplotlib is needed here and only here.
"""
