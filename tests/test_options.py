"""Tests of options: checked when they are set, overridden for one call."""

from __future__ import annotations

import math
import re
from typing import Any

import httpx
import pytest

from cases import cases
from rerank_integrations import RerankClient
from rerank_integrations._options import NOT_GIVEN, Options, resolved
from rerank_integrations._secrets import Secret
from rerank_integrations.errors import ConfigurationError, InvalidRequestError, RerankError
from rerank_integrations.providers.local import Local
from rerank_integrations.providers.together import Together
from support import KEY, openrouter, options, together


def changed(given: Options, **changes: Any) -> Options:
    """The options with changes, as `with_options` makes them."""
    if changes.get("extra_headers") is not None:
        changes["extra_headers"] = Secret(changes["extra_headers"])
    return given.replace(changes)


class Two:
    """A number of another library."""

    def __index__(self) -> int:
        return 2


@cases(("top_n", "expected"), [(None, None), (1, 1), (10**6, 10**6), (Two(), 2)])
def test_top_n(top_n: object, expected: int | None) -> None:
    """top_n is None or a whole number of at least 1."""
    assert options(top_n=top_n).top_n == expected


@cases("top_n", [0, -1, True, 1.0, "3", math.nan])
def test_wrong_top_n(top_n: object) -> None:
    """Any other top_n is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match="top_n"):
        options(top_n=top_n)


@cases(
    ("rank_fields", "expected"),
    [
        (None, None),
        (["title", "text"], ("title", "text")),
        (("text",), ("text",)),
        (["b", "a", "b"], ("b", "a")),
    ],
)
def test_rank_fields(rank_fields: object, expected: object) -> None:
    """rank_fields keeps its order and names each field once."""
    assert options(rank_fields=rank_fields).rank_fields == expected


@cases("rank_fields", ["title", b"title", [], [""], [1], [None], {"title"}, 5, [["title"]]])
def test_wrong_rank_fields(rank_fields: object) -> None:
    """rank_fields that is no list of names is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match="rank_fields"):
        options(rank_fields=rank_fields)


@cases("max_retries", [0, 1, 10])
def test_max_retries(max_retries: int) -> None:
    """max_retries is any whole number, zero included."""
    assert options(max_retries=max_retries).max_retries == max_retries


@cases("max_retries", [-1, None, True, 1.5, "2", math.inf, pytest.param(-(10**5000), id="low")])
def test_wrong_max_retries(max_retries: object) -> None:
    """Any other max_retries is refused."""
    with pytest.raises(ConfigurationError, match="max_retries"):
        options(max_retries=max_retries)


@cases("name", ["max_retries", "requests_per_minute", "top_n"])
def test_counts_of_too_many_digits(name: str) -> None:
    """A count that Python could not write in a message is refused when it is given."""
    with pytest.raises(ValueError, match=f"{name} must be .* not a number of many digits"):
        changed(options(), **{name: 10**5000})


HUGE = pytest.param(10**5000, id="huge")


@cases("name", ["timeout", "deadline"])
@cases(
    "seconds",
    [0, -1, True, "5", math.nan, math.inf, (1, 2), 10**400, HUGE, 1e9, httpx.Timeout(1e9)],
)
def test_wrong_seconds(name: str, seconds: object) -> None:
    """A time limit that is no number of seconds above zero is refused."""
    with pytest.raises(ConfigurationError, match=name):
        changed(options(), **{name: seconds})


@cases(
    ("timeout", "expected"),
    [
        (NOT_GIVEN, None),
        (None, {"connect": None, "read": None, "write": None, "pool": None}),
        (2, {"connect": 2, "read": 2, "write": 2, "pool": 2}),
        (
            httpx.Timeout(30.0, connect=5.0),
            {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 30.0},
        ),
    ],
)
def test_phases(timeout: object, expected: object) -> None:
    """A timeout counts for each phase of a request, and NOT_GIVEN leaves it to the HTTP client."""
    assert options(timeout=timeout).timeouts() == expected


def test_defaults() -> None:
    """Options that nobody set rank all documents by all fields, with two retries."""
    given = Options(provider=Local(), model="bm25")
    assert (given.top_n, given.rank_fields, given.max_retries, given.extra_body) == (
        None,
        None,
        2,
        None,
    )


@cases(
    ("headers", "expected"), [(None, {}), ({}, {}), ({"X-Team": "Search"}, {"x-team": "Search"})]
)
def test_extra_headers(headers: dict[str, str] | None, expected: dict[str, str]) -> None:
    """Extra headers are kept in a box, with their names in lower case."""
    assert options(extra_headers=headers).extra_headers == Secret(expected)


