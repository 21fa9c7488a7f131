"""What a trace shows of a reranking: a run of its own, in its place, without images and keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    BaseCallbackHandler,
    CallbackManager,
)
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tracers.schemas import Run

from calls import client_of
from cases import cases
from langchain_support import (
    KEY,
    QUERY,
    Async,
    AsyncTracer,
    Candidates,
    Sync,
    Tracer,
    Way,
    content,
    ids,
    local,
    openrouter,
    three,
)
from loopback import Fault, Reply, Server, ranking
from rerank_integrations import RerankClient, RerankDocument, RerankError, ServerError
from rerank_integrations.langchain import RerankCompressor
from support import DATA_URI, PIXELS, PNG

AnyTracer: TypeAlias = Tracer | AsyncTracer
RAW = b"\xff\xd8\xff raw pixels"


@pytest.fixture(name="tracer", params=[Tracer, AsyncTracer])
def tracer_fixture(request: pytest.FixtureRequest) -> AnyTracer:
    """A tracer of either kind."""
    found: AnyTracer = request.param()
    return found


def documents_of(run: Run) -> list[Document]:
    """The documents that a run put out."""
    assert run.outputs is not None
    found: list[Document] = run.outputs["documents"]
    return found


def metadata_of(run: Run) -> dict[str, Any]:
    """What a run says of our call."""
    said = (run.extra or {})["metadata"]
    return {name: value for name, value in said.items() if name.startswith("rerank")}


def two_stages(compressor: RerankCompressor, **options: Any) -> ContextualCompressionRetriever:
    """A first stage and the compressor behind it."""
    return ContextualCompressionRetriever(
        base_retriever=Candidates(found=three()), base_compressor=compressor, **options
    )


def test_it_nests_under_the_retriever(way: Way, tracer: AnyTracer) -> None:
    """Inside a retriever the run is a child of the retriever's, after that of the first stage."""
    way.invoke(two_stages(local()), QUERY, {"callbacks": [tracer]})

    outer, first, own = tracer.runs
    assert (outer.name, outer.parent_run_id) == ("ContextualCompressionRetriever", None)
    assert first.name == "Candidates"
    assert (own.name, own.parent_run_id, own.trace_id) == ("RerankCompressor", outer.id, outer.id)


def test_a_run_says_what_it_is(way: Way, tracer: AnyTracer) -> None:
    """The run is a retriever's, tagged "rerank", with the query and the reranked documents."""
    kept = way.compress(local(top_n=2), three(), callbacks=[tracer])

    run = tracer.run()
    assert (run.run_type, run.tags, run.inputs) == ("retriever", ["rerank"], {"query": QUERY})
    assert documents_of(run) == list(kept)
    assert ids(documents_of(run)) == ["2", "3"]
    assert run.error is None
    assert run.end_time is not None


def test_a_run_bears_the_name_of_its_class(way: Way) -> None:
    """The run of a subclass has the subclass's name."""

    class Mine(RerankCompressor):
        """A user's own."""

    tracer = Tracer()
    way.compress(Mine(model="local:bm25"), three(), callbacks=[tracer])

    assert [run.name for run in tracer.runs] == ["Mine"]


@pytest.mark.parametrize("kind", [CallbackManager, AsyncCallbackManager])
def test_it_nests_under_a_manager(
    way: Way, tracer: AnyTracer, kind: type[CallbackManager | AsyncCallbackManager]
) -> None:
    """A manager of either kind, also the other one, is where the run nests."""
    outer = CallbackManager.configure([tracer]).on_retriever_start(None, QUERY, name="Outer")
    manager = kind(handlers=[tracer], inheritable_handlers=[tracer], parent_run_id=outer.run_id)

    way.compress(local(), three(), callbacks=manager)

    assert tracer.run().parent_run_id == outer.run_id
    assert tracer.run().end_time is not None


