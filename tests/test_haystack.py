"""RerankRanker in Haystack's pipelines: order, scores, images, secrets, YAML."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import traceback
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any

import haystack
import httpx
import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.core.errors import SerializationError
from haystack.dataclasses import ByteStream, ImageContent
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret

from calls import KEYS, LOOPS, QUERY
from cases import cases
from loopback import Reply, Server, ranking
from rerank_integrations import (
    ConfigurationError,
    InvalidRequestError,
    Local,
    OpenRouter,
    RerankClient,
    Retry,
    ServerError,
)
from rerank_integrations.haystack import RerankRanker
from support import DATA_URI, PIXELS

KEY = "sk-s3cr3t"
VARIABLE = "A_RERANK_KEY"
AsyncPipeline = getattr(haystack, "AsyncPipeline", Pipeline)  # one class from Haystack 3 on
RED, BLUE, PIE = "a red bicycle", "a blue car", "apple pie"


def three() -> list[Document]:
    """Three documents as a retriever gives them."""
    texts = {"pie": PIE, "car": BLUE, "bicycle": RED}
    return [
        Document(id=name, content=text, meta={"title": name, "n": number}, score=0.9 - number / 10)
        for number, (name, text) in enumerate(texts.items())
    ]


def scoring(*scores: float, **options: Any) -> RerankClient:
    """A client that gives each document, in order, one of the scores."""
    provider = Local(scorer=lambda query, texts: scores, sees_images=True)
    return RerankClient("mine", provider=provider, **options)


def openrouter(server: Server, **arguments: Any) -> RerankRanker:
    """A ranker whose provider is played by the server."""
    given: dict[str, Any] = {"api_key": Secret.from_token("the-key"), "base_url": server.url}
    return RerankRanker("openrouter:m", **(given | arguments))


def scored(output: dict[str, Any]) -> list[tuple[str, float | None]]:
    """The ids and scores of a run's documents, in order."""
    return [(document.id, document.score) for document in output["documents"]]


def loaded(text: str) -> RerankRanker:
    """The only component of a pipeline in YAML."""
    named = {"allowed_modules": ["rerank_integrations.haystack", __name__]}
    known = inspect.signature(Pipeline.loads).parameters  # older versions load any module
    options: Any = {name: value for name, value in named.items() if name in known}
    ranker = Pipeline.loads(text, **options).get_component("ranker")
    assert isinstance(ranker, RerankRanker)
    return ranker


def written(ranker: RerankRanker) -> str:
    """A pipeline with a ranker, in YAML."""
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    return pipeline.dumps()


def halved(score: float) -> float:
    """A score that YAML can hold by the function's name."""
    return score / 2


class Sync:
    """Runs without an event loop."""

    pipeline = Pipeline

    def run(self, runs: Any, *given: Any, **named: Any) -> Any:
        """Run a component or a pipeline."""
        return runs.run(*given, **named)


class Async:
    """Runs on an event loop."""

    pipeline = AsyncPipeline

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def run(self, runs: Any, *given: Any, **named: Any) -> Any:
        """Run a component or a pipeline."""
        return self._runner.run(runs.run_async(*given, **named))


@pytest.fixture(name="way", params=["sync", *LOOPS])
def way_fixture(request: pytest.FixtureRequest) -> Iterator[Sync | Async]:
    """Runs without an event loop, and on each kind of event loop."""
    if request.param == "sync":
        yield Sync()
        return
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield Async(runner)


def test_a_pipeline_ranks_what_its_retriever_finds(way: Sync | Async, server: Server) -> None:
    """The best come first with their scores; ids, metadata and the store's documents stay."""
    store = InMemoryDocumentStore()
    store.write_documents([Document(id=d.id, content=d.content, meta=d.meta) for d in three()])
    before = copy.deepcopy(store.filter_documents())
    pipeline = way.pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=2))
    pipeline.add_component("ranker", openrouter(server, extra_headers={"x-team": "search"}))
    pipeline.connect("retriever.documents", "ranker.documents")
    server.plays(ranking(0.25, 0.75, id="gen-1", usage={"search_units": 1}))

    query = "a red bicycle, or a car"
    asked = {"retriever": {"query": query}, "ranker": {"query": query}}
    output = way.run(pipeline, asked)["ranker"]

    [received] = server.received
    assert received.headers["authorization"] == "Bearer the-key"
    assert received.headers["x-team"] == "search"
    assert received.body == {"model": "m", "query": query, "documents": [RED, BLUE]}
    assert scored(output) == [("car", 0.75), ("bicycle", 0.25)]
    assert output["documents"][0].meta == {"title": "car", "n": 1}
    assert output["meta"]["rerank_request_id"] == "gen-1"
    assert output["meta"]["rerank_search_units"] == 1
    assert output["meta"]["rerank_served_by"] == "openrouter"
    assert store.filter_documents() == before


