"""Run with nothing but the package installed: the core works, and each extra says its name."""

from __future__ import annotations

import rerank_integrations
from rerank_integrations import ConfigurationError, Local, RerankClient


def refusal(name: str) -> str:
    """What the import of an adapter says without its framework."""
    try:
        __import__(f"rerank_integrations.{name}")
    except ImportError as error:
        return str(error)
    return ""


def lengths(query: str, texts: list[str]) -> list[float]:
    """A scorer that likes long texts."""
    return [float(len(text)) for text in texts]


for public in rerank_integrations.__all__:
    getattr(rerank_integrations, public)

response = RerankClient("longest", provider=Local(scorer=lengths)).rerank("q", ["a", "aaa", "aa"])
assert [result.index for result in response] == [1, 2, 0], response

ADAPTERS = {
    "langchain": "langchain",
    "llama_index": "llama-index",
    "testing.compressors": "langchain",
    "testing.postprocessors": "llama-index",
}
for name, extra in ADAPTERS.items():
    assert f"rerank-integrations[{extra}]" in refusal(name), refusal(name)
try:
    RerankClient("local:bm25").rerank("q", ["a"])
except ConfigurationError as error:
    assert "rerank-integrations[local]" in str(error), error
else:
    raise AssertionError("bm25s is installed: this environment is not bare")
print("bare: ok")
