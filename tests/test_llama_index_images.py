"""Images in LlamaIndex nodes: every kind of node, every kind of image, and what is never read."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from PIL import Image

from calls import client_of
from cases import cases
from loopback import Server
from rerank_integrations import (
    VLLM,
    InvalidRequestError,
    RerankClient,
    UnsupportedDocumentError,
)
from rerank_integrations.llama_index import RerankPostprocessor

URL = "https://e.com/a.png?signature=A%2Fb"
Send = Callable[..., list[Any]]


def picture(kind: str = "PNG") -> bytes:
    """A small picture."""
    held = BytesIO()
    Image.new("RGB", (2, 2), "red").save(held, kind)
    return held.getvalue()


PNG = picture()
ENCODED = base64.b64encode(PNG).decode()
DATA_URI = f"data:image/png;base64,{ENCODED}"


@pytest.fixture(name="send", params=["sync", "async"])
def send_fixture(request: pytest.FixtureRequest, server: Server) -> Send:
    """Reranks nodes at a server, and says which documents it received."""

    def send(
        *nodes: BaseNode,
        query: QueryBundle | None = None,
        reranker: RerankPostprocessor | None = None,
        **settings: Any,
    ) -> list[Any]:
        reranker = reranker or RerankPostprocessor(
            model="openrouter:m",
            api_key="the-key",
            base_url=server.url,
            **settings,
        )
        query = query or QueryBundle("a red square")
        found = [NodeWithScore(node=node) for node in nodes]
        if request.param == "sync":
            kept = reranker.postprocess_nodes(found, query)
        else:
            kept = asyncio.run(reranker.apostprocess_nodes(found, query))
        assert all(any(k.node is node for node in nodes) for k in kept)
        documents: list[Any] = server.received[-1].body["documents"] if server.received else []
        return documents

    return send


@pytest.fixture(name="file")
def file_fixture(tmp_path: Path) -> Path:
    """A picture in a file."""
    file = tmp_path / "pictures" / "red.png"
    file.parent.mkdir()
    file.write_bytes(PNG)
    return file


HOLDING = [
    ImageNode(image=ENCODED),
    ImageNode(image=DATA_URI),
    ImageNode(image_url=DATA_URI),
    Node(image_resource=MediaResource(data=PNG)),
    Node(image_resource=MediaResource(data=ENCODED.encode())),
    Node(image_resource=MediaResource(data=DATA_URI.encode())),
    Document(image_resource=MediaResource(data=PNG)),
    ImageDocument(image=ENCODED),
]


@pytest.mark.parametrize("node", HOLDING, ids=lambda node: type(node).__name__)
def test_an_image_in_the_node_is_sent(send: Send, node: BaseNode) -> None:
    """An image that the node holds, as base64 or a data URI, goes out as a data URI."""
    assert send(node) == [{"image": DATA_URI}]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_the_format_is_told_from_the_image(send: Send, kind: str) -> None:
    """The data URI names the format of the bytes, whatever the node says."""
    encoded = base64.b64encode(picture(kind)).decode()

    assert send(ImageNode(image=encoded, image_mimetype="image/tiff")) == [
        {"image": f"data:image/{kind.lower()};base64,{encoded}"}
    ]


@pytest.mark.parametrize(
    "node",
    [ImageNode(image_url=URL), Node(image_resource=MediaResource(url=URL))],  # type: ignore[arg-type]
    ids=["ImageNode", "Node"],
)
def test_a_url_is_passed_through(send: Send, node: BaseNode) -> None:
    """A URL goes out with its signature, byte for byte, and is not fetched here."""
    assert send(node) == [{"image": URL}]


def test_base64_with_line_breaks(send: Send) -> None:
    """Base64 in lines, as MIME writes it, is an image too."""
    lines = base64.encodebytes(PNG * 3).decode()

    [document] = send(ImageNode(image=lines))

    assert base64.b64decode(document["image"].partition(",")[2]) == PNG * 3


def test_a_local_file_is_sent_where_it_is_allowed(send: Send, file: Path) -> None:
    """With allow_local_images=True each kind of node may name a file."""
    nodes = [
        ImageNode(image_path=str(file)),
        Node(image_resource=MediaResource(path=file)),
        Document(image_resource=MediaResource(path=file)),
        ImageDocument(image_path=str(file)),
    ]

    assert send(*nodes, allow_local_images=True) == [{"image": DATA_URI}] * 4


def test_a_local_file_is_not_read_unasked(send: Send, file: Path, server: Server) -> None:
    """A node with a file is invalid with the fix in the reason, and nothing is read or sent."""
    nodes = [TextNode(text="a"), ImageNode(image_path=str(file), text="a caption")]
    with pytest.raises(UnsupportedDocumentError, match=r"document 1 .*allow_local_images=True"):
        send(*nodes, on_invalid_document="raise")
    assert not server.received


def test_a_directory_holds_what_may_be_read(send: Send, file: Path, tmp_path: Path) -> None:
    """A file inside the allowed directory is read, one outside is refused, also through links."""
    outside = tmp_path / "outside.png"
    outside.write_bytes(PNG)
    (file.parent / "link.png").symlink_to(outside)
    allowed = {"allow_local_images": file.parent}

    assert send(ImageNode(image_path=str(file)), **allowed) == [{"image": DATA_URI}]
    for path in (outside, file.parent / ".." / "outside.png", file.parent / "link.png"):
        with pytest.raises(UnsupportedDocumentError, match="outside of"):
            send(ImageNode(image_path=str(path)), **allowed)


def test_a_relative_path_is_read_from_the_working_directory(
    send: Send, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path and a relative directory are those of the process."""
    monkeypatch.chdir(file.parents[1])

    assert send(ImageNode(image_path="pictures/red.png"), allow_local_images=Path("pictures")) == [
        {"image": DATA_URI}
    ]


