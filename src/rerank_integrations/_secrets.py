"""Keeps keys and header values out of reprs, logs and tracebacks."""

from __future__ import annotations

from collections.abc import Sized
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Secret(Generic[T_co]):
    """Holds headers or keys, so that a traceback with local variables does not show them."""

    __slots__ = ("_content",)

    def __init__(self, content: T_co) -> None:
        self._content = content

    def get_secret_value(self) -> T_co:
        """Return the content; use it in an expression, and never in a local variable."""
        return self._content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._content == other._content)

    __hash__ = None  # type: ignore[assignment]  # the content may be a dict

    def __repr__(self) -> str:
        size = f", {len(self._content)}" if isinstance(self._content, Sized) else ""
        return f"<hidden {type(self._content).__name__}{size}>"
