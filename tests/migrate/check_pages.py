"""Both sides of every `diff` in docs/migrate/ find the same, the old one with the peer's package.

A server on loopback plays the vendors. A model that would have to be downloaded is replaced by one
that counts words; the code of the peer around it is the real one. `make test-migrate` runs this,
and nothing else does: the peers are not in the group `dev`.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from docs_support import KEYS, MIGRATE, Block, blocks_of, shares_words
from loopback import Received, Reply, Server, running

QUERY = "a red bicycle"
MORE_KEYS = ("CO_API_KEY", "JINAAI_API_KEY", "OPENAI_API_KEY")
# what a user of each class passes to it or reads from it; names that only its framework uses are
# left out
OF_THE_FRAMEWORK = {"self", "args", "kwargs", "documents", "docs", "query", "request", "callbacks"}
COHERE = "cohere.ClientV2"
CLASSES: dict[str, tuple[tuple[str, int | None], ...]] = {
    "cohere": (
        ("langchain_cohere.CohereRerank", 3),
        ("llama_index.postprocessor.cohere_rerank.CohereRerank", 2),
        (COHERE, None),
    ),
    "jina": (
        ("langchain_community.document_compressors.JinaRerank", 3),
        ("llama_index.postprocessor.jinaai_rerank.JinaRerank", 2),
    ),
    "voyage": (
        ("langchain_voyageai.VoyageAIRerank", None),
        ("llama_index.postprocessor.voyageai_rerank.VoyageAIRerank", None),
    ),
    "nvidia": (
        ("langchain_nvidia_ai_endpoints.NVIDIARerank", 5),
        ("llama_index.postprocessor.nvidia_rerank.NVIDIARerank", 5),
    ),
    "fireworks": (("langchain_fireworks.FireworksRerank", 3),),
    "flashrank": (
        ("langchain_community.document_compressors.FlashrankRerank", 3),
        ("llama_index.postprocessor.flashrank_rerank.FlashRankRerank", 20),
        ("flashrank.Ranker", None),
    ),
    "sentence-transformers": (
        ("llama_index.core.postprocessor.SentenceTransformerRerank", 2),
        ("langchain_classic.retrievers.document_compressors.CrossEncoderReranker", 3),
        ("langchain_community.cross_encoders.HuggingFaceCrossEncoder", None),
    ),
    "llm-rerank": (("llama_index.core.postprocessor.LLMRerank", 10),),
    "rerankers": (("rerankers.Reranker", None), ("rerankers.models.api_rankers.APIRanker", None)),
    "litellm": (("litellm.rerank", None),),
    "langchain-reranker": (
        ("langchain_reranker.rerankers.init_reranker", None),
        ("langchain_reranker.rerankers.HttpReranker", None),
        ("langchain_reranker.rerankers.CrossEncoderReranker", None),
    ),
}
PAGES = sorted(MIGRATE.glob("*.md"))
DIFFS = [
    pytest.param(block, id=f"{page.stem}:{block.line}")
    for page in PAGES
    for block in blocks_of(page)
    if block.language == "diff"
]


def words(text: str) -> set[str]:
    """The words of a text."""
    return set(re.findall(r"\w+", text.lower()))


def shared(query: str, text: str) -> float:
    """The part of the query's words that are in the text."""
    return len(words(query) & words(text)) / len(words(query))


def plays_vendors(received: Received) -> Reply:
    """A rerank endpoint, or a chat model that chooses as LLMRerank asks it to."""
    if not received.path.endswith("/chat/completions"):
        return in_the_form_of_the_vendor(received, shares_words(received).body)
    prompt = received.body["messages"][-1]["content"].rpartition("try this now")[2]
    found = re.findall(r"^Document (\d+):\n(.*)$", prompt, re.MULTILINE)
    chosen = [(int(10 * shared(QUERY, text)), place) for place, text in found]
    answer = "\n".join(f"Doc: {place}, Relevance: {score}" for score, place in sorted(chosen)[::-1])
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Reply({"id": "1", "object": "chat.completion", "created": 1, "choices": [choice]})


def in_the_form_of_the_vendor(received: Received, answer: Any) -> Reply:
    """The response with its results where the vendor's own client looks for them."""
    results = answer.pop("results")
    vendor = received.headers["host"]
    if vendor == "ai.api.nvidia.com":
        rankings = [{"index": one["index"], "logit": one["relevance_score"]} for one in results]
        return Reply({**answer, "rankings": rankings})
    has_data = vendor in ("api.voyageai.com", "api.fireworks.ai")
    return Reply({**answer, "data" if has_data else "results": results})


class CountsWords:
    """What is in the place of a model that would have to be downloaded."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        del args, settings

    def predict(self, pairs: Sequence[Sequence[str]], **settings: Any) -> Any:
        """A score for each pair, as an array."""
        del settings
        return import_module("numpy").array([shared(*pair) for pair in pairs], dtype="float32")

    def encode_batch(self, pairs: Sequence[Sequence[str]]) -> list[Any]:
        """A tokenizer's output, of which the first id tells the score."""
        return [
            types.SimpleNamespace(
                ids=[round(1000 * shared(*pair))], type_ids=[0], attention_mask=[1]
            )
            for pair in pairs
        ]

    def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
        """A logit for each pair, as an ONNX session gives it."""
        return [(inputs["input_ids"][:, :1] / 1000).astype("float32")]


@pytest.fixture(name="server")
def server_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The vendors, on loopback: every HTTP library sends there, with the vendor's host name."""
    for name in (*KEYS, *MORE_KEYS):
        monkeypatch.setenv(name, "the-key")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it is fetched
    monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-the-key")
    monkeypatch.setenv("NVIDIA_USAGE_TELEMETRY_ENABLED", "0")
    with running() as server:
        server.plays(plays_vendors)
        host, port = "127.0.0.1", server.server_address[1]
        for library in ("httpx", "httpx2"):
            _redirect_httpx(monkeypatch, library, host, port)
        _redirect_requests(monkeypatch, f"http://{host}:{port}")
        yield server


