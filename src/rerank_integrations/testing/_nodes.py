"""Rules about nodes, their wrappers and the query, as LlamaIndex passes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

from rerank_integrations.testing._llama_index import LlamaIndex
from rerank_integrations.testing._setup import with_fix

KINDS: dict[type[BaseNode], Callable[[str], BaseNode]] = {
    TextNode: lambda text: TextNode(text=text),
    Node: lambda text: Node(text_resource=MediaResource(text=text)),
    Document: lambda text: Document(text=text),
    ImageNode: lambda text: ImageNode(text=text),
    # its object may be a retriever or an engine, which no serializer knows
    IndexNode: lambda text: IndexNode(text=text, index_id="other", obj=threading.Lock()),
}


class NodeRules(LlamaIndex):
    """Every node is ranked for query_str, and is not changed."""

    def test_the_answer_is_a_list_of_nodes_with_score(self) -> None:
        """The results are a list of NodeWithScore."""
        for way, kept in self._both(self.make(), self._documents()):
            kinds = {type(found).__name__ for found in kept if not isinstance(found, NodeWithScore)}
            assert isinstance(kept, list), (
                f"{way} returned a {type(kept).__name__}, but engines add lists: return a list"
            )
            assert not kinds, (
                f"{way} returned {', '.join(kinds)} in the list: return NodeWithScore, which the "
                "next postprocessor needs"
            )

    def test_every_kind_of_node_works(self) -> None:
        """Every type of node with a text is ranked by the text, and comes back unchanged."""
        texts = [self._text(found) for found in self._documents()]
        plain = dict(self._both(self._keeping(len(texts)), self._documents()))
        for kind, made in KINDS.items():
            nodes = [NodeWithScore(node=made(text), score=0.5) for text in texts]
            given = {found.node.node_id: found.node for found in nodes}
            fix = (
                f"for {kind.__name__}: read the text with node.get_content(metadata_mode"
                "=...), not node.text, and neither copy nor serialize nodes"
            )
            with with_fix(fix):
                for way, kept in self._both(self._keeping(len(texts)), nodes):
                    assert self._texts(kept) == self._texts(plain[way]), (
                        f"{way} gave {self._texts(kept)} and for a plain TextNode "
                        f"{self._texts(plain[way])}: {fix}"
                    )
                    for found in kept:
                        assert _same(found.node, given.get(found.node.node_id)), (
                            f"{way} returned a node that it was not given: {fix}"
                        )

    def test_nodes_without_a_score_work(self) -> None:
        """Nodes without a score, as keyword retrievers return them, are ranked like others."""
        documents = self._documents()
        bare = [found.model_copy(update={"score": None}) for found in documents]
        expected = dict(self._both(self.make(), documents))
        fix = "the score of an input may be None: do not compute with it or sort by it"
        with with_fix(fix):
            for way, kept in self._both(self.make(), bare):
                assert self._texts(kept) == self._texts(expected[way]), (
                    f"{way} returned other results for nodes without a score: {fix}"
                )

    def test_the_query_is_query_str(self) -> None:
        """A QueryBundle is ranked for its query_str only; its other values have no effect."""
        documents = self._documents()
        expected = dict(self._both(self.make(), documents))
        bundles = [
            QueryBundle(self.query),
            QueryBundle(self.query, custom_embedding_strs=[self.texts[-1]], embedding=[1.0]),
        ]
        fix = (
            "rank for query_bundle.query_str, because its other texts are for the embedding; "
            f"override {' and '.join(self._written)}, which always get a bundle"
        )
        with with_fix(fix):
            for bundle in bundles:
                for way, answer in _asked(self.make(), documents, bundle):
                    kept = answer()
                    assert self._texts(kept) == self._texts(expected[way]), (
                        f"{way} gave {self._texts(kept)} for a QueryBundle, and "
                        f"{self._texts(expected[way])} for its query_str: {fix}"
                    )

    def test_a_missing_query_is_a_value_error(self) -> None:
        """Without a query the call raises a ValueError that mentions the query."""
        fix = "begin with `if query_bundle is None: raise ValueError('pass query_str=...')`"
        for way, answer in _asked(self.make(), self._documents(), None):
            told = None
            try:
                answer()
            except ValueError as error:
                told = str(error)
            except Exception as error:
                raise AssertionError(
                    f"{way} without a query raised {type(error).__name__}: {fix}"
                ) from error
            assert told is not None, f"{way} ranked nodes without a query: {fix}"
            assert "query" in told.lower(), (
                f"{way} without a query raised a ValueError that does not mention it: {fix}"
            )

    def test_an_empty_list_needs_no_query(self) -> None:
        """An empty list gives an empty list, even without a query."""
        fix = "begin with `if not nodes: return []`, before the check of the query"
        with with_fix(fix):
            for way, answer in _asked(self.make(), [], None):
                assert answer() == [], f"{way} returned nodes for an empty list: {fix}"

    def test_nothing_added_reaches_a_prompt(self) -> None:
        """The text of a node for language models and embeddings does not change."""
        nodes = [
            NodeWithScore(
                node=TextNode(text=text, metadata={"source": f"page {number}"}), score=0.5
            )
            for number, text in enumerate(self.texts)
        ]
        before = {found.node.node_id: _read(found.node) for found in nodes}
        for way, kept in self._both(self._keeping(len(nodes)), nodes):
            for found in kept:
                was = before.get(found.node.node_id, _read(found.node))
                assert _read(found.node) == was, (
                    f"{way} changed the text of a node for models to {_read(found.node)[0]!r}: "
                    "add the keys of new metadata to excluded_llm_metadata_keys and "
                    "excluded_embed_metadata_keys of a copy of the node"
                )


def _asked(
    reranker: BaseNodePostprocessor, nodes: list[NodeWithScore], bundle: QueryBundle | None
) -> Iterator[tuple[str, Callable[[], Sequence[NodeWithScore]]]]:
    """Both methods, ready to be called with a bundle."""

    async def answer() -> list[NodeWithScore]:
        return await reranker.apostprocess_nodes(nodes, query_bundle=bundle)

    yield (
        "postprocess_nodes",
        lambda: reranker.postprocess_nodes(nodes, query_bundle=bundle),
    )
    yield "apostprocess_nodes", lambda: asyncio.run(answer())


def _same(found: BaseNode, given: BaseNode | None) -> bool:
    objects: list[Any] = [getattr(node, "obj", None) for node in (found, given)]
    return type(found) is type(given) and objects[0] is objects[1]


def _read(node: BaseNode) -> tuple[str, str]:
    return (
        node.get_content(metadata_mode=MetadataMode.LLM),
        node.get_content(metadata_mode=MetadataMode.EMBED),
    )