@pytest.mark.parametrize("name", ["missing.png", "", "nul\0.png"])
def test_a_file_that_cannot_be_read(send: Send, tmp_path: Path, name: str) -> None:
    """What is no readable file is refused with the number of the document."""
    with pytest.raises(UnsupportedDocumentError, match="document 0 "):
        send(ImageNode(image_path=f"{tmp_path}/{name}"), allow_local_images=True)


def test_a_pipe_is_not_waited_for(send: Send, tmp_path: Path) -> None:
    """What may never end, such as a pipe, is refused."""
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(UnsupportedDocumentError, match="not a regular file"):
        send(ImageNode(image_path=str(tmp_path / "pipe.png")), allow_local_images=True)


def test_a_file_that_is_no_image(send: Send, tmp_path: Path) -> None:
    """A file of another kind is never sent, even where files may be read."""
    (tmp_path / "passwd").write_text("root:x:0:0")

    with pytest.raises(UnsupportedDocumentError, match="PNG, JPEG, WebP, GIF"):
        send(ImageNode(image_path=str(tmp_path / "passwd")), allow_local_images=True)


def test_a_file_url_is_never_read(send: Send, file: Path, server: Server) -> None:
    """A file: URL is refused, also where local files may be read."""
    nodes = [
        ImageNode(image_url=file.as_uri()),
        ImageNode(image_url=file.as_uri().replace("file", "FILE")),
        Node(image_resource=MediaResource(url=file.as_uri())),  # type: ignore[arg-type]
    ]
    for node in nodes:
        with pytest.raises(UnsupportedDocumentError, match="file: URL"):
            send(node, allow_local_images=True)
    assert not server.received


def test_metadata_names_no_image(send: Send, file: Path) -> None:
    """A path, a URL or data in the metadata is text; only the node's own image is an image."""
    metadata = {"file_path": str(file), "image_path": str(file), "image": DATA_URI, "url": URL}
    node = TextNode(text="a", metadata=metadata, excluded_embed_metadata_keys=list(metadata))

    assert send(node, allow_local_images=True) == ["a"]
    assert send(node, allow_local_images=True, rank_fields=["text", "image"]) == ["a"]


