"""A first stage that needs no model: texts as hashed counts of their words, for both frameworks.

It counts every word alike, so it finds candidates but orders them badly: what rerankers are for.
"""

from __future__ import annotations

import re
from collections import Counter
from zlib import crc32

from langchain_core.embeddings import Embeddings
from llama_index.core.embeddings import BaseEmbedding

_SIZE = 512
_WORD = re.compile(r"[a-z]+")


def vector(text: str) -> list[float]:
    """The text's word counts, folded into a vector of fixed size."""
    counts = Counter(crc32(word.encode()) % _SIZE for word in _WORD.findall(text.lower()))
    return [float(counts[place]) for place in range(_SIZE)]


class WordCounts(Embeddings):
    """The vectors for LangChain."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector a text."""
        return [vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The query's vector."""
        return vector(text)


class WordCountsForLlamaIndex(BaseEmbedding):
    """The vectors for LlamaIndex."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return vector(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return vector(query)
