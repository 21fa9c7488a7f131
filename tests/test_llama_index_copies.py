"""Dumps, copies and pickles of a RerankPostprocessor, without its key in what is printed."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.callbacks.schema import CBEventType
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.schema import MetadataMode
from pydantic import SecretStr

from calls import client_of
from cases import cases
from llama_index_support import KEY, QUERY, Candidates, Rerank, ids, local, openrouter, three
from loopback import Server
from rerank_integrations import ConfigurationError, OpenRouter, RerankClient
from rerank_integrations.llama_index import RerankPostprocessor

SETTINGS: dict[str, Any] = {
    "model": "openrouter:m",
    "base_url": "https://host/v1",
    "top_n": 2,
    "rank_fields": ["title", "text"],
    "metadata_mode": MetadataMode.LLM,
    "keep_retrieval_score": True,
    "score_threshold": 0.5,
    "on_error": "passthrough",
}
Copier: TypeAlias = Callable[[RerankPostprocessor], RerankPostprocessor]


class Mine(RerankPostprocessor):
    """A user's own, with a further field and another default."""

    label: str = "none"
    keep_retrieval_score: bool = True


def pickled(reranker: RerankPostprocessor) -> RerankPostprocessor:
    """The postprocessor after a pickle round trip."""
    found = pickle.loads(pickle.dumps(reranker))  # noqa: S301
    assert isinstance(found, RerankPostprocessor)
    return found


def model_copied(reranker: RerankPostprocessor) -> RerankPostprocessor:
    """The postprocessor after pydantic's shallow copy."""
    return reranker.model_copy()


def deeply_copied(reranker: RerankPostprocessor) -> RerankPostprocessor:
    """The postprocessor after pydantic's deep copy."""
    return reranker.model_copy(deep=True)


def by_dict(reranker: RerankPostprocessor) -> RerankPostprocessor:
    """The postprocessor out of its to_dict(), with the key."""
    return type(reranker).from_dict(reranker.to_dict(), api_key=KEY)


def by_json(reranker: RerankPostprocessor) -> RerankPostprocessor:
    """The postprocessor out of its to_json(), with the key."""
    return type(reranker).from_json(reranker.to_json(), api_key=KEY)


def unused(reranker: RerankPostprocessor) -> None:
    """Leave it as it was made."""


def used(reranker: RerankPostprocessor) -> None:
    """Use it in this thread."""
    assert len(reranker.postprocess_nodes(three(), query_str=QUERY)) == 2


def used_on_loops(reranker: RerankPostprocessor) -> None:
    """Use it on two event loops that end."""
    for _ in range(2):
        kept = asyncio.run(reranker.apostprocess_nodes(three(), query_str=QUERY))
        assert len(kept) == 2


SHALLOW: list[Copier] = [copy.copy, model_copied]
DEEP: list[Copier] = [copy.deepcopy, deeply_copied, pickled]
DUMPED: list[Copier] = [by_dict, by_json]
uses = cases("before", [unused, used, used_on_loops])


@uses
@cases("copied", SHALLOW + DEEP + DUMPED)
def test_a_copy_works(
    rerank: Rerank, server: Server, copied: Copier, before: Callable[[RerankPostprocessor], None]
) -> None:
    """A copy works like the original, whatever was done with that before, and so does that."""
    reranker = openrouter(server, top_n=2)
    before(reranker)

    other = copied(reranker)

    assert other is not reranker
    for each in (other, reranker):
        assert len(rerank(each, three(), QUERY)) == 2
        assert server.received[-1].headers["authorization"] == f"Bearer {KEY}"


@uses
@cases("copied", SHALLOW + DEEP)
def test_a_copy_of_one_with_a_client_works(
    rerank: Rerank, server: Server, copied: Copier, before: Callable[[RerankPostprocessor], None]
) -> None:
    """A copy of one that was given a client keeps the client's options, on the same terms."""
    reranker = RerankPostprocessor(client=client_of(server, top_n=2, rank_fields=["title"]))
    before(reranker)

    for each in (copied(reranker), reranker):
        assert len(rerank(each, three(), QUERY)) == 2
        assert server.received[-1].headers["authorization"] == "Bearer the-key"
        assert server.received[-1].body["documents"] == ["car", "bicycle", "van"]


def test_a_dump_leaves_a_clients_options_alone(rerank: Rerank) -> None:
    """What a dump does not know of, the client it is loaded with decides."""
    dumped = RerankPostprocessor(client=RerankClient("local:bm25", top_n=1)).to_dict()

    again = RerankPostprocessor.from_dict(dumped, client=RerankClient("local:bm25", top_n=1))

    assert ids(rerank(again, three(), QUERY)) == ["bicycle"]


