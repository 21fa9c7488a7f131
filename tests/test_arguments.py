"""What becomes of arguments: added, hidden, refused, on the client and on both adapters."""

from __future__ import annotations

import contextvars
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from loopback import Received, Reply, Server, ranking
from rerank_integrations import (
    NOT_GIVEN,
    ConfigurationError,
    OpenRouter,
    Portkey,
    RerankClient,
    RerankTimeoutError,
    TransportError,
)
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

KEY = "sk-s3cr3t"
ADAPTERS: list[Any] = [RerankCompressor, RerankPostprocessor]


def shown(error: BaseException) -> str:
    """What an error tracker stores, but for the frames of this file."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    report.stack[:] = [frame for frame in report.stack if frame.filename != __file__]
    return "".join(report.format())


MISUSES: dict[str, Callable[[], object]] = {
    "another name on the client": lambda: RerankClient("openrouter:m", apikey=KEY),  # type: ignore[call-arg]
    "a vendor's name": lambda: RerankClient("openrouter:m", cohere_api_key=KEY),  # type: ignore[call-arg]
    "positional on the client": lambda: RerankClient("openrouter:m", KEY),  # type: ignore[call-arg, arg-type]
    "in a call": lambda: RerankClient("local:bm25").rerank("q", ["a"], headers={"x": KEY}),  # type: ignore[call-overload]
    "positional in a call": lambda: RerankClient("local:bm25").rerank("q", ["a"], KEY),  # type: ignore[call-overload]
    "in with_options": lambda: RerankClient("local:bm25").with_options(token=KEY),  # type: ignore[call-arg]
    "on a provider": lambda: OpenRouter(apikey=KEY),  # type: ignore[call-arg]
    "another key of a provider": lambda: Portkey(api_key="k", virtualkey=KEY),  # type: ignore[call-arg]
    "on LangChain's adapter": lambda: RerankCompressor("openrouter:m", apikey=KEY),  # type: ignore[call-arg]
    "on LlamaIndex's adapter": lambda: RerankPostprocessor("openrouter:m", token=KEY),  # type: ignore[call-arg]
    "positional on an adapter": lambda: RerankCompressor("openrouter:m", KEY),  # type: ignore[call-arg, arg-type]
    "as bytes": lambda: RerankClient("openrouter:m", api_key=KEY.encode()),  # type: ignore[arg-type]
    "in the query of an address": lambda: RerankClient(
        "openrouter:m", api_key="k", base_url=f"https://h?key={KEY} "
    ),
    "in the fragment of an address": lambda: RerankClient(
        "openrouter:m", api_key="k", base_url=f"https://h#{KEY}"
    ),
}


@cases("misuse", MISUSES.values(), ids=MISUSES)
def test_a_misplaced_key_is_shown_nowhere(misuse: Callable[[], object]) -> None:
    """A key under a wrong name or in a wrong place is in no message and no variable of a frame."""
    with pytest.raises(ConfigurationError) as caught:
        misuse()
    assert "s3cr3t" not in shown(caught.value)


@cases("name", ["cohere_api_key", "apikey", "topn", "top_k"])
@cases("make", [RerankClient, *ADAPTERS])
def test_the_argument_that_was_meant_is_suggested(make: Any, name: str) -> None:
    """An unknown argument is refused with the one that was probably meant."""
    meant = "api_key" if "key" in name else "top_n"
    with pytest.raises(ConfigurationError, match=f"no argument '{name}'; did you mean '{meant}'"):
        make("local:bm25", **{name: "x"})


# arguments of other rerankers, with what the message names instead
REPLACED = {
    "api_base": "base_url=",
    "api_url": "base_url=",
    "batch_size": "max_documents_per_request=",
    "cache_dir": "Local(scorer=...)",
    "cache_folder": "CrossEncoder(..., cache_folder=...)",
    "choice_batch_size": "Local(scorer=...)",
    "choice_select_prompt": "Local(scorer=...)",
    "client_name": "extra_headers={'user-agent': ...}",
    "cohere_api_key": "'api_key'",
    "cross_encoder_kwargs": "CrossEncoder(...)",
    "custom_llm_provider": "'cohere:rerank-v3.5'",
    "default_headers": "'extra_headers'",
    "device": "CrossEncoder(..., device=...)",
    "drop_params": "is not needed",
    "dtype": "{'torch_dtype': ...}",
    "format_node_batch_fn": "Local(scorer=...)",
    "jina_api_key": "'api_key'",
    "k": "top_n=",
    "lang": "name the model",
    "llm": "Local(scorer=...)",
    "max_batch_size": "max_documents_per_request=",
    "max_chunks_per_doc": "Cohere(max_tokens_per_doc=...)",
    "max_tokens_per_doc": "Cohere(max_tokens_per_doc=...)",
    "model_name": "'model'",
    "model_type": "'provider:model'",
    "num_retries": "'max_retries'",
    "nvidia_api_key": "'api_key'",
    "parse_choice_select_answer_fn": "Local(scorer=...)",
    "prefix_metadata": "score_key=",
    "request_options": "extra_headers=",
    "return_documents": "result.document",
    "session": "http_client=",
    "task": "instruction=",
    "token": "api_key=",
    "top_k": "'top_n'",
    "truncate": "NVIDIA(truncate='END')",
    "truncation": "Voyage(truncation=...)",
    "url": "base_url=",
    "user_agent": "extra_headers={'user-agent': ...}",
    "verbose": "logging.getLogger('rerank_integrations')",
    "verify_ssl": "http_client=",
}


# what one call of a client or of an adapter is not told
OF_THE_CONSTRUCTOR = ("api_key", "base_url", "fallbacks", "provider")
CALLED: list[Callable[..., Any]] = [
    lambda model, **named: RerankClient(model).rerank(QUERY, ["a"], **named),
    lambda model, **named: RerankCompressor(model).rerank(["a"], QUERY, **named),
]


@cases(
    ("make", "name", "meant"),
    [
        *((make, *pair) for make in (RerankClient, *ADAPTERS) for pair in REPLACED.items()),
        *(
            (one, name, f"constructor, next to the model: {name}=")
            for one in CALLED
            for name in OF_THE_CONSTRUCTOR
        ),
    ],
)
def test_an_argument_of_another_reranker_is_refused_with_ours(
    make: Any, name: str, meant: str
) -> None:
    """Nothing that other rerankers take is accepted silently: the message says what replaces it."""
    with pytest.raises(ConfigurationError) as caught:
        make("local:bm25", **{name: KEY})
    first = str(caught.value).partition("it takes")[0]
    assert f"has no argument '{name}'" in first
    assert meant in first
    assert KEY not in str(caught.value)


@cases("adapter", ADAPTERS)
def test_not_given_is_as_if_it_was_left_out(adapter: Any) -> None:
    """NOT_GIVEN as an argument leaves the client's setting in force."""
    assert adapter("local:bm25", top_n=NOT_GIVEN, timeout=NOT_GIVEN) == adapter("local:bm25")


