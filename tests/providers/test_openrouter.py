"""Tests of what OpenRouter is sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from cases import cases
from rerank_integrations import ProviderPreferences
from rerank_integrations.errors import ConfigurationError
from support import KEY, body_of, call, openrouter

PREFERENCES: dict[str, Any] = {
    "allow_fallbacks": True,
    "require_parameters": False,
    "data_collection": "deny",
    "zdr": True,
    "enforce_distillable_text": False,
    "order": ["cohere", "azure"],
    "only": ["cohere"],
    "ignore": ["azure"],
    "quantizations": ["int8", "fp16", "unknown"],
    "sort": {"by": "price", "partition": "none"},
    "max_price": {
        "prompt": "0.5",
        "completion": "1",
        "request": "0.01",
        "image": "0.1",
        "audio": "0",
    },
    "preferred_max_latency": {"p50": 0.5, "p75": 1.0, "p90": 2.0, "p99": 5.0},
    "preferred_min_throughput": 100.0,
    "options": {"cohere": {"max_tokens_per_doc": 512}},
}


def test_headers() -> None:
    """OpenRouter is told which app asks."""
    provider = openrouter(
        http_referer="https://app.example", title="My app", categories=["cli-agent", "cloud-agent"]
    )
    assert provider.headers() == {
        "Authorization": f"Bearer {KEY}",
        "HTTP-Referer": "https://app.example",
        "X-OpenRouter-Title": "My app",
        "X-OpenRouter-Categories": "cli-agent,cloud-agent",
    }


def test_headers_that_nobody_set() -> None:
    """What is not set is not sent."""
    assert openrouter().headers() == {"Authorization": f"Bearer {KEY}"}


@cases(
    ("categories", "expected"),
    [
        ("cli-agent", "cli-agent"),
        ("cli-agent, cloud-agent", "cli-agent,cloud-agent"),
        (["cli-agent"], "cli-agent"),
        (("a" * 30, "b2"), f"{'a' * 30},b2"),
    ],
)
def test_categories(categories: object, expected: str) -> None:
    """Categories are a text or a list, and go out in one header."""
    assert openrouter(categories=categories).headers()["X-OpenRouter-Categories"] == expected


@cases(
    "categories",
    ["a,b,c", ["a", "b", "c"], "CLI-agent", "cli agent", "a" * 31, "", [""], "a,", "é"],
)
def test_wrong_categories(categories: object) -> None:
    """Categories that OpenRouter would drop in silence are refused."""
    with pytest.raises(ConfigurationError, match="categories are at most 2 names"):
        openrouter(categories=categories)


@cases("name", ["http_referer", "title"])
@cases("value", ["a\r\nX-Evil: 1", "a\nb", "naïve"])
def test_wrong_header(name: str, value: object) -> None:
    """A header that HTTP cannot carry is refused when the provider is made."""
    with pytest.raises(ConfigurationError, match="header"):
        openrouter(**{name: value})


def test_body() -> None:
    """What groups calls stands in the body."""
    trace = {"trace_id": "t", "generation_name": "g", "own": 1}
    provider = openrouter(session_id="s", user="u", trace=trace)
    body = body_of(call("a", provider=provider))
    assert {name: body[name] for name in ("session_id", "user", "trace")} == {
        "session_id": "s",
        "user": "u",
        "trace": trace,
    }


def test_session_id() -> None:
    """A session_id has at most 256 characters."""
    assert openrouter(session_id="s" * 256).session_id == "s" * 256


def test_long_session_id() -> None:
    """A longer session_id is refused."""
    with pytest.raises(ConfigurationError, match="more than 256"):
        openrouter(session_id="s" * 257)


@cases("form", [dict, ProviderPreferences.model_validate])
def test_all_preferences(form: Any) -> None:
    """All preferences go out as they were given, as a mapping or as an object."""
    provider = openrouter(provider_preferences=form(PREFERENCES))
    assert body_of(call("a", provider=provider))["provider"] == PREFERENCES


def test_preferences_are_complete() -> None:
    """The tests know every preference."""
    assert set(ProviderPreferences.model_fields) == set(PREFERENCES)


@cases(
    "preferences",
    [
        *({name: value} for name, value in PREFERENCES.items()),
        {"sort": "throughput"},
        {"sort": {"by": "exacto"}},
        {"preferred_max_latency": 2},
        {"preferred_min_throughput": {"p90": 50}},
        {},
    ],
    ids=str,
)
def test_preference(preferences: dict[str, object]) -> None:
    """A preference goes out alone, and what was not set is not sent, not even as null."""
    provider = openrouter(provider_preferences=preferences)
    assert body_of(call("a", provider=provider))["provider"] == preferences


@cases(
    ("price", "sent"),
    [
        (0.5, "0.5"),
        (1e-07, "0.0000001"),
        (3, "3"),
        (0, "0"),
        (1e22, "10000000000000000000000"),
        (Decimal("0.10"), "0.10"),
        (np.float32(0.1), "0.1"),
        (np.int64(2), "2"),
        ("0.25", "0.25"),
    ],
)
@cases("form", [dict, ProviderPreferences.model_validate])
def test_price(form: Any, price: Any, sent: str) -> None:
    """A price may be a number; it is sent as a string of digits, as OpenRouter's schema says."""
    provider = openrouter(provider_preferences=form({"max_price": {"request": price}}))
    assert body_of(call("a", provider=provider))["provider"] == {"max_price": {"request": sent}}


