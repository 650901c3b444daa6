"""Operations on float32 that Numba does not offer: the bits of a number, a fused sum."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _bits_of(_context: Any, _x: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


def _float_of(_context: Any, _bits: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


def _fma(_context: Any, _x: Any, _y: Any, _z: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), generate


bits_of: Any = intrinsic(_bits_of)  #: the bits of a float32 as an int32
float_of: Any = intrinsic(_float_of)  #: the float32 of the bits of an int32
fma: Any = intrinsic(_fma)  #: x·y + z of float32, rounded once
