"""The adapter for LlamaIndex: `RerankPostprocessor`, a `BaseNodePostprocessor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from rerank_integrations.client import RerankClient, client_for
from rerank_integrations.errors import InvalidRequestError
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


class RerankPostprocessor(BaseNodePostprocessor):
    """Keeps the nodes that a rerank model finds most relevant, best first.

    Each comes in a new `NodeWithScore` around the same node; blank ones are left out.

    Args:
        model: "provider:model", such as `"together:Salesforce/Llama-Rank-V1"`.
        client: a RerankClient instead of a model.
        top_n: how many to keep; where not given, as the client says.
        rank_fields: names of metadata fields to rank by, in order; `"text"` is the node's own
            text. Without it the node is ranked by its EMBED content.

    Raises:
        pydantic.ValidationError: an unknown argument, no key, neither or both of model and client.
    """

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    model: str | None = None
    client: RerankClient | None = Field(default=None, exclude=True, repr=False)
    top_n: int | None = Field(default=None, ge=1)
    rank_fields: Sequence[str] | None = None

    _ranker: RerankClient = PrivateAttr()

    @model_validator(mode="after")
    def _find_client(self) -> Self:
        self._ranker = client_for(self.model, self.client)
        return self

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
        return _ranked(nodes, self._ranker.rerank(query, self._inputs(nodes), **self._options()))

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query = _query_text(query_bundle)
        response = await self._ranker.arerank(query, self._inputs(nodes), **self._options())
        return _ranked(nodes, response)

    def _inputs(self, nodes: Sequence[NodeWithScore]) -> list[DocumentInput]:
        if self.rank_fields is None:
            return [found.node.get_content(metadata_mode=MetadataMode.EMBED) for found in nodes]
        return [
            RerankDocument(
                text=found.node.get_content(metadata_mode=MetadataMode.NONE),
                fields={k: v for k, v in found.node.metadata.items() if k != "image"},
            )
            for found in nodes
        ]

    def _options(self) -> dict[str, Any]:
        names = ("top_n", "rank_fields")
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}


def _query_text(query_bundle: QueryBundle | None) -> str:
    if isinstance(query_bundle, str):  # passed as the second positional argument
        return query_bundle
    if query_bundle is None:
        raise InvalidRequestError("nodes are reranked by a query: pass query_str= or query_bundle=")
    return query_bundle.query_str


def _ranked(nodes: Sequence[NodeWithScore], response: RerankResponse) -> list[NodeWithScore]:
    return [
        nodes[result.index].model_copy(update={"score": result.relevance_score})
        for result in response
    ]
