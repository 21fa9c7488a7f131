"""A conformance test for compressors, LangChain's rerankers, for whoever writes one.

LangChain has standard tests for chat models and embeddings, and none for compressors. These are
the rules that retrievers, pipelines and tracers rely on, and that published compressors break.
Subclass the class in a test file, say how to build yours, and run pytest:

```python
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.testing import CompressorConformance


class TestRerankCompressor(CompressorConformance):
    native_async = False  # bm25 computes in this process, so it belongs in a thread

    def make(self, **arguments):
        return RerankCompressor(model="local:bm25", **arguments)
```

No rule needs the network. A compressor that asks a server needs a stand-in that scores by text,
not by position, for the rules send the same texts in several orders. Documents may be selected
and put in order; a compressor that rewrites their text is of another kind.

Each rule is one method. One that does not fit is marked, with the reason:

```python
    @pytest.mark.xfail(reason="the vendor's client holds a socket")
    def test_pickles_work(self):
        super().test_pickles_work()
```
"""

from __future__ import annotations

from typing import Any

try:
    from langchain_core.documents import BaseDocumentCompressor
except ImportError as cause:
    raise ImportError(
        "rerank_integrations.testing.compressors needs the extra 'langchain': "
        "pip install 'rerank-integrations[langchain]'"
    ) from cause

from rerank_integrations.testing._answers import AnswerRules
from rerank_integrations.testing._calls import CallRules
from rerank_integrations.testing._documents import DocumentRules
from rerank_integrations.testing._langchain import LangChainRules
from rerank_integrations.testing._objects import ObjectRules


class CompressorConformance(LangChainRules, DocumentRules, AnswerRules, CallRules, ObjectRules):
    """What every compressor must hold; subclass it as `Test...` and give it `make`.

    Its settings are `score_key` and those of `testing._setup.Setup`.
    """

    score_key: str | None = "relevance_score"
    """The metadata key of the score; None where the compressor attaches none."""

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """A compressor that is ready for use and keeps every document unless told otherwise.

        Args:
            **arguments: for the constructor, to be passed on as they are: `top_n_field`, and an
                argument that does not exist, which the constructor must refuse.
        """
        raise NotImplementedError("write make(self, **arguments) to build your compressor")
