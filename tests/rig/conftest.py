from __future__ import annotations

import sys
from pathlib import Path

# The command tables of the drivers' tests are used here, too.
sys.path.append(str(Path(__file__).parents[1] / "drivers"))
