"""Conformance tests for authors of rerankers: subclass one, define `make`, and run pytest.

Each name is loaded at its first use, so each needs only its own framework.
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