ALL = [("bicycle", 0.9), ("car", 0.5), ("pie", 0.1)]
SCORES = (0.1, 0.5, 0.9)
FIRST = [("pie", 0.9), ("car", 0.8), ("bicycle", 0.7)]


def broken(**settings: Any) -> RerankRanker:
    """A ranker whose provider fails."""

    def scorer(query: str, texts: Any) -> list[float]:
        raise RuntimeError("no memory")

    client = RerankClient("mine", provider=Local(scorer=scorer), top_n=2)
    return RerankRanker(client=client, on_error="passthrough", **settings)


RANKED: dict[str, tuple[Callable[[], RerankRanker], dict[str, Any], Any]] = {
    "all": (lambda: RerankRanker(client=scoring(*SCORES)), {}, ALL),
    "top_k": (lambda: RerankRanker(client=scoring(*SCORES), top_k=1), {}, ALL[:1]),
    "top_n": (lambda: RerankRanker(client=scoring(*SCORES), top_n=2), {}, ALL[:2]),
    "of the client": (lambda: RerankRanker(client=scoring(*SCORES, top_n=1)), {}, ALL[:1]),
    "None is all": (lambda: RerankRanker(client=scoring(*SCORES, top_n=1), top_k=None), {}, ALL),
    "of a run": (lambda: RerankRanker(client=scoring(*SCORES), top_k=1), {"top_k": 2}, ALL[:2]),
    "threshold": (
        lambda: RerankRanker(client=scoring(*SCORES), score_threshold=0.5),
        {},
        ALL[:2],
    ),
    "threshold of a run": (
        lambda: RerankRanker(client=scoring(*SCORES), score_threshold=0.1),
        {"score_threshold": 0.6},
        ALL[:1],
    ),
    "transformed": (
        lambda: RerankRanker(client=scoring(*SCORES), score_transform=halved),
        {"top_k": 1},
        [("bicycle", 0.45)],
    ),
    "an id twice": (
        lambda: RerankRanker(client=scoring(*SCORES)),
        {"documents": [*three(), Document(id="pie", content="x", score=0.1)]},
        ALL,
    ),
    "an id twice, the second better": (
        lambda: RerankRanker(client=scoring(0.2)),
        {"documents": [Document(id="a", content="no"), Document(id="a", content="x", score=0.0)]},
        [("a", 0.2)],
    ),
    "a blank one": (
        lambda: RerankRanker(client=scoring(0.3)),
        {"documents": [Document(id="b", content=" "), Document(id="c"), *three()[:1]]},
        [("pie", 0.3)],
    ),
    "only blank ones": (lambda: RerankRanker("local:bm25"), {"documents": [Document("b")]}, []),
    "none": (lambda: RerankRanker("local:bm25"), {"documents": [], "query": ""}, []),
    "passed": (broken, {}, FIRST[:2]),
    "passed, top_k of a run": (broken, {"top_k": 3}, FIRST),
    "passed, top_k": (lambda: broken(top_k=1), {}, FIRST[:1]),
    "passed, a misspelt field": (
        lambda: RerankRanker("local:bm25", rank_fields=["titel"], on_error="passthrough"),
        {},
        FIRST,
    ),
}


@cases(("make", "changes", "expected"), RANKED.values(), ids=RANKED)
def test_a_run_returns_what_is_asked_for(
    way: Sync | Async, make: Callable[[], RerankRanker], changes: dict[str, Any], expected: Any
) -> None:
    """Settings hold for all runs, arguments of a run for it alone; duplicates are ranked once."""
    output = way.run(make(), **{"query": QUERY, "documents": three(), **changes})
    assert [(name, score and round(score, 6)) for name, score in scored(output)] == expected


