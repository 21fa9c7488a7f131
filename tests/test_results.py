"""Results that show themselves: by key, as plain data, in a repr, in a notebook, in a table."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, assert_type

import httpx
import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps, loads
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from PIL import Image

from rerank_integrations import (
    DocumentInput,
    InvalidRequestError,
    OpenRouter,
    RerankClient,
    RerankDocument,
    RerankResponse,
    RerankResult,
    Usage,
)
from rerank_integrations.errors import Attempt
from rerank_integrations.langchain import RerankCompressor, RerankRunnable
from rerank_integrations.llama_index import RerankPostprocessor
from support import DATA_URI, PIXELS, PNG

KEY = "sk-the-key"
PIXEL = Image.new("RGB", (1, 1))
WITH_IMAGES: list[Any] = [
    RerankDocument(text="a cat", image=PNG, fields={"title": "Cats"}),
    RerankDocument(image=DATA_URI),
    {"text": "a dog", "image": PNG},
    Document("a bird", metadata={"image": DATA_URI}),
    {"image": PIXEL},
]


def response_to(*documents: Any, **facts: Any) -> RerankResponse:
    """A response that ranks the documents in their order."""
    results = (
        RerankResult(index, 1 / (index + 1), document) for index, document in enumerate(documents)
    )
    return RerankResponse(tuple(results), "some/model", "openrouter", **facts)


# by key


def test_a_result_can_be_read_by_key() -> None:
    """A result gives by key what it gives by attribute."""
    result = RerankResult(2, 0.5, "a")
    assert (result["index"], result["relevance_score"], result["document"]) == (2, 0.5, "a")


@pytest.mark.parametrize("key", ["score", "to_dict", 0, ["index"]])
def test_another_key_is_a_key_error(key: Any) -> None:
    """Any other key is a KeyError that names the three."""
    with pytest.raises(KeyError, match="'index', 'relevance_score', 'document'"):
        _ = RerankResult(2, 0.5, "a")[key]


def test_a_result_is_no_sequence() -> None:
    """Keys make a result neither iterable nor a container."""
    result: Any = RerankResult(2, 0.5, "a")
    with pytest.raises(TypeError, match="not iterable"):
        iter(result)


# as data


@pytest.mark.parametrize("images", ["redact", "keep"])
def test_json_and_dict_are_the_same(images: Any) -> None:
    """to_json is the JSON of to_dict, for a response, a result and a usage, with any documents."""
    odd = {
        "when": datetime(2024, 1, 1, tzinfo=UTC),
        1: {"a"},
        "nan": float("nan"),
        "ö": "\ud800",
    }
    usage = Usage(total_tokens=3, raw={"n": (1, 2)})
    response = response_to(*WITH_IMAGES, odd, object(), usage=usage, skipped=(9,))
    for one in (response, response[0], response.usage):
        assert json.loads(one.to_json(images=images)) == one.to_dict(images=images)
        one.to_json(images=images).encode("utf-8")


def test_the_dict_has_every_attribute() -> None:
    """to_dict holds each attribute by its name, attempts as dicts and tuples as lists."""
    response = response_to(
        RerankDocument(text="a"),
        usage=Usage(cost=0.1, raw={"cost": 0.1}),
        attempts=(Attempt("openrouter", "m", "503"),),
        warnings=("look",),
    )
    assert response.to_dict() == {
        "results": [
            {
                "index": 0,
                "relevance_score": 1.0,
                "document": {"text": "a", "image": None, "fields": None},
            }
        ],
        "model": "some/model",
        "provider": "openrouter",
        "id": None,
        "request_id": None,
        "usage": {
            "search_units": None,
            "total_tokens": None,
            "prompt_tokens": None,
            "completion_tokens": None,
            "cost": 0.1,
            "raw": {"cost": 0.1},
        },
        "cache_hits": 0,
        "skipped": [],
        "warnings": ["look"],
        "attempts": [{"provider": "openrouter", "model": "m", "error": "503"}],
        "missing": [],
        "score_kind": "unknown",
        "retries": 0,
        "headers": {},
        "raw": None,
    }


def test_images_are_redacted() -> None:
    """By default no image data is in the data, wherever in a document it is."""
    text = response_to(*WITH_IMAGES).to_json()
    assert PIXELS[:8] not in text
    for placeholder in ("<13 bytes>", "<image data>", "<image of 1 x 1 pixels>"):
        assert placeholder in text


def test_images_are_kept() -> None:
    """With "keep" every image is a data URI, and a RerankDocument can be made of it again."""
    data = [
        result["document"] for result in response_to(*WITH_IMAGES).to_dict(images="keep")["results"]
    ]
    assert RerankDocument(**data[1]) == WITH_IMAGES[1]
    images = [data[0]["image"], data[2]["image"], data[3]["metadata"]["image"], data[4]["image"]]
    assert [image[:22] for image in images] == ["data:image/png;base64,"] * 4
    other = RerankResult(0, 1.0, {"blob": b"%PDF"}).to_dict(images="keep")["document"]
    assert other == {"blob": "data:application/octet-stream;base64,JVBERg=="}


def test_a_wrong_switch_is_refused() -> None:
    """Only "redact" and "keep" say what becomes of images."""
    with pytest.raises(InvalidRequestError, match="'redact' or 'keep', not 'drop'"):
        response_to("a").to_dict(images="drop")  # type: ignore[arg-type]


def test_what_holds_itself_ends() -> None:
    """A document that holds itself is cut off at some depth."""
    document: dict[str, Any] = {}
    document["again"] = document
    assert "<dict>" in response_to(document).to_json()


# repr


UGLY: dict[str, Callable[[int], Any]] = {
    "text": lambda index: f"{index} " + "a passage of some length " * 20,
    "control characters": lambda _: "\0" * 500,
    "fields": lambda index: {f"field\n{n}": index for n in range(50)},
    "all parts": lambda index: RerankDocument(
        text="x" * 500, image=f"https://example.com/{'y' * 500}", fields={"z" * 500: 1}
    ),
}


@pytest.mark.parametrize("make", UGLY.values(), ids=UGLY)
def test_a_repr_is_short(make: Callable[[int], Any]) -> None:
    """The repr of 50 results has the first, a count of the rest, and under 1,200 characters."""
    usage = Usage(search_units=1, total_tokens=12345, prompt_tokens=12345, cost=0.00123)
    facts: dict[str, Any] = {"usage": usage, "id": "i" * 500, "request_id": "r" * 500}
    shown = repr(response_to(*map(make, range(50)), warnings=("w" * 500,), **facts))
    assert len(shown) < 1200
    assert shown.startswith("RerankResponse(results=[RerankResult(index=0, relevance_score=1.0")
    assert re.search(r"\.\.\. 4[789] more\], model='some/model', provider='openrouter'", shown)
    assert f"usage={usage}" in shown
    assert "warnings=<1>" in shown
    assert "\n" not in shown


# in a notebook


class Cells(HTMLParser):
    """The tags of some HTML, and the text of each cell of its table by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag; a row and a cell begin."""
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        """Text of the cell."""
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_a_notebook_shows_a_table() -> None:
    """The table has rank, movement against the input order without blank ones, score and text."""
    results = tuple(
        RerankResult(index, score, text)
        for index, score, text in [(3, 0.9, "third"), (0, 0.45, "first"), (2, 0.0, "second")]
    )
    html = RerankResponse(results, "m", "p", skipped=(1,))._repr_html_()
    assert Cells(html).rows[1:] == [
        ["1", "▲ +2", "", "0.9", "third"],
        ["2", "▼ -1", "", "0.45", "first"],
        ["3", "▼ -1", "", "0", "second"],
    ]
    assert re.findall(r"width: (\d+)%", html) == ["100", "50", "0"]
    assert "3 results · m · p · skipped 1" in html


def test_a_bar_of_scores_below_zero() -> None:
    """Where scores are below zero, the shortest bar is the lowest score."""
    results = tuple(RerankResult(index, score, "a") for index, score in enumerate([1.0, 0.0, -1.0]))
    html = RerankResponse(results, "m", "p")._repr_html_()
    assert re.findall(r"width: (\d+)%", html) == ["100", "50", "0"]


def test_the_table_runs_and_loads_nothing() -> None:
    """All text is escaped and shortened, an image is a word, and nothing is fetched or run."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    url = RerankDocument(image="https://example.com/a.png", text="a photo")
    documents = [evil, {"title": evil}, {evil: "a"}, url, "x" * 1000, *WITH_IMAGES, object()]
    results = response_to(*documents).results
    html = RerankResponse(results, evil, evil)._repr_html_()
    found = Cells(html)
    assert found.tags == {"table", "caption", "thead", "tbody", "tr", "th", "td", "div"}
    assert found.attributes <= {"style", "class", "colspan", "title", "dir"}
    assert "http" not in html
    assert "url(" not in html
    assert PIXELS[:8] not in html
    texts = [row[-1] for row in found.rows[1:]]
    assert texts[3] == "a photo [image]"
    assert texts[4] == "x" * 159 + "…"
    assert texts[5] == "a cat title: Cats [image]"
    assert texts[7:] == ["text: a dog · image: [image]", "a bird", "image: [image]", "<object>"]