def test_it_nests_without_callbacks(tracer: AnyTracer) -> None:
    """Called inside a Runnable without callbacks, the run nests under the Runnable's."""
    reranker = local()

    def step(query: str) -> Sequence[Document]:
        return reranker.compress_documents(three(), query)

    async def astep(query: str) -> Sequence[Document]:
        return await reranker.acompress_documents(three(), query)

    chain: Runnable[str, Any] = RunnableLambda(step, astep, name="Around")
    chain.invoke(QUERY, {"callbacks": [tracer]})
    asyncio.run(chain.ainvoke(QUERY, {"callbacks": [tracer]}))

    for around, own in (tracer.runs[:2], tracer.runs[2:]):
        assert (around.name, own.name) == ("Around", "RerankCompressor")
        assert own.parent_run_id == around.id


def test_it_nests_under_a_step(way: Way, tracer: AnyTracer) -> None:
    """The run of a step made by as_runnable() holds the compressor's run."""
    given = {"query": QUERY, "documents": three()}

    way.invoke(local().as_runnable(), given, {"callbacks": [tracer]})

    step, own = tracer.runs
    assert (own.name, own.parent_run_id) == ("RerankCompressor", step.id)


def test_without_callbacks_nothing_is_told(way: Way) -> None:
    """A call after a traced one, outside of it, is not part of that trace."""
    tracer = Tracer()
    way.invoke(two_stages(local()), QUERY, {"callbacks": [tracer]})
    before = len(tracer.runs)

    way.compress(local(), three())

    assert len(tracer.runs) == before


def test_tags_and_metadata_of_the_caller_are_inherited(way: Way) -> None:
    """The run has the caller's tags and metadata too, and hands its own to no other run."""
    tracer = Tracer()
    theirs = {"user": "u"}
    config = {"callbacks": [tracer], "tags": ["mine"], "metadata": theirs}

    way.invoke(two_stages(local()), QUERY, config)

    outer, first, own = tracer.runs
    assert {*(own.tags or ())} == {"mine", "rerank"}
    assert (own.extra or {})["metadata"]["user"] == "u"
    assert theirs == {"user": "u"}
    for run in (outer, first):
        assert not metadata_of(run)
        assert "rerank" not in (run.tags or ())


def test_a_run_says_what_the_call_was(
    way: Way, server: Server, tracer: AnyTracer, pauses: Sequence[float]
) -> None:
    """The run's metadata holds who was asked for what, who served it, its id and its cost."""
    server.plays(
        Reply(status=503),
        ranking(
            0.25,
            0.9,
            0.5,
            model="m-2026",
            provider="Cohere",
            id="gen-1",
            usage={"search_units": 1, "total_tokens": 150, "cost": 0.001},
            headers={"X-Generation-Id": "request-1"},
        ),
    )

    way.compress(openrouter(server, top_n=2), three(), callbacks=[tracer])

    assert metadata_of(tracer.run()) == {
        "rerank_provider": "openrouter",
        "rerank_model": "m",
        "rerank_documents": 3,
        "rerank_top_n": 2,
        "rerank": {
            "served_by": "Cohere",
            "request_id": "request-1",
            "retries": 1,
            "search_units": 1,
            "total_tokens": 150,
            "cost": 0.001,
        },
    }
    assert len(pauses) == 1


def test_a_run_says_no_more_than_is_known(way: Way) -> None:
    """What the provider did not say is None or absent, and a call without retries has 0."""
    tracer = Tracer()

    way.compress(local(), three(), callbacks=[tracer])

    assert metadata_of(tracer.run()) == {
        "rerank_provider": "local",
        "rerank_model": "bm25",
        "rerank_documents": 3,
        "rerank_top_n": None,
        "rerank": {"served_by": "local", "request_id": None, "retries": 0},
    }


def test_a_run_says_the_clients_top_n(way: Way) -> None:
    """The metadata has the top_n in force, also where the client alone has it."""
    tracer = Tracer()
    compressor = RerankCompressor(client=RerankClient("local:bm25", top_n=1))

    way.compress(compressor, three(), callbacks=[tracer])

    assert metadata_of(tracer.run())["rerank_top_n"] == 1


