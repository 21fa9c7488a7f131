"""A conformance test for postprocessors, LlamaIndex's rerankers, for whoever writes one.

These are the rules that engines, retrievers and tracers rely on, and that published postprocessors
break. Subclass the class in a test file, say how to build yours, and run pytest:

```python
from rerank_integrations.llama_index import RerankPostprocessor
from rerank_integrations.testing import PostprocessorConformance


class TestRerankPostprocessor(PostprocessorConformance):
    native_async = False  # bm25 computes in this process, so it belongs in a thread

    def make(self, **arguments):
        return RerankPostprocessor(model="local:bm25", **arguments)
```

No rule needs the network. A postprocessor that asks a server needs a stand-in that scores by text,
not by position, for the rules send the same texts in several orders. "Document" in a rule that
holds for compressors too is a node here.

Each rule is one method. One that does not fit is marked, with the reason:

```python
    @pytest.mark.xfail(reason="the vendor's client holds a socket")
    def test_deep_copies_work(self):
        super().test_deep_copies_work()
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
except ImportError as cause:
    raise ImportError(
        "rerank_integrations.testing.postprocessors needs the extra 'llama-index': "
        "pip install 'rerank-integrations[llama-index]'"
    ) from cause

from rerank_integrations.testing._answers import AnswerRules
from rerank_integrations.testing._calls import CallRules
from rerank_integrations.testing._documents import DocumentRules
from rerank_integrations.testing._engines import EngineRules
from rerank_integrations.testing._events import EventRules
from rerank_integrations.testing._nodes import NodeRules
from rerank_integrations.testing._objects import ObjectRules


class PostprocessorConformance(
    NodeRules, EventRules, EngineRules, DocumentRules, AnswerRules, CallRules, ObjectRules
):
    """What every postprocessor must hold; subclass it as `Test...` and give it `make`.

    Its settings are those below and those of `testing._setup.Setup`.
    """

    attaches_score: bool = True
    """False where nodes come back as they are, in another order or fewer of them."""

    tells_events: bool = True
    """False where it tells no rerank events, as what only filters does not."""

    from_dict_arguments: Mapping[str, Any] | None = {}
    """What `from_dict` needs beside the dict, such as the key; None where it cannot work."""

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """A postprocessor that is ready for use and keeps every node unless told otherwise.

        Args:
            **arguments: for the constructor, to be passed on as they are: `top_n_field`, and an
                argument that does not exist, which the constructor must refuse.
        """
        raise NotImplementedError("write make(self, **arguments) to build your postprocessor")
