"""The adapter for LlamaIndex: `RerankPostprocessor`, a `BaseNodePostprocessor`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, SecretStr

from rerank_integrations._adapter import Adapter
from rerank_integrations.errors import InvalidRequestError, RerankError
from rerank_integrations.models import DocumentInput, RerankDocument, RerankResponse

try:
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as cause:
    raise ImportError(
        "rerank_integrations.llama_index needs the extra 'llama-index': "
        "pip install 'rerank-integrations[llama-index]'"
    ) from cause

dispatcher = get_dispatcher(__name__)


class RerankPostprocessor(Adapter, BaseNodePostprocessor):
    """Keeps the nodes that a rerank model finds most relevant, best first.

    Each comes in a new `NodeWithScore` around the same node; blank ones are left out.

    Args:
        model: "provider:model", such as `"together:Salesforce/Llama-Rank-V1"`.
        client: a RerankClient instead of a model, for all that a name cannot say.
        api_key: the key for `model`; from the provider's environment variable when None.
        base_url: another address for `model`.
        top_n: how many to keep; where not given, as the client says.
        rank_fields: names of metadata fields to rank by, in order; `"text"` is the node's own
            text. Without it the node is ranked by its EMBED content.
        score_threshold: the least score to keep; scales differ per model.
        on_error: "raise", or "passthrough": when the provider fails, the first `top_n` nodes come
            back as they are, with a logged warning. Mistakes made on this side are raised.

    Raises:
        pydantic.ValidationError: an unknown argument, no key, neither or both of model and client.
    """

    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)

    @classmethod
    def class_name(cls) -> str:
        """The name under which the class is serialized."""
        return "RerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query, inputs = _query_text(query_bundle), self._inputs(nodes)
        try:
            response = self._ranker().rerank(query, inputs, **self._options())
        except RerankError as error:
            if self._passes(error):
                return nodes[: self._top_n()]
            raise
        return self._ranked(nodes, response)

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query, inputs = _query_text(query_bundle), self._inputs(nodes)
        try:
            response = await self._ranker().arerank(query, inputs, **self._options())
        except RerankError as error:
            if self._passes(error):
                return nodes[: self._top_n()]
            raise
        return self._ranked(nodes, response)

    def _inputs(self, nodes: Sequence[NodeWithScore]) -> list[DocumentInput]:
        if self._options().get("rank_fields", self._ranker().rank_fields) is None:
            return [found.node.get_content(metadata_mode=MetadataMode.EMBED) for found in nodes]
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
        return [
            nodes[result.index].model_copy(update={"score": result.relevance_score})
            for result in self._kept(response)
        ]


def _query_text(query_bundle: QueryBundle | None) -> str:
    if isinstance(query_bundle, str):  # passed as the second positional argument
        return query_bundle
    if query_bundle is None:
        raise InvalidRequestError("nodes are reranked by a query: pass query_str= or query_bundle=")
    return query_bundle.query_str
