"""One rerank call by a vendor's own SDK, run by the interpreter that has it: NAME ADDRESS KEY.

It prints the SDK's version, and the index and score of each result as the SDK read them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

QUERY = "a red bicycle"
TEXTS = ["apple pie", "a red bicycle", "a blue car"]
ABSENT = 3  # the status of the process where the package is not installed


def by_cohere(sdk: Any, url: str, key: str) -> Any:
    """Cohere's newest endpoint, with all that it takes."""
    client = sdk.ClientV2(api_key=key, base_url=url)
    return client.rerank(
        model="m", query=QUERY, documents=TEXTS, top_n=2, max_tokens_per_doc=512, priority=3
    ).results


def by_isaacus(sdk: Any, url: str, key: str) -> Any:
    """Isaacus, with how texts are cut."""
    client = sdk.Isaacus(api_key=key, base_url=f"{url}/v1")
    chunks = {"size": 512, "overlap_ratio": 0.1}
    return client.rerankings.create(
        model="m",
        query=QUERY,
        texts=TEXTS,
        top_n=2,
        is_iql=False,
        scoring_method="auto",
        chunking_options=chunks,
    ).results


def by_mixedbread(sdk: Any, url: str, key: str) -> Any:
    """Mixedbread."""
    client = sdk.Mixedbread(api_key=key, base_url=url)
    return client.rerank(
        model="m", query=QUERY, input=TEXTS, top_k=2, return_input=False, rewrite_query=True
    ).data


def by_openrouter(sdk: Any, url: str, key: str) -> Any:
    """OpenRouter, with preferences and ids."""
    with sdk.OpenRouter(
        api_key=key,
        server_url=f"{url}/api/v1",
        http_referer="https://app.example",
        x_open_router_title="App",
    ) as client:
        return client.rerank.rerank(
            model="m",
            query=QUERY,
            documents=TEXTS,
            top_n=2,
            provider={"order": ["Cohere"], "allow_fallbacks": False},
            session_id="s",
            user="u",
        ).results


def by_portkey(sdk: Any, url: str, key: str) -> Any:
    """Portkey, which has no method for rerank."""
    client = sdk.Portkey(api_key=key, base_url=f"{url}/v1", provider="@host")
    said = client.post("/rerank", model="m", query=QUERY, documents=TEXTS, top_n=2)
    return said["results"] if isinstance(said, dict) else said.results


def by_together(sdk: Any, url: str, key: str) -> Any:
    """Together."""
    client = sdk.Together(api_key=key, base_url=url)
    return client.rerank.create(
        model="m", query=QUERY, documents=TEXTS, top_n=2, return_documents=False
    ).results


def by_voyage(sdk: Any, url: str, key: str) -> Any:
    """Voyage."""
    client = sdk.Client(api_key=key, base_url=f"{url}/v1")
    return client.rerank(QUERY, TEXTS, model="m", top_k=2, truncation=False).results


def by_zeroentropy(sdk: Any, url: str, key: str) -> Any:
    """ZeroEntropy."""
    client = sdk.ZeroEntropy(api_key=key, base_url=f"{url}/v1")
    return client.models.rerank(
        model="m", query=QUERY, documents=TEXTS, top_n=2, latency="fast"
    ).results


# the provider's name, the package to import and the one to install
SDKS: dict[str, tuple[str, str, Callable[[Any, str, str], Any]]] = {
    "cohere": ("cohere", "cohere", by_cohere),
    "isaacus": ("isaacus", "isaacus", by_isaacus),
    "mixedbread": ("mixedbread", "mixedbread", by_mixedbread),
    "openrouter": ("openrouter", "openrouter", by_openrouter),
    "portkey": ("portkey_ai", "portkey-ai", by_portkey),
    "together": ("together", "together", by_together),
    "voyage": ("voyageai", "voyageai", by_voyage),
    "zeroentropy": ("zeroentropy", "zeroentropy", by_zeroentropy),
}


def read(result: Any, *names: str) -> Any:
    """The first of these that the SDK's result has."""
    for name in names:
        found = result.get(name) if isinstance(result, dict) else getattr(result, name, None)
        if found is not None:
            return found
    raise KeyError(names)


def main() -> None:
    """Make the call and print what the SDK read."""
    name, url, key = sys.argv[1:]
    module, package, call = SDKS[name]
    try:
        sdk = import_module(module)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(ABSENT)
    pairs = [
        (read(one, "index"), read(one, "relevance_score", "score")) for one in call(sdk, url, key)
    ]
    print(json.dumps({"version": f"{package} {metadata.version(package)}", "pairs": pairs}))


if __name__ == "__main__":
    main()
