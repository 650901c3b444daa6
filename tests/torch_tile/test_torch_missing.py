"""What a user without PyTorch is told."""

from __future__ import annotations

import builtins
import sys

import pytest

from hil.errors import BackendUnavailable


def test_without_torch_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "torch" or name.startswith("torch."):
            raise ImportError("No module named 'torch'")
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n == "hil.torch" or n.startswith("hil.torch.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BackendUnavailable, match=r"synapse-hil\[torch\]"):
        import hil.torch  # noqa: F401