def test_a_long_table_is_cut() -> None:
    """A notebook shows the first hundred results, and how many more there are."""
    rows = Cells(response_to(*map(str, range(105)))._repr_html_()).rows
    assert len(rows) == 1 + 100 + 1
    assert rows[-1] == ["5 more"]


@pytest.mark.parametrize("scores", [[], [0.0], [1e308, -1e308]])
def test_a_table_of_odd_scores(scores: list[float]) -> None:
    """No results, only zeros, and the largest of numbers make a table too."""
    results = tuple(RerankResult(index, score, "a") for index, score in enumerate(scores))
    assert len(Cells(RerankResponse(results, "m", "p")._repr_html_()).rows) == 1 + len(scores)


def test_pandas_makes_a_frame_of_a_response() -> None:
    """pandas.DataFrame(response) has a column for each attribute of a result."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(response_to("a", {"text": "b"}))
    assert list(frame.columns) == ["index", "relevance_score", "document"]
    assert frame.to_dict("list") == {
        "index": [0, 1],
        "relevance_score": [1.0, 0.5],
        "document": ["a", {"text": "b"}],
    }


# types


def test_type_checkers_know_the_documents() -> None:
    """The type of the documents is that of the documents in the response, also in a mixture."""
    client = RerankClient("local:bm25")
    texts = ["a bicycle", "a car"]
    mixed: list[DocumentInput] = ["a bicycle", {"text": "a car"}]
    response = assert_type(client.rerank("bicycle", texts), RerankResponse[str])
    assert_type(client.rerank("bicycle", [{"text": "a"}]), RerankResponse[dict[str, str]])
    assert_type(client.rerank("bicycle", [RerankDocument("a")])[0].document, RerankDocument)
    assert_type(client.rerank("bicycle", mixed), RerankResponse[DocumentInput])
    client.rerank("bicycle", ["a", {"year": 1}, RerankDocument("b")], top_n=1)
    client.rerank("bicycle", [{"year": 1}, {"title": "b"}])
    assert_type(response[0]["document"], str)
    assert_type(response[:1], tuple[RerankResult[str], ...])
    wider: RerankResponse[DocumentInput] = response
    assert wider[:1] == wider.results[:1]
    with pytest.raises(InvalidRequestError):
        client.rerank("bicycle", [1])  # type: ignore[type-var]


def test_type_checkers_know_the_documents_of_langchain() -> None:
    """A compressor's response holds the documents that it was given."""
    compressor = RerankCompressor("local:bm25")
    response = compressor.rerank([Document("a bicycle")], "bicycle")
    assert_type(response, RerankResponse[Document])


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],  # noqa: S301
)
def test_a_typed_response_can_be_made_and_copied(copied: Callable[[Any], Any]) -> None:
    """RerankResponse[str](...) and RerankResult[str](...) work; copies and pickles are equal."""
    response = RerankResponse[str]((RerankResult[str](0, 1.0, "a"),), "m", "p")
    assert copied(response) == response


