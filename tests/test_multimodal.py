"""Pages as pictures, from the retriever to the wire and back, in both frameworks.

The model that ranks really looks at the pixels: what is mixed up on the way gets a wrong score.
"""

from __future__ import annotations

import base64
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import Runnable
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    BaseNode,
    Document as IndexDocument,
    ImageDocument,
    ImageNode,
    MediaResource,
    Node,
    NodeWithScore,
    TextNode,
)
from PIL.Image import Image

import llama_index_support
from calls import Calls, client_of
from cases import cases
from langchain_support import Candidates, Tracer, Way, content, ids
from llama_index_support import Ask, Rerank, both, scored
from loopback import Received, Reply, Server
from pages import NAMES, address, best, data_uri, encoded, of_page, picture, scores, sees
from rerank_integrations import Local, RerankClient, RerankDocument, UnsupportedDocumentError
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

QUERY = "red green blue"
LONG = 500  # characters; a page has more, and nothing else here has
NEAR = 0.01  # what a lossy format may change; no two pages are as near to each other
MakeImage = Callable[[str], Any]
MakeNode = Callable[[str, Path], BaseNode]


@pytest.fixture(name="client", params=["openrouter", "local"])
def client_fixture(request: pytest.FixtureRequest, server: Server) -> Iterator[RerankClient]:
    """A client of a model that sees, over a socket and in this process."""
    server.plays(sees)
    if request.param == "local":
        yield RerankClient("mine", provider=Local(scorer=scores, sees_images=True))
        return
    with client_of(server) as client:
        yield client


@pytest.fixture(name="blind")
def blind_fixture(server: Server) -> Iterator[RerankClient]:
    """A client of a provider that takes text only."""
    server.plays(sees)
    with client_of(server, "together") as client:
        yield client


@pytest.fixture(name="directory")
def directory_fixture(tmp_path: Path) -> Path:
    """A directory with all pages in files."""
    for name in NAMES:
        (tmp_path / f"{name}.png").write_bytes(encoded(name))
    return tmp_path


def reachable(roots: Iterable[object], without: Iterable[object] = ()) -> Iterator[object]:
    """All objects that lead from the roots, but for what leads over code or over `without`."""
    seen = {id(item) for item in without}
    code = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
    waiting = list(roots)
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, code):
            continue
        seen.add(id(item))
        yield item
        waiting += gc.get_referents(item)


def image_data(roots: Iterable[object], without: Iterable[object] = ()) -> list[str]:
    """The kinds of whatever is reachable and may hold the pixels of a page."""
    return [
        type(item).__name__
        for item in reachable(roots, without)
        if isinstance(item, Image)
        or (isinstance(item, str | bytes | bytearray) and len(item) > LONG)
    ]


# --- LangChain


KINDS: dict[str, MakeImage] = {
    "bytes": encoded,
    "bytearray": lambda name: bytearray(encoded(name)),
    "jpeg": lambda name: encoded(name, "JPEG"),
    "webp": lambda name: encoded(name, "WEBP"),
    "data uri": data_uri,
    "url": address,
    "picture": picture,
    "blob": lambda name: Blob(data=encoded(name)),
    "blob with a name": lambda name: Blob.from_data(encoded(name), path="a.tiff"),
    "blob of text": lambda name: Blob(data=data_uri(name)),
    "list": lambda name: [data_uri(name), encoded("margin")],
    "tuple": lambda name: (picture(name), None),
    "list of a blob": lambda name: [Blob(data=encoded(name))],
}


def documents_of(make: MakeImage, text: str = "") -> list[Document]:
    """A document for each page."""
    return [Document(text, id=name, metadata={"image": make(name), "n": name}) for name in NAMES]


def mixed() -> list[Document]:
    """Documents with an image, with a text, with both and with neither."""
    return [
        Document("a red cover", id="text"),
        Document("", id="margin", metadata={"image": encoded("margin")}),
        Document(" ", id="blank"),
        Document("red red red numbers", id="costs", metadata={"image": address("costs")}),
        Document("nothing of that", id="other"),
        Document("", id="sales", metadata={"image": picture("sales")}),
    ]


