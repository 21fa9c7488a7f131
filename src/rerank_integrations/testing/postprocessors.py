"""A conformance test for postprocessors, the rerankers of LlamaIndex.

These rules are what engines, retrievers and tracers rely on. Subclass the class in a test file,
define how to build your postprocessor, and run pytest:

```python
from rerank_integrations.llama_index import RerankPostprocessor
from rerank_integrations.testing import PostprocessorConformance


class TestRerankPostprocessor(PostprocessorConformance):
    native_async = False  # bm25 computes in this process, so it belongs in a thread

    def make(self, **arguments):
        return RerankPostprocessor(model="local:bm25", **arguments)
```

No rule needs the network. If your postprocessor calls a server, use a mock server that scores by
text, not by position: the rules send the same texts in several orders. In a rule that is shared
with compressors, "document" means a node.

Each rule is one method. If a rule does not apply, override it and mark it with the reason:

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
    """The rules for every postprocessor; subclass it as `Test...` and define `make`.

    Attributes:
        query: the query of the tests.
        texts: at least two different texts; one of them is clearly the best for `query`.
        top_n_field: the field that limits the number of results; None if there is none.
        native_async: False if the work is computation in this process.
        secrets: texts that must not appear anywhere, such as the key that `make` passes.
        attaches_score: False if the nodes get no score.
        tells_events: False if the postprocessor emits no rerank events.
        from_dict_arguments: what `from_dict` needs besides the dict; None if it cannot work.
    """

    attaches_score: bool = True
    """False if the nodes get no score, and are only sorted or filtered."""

    tells_events: bool = True
    """False if it emits no rerank events, such as a postprocessor that only filters."""

    from_dict_arguments: Mapping[str, Any] | None = {}
    """What `from_dict` needs besides the dict, such as the key; None if it cannot work."""

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """Build a postprocessor that is ready for use and keeps all nodes by default.

        Args:
            **arguments: pass them on to the constructor unchanged: `top_n_field`, and an argument
                that does not exist, which the constructor must reject.

        Returns:
            The postprocessor.
        """
        raise NotImplementedError("define make(self, **arguments) to build your postprocessor")
