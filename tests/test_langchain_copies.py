"""Dumps, loads, copies and pickles of a RerankCompressor, no key in what is printed, bad setups."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.load import dumpd, dumps
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda
from pydantic import SecretStr, ValidationError

from calls import KEYS, client_of
from cases import cases
from langchain_support import KEY, QUERY, Candidates, Way, ids, loaded, openrouter, three
from loopback import Server
from rerank_integrations import (
    ConfigurationError,
    InvalidRequestError,
    OpenRouter,
    RerankClient,
)
from rerank_integrations.langchain import RerankCompressor

MODELS = {
    "openrouter": "openrouter:m",
    "together": "together:m",
    "portkey": "portkey:@cohere/m",
}
SETTINGS: dict[str, Any] = {
    "top_n": 2,
    "rank_fields": ["title", "text"],
    "score_threshold": 0.5,
    "on_error": "passthrough",
    "score_key": "score",
    "image_key": None,
}
Copier: TypeAlias = Callable[[RerankCompressor], RerankCompressor]

loading = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


@loading
@pytest.mark.parametrize("gateway", KEYS)
def test_a_dump_can_be_loaded(gateway: str) -> None:
    """What dumps wrote, loads restores with every setting and the key."""
    given: dict[str, Any] = {"model": MODELS[gateway], "api_key": KEY, "base_url": "https://host"}
    compressor = RerankCompressor(**given, **SETTINGS)

    again = loaded(dumps(compressor), **{KEYS[gateway]: KEY})

    assert isinstance(again, RerankCompressor)
    assert again.model_dump() == compressor.model_dump()
    assert again.api_key == SecretStr(KEY)


@loading
def test_what_was_loaded_works(way: Way, server: Server) -> None:
    """A compressor out of a dump ranks, with the key that was named."""
    again = loaded(dumps(openrouter(server, top_n=1)), OPENROUTER_API_KEY="another-key")

    assert len(way.compress(again, three())) == 1
    assert server.received[0].headers["authorization"] == "Bearer another-key"


@loading
@pytest.mark.parametrize("given", [{}, {"top_n": None}, {"score_key": "relevance_score"}])
def test_what_was_not_set_stays_unset(given: dict[str, Any]) -> None:
    """A dump holds what was given, None and defaults included, and leaves the rest unset."""
    again = loaded(dumps(RerankCompressor(model="local:bm25", **given)))

    assert again.model_fields_set == {"model", *given}


@cases(("gateway", "variable"), KEYS.items())
def test_a_dump_names_the_key(gateway: str, variable: str) -> None:
    """In a dump stands the name of the provider's environment variable instead of the key."""
    compressor = RerankCompressor(model=MODELS[gateway], api_key=SecretStr(KEY))

    text = dumps(compressor)

    assert KEY not in text
    secret = {"lc": 1, "type": "secret", "id": [variable]}
    assert json.loads(text)["kwargs"]["api_key"] == secret
    assert json.loads(text)["id"] == ["rerank_integrations", "langchain", "RerankCompressor"]


@loading
@pytest.mark.parametrize(("gateway", "variable"), KEYS.items())
def test_a_key_of_the_environment_is_not_dumped(
    monkeypatch: pytest.MonkeyPatch, gateway: str, variable: str
) -> None:
    """A key that came from the environment is in no dump, and is found there again."""
    monkeypatch.setenv(variable, KEY)
    compressor = RerankCompressor(model=MODELS[gateway])

    assert KEY not in dumps(compressor)
    assert loaded(dumps(compressor)).model == compressor.model


def test_a_dump_without_a_key_has_no_secret() -> None:
    """An engine that needs no key has no secret in its dump."""
    compressor = RerankCompressor(model="local:bm25")

    assert compressor.lc_secrets == {}
    assert json.loads(dumps(compressor))["kwargs"] == {"model": "local:bm25"}


@cases(
    "arguments",
    [
        {"client": RerankClient("m", provider=OpenRouter(api_key=KEY))},
        {"model": "openrouter:m", "api_key": KEY, "document_to_input": lambda document: "text"},
        {"model": "openrouter:m", "api_key": KEY, "fallbacks": [RerankClient("local:bm25")]},
    ],
    ids=["client", "document_to_input", "client among fallbacks"],
)
def test_what_cannot_be_loaded_says_so(arguments: dict[str, Any]) -> None:
    """With a client or a function the dump says not_implemented, and shows no key."""
    text = dumps(RerankCompressor(**arguments))

    assert json.loads(text)["type"] == "not_implemented"
    assert KEY not in text


def with_client() -> RerankCompressor:
    """A compressor that was given a client."""
    return RerankCompressor(client=RerankClient("m", provider=OpenRouter(api_key=KEY)))


def with_model() -> RerankCompressor:
    """A compressor that was given a key."""
    return RerankCompressor(model="openrouter:m", api_key=SecretStr(KEY))


