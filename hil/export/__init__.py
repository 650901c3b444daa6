"""Run folders as files for other programs, with units, meanings and where they come from."""
