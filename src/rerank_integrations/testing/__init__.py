"""Tests for authors of rerankers: subclass one, say how to build yours, and run pytest.

Every name is loaded when it is first used, so that each needs its own framework only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rerank_integrations.testing.compressors import CompressorConformance

_HOME_OF = {"CompressorConformance": "compressors"}

__all__ = ["CompressorConformance"]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