def test_calls_at_once_have_a_run_each(way: Way) -> None:
    """Calls that run at the same time do not write into each other's run."""
    tracer = Tracer()
    given = [{"query": QUERY, "documents": three()[:count]} for count in (1, 2, 3)]

    way.batch(local().as_runnable(), given, config={"callbacks": [tracer]})

    own = [run for run in tracer.runs if run.name == "RerankCompressor"]
    assert sorted(metadata_of(run)["rerank_documents"] for run in own) == [1, 2, 3]
    assert all(len(documents_of(r)) == metadata_of(r)["rerank_documents"] for r in own)


class Told:
    """What a handler was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, UUID]] = []


class Handler(Told, BaseCallbackHandler):
    """A plain handler."""

    def on_retriever_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """A run begins."""
        self.told.append(("start", run_id))

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **_: Any) -> None:
        """A run has documents."""
        self.told.append((f"end with {len(documents)}", run_id))

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A run failed."""
        self.told.append((f"failed with {type(error).__name__}", run_id))


class AsyncHandler(Told, AsyncCallbackHandler):
    """A plain handler for event loops."""

    async def on_retriever_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """A run begins."""
        self.told.append(("start", run_id))

    async def on_retriever_end(self, documents: Any, *, run_id: UUID, **_: Any) -> None:
        """A run has documents."""
        self.told.append((f"end with {len(documents)}", run_id))

    async def on_retriever_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A run failed."""
        self.told.append((f"failed with {type(error).__name__}", run_id))


@cases("kind", [Handler, AsyncHandler])
def test_plain_handlers_are_told(way: Way, kind: type[Handler | AsyncHandler]) -> None:
    """Handlers in a list, sync or async, are told of the start and the end, once each."""
    handler = kind()

    way.compress(local(top_n=2), three(), callbacks=[handler])

    (start, one), (end, same) = handler.told
    assert (start, end) == ("start", "end with 2")
    assert one == same


@cases("kind", [Handler, AsyncHandler])
def test_plain_handlers_are_told_of_an_error(
    way: Way, server: Server, kind: type[Handler | AsyncHandler]
) -> None:
    """Handlers in a list, sync or async, are told of an error instead of an end."""
    server.plays(Reply(status=500))
    handler = kind()
    compressor = RerankCompressor(client=client_of(server, max_retries=0))

    with pytest.raises(ServerError):
        way.compress(compressor, three(), callbacks=[handler])
    assert [what for what, _ in handler.told] == ["start", "failed with ServerError"]


def test_an_error_is_an_error_in_the_trace(
    way: Way, server: Server, tracer: AnyTracer, pauses: Sequence[float]
) -> None:
    """A failed call ends its run with the error, the request id and the number of retries."""
    answer = {"error": {"message": "no capacity", "code": 503}}
    server.plays(Reply(answer, 503, {"X-Generation-Id": "request-1"}))

    with pytest.raises(ServerError):
        way.invoke(two_stages(openrouter(server)), QUERY, {"callbacks": [tracer]})

    run = tracer.run()
    assert run.end_time is not None
    assert not run.outputs
    assert "ServiceUnavailableError" in (run.error or "")
    assert "no capacity" in (run.error or "")
    assert metadata_of(run)["rerank"] == {"request_id": "request-1", "retries": len(pauses)}
    assert pauses
    assert tracer.run("ContextualCompressionRetriever").error


def test_a_refused_call_is_an_error_in_the_trace(way: Way, tracer: AnyTracer) -> None:
    """A call that is refused before it is sent ends its run with the error."""
    with pytest.raises(RerankError):
        way.compress(local(), three(), "", callbacks=[tracer])

    assert "query is empty" in (tracer.run().error or "")
    assert tracer.run().end_time is not None


def test_an_error_of_the_users_function_is_in_the_trace(way: Way, tracer: AnyTracer) -> None:
    """An error of document_to_input ends the run and reaches the caller as it is."""

    def broken(document: Document) -> str:
        raise LookupError(document.id)

    with pytest.raises(LookupError):
        way.compress(local(document_to_input=broken), three(), callbacks=[tracer])

    assert "LookupError" in (tracer.run().error or "")
    assert tracer.run().end_time is not None


@cases("wrong", ["a red bicycle", {"text": "a red bicycle"}, 7])
def test_a_run_ends_whatever_is_passed(way: Way, wrong: Any) -> None:
    """What is no Document of LangChain's is an error, and no run is left open."""
    tracer = Tracer()

    with pytest.raises(RerankError):
        way.compress(local(), [wrong], callbacks=[tracer])

    assert all(run.end_time is not None and run.error for run in tracer.runs)


