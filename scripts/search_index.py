"""Whether the search of the built site finds what people type into it: `make docs` asks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INDEX = Path(__file__).parents[1] / "site" / "search" / "search_index.json"
EXPECTED = {  # the page that a reader looks for, by what he types
    "api key": "getting-started",
    "backoff": "reliability",
    "batch": "batch",
    "cache": "caching",
    "certificate": "proxies",
    "checkpoint": "batch",
    "chunking": "long-documents",
    "circuit breaker": "reliability",
    "cli": "command-line",
    "cost": "cost",
    "cross-encoder": "cross-encoders",
    "docker": "deploy",
    "evaluation": "evaluation",
    "fallback": "reliability",
    "fastapi": "deploy",
    "glossary": "glossary",
    "haystack": "haystack",
    "hybrid": "hybrid-search",
    "images": "images",
    "jitter": "reliability",
    "judged questions": "notebooks/05_does_it_help",
    "lambda": "deploy",
    "langgraph": "langgraph",
    "logging": "tracing",
    "long documents": "long-documents",
    "multilingual": "multilingual",
    "multimodal": "images",
    "opentelemetry": "tracing",
    "pandas": "pandas",
    "proxy": "proxies",
    "rank_fields": "rank-fields",
    "rate limit": "reliability",
    "rerank_many": "batch",
    "rerankclient": "client",
    "retry": "reliability",
    "threshold": "tuning",
    "timeline": "notebooks/08_tracing",
    "timeout": "reliability",
    "top_n": "tuning",
    "truncation": "long-documents",
    "upgrade": "upgrading",
    "vision": "images",
}


def missing(index: Mapping[str, Any]) -> list[str]:
    """What is not found on its page: the terms that neither its titles nor its text have.

    Args:
        index: what MkDocs writes for its search. Text is split into words as there, and what is
            typed finds the words that begin with it.
    """
    separator = index["config"]["separator"]

    def words(text: str) -> str:
        return " " + " ".join(filter(None, re.split(separator, text.lower())))

    found: dict[str, str] = {}
    for entry in index["docs"]:
        page = entry["location"].partition("#")[0].removesuffix(".html")
        found[page] = found.get(page, "") + words(f"{entry['title']} {entry['text']}")
    return [
        f"{term!r} is not on {page}.html"
        for term, page in EXPECTED.items()
        if words(term) not in found.get(page, "")
    ]


def main() -> None:
    """Fail where the built site lacks a term."""
    if found := missing(json.loads(INDEX.read_text(encoding="utf-8"))):
        sys.exit("The search of the site misses:\n" + "\n".join(found))


if __name__ == "__main__":
    main()
