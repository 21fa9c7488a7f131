"""Rules about a postprocessor as a dict and in a query engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from unittest import SkipTest

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from rerank_integrations.testing._llama_index import LlamaIndex
from rerank_integrations.testing._setup import with_fix


class Given(BaseRetriever):
    """A retriever that returns the nodes that it was given."""

    def __init__(self, nodes: list[NodeWithScore]) -> None:
        self._nodes = nodes
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:  # noqa: ARG002  # theirs
        return self._nodes


class EngineRules(LlamaIndex):
    """A postprocessor can be stored as a dict and works in a query engine."""

    from_dict_arguments: Mapping[str, Any] | None

    def test_a_dict_keeps_the_settings(self) -> None:
        """The copy from from_dict(to_dict()) or from_json(to_json()) works as the original."""
        if self.from_dict_arguments is None:
            raise SkipTest("from_dict_arguments is None: it cannot be built from a dict")
        documents, original = self._documents(), self._keeping(1)
        kind, more = type(original), self.from_dict_arguments
        fix = (
            "make every setting a field with the name and type of the argument; make a secret a "
            "Field(exclude=True), which the caller passes to from_dict again"
        )
        expected = dict(self._both(original, documents))
        with with_fix(fix):
            for name, twin in (
                ("from_dict(to_dict())", kind.from_dict(original.to_dict(), **more)),
                ("from_json(to_json())", kind.from_json(original.to_json(), **more)),
            ):
                assert twin.to_dict() == original.to_dict(), f"{name} lost a setting: {fix}"
                for way, kept in self._both(twin, documents):
                    assert self._texts(kept) == self._texts(expected[way]), (
                        f"{way} after {name} gave {self._texts(kept)} instead of "
                        f"{self._texts(expected[way])}: {fix}"
                    )

    def test_a_query_engine_takes_it(self) -> None:
        """The source nodes of a query engine, sync or async, are the results in order."""
        documents = self._documents()
        expected = dict(self._both(self.make(), documents))
        fix = f"override {' and '.join(self._written)}, and nothing else of the base class"
        with with_fix(fix):
            engine = RetrieverQueryEngine.from_args(
                Given(documents), llm=MockLLM(), node_postprocessors=[self.make()]
            )
            answers = (engine.query(self.query), asyncio.run(engine.aquery(self.query)))
            for way, answer in zip(self._ways, answers, strict=True):
                sources = self._texts(answer.source_nodes)
                assert sources == self._texts(expected[way]), (
                    f"an engine that calls {way} has the source nodes {sources} instead of "
                    f"{self._texts(expected[way])}: {fix}"
                )