MIXED = {
    "margin": of_page("red", "margin"),
    "costs": of_page("red", "costs", "red red red"),
    "sales": of_page("red", "sales"),
    "text": 0.02,
    "other": 0.0,
}


def two_stages(client: RerankClient) -> Runnable[str, list[Document]]:
    """A vector store and a compressor behind it."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=4))
    store.add_documents(mixed())
    return ContextualCompressionRetriever(
        base_retriever=store.as_retriever(search_kwargs={"k": 6}),
        base_compressor=RerankCompressor(client=client, top_n=4),
    )


def as_a_step(client: RerankClient) -> Runnable[str, list[Document]]:
    """A compressor as a step of a chain."""
    step = RerankCompressor(client=client, top_n=4)
    return step.as_runnable(Candidates(found=mixed()))


def by_id(documents: Sequence[Document]) -> dict[str | None, float]:
    """The scores of documents, in order."""
    return {document.id: document.metadata["relevance_score"] for document in documents}


@cases("make", KINDS.values(), ids=KINDS)
def test_each_kind_of_image_in_metadata(client: RerankClient, way: Way, make: MakeImage) -> None:
    """However a document holds its image, it is scored by its own pixels and comes back as is."""
    documents = documents_of(make)

    kept = way.compress(RerankCompressor(client=client), documents, QUERY)

    assert ids(kept) == best(QUERY)
    for found in kept:
        (given,) = (document for document in documents if document.id == found.id)
        assert found.metadata["relevance_score"] == pytest.approx(
            of_page(QUERY, str(found.id)), abs=NEAR
        )
        assert found.metadata["image"] is given.metadata["image"]
        assert given.metadata.keys() == {"image", "n"}


@cases("query", ["red", "green", "blue"])
def test_the_query_decides(client: RerankClient, way: Way, query: str) -> None:
    """The same pages come in another order for another query."""
    kept = way.compress(RerankCompressor(client=client, top_n=2), documents_of(encoded), query)

    assert ids(kept) == best(query)[:2]


def test_a_text_beside_the_image_counts(client: RerankClient, way: Way) -> None:
    """page_content and image are ranked together."""
    documents = documents_of(encoded)
    documents[2] = documents[2].model_copy(update={"page_content": "blue " * 20})

    kept = way.compress(RerankCompressor(client=client), documents, QUERY)

    assert ids(kept)[0] == "staff"
    assert by_id(kept)["staff"] == of_page(QUERY, "staff", "blue " * 20)
    assert by_id(kept)["staff"] > of_page(QUERY, "staff") + 0.3


def test_mixed_documents(client: RerankClient, way: Way) -> None:
    """Images, texts and both are ranked in one list, and a blank one shifts no other."""
    kept = way.compress(RerankCompressor(client=client), mixed(), "red")

    assert list(by_id(kept).items()) == list(MIXED.items())


@cases("build", [two_stages, as_a_step])
def test_from_a_retriever(client: RerankClient, way: Way, build: Any) -> None:
    """What a retriever found is ranked by its images and texts, and the best are kept."""
    kept = way.invoke(build(client), "red")

    assert list(by_id(kept).items()) == list(MIXED.items())[:4]
    assert kept[0].metadata["image"] == encoded("margin")


def test_a_blob_of_a_file_is_never_read(client: RerankClient, way: Way, directory: Path) -> None:
    """A Blob that names a file is not read, although the file is there."""
    documents = [
        Document("a", metadata={"image": encoded("sales")}),
        Document("b", metadata={"image": Blob(path=directory / "sales.png")}),
    ]

    strict = RerankCompressor(client=client, on_invalid_document="raise")
    with pytest.raises(UnsupportedDocumentError, match=r"document 1: .*from_file"):
        way.compress(strict, documents, QUERY)


def test_another_key_or_none(client: RerankClient, way: Way) -> None:
    """image_key says where the image is; with None the texts are ranked alone."""
    documents = [
        Document("red " * count, id=name, metadata={"image": 5, "scan": encoded(name)})
        for count, name in ((1, "margin"), (2, "staff"))
    ]

    by_scan = way.compress(RerankCompressor(client=client, image_key="scan"), documents, "red")
    by_text = way.compress(RerankCompressor(client=client, image_key=None), documents, "red")

    assert ids(by_scan) == ["margin", "staff"]
    assert list(by_id(by_text).items()) == [("staff", 0.04), ("margin", 0.02)]


def test_a_function_for_another_shape(client: RerankClient, way: Way) -> None:
    """document_to_input takes an image from wherever a user's documents have it."""
    documents = [
        Document(base64.b64encode(encoded(name)).decode(), id=name, metadata={"alt": "a page"})
        for name in NAMES
    ]
    compressor = RerankCompressor(
        client=client,
        document_to_input=lambda d: RerankDocument.from_base64(
            d.page_content, text=d.metadata["alt"]
        ),
    )

    kept = way.compress(compressor, documents, QUERY)

    assert by_id(kept) == {name: of_page(QUERY, name) for name in best(QUERY)}
    assert ids(kept) == best(QUERY)


