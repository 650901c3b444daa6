"""Run folders as files for other programs, with units, meanings and where they come from."""

from __future__ import annotations

from hil.export.exporting import SUFFIXES, Exported, export_run

__all__ = ["SUFFIXES", "Exported", "export_run"]