# in checkpoints and dumps


ALLOWED = [
    ("rerank_integrations.models", name)
    for name in ("RerankResponse", "RerankResult", "RerankDocument", "Usage")
] + [("rerank_integrations.errors", "Attempt")]


def test_langgraph_restores_a_response(caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint restores a response with allowed modules, and its dict without, unwarned."""
    serde = pytest.importorskip("langgraph.checkpoint.serde.jsonplus")
    attempts = (Attempt("openrouter", "m"),)
    said: dict[str, Any] = {"headers": [{"x-id": "1"}, {}], "raw": [{"results": [1]}, None]}
    response = response_to(
        "a", RerankDocument(text="b", image=PNG), attempts=attempts, skipped=(2,), **said
    )
    with caplog.at_level(logging.WARNING):
        for allowed, state in ((ALLOWED, response), (None, response.to_dict())):
            serializer = serde.JsonPlusSerializer(allowed_msgpack_modules=allowed)
            assert serializer.loads_typed(serializer.dumps_typed({"it": state})) == {"it": state}
    assert caplog.messages == []


SETTINGS: list[dict[str, Any]] = [
    {},
    {"api_key": KEY},
    {"rank_fields": ("title", "text"), "fallbacks": ("local:bm25",), "top_n": 2},
    {"timeout": httpx.Timeout(3, read=None), "deadline": None, "extra_body": {"a": (1, 2)}},
]


def restored(dumped: str) -> Any:
    """What was dumped, with the key from a map of secrets."""
    return loads(
        dumped,
        allowed_objects=[RerankCompressor, RerankRunnable],
        valid_namespaces=["rerank_integrations"],
        secrets_map={"OPENROUTER_API_KEY": KEY},
    )


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("given", SETTINGS)
def test_what_was_loaded_is_equal(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressor and its runnable are equal to what loads makes of their dumps."""
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    compressor = RerankCompressor("openrouter:m", **given)
    step = compressor.as_runnable()
    assert KEY not in dumps(step)
    assert restored(dumps(compressor)) == compressor
    assert restored(dumps(step)) == step


@pytest.mark.parametrize(
    "given",
    [
        {"model": "openrouter:m", "api_key": KEY, "extra_headers": {"x-a": KEY}},
        {"model": "m", "provider": OpenRouter(api_key=KEY)},
        {"model": "local:bm25", "fallbacks": [RerankClient("local:bm25")]},
    ],
    ids=["headers", "provider", "client as a fallback"],
)
def test_what_a_dump_cannot_hold_is_not_left_out(given: dict[str, Any]) -> None:
    """A compressor with headers or objects is dumped as not implemented, and never as less."""
    dumped = dumps(RerankCompressor(**given))
    assert json.loads(dumped)["type"] == "not_implemented"
    assert KEY not in dumped


@pytest.mark.parametrize("adapter", [RerankCompressor, RerankPostprocessor])
def test_equal_settings_make_equal_adapters(adapter: Callable[..., Any]) -> None:
    """Adapters with the same settings are equal, with a list for a tuple too, and others not."""
    one = adapter(model="local:bm25", rank_fields=["title"])
    assert one == adapter(model="local:bm25", rank_fields=("title",))
    assert one != adapter(model="local:bm25", rank_fields=["text"])


def test_other_callbacks_make_another_postprocessor() -> None:
    """Postprocessors that tell different handlers are not equal."""
    handled = RerankPostprocessor(
        "local:bm25", callback_manager=CallbackManager([LlamaDebugHandler()])
    )
    assert handled != RerankPostprocessor("local:bm25")