def retriever(compressor: RerankCompressor) -> ContextualCompressionRetriever:
    """A retriever that holds the compressor."""
    return ContextualCompressionRetriever(
        base_retriever=Candidates(found=three()), base_compressor=compressor
    )


def pipeline(compressor: RerankCompressor) -> DocumentCompressorPipeline:
    """A pipeline that holds the compressor."""
    return DocumentCompressorPipeline(transformers=[compressor])


def chain(compressor: RerankCompressor) -> Runnable[Any, Any]:
    """A chain that holds the compressor in every way."""
    keep = ConfigurableField(id="keep")
    step: Runnable[Any, Any] = compressor.as_runnable().configurable_fields(top_n=keep)
    last: Runnable[Any, Any] = RunnableLambda(ids)
    return compressor.as_runnable(retriever(compressor)) | step | last


PRINTERS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "dumpd": dumpd,
    "dumps": dumps,
    "dumps, pretty": lambda held: dumps(held, pretty=True),
}
holders = cases("hold", [lambda c: c, retriever, pipeline, chain])
makers = cases("make", [with_client, with_model])


@makers
@holders
@cases("printed", PRINTERS.values(), ids=PRINTERS)
def test_nothing_prints_the_key(
    make: Callable[[], RerankCompressor],
    hold: Callable[[RerankCompressor], object],
    printed: Callable[[Any], object],
) -> None:
    """No repr, str or dump of a compressor, or of what holds it, shows the key."""
    assert KEY not in str(printed(hold(make())))


@makers
@cases("hold", [lambda c: c, retriever, pipeline])
def test_no_model_dump_shows_the_key(
    make: Callable[[], RerankCompressor], hold: Callable[[RerankCompressor], Any]
) -> None:
    """model_dump and model_dump_json, of a compressor and of what holds it, show no key."""
    held = hold(make())

    assert KEY not in str(held.model_dump())
    assert KEY not in held.model_dump_json(exclude={"base_retriever"})


def test_the_repr_says_what_was_set() -> None:
    """A repr shows the model and the settings."""
    shown = repr(RerankCompressor(model="local:bm25", top_n=2))

    assert "local:bm25" in shown
    assert "top_n=2" in shown


def pickled(compressor: RerankCompressor) -> RerankCompressor:
    """The compressor after a pickle round trip."""
    found = pickle.loads(pickle.dumps(compressor))  # noqa: S301
    assert isinstance(found, RerankCompressor)
    return found


def model_copied(compressor: RerankCompressor) -> RerankCompressor:
    """The compressor after pydantic's shallow copy."""
    return compressor.model_copy()


def deeply_copied(compressor: RerankCompressor) -> RerankCompressor:
    """The compressor after pydantic's deep copy."""
    return compressor.model_copy(deep=True)


def unused(compressor: RerankCompressor) -> None:
    """Leave it as it was made."""


def used(compressor: RerankCompressor) -> None:
    """Use it in this thread."""
    compressor.compress_documents(three(), QUERY)


def used_on_loops(compressor: RerankCompressor) -> None:
    """Use it on two event loops that end."""
    for _ in range(2):
        asyncio.run(_acompress(compressor))


async def _acompress(compressor: RerankCompressor) -> None:
    await compressor.acompress_documents(three(), QUERY)


copiers = cases("copied", [copy.copy, copy.deepcopy, model_copied, deeply_copied, pickled])


@copiers
@cases("before", [unused, used, used_on_loops])
@cases("by_client", [False, True], ids=["model", "client"])
def test_a_copy_works(
    way: Way,
    server: Server,
    copied: Copier,
    before: Callable[[RerankCompressor], None],
    *,
    by_client: bool,
) -> None:
    """A copy works like the original, whatever was done with that before, and so does that."""
    arguments: dict[str, Any] = (
        {"client": client_of(server, top_n=2)}
        if by_client
        else {"model": "openrouter:m", "api_key": "the-key", "base_url": server.url, "top_n": 2}
    )
    compressor = RerankCompressor(**arguments, score_key="score")
    before(compressor)

    other = copied(compressor)

    assert other is not compressor
    for each in (other, compressor):
        kept = way.compress(each, three())
        assert [document.metadata.keys() for document in kept] == [{"title", "score"}] * 2
        assert server.received[-1].headers["authorization"] == "Bearer the-key"


@copiers
def test_a_copy_has_the_same_settings(copied: Copier) -> None:
    """A copy has every setting of the original, and leaves unset what that left unset."""
    compressor = RerankCompressor(model="openrouter:m", api_key=SecretStr(KEY), **SETTINGS)

    other = copied(compressor)

    assert other.model_dump() == compressor.model_dump()
    assert other.api_key == compressor.api_key
    assert other.model_fields_set == compressor.model_fields_set


