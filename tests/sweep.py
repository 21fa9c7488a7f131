"""Looks for a secret in everything that can be reached from an object."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any, NamedTuple

from pydantic import SecretStr

from support import hidden

BOXES = (type(hidden(0)), SecretStr)  # what they hold is had by a method alone
_FARTHEST = 16
_FRAMES = (TracebackType, FrameType, CodeType)  # which hold the test's own variables
_ENDS = (*BOXES, *_FRAMES, ModuleType, type, int, float, type(None))
_TEXTS = (str, bytes, bytearray)


class Place(NamedTuple):
    """An object, and the way to it."""

    thing: Any
    way: tuple[str, ...] = ()


def places_of(secret: str, root: object) -> list[str]:
    """The ways from an object to texts that hold the secret, boxes left closed."""
    found: list[str] = []
    seen: dict[int, Any] = {}  # holds what it has seen, so that no id is used twice
    left = deque([Place(root)])
    while left:
        thing, way = left.popleft()
        if isinstance(thing, _TEXTS):
            text = thing if isinstance(thing, str) else thing.decode("latin-1")
            found += [".".join(way)] * (secret in text)
        elif len(way) <= _FARTHEST and id(thing) not in seen and not isinstance(thing, _ENDS):
            seen[id(thing)] = thing
            left.extend(Place(inner, (*way, name)) for name, inner in _inside(thing))
    return found


def _inside(thing: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds: in its attributes and slots, as a container, or in C."""
    if isinstance(thing, FunctionType):  # its globals are the module's
        yield "closure", thing.__closure__
        return
    if isinstance(thing, Mapping):
        yield "keys", list(thing)
        yield from ((f"[{key!r:.20}]", value) for key, value in thing.items())
    yield from getattr(thing, "__dict__", {}).items()
    for name in _slots(type(thing)):
        yield name, getattr(thing, name, None)
    for number, inner in enumerate(gc.get_referents(thing)):
        yield f"<{number}>", inner


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            hidden = name.startswith("__") and not name.endswith("__")
            yield f"_{base.__name__.lstrip('_')}{name}" if hidden else name