@cases("make", KINDS.values(), ids=KINDS)
def test_a_trace_holds_no_image(client: RerankClient, way: Way, make: MakeImage) -> None:
    """The run of a call holds the reranked documents with a placeholder for each image."""
    tracer = Tracer()

    way.compress(RerankCompressor(client=client), documents_of(make), QUERY, callbacks=[tracer])

    run = tracer.run()
    assert run.outputs is not None
    assert ids(run.outputs["documents"]) == best(QUERY)
    assert image_data([run.inputs, run.outputs, run.extra, run.events]) == []
    assert len(content(run)) < 20 * LONG


@pytest.mark.parametrize("place", ["adapter", "client"])
def test_text_alone_where_the_provider_is_blind(
    blind: RerankClient, server: Server, way: Way, place: str
) -> None:
    """With on_image="text" a blind provider ranks the texts, and the trace says so."""
    tracer = Tracer()
    on_image: dict[str, Any] = {"on_image": "text"}
    compressor = (
        RerankCompressor(client=blind, **on_image)
        if place == "adapter"
        else RerankCompressor(client=blind.with_options(**on_image))
    )

    kept = way.compress(compressor, mixed(), "red", callbacks=[tracer])

    assert list(by_id(kept).items()) == [("costs", 0.06), ("text", 0.02), ("other", 0.0)]
    (received,) = server.received
    assert received.body["documents"] == ["a red cover", "red red red numbers", "nothing of that"]
    metadata = (tracer.run().extra or {})["metadata"]
    assert metadata["rerank"]["warnings"] == [
        "the images of documents 1, 3, 5 were left out: together does not take them"
    ]


def test_the_adapter_says_what_becomes_of_images(
    blind: RerankClient, server: Server, way: Way
) -> None:
    """An adapter that refuses images does so over a client that does not."""
    lenient = blind.with_options(on_image="text")

    with pytest.raises(UnsupportedDocumentError, match=r"document 1 .*takes text only"):
        way.compress(RerankCompressor(client=lenient, on_image="raise"), mixed(), "red")
    assert not server.received


# --- what stays of an answer


def with_other_names(received: Received) -> Reply:
    """The same answer in a dialect that is read in another way."""
    body = sees(received).body
    results = [
        {"index": r["index"], "score": r["relevance_score"], "document": r["document"]}
        for r in body["results"]
    ]
    return Reply({"data": results})


