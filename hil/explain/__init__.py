"""What compiled blocks do, for people: an event list, and the line waveforms as a picture."""

from hil.explain.event import Event
from hil.explain.events import events, render_events

__all__ = ["Event", "events", "plot_lines", "render_events"]


def __getattr__(name: str) -> object:
    """Load the picture's module only when it is asked for."""
    if name == "plot_lines":
        from hil.explain.plot import plot_lines

        return plot_lines
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