@cases(
    "headers",
    [
        {"X-Team": f"{KEY}\nX-Evil: 1"},
        {"X-Team\r\n": KEY},
        {"X-Team": f"{KEY}é"},
        {"X-Team": KEY.encode()},
        {5: KEY},
        [("X-Team", KEY)],
        KEY,
    ],
)
def test_wrong_extra_headers(headers: object) -> None:
    """A header that HTTP cannot carry is refused without its value in the message."""
    with pytest.raises(ConfigurationError, match="header") as caught:
        options(extra_headers=headers)
    assert KEY not in str(caught.value)


@cases("name", ["model", "query", "documents", "top_n", "rank_fields"])
def test_own_key_in_extra_body(name: str) -> None:
    """extra_body cannot replace what an argument sets."""
    with pytest.raises(ConfigurationError, match=f"'{name}'"):
        options(extra_body={name: None})


@cases("body", ["a", [("a", 1)], 5])
def test_wrong_extra_body(body: object) -> None:
    """extra_body is a mapping."""
    with pytest.raises(ConfigurationError, match="extra_body must be a mapping"):
        options(extra_body=body)


def test_extra_body_is_a_copy() -> None:
    """What the caller does with extra_body later changes nothing."""
    body = {"a": 1}
    given = options(extra_body=body)
    body["a"] = 2
    assert given.extra_body == {"a": 1}


def test_repr_hides_headers_and_key() -> None:
    """The repr of options shows neither the key nor a header's value."""
    shown = repr(options(openrouter(), extra_headers={"X-Token": "another-secret"}))
    assert KEY not in shown
    assert "another-secret" not in shown


def test_without_changes() -> None:
    """Without changes the very options are used."""
    given = options()
    assert changed(given) is given


@cases(
    ("name", "value"),
    [
        ("model", "other/model"),
        ("top_n", 3),
        ("rank_fields", ("title",)),
        ("timeout", 1.0),
        ("deadline", 9.0),
        ("max_retries", 0),
    ],
)
def test_change(name: str, value: object) -> None:
    """A call's own option wins over the client's."""
    assert getattr(changed(options(), **{name: value}), name) == value


@cases("name", ["top_n", "rank_fields", "deadline", "timeout"])
def test_change_to_none(name: str) -> None:
    """A call can take an option back with None."""
    given = options(top_n=1, rank_fields=["a"], deadline=1.0, timeout=1.0)
    assert getattr(changed(given, **{name: None}), name) is None


def test_change_leaves_the_client_alone() -> None:
    """An override for one call does not change the client's options."""
    given = options(top_n=5)
    changed(given, top_n=1)
    assert given.top_n == 5


def test_change_is_checked() -> None:
    """An override is checked like the client's own option."""
    with pytest.raises(InvalidRequestError, match="top_n"):
        changed(options(), top_n=0)


@cases("model", ["", " ", None, 5])
def test_change_to_no_model(model: object) -> None:
    """A model that is empty or no str is refused for one call as for the client."""
    with pytest.raises(RerankError, match="model"):
        changed(options(), model=model)


def test_headers_are_added() -> None:
    """A call's headers are added to the client's, and win over those of the same name."""
    given = options(extra_headers={"X-A": "1", "X-B": "1"})
    after = changed(given, extra_headers={"X-B": "2", "X-C": "2"})
    assert after.extra_headers == Secret({"x-a": "1", "x-b": "2", "x-c": "2"})


def test_header_names_ignore_case() -> None:
    """A call's header replaces the client's of the same name in other letters."""
    given = options(extra_headers={"X-Team": "1"})
    after = changed(given, extra_headers={"x-team": "2"})
    assert list(after.extra_headers.get_secret_value().values()) == ["2"]


@cases("nothing", [None, {}])
@cases("name", ["extra_headers", "extra_body"])
def test_nothing_added(name: str, nothing: object) -> None:
    """None as a call's headers or body keys leaves the client's in force."""
    own: dict[str, Any] = {name: {"a": "1"}}
    given = options(**own)
    assert getattr(changed(given, **{name: nothing}), name) == getattr(given, name)


def test_body_keys_are_added() -> None:
    """A call's body keys are added to the client's, and win over those of the same name."""
    given = options(extra_body={"a": 1, "b": 1})
    after = changed(given, extra_body={"b": 2, "c": 2})
    assert after.extra_body == {"a": 1, "b": 2, "c": 2}