@cases("step", [sees, with_other_names])
def test_the_echo_is_not_kept(server: Server, call: Calls, step: Any) -> None:
    """Of the images that an answer repeats nothing is reachable from the response."""
    server.plays(step)
    documents = [RerankDocument(text=f"page {n}", image=data_uri(n)) for n in NAMES]

    with client_of(server) as client:
        response = call(client, QUERY, documents)

    assert len(step(server.received[0]).content) > len(NAMES) * LONG
    assert [NAMES[result.index] for result in response] == best(QUERY)
    assert all(result.document is documents[result.index] for result in response)
    assert image_data([response], without=documents) == []
    assert "page 0" not in str([o for o in reachable([response], documents) if type(o) is str])


def test_the_echo_is_not_kept_by_an_adapter(server: Server, way: Way) -> None:
    """The response of an adapter holds the framework's own documents, and no echo beside them."""
    server.plays(sees)
    documents = documents_of(data_uri, "page")

    with client_of(server) as client:
        response = way.rerank(RerankCompressor(client=client), documents, QUERY)

    assert all(result.document is documents[result.index] for result in response)
    assert image_data([response], without=documents) == []


# --- LlamaIndex


def in_base64(name: str) -> str:
    """The page as nodes hold it."""
    return base64.b64encode(encoded(name)).decode()


def resource(**given: Any) -> MediaResource:
    """An image of a node."""
    return MediaResource(**given)


NODES: dict[str, MakeNode] = {
    "ImageNode, base64": lambda name, _: ImageNode(id_=name, image=in_base64(name)),
    "ImageNode, data URI": lambda name, _: ImageNode(id_=name, image=data_uri(name)),
    "ImageNode, URL": lambda name, _: ImageNode(id_=name, image_url=address(name)),
    "ImageNode, file": lambda name, at: ImageNode(id_=name, image_path=f"{at}/{name}.png"),
    "ImageDocument": lambda name, _: ImageDocument(id_=name, image=in_base64(name)),
    "Document, bytes": lambda name, _: IndexDocument(
        id_=name, image_resource=resource(data=encoded(name))
    ),
    "Document, URL": lambda name, _: IndexDocument(
        id_=name, image_resource=resource(url=address(name))
    ),
    "Document, file": lambda name, at: IndexDocument(
        id_=name, image_resource=resource(path=at / f"{name}.png")
    ),
    "Node, jpeg": lambda name, _: Node(
        id_=name, image_resource=resource(data=encoded(name, "JPEG"))
    ),
}


def mixed_nodes(directory: Path) -> list[NodeWithScore]:
    """Nodes of every kind, in no order, and one without anything."""
    nodes: list[BaseNode] = [
        TextNode(id_="text", text="a red cover"),
        IndexDocument(id_="margin", image_resource=resource(data=encoded("margin"))),
        ImageNode(id_="blank"),
        ImageNode(id_="costs", text="red red red numbers", image_url=address("costs")),
        TextNode(id_="other", text="nothing of that"),
        ImageNode(id_="sales", image_path=str(directory / "sales.png")),
    ]
    return [NodeWithScore(node=node, score=0.5) for node in nodes]


@cases("make", NODES.values(), ids=NODES)
def test_each_kind_of_node(
    client: RerankClient, rerank: Rerank, make: MakeNode, directory: Path
) -> None:
    """However a node holds its image, it is scored by its own pixels and comes back itself."""
    found = [NodeWithScore(node=make(name, directory)) for name in NAMES]
    reranker = RerankPostprocessor(client=client, allow_local_images=directory)

    kept = rerank(reranker, found, QUERY)

    assert llama_index_support.ids(kept) == best(QUERY)
    for each in kept:
        assert each.score == pytest.approx(of_page(QUERY, each.node.node_id), abs=NEAR)
        assert any(each.node is given.node for given in found)
    assert [each.score for each in found] == [None] * len(NAMES)


