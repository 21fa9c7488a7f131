"""What the rules for compressors start from: the author's settings, documents and calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

from langchain_core.documents import BaseDocumentCompressor, Document

COPY = (
    "return document.model_copy(update={'metadata': {**document.metadata, 'relevance_score': "
    "score}}), which keeps id, class and fields and leaves the input alone"
)


class Setup:
    """The author's settings, explained in `CompressorConformance`, and what is made of them."""

    query: str
    texts: Sequence[str]
    score_key: str | None
    top_n_field: str | None
    native_async: bool
    secrets: Sequence[str]
    make: Callable[..., BaseDocumentCompressor]

    def _keeping(self, count: int) -> BaseDocumentCompressor:
        """A compressor that keeps so many documents."""
        return self.make(**({self.top_n_field: count} if self.top_n_field else {}))

    def _documents(self, suffix: str = "") -> list[Document]:
        return [
            Document(
                page_content=text + suffix,
                id=f"id-{number}",
                metadata={"source": f"page {number}", "nested": {"tags": ["a", "b"]}},
            )
            for number, text in enumerate(self.texts)
        ]

    def _both(
        self,
        compressor: BaseDocumentCompressor,
        documents: Sequence[Document],
        query: str | None = None,
        **callbacks: Any,
    ) -> Iterator[tuple[str, Sequence[Document]]]:
        """The answers of both methods, each with the method's name."""
        asked = self.query if query is None else query
        yield "compress_documents", compressor.compress_documents(documents, asked, **callbacks)
        yield "acompress_documents", run(compressor, documents, asked, **callbacks)

    def _score(self, document: Document) -> Any:
        assert self.score_key in document.metadata, (
            f"no score under metadata[{self.score_key!r}]: write it there, set score_key to the "
            "key that you use, or to None where the compressor attaches no score"
        )
        return document.metadata[self.score_key]

    def _needs_score(self) -> None:
        if self.score_key is None:
            raise SkipTest("score_key is None: no score to check")

    def _needs_top_n(self) -> str:
        if self.top_n_field is None:
            raise SkipTest("top_n_field is None: nothing limits the answer")
        return self.top_n_field


def run(
    compressor: BaseDocumentCompressor, documents: Sequence[Document], query: str, **callbacks: Any
) -> Sequence[Document]:
    """The async answer, on an event loop of its own."""

    async def answer() -> Sequence[Document]:
        return await compressor.acompress_documents(documents, query, **callbacks)

    return asyncio.run(answer())


def contents(documents: Sequence[Document]) -> list[str]:
    """The texts of documents."""
    return [document.page_content for document in documents]


def best(documents: Sequence[Document]) -> str:
    """The text that came first."""
    assert documents, "nothing came back: make() must build a compressor without a threshold"
    return documents[0].page_content


@contextmanager
def cured_by(cure: str) -> Iterator[None]:
    """Adds the cure to whatever error comes up inside."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}. Cure: {cure}") from error
