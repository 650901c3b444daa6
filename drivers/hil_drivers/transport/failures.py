"""Translation of everything VISA backends raise into the project's link errors."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from hil.errors import HilError, LinkError, LinkTimeout

#: Modules whose private exception types (RPC, VXI-11, HiSLIP, USB) mean that the link is unusable.
_LINK_MODULES: Final = ("pyvisa_py", "usb", "serial")


class translated:
    """Context that turns a VISA library's failure into LinkTimeout or LinkError.

    A class, not an ``except``: PyVISA-py raises bare ``Exception`` for a refused connection, and
    nothing but exactly that type may be taken for one.
    """

    __slots__ = ("_address", "_doing", "_timeout_s")

    def __init__(self, address: str, doing: str, timeout_s: float) -> None:
        self._address = address
        self._doing = doing
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None or isinstance(exc, HilError) or not isinstance(exc, Exception):
            return
        from pyvisa.errors import Error, VisaIOError

        if isinstance(exc, VisaIOError):
            from pyvisa.constants import StatusCode

            if exc.error_code == StatusCode.error_timeout:
                raise self._late() from exc
            raise LinkError(f"{self._doing}: {exc.description}", self._address) from exc
        if isinstance(exc, TimeoutError):
            raise self._late() from exc
        if isinstance(exc, UnicodeError):
            raise LinkError(f"{self._doing}: the reply is not text ({exc})",
                            self._address) from exc  # fmt: skip
        foreign = type(exc).__module__.split(".")[0] in _LINK_MODULES
        named = isinstance(exc, Error | OSError | RuntimeError | ValueError)
        if named or foreign or type(exc) is Exception:
            raise LinkError(f"{self._doing}: {exc}", self._address) from exc

    def _late(self) -> LinkTimeout:
        return LinkTimeout(f"{self._doing}: no answer within {self._timeout_s:.3g} s",
                           self._address)  # fmt: skip
