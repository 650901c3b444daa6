"""Emulated instruments, written from their manuals."""