def test_of_several_images_the_first_counts(send: Send, file: Path) -> None:
    """What the node holds goes before its file, a file that may be read before a URL."""
    everything = ImageNode(image=ENCODED, image_path=f"{file}.missing", image_url=URL)
    both = ImageNode(image_path=str(file), image_url=URL)

    assert send(everything, allow_local_images=True) == [{"image": DATA_URI}]
    assert send(both, allow_local_images=True) == [{"image": DATA_URI}]
    assert send(both) == [{"image": URL}]


def test_caption_and_image_go_together(send: Send) -> None:
    """A node's text, with its metadata, and its image are one document."""
    nodes = [
        ImageNode(text="a caption", image_url=URL, metadata={"page": 3}),
        Node(  # type: ignore[call-arg]
            text_resource=MediaResource(text="a caption"),
            image_resource=MediaResource(url=URL),  # type: ignore[arg-type]
            metadata={"page": 3},
        ),
    ]

    assert send(*nodes) == [{"text": "page: 3\n\na caption", "image": URL}] * 2


def test_fields_and_image_go_together(send: Send) -> None:
    """rank_fields make the text of a node with an image too; a misspelt one is an error."""
    node = ImageNode(text="a caption", image_url=URL, metadata={"page": 3})

    assert send(node, rank_fields=["page", "text"]) == [
        {"text": "page: 3\ntext: a caption", "image": URL}
    ]
    with pytest.raises(UnsupportedDocumentError, match="page"):
        send(node, rank_fields=["pages"])


def test_metadata_alone_is_no_caption(send: Send) -> None:
    """An image without a text is sent without one, and without the metadata's file names."""
    assert send(ImageNode(image_url=URL, metadata={"file_path": "/home/me/a.png"})) == [
        {"image": URL}
    ]


def test_all_kinds_in_one_request(send: Send) -> None:
    """Nodes with text, with an image, with both and with neither go in one request, in order."""
    nodes = [
        TextNode(text="text"),
        ImageNode(image=ENCODED),
        Node(text_resource=MediaResource(text="resource")),
        ImageNode(text="both", image_url=URL),
        ImageNode(),
        Node(image_resource=MediaResource(mimetype="image/png")),
        Document(text="document"),
        IndexNode(text="index", index_id="i", obj=object()),
    ]

    assert send(*nodes) == [
        "text",
        {"image": DATA_URI},
        "resource",
        {"text": "both", "image": URL},
        "document",
        "index",
    ]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("no base64!", "not valid base64"),
        ("é" * 8, "not valid base64"),
        (ENCODED[:-3], "not valid base64"),
        (base64.b64encode(b"%PDF-1.7").decode(), "PNG, JPEG, WebP, GIF"),
        ("data:text/plain;base64,YQ==", "data:image/"),
    ],
)
def test_a_broken_image_is_refused(send: Send, image: str, why: str, server: Server) -> None:
    """What is no image is refused with the number of its document, and without its data."""
    with pytest.raises(UnsupportedDocumentError, match=why) as caught:
        send(TextNode(text="a"), ImageNode(image=image), on_invalid_document="raise")

    assert "document 1" in str(caught.value)
    assert image not in str(caught.value)
    assert not server.received


def test_a_provider_of_texts_refuses_images() -> None:
    """Where the endpoint takes text only, an image is refused before anything is sent."""
    reranker = RerankPostprocessor(model="local:bm25")

    with pytest.raises(UnsupportedDocumentError, match="takes text only"):
        reranker.postprocess_nodes(
            [NodeWithScore(node=ImageNode(image=ENCODED))], query_str="a red square"
        )