def _redirect_httpx(monkeypatch: pytest.MonkeyPatch, library: str, host: str, port: int) -> None:
    try:
        transport = import_module(library).HTTPTransport
    except ImportError:
        return
    send = transport.handle_request

    def handle(own: Any, request: Any) -> Any:
        request.url = request.url.copy_with(scheme="http", host=host, port=port)
        return send(own, request)

    monkeypatch.setattr(transport, "handle_request", handle)


def _redirect_requests(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    adapter = import_module("requests.adapters").HTTPAdapter
    send = adapter.send

    def handle(own: Any, request: Any, **settings: Any) -> Any:
        _, _, rest = request.url.partition("://")
        request.headers["Host"], _, path = rest.partition("/")
        request.url = f"{address}/{path}"
        return send(own, request, **settings)

    monkeypatch.setattr(adapter, "send", handle)


@pytest.fixture(name="models")
def models_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is downloaded."""
    try:
        ranker = import_module("flashrank").Ranker
    except ImportError:
        pass
    else:

        def load(own: Any, *args: Any, **settings: Any) -> None:
            del args, settings
            own.logger = import_module("logging").getLogger("flashrank")
            own.llm_model = None
            own.tokenizer = own.session = CountsWords()

        monkeypatch.setattr(ranker, "__init__", load)
    try:
        package = import_module("sentence_transformers")
    except ImportError:  # it needs torch
        package = types.ModuleType("sentence_transformers")
        monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    monkeypatch.setattr(package, "CrossEncoder", CountsWords, raising=False)


def section_of(block: Block) -> list[Block]:
    """The blocks of Python above a block, below the same heading."""
    lines = block.page.read_text(encoding="utf-8").splitlines()
    start = max(at for at, line in enumerate(lines[: block.line]) if line.startswith("## "))
    above = blocks_of(block.page)
    return [one for one in above if start < one.line < block.line and one.language == "python"]


def found_by(source: str, block: Block) -> list[tuple[str, float | None]]:
    """The texts and scores that a side of a block keeps, after what is above it in its section."""
    namespace: dict[str, Any] = {"__name__": "page"}
    code = "\n" * (block.line - 1) + source
    try:
        for text in [*(one.code for one in section_of(block)), code]:
            exec(compile(text, str(block.page), "exec"), namespace)  # noqa: S102
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    return [plain(one) for one in namespace["kept"]]


def plain(one: Any) -> tuple[str, float | None]:
    """The text and the score of a document, a node or a pair."""
    if isinstance(one, tuple):
        text, score = one
    elif hasattr(one, "page_content"):
        text, score = one.page_content, one.metadata.get("relevance_score")
    else:
        text, score = one.node.get_content(), one.score
    return text, None if score is None else float(score)


@pytest.mark.usefixtures("server", "models")
@pytest.mark.parametrize("block", DIFFS)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_find_the_same(block: Block) -> None:
    """The peer and ours keep the same documents, in the same order, with the same scores."""
    before = found_by(block.side_before, block)
    after = found_by(block.code, block)

    assert len(before) == 2
    assert [text for text, _ in after] == [text for text, _ in before]
    has_scores = "CrossEncoderReranker" not in block.side_before  # it gives none
    if has_scores:
        assert [score for _, score in after] == [score for _, score in before]
    assert all(score is not None for _, score in after)


def arguments_of(peer: Any) -> dict[str, Any]:
    """The arguments of a class, of its `rerank`, or of a function, with their defaults."""
    fields = getattr(peer, "model_fields", {})
    found = {name: field.default for name, field in fields.items()}
    asked: list[Callable[..., Any]] = [peer if inspect.isfunction(peer) else peer.__init__]
    asked += [getattr(peer, name) for name in ("rerank", "rank") if hasattr(peer, name)]
    for one in asked:
        for name, argument in inspect.signature(one).parameters.items():
            if name != "data":
                found.setdefault(name, argument.default)
                if argument.default not in (inspect.Parameter.empty, None, -1):
                    found[name] = argument.default
    return {name: found[name] for name in found if name not in OF_THE_FRAMEWORK}


def peer_of(path: str) -> Any:
    """The class or function of a peer, by its dotted path."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        return pytest.skip(str(error))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("page", "path", "top_n"),
    [(page, path, top_n) for page, paths in CLASSES.items() for path, top_n in paths],
)
def test_a_page_names_every_argument_and_the_default_count(
    page: str, path: str, top_n: int | None
) -> None:
    """A page has each argument of the class in a table, and says how many it keeps by default."""
    text = (MIGRATE / f"{page}.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    found = arguments_of(peer_of(path))

    assert [name for name in found if not re.search(rf"\b{name}\b", rows)] == []
    count = found.get("top_n", found.get("top_k"))
    assert (count if isinstance(count, int) else None) == top_n
    if top_n is not None:
        head = text.partition("\n## ")[0]
        assert re.search(rf"\bkept\s{top_n}\b", head)
        assert f"`top_n={top_n}`" in head


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_which_version_it_was_compared_with(page: Path) -> None:
    """The versions on a page are those that are installed here, as far as they are."""
    head = page.read_text(encoding="utf-8").partition("\n\n")[2].partition("\n\n")[0]
    said = dict(re.findall(r"`([\w-]+)` (\d[\d.]*\d)", head))
    assert said
    for name, number in said.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        assert f"{installed}.".startswith(f"{number}."), name