def test_a_query_engine_over_all_kinds(client: RerankClient, ask: Ask, directory: Path) -> None:
    """A query engine answers out of the nodes whose images and texts fit best."""
    found = mixed_nodes(directory)
    reranker = RerankPostprocessor(client=client, top_n=4, allow_local_images=directory)
    engine = RetrieverQueryEngine.from_args(
        llama_index_support.Candidates(found), llm=MockLLM(), node_postprocessors=[reranker]
    )

    answer = ask(engine, "query", "red")

    assert scored(answer.source_nodes) == list(MIXED.items())[:4]
    assert {id(each.node) for each in answer.source_nodes} <= {id(each.node) for each in found}


def test_a_query_engine_over_an_index(client: RerankClient, ask: Ask) -> None:
    """Images survive an index that stores its nodes, and are ranked on the way out of it."""
    nodes = [ImageNode(id_=name, text="a page", image=in_base64(name)) for name in NAMES]
    engine = VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=2)).as_query_engine(
        llm=MockLLM(),
        similarity_top_k=len(NAMES),
        node_postprocessors=[RerankPostprocessor(client=client, top_n=3)],
    )

    answer = ask(engine, "query", QUERY)

    assert scored(answer.source_nodes) == [(name, of_page(QUERY, name)) for name in best(QUERY)[:3]]


def test_files_only_where_they_are_allowed(
    client: RerankClient, server: Server, rerank: Rerank, directory: Path
) -> None:
    """A node's file outside of the allowed directory makes its document invalid."""
    (directory / "empty").mkdir()
    reranker = RerankPostprocessor(
        client=client, allow_local_images=directory / "empty", on_invalid_document="raise"
    )

    with pytest.raises(UnsupportedDocumentError, match=r"document 5 \(node sales\).*outside of"):
        rerank(reranker, mixed_nodes(directory), "red")
    assert not server.received


@cases("make", NODES.values(), ids=NODES)
def test_events_hold_no_second_image(
    *, client: RerankClient, rerank: Rerank, make: MakeNode, directory: Path, heard: list[Any]
) -> None:
    """Events lead to the very nodes that were given, and hold no image beside theirs."""
    found = [NodeWithScore(node=make(name, directory)) for name in NAMES]

    rerank(RerankPostprocessor(client=client, allow_local_images=directory), found, QUERY)

    start, end = both(heard)
    nodes = [each.node for each in found]
    assert [each.node for each in start.nodes] == nodes
    assert all(any(each.node is node for node in nodes) for each in (*start.nodes, *end.nodes))
    assert image_data([start, end], without=nodes) == []


@pytest.mark.parametrize("place", ["adapter", "client"])
def test_nodes_texts_where_the_provider_is_blind(
    *,
    blind: RerankClient,
    server: Server,
    rerank: Rerank,
    heard: list[Any],
    tmp_path: Path,
    place: str,
) -> None:
    """With on_image="text" a blind provider ranks the texts, no file is read, the tags say so."""
    on_image: dict[str, Any] = {"on_image": "text"}
    reranker = (
        RerankPostprocessor(client=blind, **on_image)
        if place == "adapter"
        else RerankPostprocessor(client=blind.with_options(**on_image))
    )

    kept = rerank(reranker, mixed_nodes(tmp_path / "missing"), "red")

    assert scored(kept) == [("costs", 0.06), ("text", 0.02), ("other", 0.0)]
    (received,) = server.received
    assert received.body["documents"] == ["a red cover", "red red red numbers", "nothing of that"]
    _, end = both(heard)
    assert end.tags["rerank_warnings"] == [
        "the images of documents 1, 3, 5 were left out: together does not take them"
    ]


def test_the_postprocessor_says_what_becomes_of_images(
    blind: RerankClient, server: Server, rerank: Rerank, directory: Path
) -> None:
    """A postprocessor that refuses images does so over a client that does not."""
    lenient = blind.with_options(on_image="text")

    with pytest.raises(UnsupportedDocumentError, match=r"document 1 .*takes text only"):
        rerank(RerankPostprocessor(client=lenient, on_image="raise"), mixed_nodes(directory), "red")
    assert not server.received