@cases("copied", SHALLOW + DEEP + DUMPED)
@cases("kind", [RerankPostprocessor, Mine])
def test_a_copy_has_the_same_settings(copied: Copier, kind: type[RerankPostprocessor]) -> None:
    """A copy has every setting of the original and its key, also those of a subclass."""
    own: dict[str, Any] = {"label": "mine"} if kind is Mine else {}
    reranker = kind(**SETTINGS, **own, api_key=SecretStr(KEY))

    other = copied(reranker)

    assert type(other) is kind
    assert {name: getattr(other, name) for name in SETTINGS} == SETTINGS
    assert other.model_dump() == reranker.model_dump()
    assert other.api_key == SecretStr(KEY)


@cases("copied", SHALLOW + DEEP)
def test_what_was_not_set_stays_unset(copied: Copier) -> None:
    """A copy holds what was given, and leaves the rest unset."""
    given: dict[str, Any] = {"model": "local:bm25", "top_n": None}

    assert copied(RerankPostprocessor(**given)).model_fields_set == given.keys()


@cases("copied", DEEP + DUMPED)
@cases("closed", ["original", "copy"])
def test_a_copy_is_independent(rerank: Rerank, server: Server, copied: Copier, closed: str) -> None:
    """Closing a used original leaves its deep copy, pickle or dump open, and the other way."""
    reranker = openrouter(server, top_n=2)
    used(reranker)
    other = copied(reranker)
    used(other)
    shut, left = (reranker, other) if closed == "original" else (other, reranker)

    shut.close()

    assert len(rerank(left, three(), QUERY)) == 2
    with pytest.raises(ConfigurationError, match="closed"):
        rerank(shut, three(), QUERY)


def test_a_changed_copy_leaves_the_original(rerank: Rerank, server: Server) -> None:
    """model_copy(update=...) changes the copy alone: what is kept, which model, whose key."""
    reranker = openrouter(server, top_n=2)
    used(reranker)
    changes = {"top_n": 1, "model": "openrouter:other", "api_key": SecretStr("sk-other")}

    other = reranker.model_copy(update=changes)

    assert [len(rerank(each, three(), QUERY)) for each in (other, reranker)] == [1, 2]
    asked = [(r.body["model"], r.headers["authorization"]) for r in server.received]
    assert asked[1:] == [("other", "Bearer sk-other"), ("m", f"Bearer {KEY}")]


def test_a_setting_can_be_assigned(rerank: Rerank) -> None:
    """What is assigned later holds from the next call on."""
    reranker = local()
    assert len(rerank(reranker, three(), QUERY)) == 3
    reranker.top_n = 1

    assert len(rerank(reranker, three(), QUERY)) == 1


def test_other_options_keep_the_rest(rerank: Rerank) -> None:
    """with_options changes what is named, and keeps class, settings and callback manager."""
    debug = LlamaDebugHandler(print_trace_on_end=False)
    reranker = Mine(model="local:bm25", label="mine", top_n=2)
    reranker.callback_manager = CallbackManager([debug])

    other = reranker.with_options(top_n=1)

    assert isinstance(other, Mine)
    assert (other.label, other.top_n, reranker.top_n) == ("mine", 1, 2)
    assert len(rerank(other, three(), QUERY)) == 1
    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 1


def test_a_callback_manager_can_be_assigned(rerank: Rerank) -> None:
    """Engines assign their own manager: it is told from then on, and a copy's is another's."""
    first, second = (LlamaDebugHandler(print_trace_on_end=False) for _ in range(2))
    reranker = local(callback_manager=CallbackManager([first]))
    other = reranker.model_copy()
    reranker.callback_manager = CallbackManager([second])

    rerank(reranker, three(), QUERY)
    assert [len(h.get_event_pairs(CBEventType.RERANKING)) for h in (first, second)] == [0, 1]
    rerank(other, three(), QUERY)
    assert [len(h.get_event_pairs(CBEventType.RERANKING)) for h in (first, second)] == [1, 1]