async def test_a_cancelled_call_ends_its_run(server: Server, tracer: AnyTracer) -> None:
    """A call that is cancelled ends its run with an error."""
    server.plays(Fault.STALL)
    reranking = openrouter(server).acompress_documents(three(), QUERY, callbacks=[tracer])
    task = asyncio.create_task(reranking)
    await asyncio.to_thread(server.asked.wait, 10)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert "CancelledError" in (tracer.run().error or "")
    assert tracer.run().end_time is not None


class Ends(BaseCallbackHandler):
    """Notes the errors with which runs of retrievers end."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_retriever_error(self, error: BaseException, **_: Any) -> None:
        """Note one."""
        self.told.append(type(error).__name__)


def test_a_retriever_that_is_given_up_ends_its_run_once(server: Server) -> None:
    """The outer run ends too, which LangChain itself does for an Exception alone."""
    server.plays(Fault.STALL, Reply({"error": {"message": "no"}}, 400))
    retriever = openrouter(server, max_retries=0).as_retriever(lambda _: three())
    tracer, ends = Tracer(), Ends()
    config: Any = {"callbacks": [tracer, ends]}

    async def cancelled() -> None:
        task = asyncio.create_task(retriever.ainvoke(QUERY, config))
        await asyncio.to_thread(server.asked.wait, 10)
        task.cancel()
        await task

    def interrupted(_: str) -> list[Document]:
        raise KeyboardInterrupt

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    with pytest.raises(RerankError):
        retriever.invoke(QUERY, config)
    with pytest.raises(KeyboardInterrupt):
        local().as_retriever(interrupted).invoke(QUERY, config)

    # each of the first two is that of the compressor and that of the retriever
    assert ends.told == [*["CancelledError"] * 2, *["BadRequestError"] * 2, "KeyboardInterrupt"]
    assert all(run.end_time is not None for run in tracer.runs)


@pytest.mark.parametrize("callbacks", [True, False], ids=["callbacks", "around"])
def test_nothing_is_traced_for_nothing(way: Way, tracer: AnyTracer, *, callbacks: bool) -> None:
    """An empty list leaves no run."""
    if callbacks:
        way.compress(local(), [], callbacks=[tracer])
    else:
        given = {"query": QUERY, "documents": []}
        way.invoke(local().as_runnable(), given, {"callbacks": [tracer]})

    assert "RerankCompressor" not in [run.name for run in tracer.runs]


IMAGES = {
    "data URI": DATA_URI,
    "upper case": DATA_URI.replace("data:", "DATA:"),
    "bytes": RAW,
    "bytearray": bytearray(RAW),
    "list": [DATA_URI, RAW],
    "tuple": (RAW, DATA_URI),
    "mapping": {"shots": {"front": DATA_URI, "back": [{"raw": RAW}]}},
}


def silent(run: Run) -> bool:
    """Whether a run holds nothing of the images above."""
    return all(part not in content(run) for part in (PIXELS, "raw pixels", "rest"))


@cases("key", ["image", "scan"])
@cases("image", IMAGES.values(), ids=IMAGES)
def test_no_image_enters_a_trace(way: Way, server: Server, image: Any, key: str) -> None:
    """The run shows an outline in the place of image data; the caller gets the data itself."""
    tracer = Tracer()
    document = Document("text", id="1", metadata={key: image, "title": "t"})
    compressor = openrouter(server, image_key="image" if image is not IMAGES["mapping"] else None)

    (kept,) = way.compress(compressor, [document], callbacks=[tracer])

    (shown,) = documents_of(tracer.run())
    assert silent(tracer.run())
    assert shown.metadata.keys() == {key, "title", "relevance_score"}
    assert shown.metadata["title"] == "t"
    assert kept.metadata[key] is image


def test_no_image_in_the_text_enters_a_trace(way: Way, server: Server) -> None:
    """A data URI that stands in page_content, as some stores put it, is not shown either."""
    tracer = Tracer()
    compressor = openrouter(
        server, document_to_input=lambda document: RerankDocument(image=document.page_content)
    )

    (kept,) = way.compress(compressor, [Document(DATA_URI)], callbacks=[tracer])

    assert silent(tracer.run())
    assert kept.page_content == DATA_URI


def test_a_link_may_enter_a_trace(way: Way, server: Server) -> None:
    """An image's URL is no image data, and stays."""
    tracer = Tracer()
    url = "https://example.org/bicycle.png"

    way.compress(
        openrouter(server), [Document("text", metadata={"image": url})], callbacks=[tracer]
    )

    assert documents_of(tracer.run())[0].metadata["image"] == url


