"""Tests for authors of rerankers: subclass one, say how to build yours, and run pytest.

Every name is loaded when it is first used, so that each needs its own framework only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerank_integrations import lazy_attributes

if TYPE_CHECKING:
    from rerank_integrations.testing.compressors import (
        CompressorConformance as CompressorConformance,
    )
    from rerank_integrations.testing.postprocessors import (
        PostprocessorConformance as PostprocessorConformance,
    )

__getattr__, __dir__, __all__ = lazy_attributes(
    __name__,
    {"compressors": "CompressorConformance", "postprocessors": "PostprocessorConformance"},
)