@cases("name", PREFERENCES)
def test_preference_of_none(name: str) -> None:
    """A preference that is None is not sent, not even as null."""
    others = {other: value for other, value in PREFERENCES.items() if other != name}
    provider = openrouter(provider_preferences={**others, name: None})
    assert body_of(call("a", provider=provider))["provider"] == others


def test_no_preferences() -> None:
    """Without preferences there is no such key."""
    assert "provider" not in body_of(call("a", provider=openrouter()))


@cases(
    ("preferences", "place"),
    [
        ({"alow_fallbacks": True}, "alow_fallbacks"),
        ({"sort": {"by": "price", "order": "up"}}, "order"),
        ({"max_price": {"promt": "1"}}, "max_price.promt"),
        ({"preferred_max_latency": {"p95": 1}}, "p95"),
        ({"preferred_min_throughput": {"p95": 1}}, "p95"),
    ],
)
def test_unknown_preference(preferences: dict[str, object], place: str) -> None:
    """An unknown key is refused at every level, by its place."""
    with pytest.raises(ConfigurationError, match=place):
        openrouter(provider_preferences=preferences)


@cases(
    ("preferences", "place"),
    [
        ({"data_collection": "maybe"}, "data_collection"),
        ({"quantizations": ["int3"]}, "quantizations.0"),
        ({"sort": "cheapest"}, "sort"),
        ({"sort": {"partition": "all"}}, "sort"),
        *(
            ({"max_price": {"prompt": price}}, "max_price.prompt: .*a price is a finite number")
            for price in (True, -1, -0.01, float("nan"), float("inf"), Decimal("NaN"), ["1"])
        ),
        ({"order": "cohere"}, "order"),
        ({"zdr": "perhaps"}, "zdr"),
        ({"options": {"cohere": 1}}, "options.cohere"),
    ],
)
def test_wrong_preference(preferences: object, place: str) -> None:
    """A preference of a wrong kind is refused by its place, with the known keys."""
    with pytest.raises(ConfigurationError, match=f"{place}.*Known keys: allow_fallbacks, "):
        openrouter(provider_preferences=preferences)


def test_refused_preference_is_not_repeated() -> None:
    """The message about a refused preference does not repeat its value."""
    with pytest.raises(ConfigurationError) as caught:
        openrouter(provider_preferences={"options": {"cohere": KEY}})
    assert KEY not in str(caught.value)


def test_images() -> None:
    """OpenRouter takes images, but for models that are known to rank text only."""
    takes = openrouter().takes_images
    assert takes("some/model")
    assert takes("nvidia/llama-nemotron-rerank-vl-1b-v2")
    assert takes("qwen/qwen3-vl-reranker-8b")
    assert not takes("cohere/rerank-v3.5")
    assert not takes("voyageai/rerank-2.5-lite")
    assert not takes("qwen/qwen3-reranker-8b")


@cases("model", ["Salesforce/Llama-Rank-V1", "pinecone/bge-reranker-v2-m3"])
def test_never_ranks_fields(model: str) -> None:
    """OpenRouter knows no rank_fields, whatever the model is called."""
    assert openrouter().max_rank_fields(model) == 0