@cases("adapter", ADAPTERS)
def test_headers_and_body_keys_are_added_by_adapters_too(adapter: Any) -> None:
    """`with_options` of an adapter adds headers and body keys to those that it has."""
    first = adapter("local:bm25", extra_headers={"X-A": "1", "X-B": "1"}, extra_body={"a": 1})
    other = first.with_options(extra_headers={"x-b": "2"}, extra_body={"b": 2})
    assert other.extra_headers.get_secret_value() == {"x-a": "1", "x-b": "2"}
    assert other.extra_body == {"a": 1, "b": 2}


def test_a_call_of_an_adapter_adds_headers(server: Server) -> None:
    """`rerank` of the compressor adds headers to those of the adapter."""
    provider = OpenRouter(api_key="k", base_url=server.url)
    compressor = RerankCompressor("m", provider=provider, extra_headers={"X-A": "1"})
    compressor.rerank(["a"], QUERY, extra_headers={"X-B": "2"})
    compressor.close()
    [received] = server.received
    assert (received.headers["x-a"], received.headers["x-b"]) == ("1", "2")


def test_equal_adapters_have_equal_hashes() -> None:
    """Adapters that are equal are one member of a set."""
    assert len({RerankCompressor("local:bm25"), RerankCompressor("local:bm25")}) == 1


