"""Sessions with instruments: VISA, wire logs and their replay."""
