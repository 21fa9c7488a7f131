"""The adapter for LlamaIndex: `RerankPostprocessor`, a `BaseNodePostprocessor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import Field, SecretStr

from rerank_integrations._adapter import Adapter, answered, failed
from rerank_integrations.errors import InvalidRequestError, RerankError
from rerank_integrations.models import DocumentInput, RerankDocument, RerankResponse

try:
    from llama_index.core.callbacks.schema import CBEventType, EventPayload
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
except ImportError as cause:
    raise ImportError(
        "rerank_integrations.llama_index needs the extra 'llama-index': "
        "pip install 'rerank-integrations[llama-index]'"
    ) from cause

RETRIEVAL_SCORE = "retrieval_score"
dispatcher = get_dispatcher(__name__)

End = Callable[[list[NodeWithScore], dict[str, Any]], list[NodeWithScore]]
"""Told what was kept and what a trace says of it; returns what was kept."""


class RerankPostprocessor(Adapter, BaseNodePostprocessor):
    """Keeps the nodes that a rerank model finds most relevant, best first.

    Each comes in a new `NodeWithScore` around the same node; blank ones are left out. Every call
    is told to both event channels, with provider, usage and request id in the events' tags.

    Args:
        model: "provider:model", such as `"together:Salesforce/Llama-Rank-V1"`.
        client: a RerankClient instead of a model, for all that a name cannot say.
        api_key: the key for `model`; from the provider's environment variable when None.
        base_url: another address for `model`.
        top_n: how many to keep; where not given, as the client says.
        rank_fields: names of metadata fields to rank by, in order; `"text"` is the node's own
            text. Without it the node is ranked by its content in `metadata_mode`.
        metadata_mode: which metadata stands in the content that is ranked without `rank_fields`.
        keep_retrieval_score: keep the score of the first stage in the metadata of a copy of the
            node, as `retrieval_score`, where neither a language model nor an embedding sees it.
        score_threshold: the least score to keep; scales differ per model.
        on_error: "raise", or "passthrough": when the provider fails, the first `top_n` nodes come
            back as they are, with a logged warning. Mistakes made on this side are raised.

    Raises:
        pydantic.ValidationError: an unknown argument, no key, neither or both of model and client.
    """

    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)

    metadata_mode: MetadataMode = MetadataMode.EMBED
    keep_retrieval_score: bool = False

    @classmethod
    def class_name(cls) -> str:
        """The name under which the class is serialized."""
        return "RerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query = _query_text(query_bundle)
        with self._told(nodes, query) as end:
            try:
                response = self._ranker().rerank(query, self._inputs(nodes), **self._options())
            except RerankError as error:
                if not self._passes(error):
                    raise
                return end(nodes[: self._top_n()], failed(error))
            return end(self._ranked(nodes, response), answered(response))

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query = _query_text(query_bundle)
        with self._told(nodes, query) as end:
            try:
                inputs = self._inputs(nodes)
                response = await self._ranker().arerank(query, inputs, **self._options())
            except RerankError as error:
                if not self._passes(error):
                    raise
                return end(nodes[: self._top_n()], failed(error))
            return end(self._ranked(nodes, response), answered(response))

    @contextmanager
    def _told(self, nodes: Sequence[NodeWithScore], query: str) -> Iterator[End]:
        """Tell both event channels of a call; they get copies, which later changes cannot reach."""
        name, top_n = self._ranker().model, self._top_n() or len(nodes)
        start = ReRankStartEvent(
            query=query,
            nodes=_copies(nodes),
            top_n=top_n,
            model_name=name,
            tags=self._asked(len(nodes)),
        )
        dispatcher.event(start)
        payload: dict[str, Any] = {
            EventPayload.NODES: _copies(nodes),
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:

            def end(kept: list[NodeWithScore], tags: dict[str, Any]) -> list[NodeWithScore]:
                event.on_end(payload={EventPayload.NODES: _copies(kept)})
                dispatcher.event(ReRankEndEvent(nodes=_copies(kept), tags=tags))
                return kept

            yield end

    def _inputs(self, nodes: Sequence[NodeWithScore]) -> list[DocumentInput]:
        if self._options().get("rank_fields", self._ranker().rank_fields) is None:
            return [found.node.get_content(metadata_mode=self.metadata_mode) for found in nodes]
        return [
            RerankDocument(
                text=found.node.get_content(metadata_mode=MetadataMode.NONE),
                fields={k: v for k, v in found.node.metadata.items() if k != "image"},
            )
            for found in nodes
        ]

    def _ranked(
        self, nodes: Sequence[NodeWithScore], response: RerankResponse
    ) -> list[NodeWithScore]:
        kept = ((nodes[result.index], result.relevance_score) for result in self._kept(response))
        return [
            found.model_copy(update={"node": self._node_of(found), "score": score})
            for found, score in kept
        ]

    def _node_of(self, found: NodeWithScore) -> BaseNode:
        node = found.node
        if not self.keep_retrieval_score:
            return node
        hidden = [RETRIEVAL_SCORE]
        update = {
            "metadata": {**node.metadata, RETRIEVAL_SCORE: found.score},
            "excluded_embed_metadata_keys": node.excluded_embed_metadata_keys + hidden,
            "excluded_llm_metadata_keys": node.excluded_llm_metadata_keys + hidden,
        }
        return node.model_copy(update=update)


def _copies(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    return [found.model_copy() for found in nodes]


def _query_text(query_bundle: QueryBundle | None) -> str:
    if isinstance(query_bundle, str):  # passed as the second positional argument
        return query_bundle
    if query_bundle is None:
        raise InvalidRequestError("nodes are reranked by a query: pass query_str= or query_bundle=")
    return query_bundle.query_str
