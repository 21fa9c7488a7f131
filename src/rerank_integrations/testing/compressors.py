"""A conformance test for compressors, the rerankers of LangChain.

LangChain has standard tests for chat models and embeddings, but none for compressors. These rules
are what retrievers, pipelines and tracers rely on. Subclass the class in a test file, define how to
build your compressor, and run pytest:

```python
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.testing import CompressorConformance


class TestRerankCompressor(CompressorConformance):
    native_async = False  # bm25 computes in this process, so it belongs in a thread

    def make(self, **arguments):
        return RerankCompressor(model="local:bm25", **arguments)
```

No rule needs the network. If your compressor calls a server, use a mock server that scores by text,
not by position: the rules send the same texts in several orders. The rules are for compressors that
select and sort documents, not for compressors that rewrite their text.

Each rule is one method. If a rule does not apply, override it and mark it with the reason:

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
    """The rules for every compressor; subclass it as `Test...` and define `make`.

    Attributes:
        query: the query of the tests.
        texts: at least two different texts; one of them is clearly the best for `query`.
        top_n_field: the field that limits the number of results; None if there is none.
        native_async: False if the work is computation in this process.
        secrets: texts that must not appear anywhere, such as the key that `make` passes.
        score_key: the metadata key of the score; None if the compressor attaches none.
    """

    score_key: str | None = "relevance_score"
    """The metadata key of the score; None if the compressor attaches none."""

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """Build a compressor that is ready for use and keeps all documents by default.

        Args:
            **arguments: pass them on to the constructor unchanged: `top_n_field`, and an argument
                that does not exist, which the constructor must reject.

        Returns:
            The compressor.
        """
        raise NotImplementedError("define make(self, **arguments) to build your compressor")