def test_no_image_enters_a_trace_by_an_error(way: Way, server: Server) -> None:
    """An error whose answer repeats the image is traced without it."""
    tracer = Tracer()
    server.plays(Reply({"error": {"message": f"cannot use {DATA_URI}", "code": 400}}, 400))
    document = Document("text", metadata={"image": DATA_URI})

    with pytest.raises(RerankError):
        way.compress(openrouter(server), [document], callbacks=[tracer])

    assert "cannot use" in content(tracer.run())
    assert silent(tracer.run())


def test_no_image_enters_a_trace_by_passing(way: Way, server: Server) -> None:
    """A failure that is passed over leaves no image in the run either."""
    tracer = Tracer()
    server.plays(Reply({"error": {"message": f"cannot use {DATA_URI}", "code": 400}}, 400))
    document = Document("text", metadata={"image": PNG, "scan": [DATA_URI]})

    way.compress(openrouter(server, on_error="passthrough"), [document], callbacks=[tracer])

    assert silent(tracer.run())


@cases("status", [200, 401])
def test_no_key_enters_a_trace(way: Way, server: Server, status: int) -> None:
    """No run of a chain holds the key, whether the call succeeds or its answer repeats the key."""
    if status != 200:
        server.plays(Reply({"error": {"message": f"bad key {KEY}", "code": status}}, status))
    tracer = Tracer()
    compressor = openrouter(server, on_error="passthrough")
    retriever = two_stages(compressor)
    config = {"callbacks": [tracer], "configurable": {"reranker": compressor}}

    way.invoke(retriever, QUERY, config)
    way.invoke(compressor.as_runnable(retriever), QUERY, config)

    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    assert len([run for run in tracer.runs if run.name == "RerankCompressor"]) == 3
    assert all(KEY not in content(run) for run in tracer.runs)


def test_a_handler_may_be_broken(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that raises does not stop the reranking, as everywhere in LangChain."""

    class Broken(BaseCallbackHandler):
        def on_retriever_end(self, *_: Any, **__: Any) -> None:
            raise LookupError

    assert len(way.compress(local(), three(), callbacks=[Broken()])) == 3
    assert "LookupError" in caplog.text


def test_both_ways_leave_the_same_trace() -> None:
    """A sync and an async call differ in nothing that a trace shows."""
    traced = []
    with asyncio.Runner() as runner:
        for way in (Sync(), Async(runner)):
            tracer = Tracer()
            way.invoke(two_stages(local(top_n=2)), QUERY, {"callbacks": [tracer]})
            traced.append([(r.name, r.run_type, r.tags, r.inputs, r.outputs) for r in tracer.runs])
            traced[-1].append(metadata_of(tracer.run()))  # type: ignore[arg-type]

    assert traced[0] == traced[1]
