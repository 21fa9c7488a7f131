"""The adapter for LangChain: `RerankCompressor`, a `BaseDocumentCompressor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from rerank_integrations.client import RerankClient, client_for
from rerank_integrations.models import DocumentInput, RerankDocument, RerankResponse

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
except ImportError as cause:
    raise ImportError(
        "rerank_integrations.langchain needs the extra 'langchain': "
        "pip install 'rerank-integrations[langchain]'"
    ) from cause

SCORE_KEY = "relevance_score"


class RerankCompressor(BaseDocumentCompressor):
    """Keeps the documents that a rerank model finds most relevant, best first.

    Each is a copy with the score in `metadata["relevance_score"]`; blank ones are left out.

    Args:
        model: "provider:model", such as `"openrouter:cohere/rerank-v3.5"`.
        client: a RerankClient instead of a model.
        top_n: how many to keep; where not given, as the client says.
        rank_fields: names of metadata fields to rank by, in order; `"text"` is `page_content`,
            which is ranked alone where no fields are given.

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

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The most relevant documents, best first."""
        del callbacks
        found = list(documents)
        response = self._ranker.rerank(query, self._inputs(found), **self._options())
        return _ranked(found, response)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The same, without blocking the event loop."""
        del callbacks
        found = list(documents)
        response = await self._ranker.arerank(query, self._inputs(found), **self._options())
        return _ranked(found, response)

    def _inputs(self, documents: Sequence[Document]) -> list[DocumentInput]:
        if self.rank_fields is None:
            return [document.page_content for document in documents]
        return [
            RerankDocument(text=document.page_content, fields=document.metadata)
            for document in documents
        ]

    def _options(self) -> dict[str, Any]:
        names = ("top_n", "rank_fields")
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}


def _ranked(documents: Sequence[Document], response: RerankResponse) -> list[Document]:
    return [
        (document := documents[result.index]).model_copy(
            update={"metadata": {**document.metadata, SCORE_KEY: result.relevance_score}}
        )
        for result in response
    ]