def test_a_manager_that_cannot_be_pickled(rerank: Rerank) -> None:
    """A pickle leaves out a callback manager that cannot be pickled, and works without it."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    handler.lock = threading.Lock()  # type: ignore[attr-defined]  # as exporters of traces have
    reranker = local(top_n=1, callback_manager=CallbackManager([handler]))

    assert ids(rerank(pickled(reranker), three(), QUERY)) == ["bicycle"]


def test_a_dump_is_plain_data() -> None:
    """to_dict() holds the settings and the class's stable name, and from_dict leaves it alone."""
    reranker = RerankPostprocessor(**SETTINGS, api_key=SecretStr(KEY))
    dumped = reranker.to_dict()
    before = copy.deepcopy(dumped)

    RerankPostprocessor.from_dict(dumped, api_key=KEY, top_n=1)

    assert dumped == before
    assert dumped["class_name"] == RerankPostprocessor.class_name() == "RerankPostprocessor"
    assert json.loads(reranker.to_json()) == json.loads(json.dumps(dumped))
    assert {"client", "api_key", "callback_manager"}.isdisjoint(dumped)


def test_a_dump_takes_its_key_from_the_environment(
    rerank: Rerank, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """from_dict finds the key where the constructor does, and without one names the variable."""
    dumped = openrouter(server).to_dict()
    with pytest.raises(ConfigurationError, match="OPENROUTER_API_KEY"):
        RerankPostprocessor.from_dict(dumped)
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-environment")

    rerank(RerankPostprocessor.from_dict(dumped), three(), QUERY)

    assert server.received[0].headers["authorization"] == "Bearer sk-environment"


@cases(
    "make",
    [
        lambda: local(topn=1),
        lambda: local(model_name="m"),
        lambda: openrouter("https://host", apikey=KEY),
        lambda: RerankPostprocessor.from_dict(local().to_dict(), topn=1),
        lambda: RerankPostprocessor.from_json(local().to_json(), topn=1),
        lambda: local().with_options(topn=1),  # type: ignore[call-arg]
        lambda: Mine.from_dict({"model": "local:bm25"}, lable="mine"),
    ],
)
def test_an_unknown_setting_is_refused(make: Callable[[], RerankPostprocessor]) -> None:
    """A misspelt setting is an error wherever it comes in."""
    with pytest.raises(ConfigurationError, match=r"no argument .* did you mean"):
        make()


def with_client() -> RerankPostprocessor:
    """A postprocessor that was given a client."""
    return RerankPostprocessor(client=RerankClient("m", provider=OpenRouter(api_key=KEY)))


def with_model() -> RerankPostprocessor:
    """A postprocessor that was given a key."""
    return RerankPostprocessor(**SETTINGS, api_key=SecretStr(KEY))


PRINTERS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "vars": vars,
    "to_dict": lambda r: r.to_dict(),
    "to_json": lambda r: r.to_json(),
    "dict": lambda r: r.dict(),
    "json": lambda r: r.json(),
    "model_dump": lambda r: r.model_dump(),
    "model_dump, of the key": lambda r: r.model_dump(include={"api_key", "client"}),
    "model_dump, as JSON": lambda r: r.model_dump(mode="json"),
    "model_dump_json": lambda r: r.model_dump_json(),
    "state": lambda r: r.__getstate__(),
    "rich": lambda r: list(r.__rich_repr__()),
    "evaluator": lambda r: repr(_evaluator(r)) + str(_evaluator(r).model_dump()),
}


def _evaluator(reranker: RerankPostprocessor) -> Any:
    given: dict[str, Any] = {"retriever": Candidates(), "node_postprocessors": [reranker]}
    return RetrieverEvaluator.from_metric_names(["mrr"], **given)


@cases("make", [with_client, with_model])
@cases("printed", PRINTERS.values(), ids=PRINTERS)
def test_nothing_prints_the_key(
    make: Callable[[], RerankPostprocessor], printed: Callable[[Any], object]
) -> None:
    """No repr, str or dump of a postprocessor, or of what holds it, shows the key."""
    reranker = make()

    assert KEY not in str(printed(reranker))
    assert KEY in pickle.dumps(reranker).decode("latin-1")  # so it was there to be shown


@cases("kind", [RerankPostprocessor, Mine])
def test_it_has_a_json_schema(kind: type[RerankPostprocessor]) -> None:
    """model_json_schema() names the settings that a dump can hold, and the class."""
    properties = kind.model_json_schema()["properties"]

    assert SETTINGS.keys() <= properties.keys()
    assert properties["class_name"]["default"] == "RerankPostprocessor"


def test_a_subclass_may_have_other_defaults(rerank: Rerank) -> None:
    """A default that a subclass sets is in force like a setting that was given."""

    class OneByTitle(RerankPostprocessor):
        top_n: int | None = 1
        rank_fields: Any = ("title",)

    kept = rerank(OneByTitle(model="local:bm25"), three(), "van")

    assert ids(kept) == ["van"]