async def test_a_copy_can_be_made_while_a_loop_runs(server: Server) -> None:
    """A compressor in use on the running event loop can be copied, and both go on working."""
    compressor = openrouter(server)
    await _acompress(compressor)
    for copied in (copy.deepcopy, pickled, model_copied):
        await _acompress(copied(compressor))
    await _acompress(compressor)

    assert len(server.received) == 5


def test_loops_one_after_another(server: Server) -> None:
    """One compressor works on any number of event loops one after another, and between them."""
    compressor = openrouter(server)
    for _ in range(3):
        used_on_loops(compressor)
        used(compressor)

    assert len(server.received) == 9


@cases("copied", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])  # noqa: S301
def test_what_holds_it_can_be_copied(way: Way, server: Server, copied: Callable[..., Any]) -> None:
    """A retriever and a step that hold a compressor are copied and pickled with it, after use."""
    compressor = openrouter(server, top_n=1)
    given = {"query": QUERY, "documents": three()}
    places: list[tuple[Runnable[Any, Any], Any]] = [
        (retriever(compressor), QUERY),
        (compressor.as_runnable(), given),
    ]
    for held, asked in places:
        assert len(way.invoke(held, asked)) == 1
        assert len(way.invoke(copied(held), asked)) == 1


@cases(
    ("arguments", "cure"),
    [
        ({}, "either model="),
        ({"top_n": 1}, "either model="),
        ({"model": "local:bm25", "client": RerankClient("local:bm25")}, "either model="),
        ({"model": "local:bm25", "topn": 1}, "topn"),
        ({"model": "local:bm25", "k": 1}, "no argument 'k'"),
        ({"model": "openrouter:m"}, "OPENROUTER_API_KEY"),
        ({"model": "together:m"}, "TOGETHER_API_KEY"),
        ({"model": "portkey:@cohere/m"}, "PORTKEY_API_KEY"),
        ({"model": "m"}, "openrouter"),
        ({"model": "nobody:m"}, "openrouter"),
        ({"model": "openrouter:", "api_key": KEY}, "openrouter:model"),
        ({"model": 7}, "string"),
        ({"model": "local:bm25", "api_key": KEY}, "api_key"),
        ({"client": "local:bm25"}, "RerankClient"),
        ({"client": RerankClient}, "RerankClient"),
        ({"client": object()}, "RerankClient"),
        (
            {"client": RerankClient("local:bm25"), "api_key": KEY},
            "api_key cannot be combined with client=",
        ),
        (
            {"client": RerankClient("local:bm25"), "base_url": "http://h"},
            "base_url cannot be combined",
        ),
        ({"model": "openrouter:m", "api_key": KEY, "base_url": "host"}, "base_url"),
        ({"model": "local:bm25", "top_n": 0}, "top_n must be an int of at least 1"),
        ({"model": "local:bm25", "top_n": -1}, "top_n must be"),
        ({"model": "local:bm25", "top_n": True}, "top_n"),
        ({"model": "local:bm25", "top_n": "many"}, "an int of"),
        ({"model": "local:bm25", "top_n": 1.5}, "an int of"),
        ({"model": "local:bm25", "rank_fields": []}, "at least one name"),
        ({"model": "local:bm25", "rank_fields": "title"}, "rank_fields"),
        ({"model": "local:bm25", "rank_fields": [""]}, "rank_fields"),
        ({"model": "local:bm25", "rank_fields": [7]}, "rank_fields"),
        ({"model": "local:bm25", "score_threshold": float("nan")}, "finite number"),
        ({"model": "local:bm25", "score_threshold": "high"}, "number"),
        ({"model": "local:bm25", "on_error": "ignore"}, "'raise' or 'passthrough'"),
        ({"model": "local:bm25", "score_key": None}, "score_key"),
        ({"model": "local:bm25", "image_key": 7}, "image_key"),
        ({"model": "local:bm25", "document_to_input": "text"}, "document_to_input"),
    ],
)
def test_a_wrong_setup_is_refused_at_once(arguments: dict[str, Any], cure: str) -> None:
    """Construction refuses what could not work, says the cure, and shows no key."""
    errors = (ConfigurationError, InvalidRequestError)
    with pytest.raises(errors, match=f"(?s){cure}") as caught:
        RerankCompressor(**arguments)
    with pytest.raises(ValidationError):  # inside of another model, and by pydantic's own ways
        RerankCompressor.model_validate(arguments)
    assert KEY not in str(caught.value)


def test_the_model_may_be_positional() -> None:
    """The model needs no name; all other arguments do."""
    assert RerankCompressor("local:bm25") == RerankCompressor(model="local:bm25")
    with pytest.raises(ConfigurationError, match="positional"):
        RerankCompressor("local:bm25", None)  # type: ignore[call-arg]