@cases("length", [1, 2])
def test_a_cycle_of_causes_ends(call: Calls, server: Server, length: int) -> None:
    """An error that a user's hook raised from itself ends the call, whatever it came from."""

    def fail() -> None:
        one, other = httpx.ReadError("a"), httpx.ReadError("b")
        one.__cause__, other.__cause__ = (one, None) if length == 1 else (other, one)
        raise one

    def hook(_: object) -> None:
        fail()

    async def ahook(_: object) -> None:
        fail()

    hooks = {"request": [hook if call.argument == "http_client" else ahook]}
    with call.http_client(httpx, event_hooks=hooks) as theirs:
        client = client_of(server, max_retries=0, **{call.argument: theirs})
        with pytest.raises(TransportError, match="ReadError: a"):
            call(client)


def test_a_limit_of_a_hook_is_not_called_the_deadline(server: Server) -> None:
    """A TimeoutError of a user's hook names neither the timeout nor the deadline as passed."""

    def hook(_: object) -> None:
        raise TimeoutError("the token service was slow")

    with httpx.Client(event_hooks={"request": [hook]}) as theirs:
        client = client_of(server, max_retries=0, http_client=theirs)
        with pytest.raises(RerankTimeoutError) as caught:
            client.rerank(QUERY, TEXTS)
    assert caught.value.phase == "other"


def test_threads_of_a_split_call_see_the_callers_context(server: Server) -> None:
    """The requests of a split sync call run in the context of the caller, as traces need it."""
    variable = contextvars.ContextVar("variable", default="lost")
    seen: list[str] = []
    server.plays(ranking(0.5))
    with httpx.Client(event_hooks={"request": [lambda _: seen.append(variable.get())]}) as theirs:
        client = client_of(server, http_client=theirs, max_documents_per_request=1)
        variable.set("kept")
        client.rerank(QUERY, TEXTS)
    assert seen == ["kept"] * 3


def test_an_id_cannot_forge_a_log_record(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Line breaks in an id of the server stay out of the log."""
    caplog.set_level(logging.INFO, "rerank_integrations")
    server.plays(ranking(0.5, id="x\nCRITICAL forged"))
    with client_of(server) as client:
        client.rerank(QUERY, ["a"])
    [record] = [one for one in caplog.records if one.name == "rerank_integrations"]
    assert "\n" not in record.getMessage()


@cases("adapter", ADAPTERS)
def test_a_degraded_result_is_logged_in_plain_words(
    server: Server, caplog: pytest.LogCaptureFixture, adapter: Any
) -> None:
    """With `on_error="passthrough"` the log says that reranking failed, and why."""
    server.plays(Reply(status=400))
    reranker = adapter(
        "m", provider=OpenRouter(api_key="k", base_url=server.url), on_error="passthrough"
    )
    if adapter is RerankCompressor:
        reranker.compress_documents([Document("a")], QUERY)
    else:
        reranker.postprocess_nodes([NodeWithScore(node=TextNode(text="a"))], query_str=QUERY)
    reranker.close()
    assert "reranking failed; returning documents in original order" in caplog.text


def test_a_model_with_the_providers_name_and_an_object_is_refused() -> None:
    """With `provider=` the model is written alone; the message shows how."""
    with pytest.raises(
        ConfigurationError, match="write the model without 'openrouter:': 'cohere/r'"
    ):
        RerankClient("openrouter:cohere/r", provider=OpenRouter(api_key="k"))
    wrong: Any = OpenRouter
    with pytest.raises(ConfigurationError, match="not the class OpenRouter"):
        RerankClient("cohere/r", provider=wrong)


SPLIT_AND_EXIT = """
import sys
from rerank_integrations import OpenRouter, RerankClient, RerankError
provider = OpenRouter(api_key="k", base_url=sys.argv[1])
client = RerankClient("m", provider=provider, max_documents_per_request=1, max_retries=0)
try:
    client.rerank("q", ["fails", "stalls"])
except RerankError:
    print("failed")
"""


def test_a_failed_split_call_does_not_delay_the_exit(server: Server) -> None:
    """A program ends at once, though a request of its failed split call still waits."""

    def step(received: Received) -> Reply:
        if received.body["documents"] == ["stalls"]:
            server.released.wait(60)
            return Reply(status=500)
        return Reply(status=400)

    server.plays(step)
    command = [sys.executable, "-c", SPLIT_AND_EXIT, server.url]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=25, check=True)
    assert shown.stdout == "failed\n"