def test_what_happened_is_in_the_output(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """keep_retrieval_score keeps the first score; a failure that passes is told, or is raised."""
    kept = RerankRanker(client=scoring(*SCORES), keep_retrieval_score=True).run(QUERY, three())
    assert kept["documents"][0].meta == {"title": "bicycle", "n": 2, "retrieval_score": 0.7}
    server.plays(Reply({"error": {"message": "overloaded"}}, 500, {"x-request-id": "r-1"}))
    ranker = openrouter(
        server, max_retries=0, on_error="passthrough", keep_retrieval_score=True, top_k=1
    )
    output = ranker.run(QUERY, three())
    assert scored(output) == FIRST[:1]
    assert output["documents"][0].meta["retrieval_score"] == 0.9
    assert "overloaded" in output["meta"]["rerank_error"]
    assert "reranking failed; returning documents in original order" in caplog.text
    with pytest.raises(ServerError, match="overloaded"):
        openrouter(server, max_retries=0).run(QUERY, three())
    for wrong in ({"query": " "}, {"documents": three()[0]}, {"documents": ["a"]}, {"top_k": 0}):
        with pytest.raises(InvalidRequestError, match=r"query|documents must be|top_k must be"):
            ranker.run(**{"query": QUERY, "documents": three(), **wrong})  # type: ignore[arg-type]


PICTURE = b64decode(PIXELS)
URL = "https://example.org/a.png"
PICTURED: dict[str, tuple[dict[str, Any], Any]] = {
    "a blob": ({"blob": ByteStream(PICTURE, mime_type="image/png")}, DATA_URI),
    "a blob of no type": ({"blob": ByteStream(PICTURE)}, DATA_URI),
    "a blob of another type": ({"blob": ByteStream(b"%PDF-", mime_type="application/pdf")}, None),
    "an ImageContent": (
        {"meta": {"image": ImageContent(PIXELS, mime_type="image/png", validation=False)}},
        DATA_URI,
    ),
    "a ByteStream": ({"meta": {"image": ByteStream(PICTURE)}}, DATA_URI),
    "bytes": ({"meta": {"image": PICTURE}}, DATA_URI),
    "a data URI": ({"meta": {"image": DATA_URI}}, DATA_URI),
    "a URL": ({"meta": {"image": URL}}, URL),
    "a list": ({"meta": {"image": [URL, "https://example.org/b.png"]}}, URL),
    "an empty list": ({"meta": {"image": []}}, None),
    "no image": ({"meta": {"image": None}}, None),
}


def test_an_image_is_sent(server: Server) -> None:
    """A blob, or what the metadata has under "image", is sent with the text, or without one."""
    ranker = openrouter(server)
    for name, (given, image) in PICTURED.items():
        ranker.run(QUERY, [Document(content=RED, **given), Document(**given), Document("x", PIE)])
        both, alone = {"text": RED, "image": image}, {"image": image}
        expected = [RED, PIE] if image is None else [both, alone, PIE]
        assert server.received[-1].body["documents"] == expected, name


def test_an_image_is_ranked_with_fields_or_left_out(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Fields are sent beside an image; one that cannot be sent is left out, with a warning."""
    page = Document(content=RED, meta={"title": "page", "image": URL, "scan": DATA_URI})
    plain = Document(content=PIE, meta={"title": "pie"})
    openrouter(server, meta_fields_to_embed=["title"], image_key="scan").run(QUERY, [page, plain])
    openrouter(server, rank_fields=["title"], image_key=None).run(QUERY, [page, plain])
    bodies = [received.body["documents"] for received in server.received]
    assert bodies == [
        [
            {"text": f"title: page\ncontent: {RED}", "image": DATA_URI},
            f"title: pie\ncontent: {PIE}",
        ],
        ["page", "pie"],
    ]
    wrong = (ImageContent("!", validation=False), b"no image", ByteStream(b"%PDF-"))
    for image in (*wrong, 5, np.zeros((2, 2))):
        caplog.clear()
        output = openrouter(server).run(QUERY, [Document(content=RED, meta={"image": image})])
        assert server.received[-1].body["documents"] == [RED]
        assert "image" in output["meta"]["rerank_warnings"][0]
        assert output["meta"]["rerank_warnings"][0] in caplog.text


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "two words for a count": ({"top_k": 1, "top_n": 1}, "top_k and top_n mean the same"),
    "two words for fields": (
        {"meta_fields_to_embed": ["a"], "rank_fields": ["a"]},
        "meta_fields_to_embed and rank_fields mean the same",
    ),
    "fields as one text": ({"meta_fields_to_embed": "title"}, "must be a list of names, not str"),
    "fields as a set": ({"meta_fields_to_embed": {"a"}}, "must be a list of names, not set"),
    "fields as a number": ({"meta_fields_to_embed": 5}, "must be a list of names, not int"),
    "a count of zero": ({"top_k": 0}, "top_k must be an int of at least 1"),
    "a count that is text": ({"top_n": "3"}, "top_n"),
    "topk": ({"topk": 3}, "no argument 'topk'; did you mean 'top_k'"),
    "a vendor's key": ({"cohere_api_key": KEY}, "did you mean 'api_key'"),
    "an option of a provider": ({"truncate": "END"}, "provider=NVIDIA(truncate='END')"),
    "an option of a local model": ({"device": "cpu"}, "CrossEncoder(..., device=...)"),
    "an argument of nobody": ({"xyz": 1}, "no argument 'xyz'; it takes model, top_k"),
    "on_error": ({"on_error": "ignore"}, "on_error: Input should be 'raise' or 'passthrough'"),
    "image_key": ({"image_key": 5}, "image_key: Input should be a valid string"),
    "a flag": ({"keep_retrieval_score": "yes"}, "keep_retrieval_score: "),
    "a threshold": ({"score_threshold": float("nan")}, "score_threshold"),
    "a threshold that is text": ({"score_threshold": "0.5"}, "score_threshold must be"),
    "a threshold that is a flag": ({"score_threshold": True}, "score_threshold must be"),
    "a key of another type": ({"api_key": 5}, "api_key must be a Secret or a str, not int"),
    "no provider": ({"model": "cohere/rerank-v3.5"}, "did you mean 'cohere:rerank-v3.5'"),
    "no model": ({"model": "openrouter:"}, "names no model"),
    "a provider twice": (
        {"provider": OpenRouter(api_key=KEY)},
        "write the model without 'openrouter:'",
    ),
    "an unknown fallback": ({"fallbacks": ["opnrouter:m"]}, "did you mean 'openrouter'"),
    "fallbacks as one text": ({"fallbacks": "local:bm25"}, "fallbacks must be a list"),
    "a deadline": ({"deadline": -1}, "deadline must be"),
    "neither": ({"model": None}, "pass either model='provider:model'"),
    "both": ({"client": RerankClient("local:bm25")}, "pass either model='provider:model'"),
    "beside a client": (
        {"model": None, "client": RerankClient("local:bm25"), "fallbacks": ["local:bm25"]},
        "fallbacks cannot be combined with client=",
    ),
    "what the client's provider does not take": (
        {"model": None, "client": RerankClient("local:bm25"), "instruction": "Find it"},
        "a local scorer takes no instruction",
    ),
    "a retry twice": ({"retry": Retry(), "max_retries": 1}, "leave out max_retries"),
}


@cases(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    """What can be checked without a key is, when the component is made; the message names it."""
    with pytest.raises((ConfigurationError, InvalidRequestError)) as caught:
        RerankRanker(**{"model": "openrouter:m", **arguments})
    assert message in str(caught.value)


def shown(error: BaseException) -> str:
    """What an error tracker stores of our frames."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    report.stack[:] = [one for one in report.stack if "rerank_integrations" in one.filename]
    assert report.stack
    return "".join(report.format())


KEYED: dict[str, Callable[[], Any]] = {
    "a token": lambda: Secret.from_token(KEY),
    "a variable": lambda: Secret.from_env_var(VARIABLE),
    "a text": lambda: KEY,
}


@cases("make", KEYED.values(), ids=KEYED)
def test_a_key_is_sent_and_shown_nowhere(
    server: Server, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]
) -> None:
    """A key is in the request's header, and in no repr, traceback or YAML."""
    monkeypatch.setenv(VARIABLE, KEY)
    server.plays(Reply({"error": {"message": f"invalid key {KEY}"}}, 401))
    ranker = openrouter(server, api_key=make())
    with pytest.raises(ValueError) as failed:  # noqa: PT011  # ours is one
        openrouter(server, api_key=make(), base_url="host").warm_up()
    with pytest.raises(Exception, match="key") as refused:
        ranker.run(QUERY, three())
    with pytest.raises(ConfigurationError) as misused:
        openrouter(server, api_key=make(), top_k=1, top_n=1)
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    told = "".join(shown(one.value) for one in (failed, refused, misused)) + repr(ranker)
    if isinstance(make(), str) or "Token" in type(make()).__name__:
        with pytest.raises((SerializationError, ValueError), match=r"cannot be written|serialize"):
            written(ranker)
    else:
        told += written(ranker)
    assert KEY not in told


def test_a_key_is_needed_at_the_first_run_only(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline loads without a key; `warm_up` and the first run name the missing variable."""
    text = written(openrouter(server, api_key=Secret.from_env_var(VARIABLE)))
    ranker = loaded(text)
    for attempt in (ranker.warm_up, lambda: ranker.run(QUERY, three())):
        with pytest.raises(ValueError, match=VARIABLE):
            attempt()
    monkeypatch.setenv(VARIABLE, " ")
    with pytest.raises(ConfigurationError, match="the Secret of api_key= has an empty value"):
        ranker.warm_up()
    monkeypatch.setenv(VARIABLE, "first")
    ranker.run(QUERY, three())
    lenient = Secret.from_env_var("NOT_SET_ANYWHERE", strict=False)
    for unset in (None, lenient):
        with pytest.raises(ConfigurationError, match=KEYS["openrouter"]):
            openrouter(server, api_key=unset).warm_up()
    monkeypatch.setenv(KEYS["openrouter"], "second")
    openrouter(server, api_key=lenient).run(QUERY, three())
    sent = [received.headers["authorization"] for received in server.received]
    assert sent == ["Bearer first", "Bearer second"]


SETTINGS: dict[str, Any] = {
    "top_k": 2,
    "meta_fields_to_embed": ["title"],
    "image_key": None,
    "keep_retrieval_score": True,
    "api_key": Secret.from_env_var(VARIABLE),
    "base_url": "https://example.org",
    "fallbacks": ["local:bm25"],
    "on_error": "passthrough",
    "top_n": 3,
    "rank_fields": ("title", "content"),
    "instruction": "Find it",
    "score_transform": halved,
    "score_threshold": 0.5,
    "timeout": httpx.Timeout(5, read=60),
    "deadline": None,
    "max_retries": 1,
    "retry_on_timeout": False,
    "retry": Retry(max_retries=1, on_statuses=(429, 503)),
    "extra_body": {"seed": 1, "nested": {"list": (1, 2)}},
    "on_image": "text",
    "on_invalid_document": "skip",
    "max_document_chars": 100,
    "max_image_bytes": None,
    "max_image_pixels": 100,
    "image_urls": "none",
    "max_documents_per_request": 5,
    "max_request_bytes": None,
    "max_concurrency": 2,
    "on_partial": "keep",
    "requests_per_minute": 10,
    "documents_per_minute": 100,
    "keep_raw": True,
    "trace_content": False,
    "cache": "memory",
}
OBJECTS: dict[str, Any] = {
    "extra_headers": {"x-team": KEY},
    "fallbacks": [RerankClient("local:bm25")],
    "provider": OpenRouter(api_key=KEY),
    "api_key": KEY,
    "score_transform": lambda score: score,
}


def test_every_setting_survives_yaml() -> None:
    """Each setting comes back as it was, and nothing is written that was not given."""
    named = set(inspect.signature(RerankRanker.__init__).parameters)
    assert named - {"self", "model", "client"} == SETTINGS.keys() | OBJECTS.keys()
    more = [("timeout", 3), ("score_transform", "sigmoid"), ("top_k", None), ("retry", None)]
    for name, value in [*SETTINGS.items(), *more]:
        ranker = RerankRanker("openrouter:m", **{name: value})
        again = loaded(written(ranker))
        assert again.to_dict() == ranker.to_dict(), name
        settings = again.to_dict()["init_parameters"]
        assert settings.keys() == {"model", name}
        assert again._settings == ranker._settings, name
        with pytest.raises(ConfigurationError, match=f"{name} cannot be changed"):
            setattr(ranker, name, value)
    for name, value in OBJECTS.items():
        with pytest.raises(SerializationError) as caught:
            written(RerankRanker("m" if name == "provider" else "openrouter:m", **{name: value}))
        assert KEY not in str(caught.value)
    with pytest.raises(SerializationError, match="partial has none"):
        written(RerankRanker("local:bm25", score_transform=functools.partial(halved)))
    with pytest.raises(SerializationError, match="client= is an object"):
        written(RerankRanker(client=RerankClient("local:bm25")))


def test_a_copy_ranks_and_a_closed_one_says_so(server: Server) -> None:
    """A copy and a pickle of a warm component rank; `run` works inside a loop; it can be closed."""
    ranker = RerankRanker("openrouter:m", api_key="the-key", base_url=server.url)
    ranker.close()  # nothing is open yet
    expected = scored(ranker.run(QUERY, three()))
    for copied in (copy.deepcopy(ranker), pickle.loads(pickle.dumps(ranker))):  # noqa: S301
        assert scored(copied.run(QUERY, three())) == expected
        copied.close()

    async def use() -> None:
        assert scored(await ranker.run_async(QUERY, three())) == expected
        assert scored(ranker.run(QUERY, three())) == expected
        await ranker.close_async()

    asyncio.run(use())
    server.until_closed(server.connections)
    with pytest.raises(ConfigurationError, match="closed"):
        ranker.run(QUERY, three())