def test_unknown_change() -> None:
    """An unknown option is refused with the one that was probably meant."""
    client = RerankClient("local:bm25")
    with pytest.raises(ConfigurationError, match=r"with_options has no argument 'top_k'.*'top_n'"):
        client.with_options(top_k=3)  # type: ignore[call-arg]


def test_provider_of_one_call() -> None:
    """One call cannot change the provider."""
    client = RerankClient("local:bm25")
    with pytest.raises(ConfigurationError, match="rerank has no argument 'provider'"):
        client.rerank("q", ["a"], provider=together())  # type: ignore[call-overload]


def test_change_of_provider() -> None:
    """Another provider keeps the model where none is given."""
    after = changed(options(model="m"), provider=together())
    assert (after.provider.name, after.model) == ("together", "m")


def test_change_to_a_bare_name() -> None:
    """Without a provider object the model names the provider."""
    after = changed(options(), provider=None, model="local:bm25")
    assert (after.provider, after.model) == (Local(), "bm25")


def test_the_provider_checks_the_model() -> None:
    """A model that the provider cannot serve is refused when it is set."""
    with pytest.raises(ConfigurationError, match="no local engine 'bm42'"):
        changed(options(Local(), model="bm25"), model="bm42")


@cases(
    ("name", "model"),
    [
        ("together:Salesforce/Llama-Rank-V1", "Salesforce/Llama-Rank-V1"),
        ("together:cohere/rerank-v3.5:free", "cohere/rerank-v3.5:free"),
        ("together:arn:aws:bedrock:us-west-2::m/a:0", "arn:aws:bedrock:us-west-2::m/a:0"),
    ],
)
def test_resolved(monkeypatch: pytest.MonkeyPatch, name: str, model: str) -> None:
    """Before the first colon stands the provider, and all behind it is the model."""
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    assert resolved(name, None) == (model, Together())


def test_model_is_taken_whole() -> None:
    """With a provider object the model is taken whole, colons included."""
    provider = together()
    assert resolved("local:bm25", provider) == ("local:bm25", provider)


@cases("name", ["coher:rerank-v3.5", "OpenRouter:m", ":m", "base:m"])
def test_unknown_provider(name: str) -> None:
    """An unknown provider is refused with the known ones."""
    with pytest.raises(ConfigurationError, match="local, localai, mixedbread, novita, nvidia"):
        resolved(name, None)


def test_provider_of_another_package() -> None:
    """The name that another package has for a provider is refused with ours."""
    for name, meant in (
        ("voyageai", "did you mean 'voyage'?"),
        ("nvidia_nim", "did you mean 'nvidia'?"),
        ("huggingface", "'local:cross-encoder/<model>' runs"),
        ("bedrock", "use 'portkey:<model>'"),
    ):
        words = re.escape(f"unknown provider '{name}'; {meant}")
        with pytest.raises(ConfigurationError, match=words):
            resolved(f"{name}:m", None)


def test_no_provider() -> None:
    """A model that names no provider is refused with the form that does."""
    for model, meant in (
        ("rerank-v3.5", r"no provider; write"),
        ("tei", r"did you mean 'tei:model'\? write"),
        ("cohere/rerank-v3.5", r"did you mean 'cohere:rerank-v3.5'\? write"),
        ("together_ai/Salesforce/rank", r"did you mean 'together:Salesforce/rank'\? write"),
        ("BAAI/reranker", r"'local:cross-encoder/BAAI/reranker' runs .* has the model; write"),
        ("vertex_ai/m", r"use a LiteLLM proxy, 'litellm:<name in its configuration>'; write"),
    ):
        form = f"{meant} 'provider:model' with one of azureai, cohere"
        with pytest.raises(ConfigurationError, match=form):
            resolved(model, None)


@cases("model", [None, "", "  ", 5])
@cases("provider", [None, Local()])
def test_no_model(model: object, provider: object) -> None:
    """A model is a str with something in it, whoever serves."""
    with pytest.raises(ConfigurationError, match="model must be a str"):
        resolved(model, provider)


@cases("name", ["local:", "local: "])
def test_provider_without_model(name: str) -> None:
    """A provider's name alone is refused with the form that names a model too."""
    with pytest.raises(ConfigurationError, match="'local:model'"):
        resolved(name, None)


@cases("provider", ["openrouter", Local, 5])
def test_no_provider_object(provider: object) -> None:
    """A provider that is no provider object is refused with the form of one."""
    client: Any = RerankClient("local:bm25")
    for refuse in (lambda: resolved("m", provider), lambda: client.with_options(provider=provider)):
        with pytest.raises(ConfigurationError, match=r"OpenRouter\(api_key=\.\.\.\)"):
            refuse()