def test_the_image_of_a_query(send: Send, file: Path, server: Server, tmp_path: Path) -> None:
    """The caller's image_path is read where the provider takes an image, and else never."""
    (tmp_path / "passwd").write_text("root")
    sees = RerankClient("m", provider=VLLM(base_url=server.url))

    def asked(image: str, text: str = "", client: RerankClient = sees, **settings: Any) -> Any:
        bundle = QueryBundle(text, image_path=image)
        settings = {"client": client, "on_error": "passthrough", **settings}
        send(TextNode(text="a"), query=bundle, reranker=RerankPostprocessor(**settings))
        return server.received[-1].body["query"]

    image = {"type": "image_url", "image_url": {"url": DATA_URI}}
    both = {"content": [image, {"type": "text", "text": "red"}]}
    assert asked(str(file)) == asked(DATA_URI) == {"content": [image]}
    assert asked(str(file), "red", allow_local_images=file.parent) == both
    assert asked(URL)["content"][0]["image_url"]["url"] == URL
    blind = client_of(server)
    assert asked("no-such-file.png", "red", blind, on_image="text") == "red"
    count = len(server.received)
    refused: list[tuple[str, RerankClient, dict[str, Any], str]] = [
        (str(tmp_path / "passwd"), sees, {}, "the query: the image has a format"),
        (f"{file}.missing", sees, {}, "the query: cannot read the image file"),
        (f"file://{file}", sees, {}, "the query: cannot read the image file"),
        (str(file), sees, {"allow_local_images": tmp_path / "other"}, "the query: .* outside of"),
        (str(file), blind, {}, "takes a query of text only"),
    ]
    for path, client, settings, why in refused:
        with pytest.raises(InvalidRequestError, match=why):
            asked(path, client=client, **settings)
    assert len(server.received) == count
    reranker = RerankPostprocessor(model="local:bm25")
    assert reranker.postprocess_nodes([], QueryBundle("", image_path="a.png")) == []


def test_files_are_read_beside_the_event_loop(
    file: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The async path reads files in a thread, so that a slow disk stops no other task."""
    read_bytes, on_a_loop = Path.read_bytes, []

    def noted(path: Path) -> bytes:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            on_a_loop.append(False)
        else:
            on_a_loop.append(True)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    reranker = RerankPostprocessor(
        model="openrouter:m",
        api_key="the-key",
        base_url=server.url,
        allow_local_images=True,
    )
    nodes = [NodeWithScore(node=ImageNode(image_path=str(file)))]

    asyncio.run(reranker.apostprocess_nodes(nodes, query_str="a red square"))

    assert on_a_loop == [False]


@cases("allowed", [True, False, Path("pictures")])
def test_what_may_be_read_survives_a_round_trip(allowed: Any) -> None:
    """allow_local_images comes back from dict and JSON as it was."""
    reranker = RerankPostprocessor(model="local:bm25", allow_local_images=allowed)

    for copy in (
        RerankPostprocessor.from_dict(reranker.to_dict()),
        RerankPostprocessor.from_json(reranker.to_json()),
    ):
        assert copy.allow_local_images == allowed


@pytest.mark.parametrize("path", ["/home/me/a.txt", "notes/a.txt"])
def test_no_absolute_path_is_sent_by_itself(send: Send, path: str) -> None:
    """The absolute file_path that readers note stays here in EMBED mode; a relative one is sent."""
    node = Document(text="hello", metadata={"file_path": path, "topic": "greeting"})
    sent = "topic: greeting\n\nhello" if path[0] == "/" else node.get_content("embed")  # type: ignore[arg-type]

    assert send(node) == [sent]
    assert send(node, metadata_mode="all") == [f"file_path: {path}\ntopic: greeting\n\nhello"]
    assert send(node, rank_fields=["file_path"]) == [path]


@cases(
    ("nodes", "named"),
    [
        ([TextNode(text="a")], "TextNode"),
        (TextNode(text="a"), "one TextNode"),
        (NodeWithScore(node=TextNode(text="a")), "one NodeWithScore"),
        (["a"], "str"),
    ],
)
def test_what_is_no_list_of_scored_nodes_is_refused(nodes: Any, named: str) -> None:
    """A list of something else, or one node, is refused with what was expected."""
    with pytest.raises(InvalidRequestError, match=f"NodeWithScore, .*{named}"):
        RerankPostprocessor(model="local:bm25").postprocess_nodes(nodes, query_str="a")
