"""What the documentation of each provider's endpoint says, for the tests of all providers.

Nothing here is read from the providers: a key, a path or a header that they get wrong fails a test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import rerank_integrations
from loopback import Received, Reply, Server
from rerank_integrations import RemoteProvider, RerankClient, RerankError, RerankResponse

THE_KEY = "the-key-0123456789"
BEARER = ("authorization", f"Bearer {THE_KEY}")
INSTRUCTION = "Find the page that answers the question"

# how vendors write an error; {} is the message
MESSAGE = {"message": "{}"}
DETAIL = {"detail": "{}"}
ERROR = {"error": {"message": "{}", "type": "invalid_request_error", "param": None, "code": None}}
VALIDATION = {"detail": [{"loc": ["body", "query"], "msg": "{}", "type": "value_error"}]}
PROBLEM = {"type": "about:blank", "title": "Unusable", "status": 400, "detail": "{}"}
CODED = {"code": "bad", "message": "{}", "request_id": "r"}


@dataclass(frozen=True)
class Endpoint:
    """One provider and the endpoint it is for.

    Attributes:
        kind: the name of the provider's class.
        path: of the request, where `base_url` has none.
        address: without a `base_url`, of the model "m"; None where there is no default.
        keys: the environment variables of the key, by precedence.
        base: the environment variable of the address.
        needs: whether a key must be given.
        header: how the key is sent.
        documents, query, top: keys of the body; `top` is None where the endpoint has none.
        texts: how documents of text alone are written.
        queries: how the query is written.
        names_model: whether the body names the model.
        always: keys of the body that are always sent.
        headers: other headers of every request.
        results, score: where the response has them; no `results` is a bare array.
        usage: what a response says of usage, and what is read from it.
        error: the body of an error.
        instruction: keys of the body for `INSTRUCTION`; None where it is refused.
        instructed: a model that takes an instruction.
        fields: a model that the endpoint ranks fields for; None where there is none.
        renders: a model that takes texts alone, or fewer fields; None where there is none.
        more: arguments of the provider.
    """

    kind: str
    path: str
    address: str | None
    keys: Sequence[str] = ()
    base: str | None = None
    needs: bool = True
    header: tuple[str, str] = BEARER
    documents: str = "documents"
    query: str = "query"
    top: str | None = "top_n"
    texts: Literal["text", "object"] = "text"
    queries: Literal["text", "object", "repeated"] = "text"
    names_model: bool = True
    always: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    results: str | None = "results"
    score: str | None = "relevance_score"
    usage: tuple[Mapping[str, Any], Mapping[str, float]] = ({}, {})
    error: Mapping[str, Any] = field(default_factory=lambda: ERROR)
    instruction: Mapping[str, Any] | None = None
    instructed: str = "m"
    fields: str | None = None
    renders: str | None = "m"
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def provider(self) -> type[RemoteProvider]:
        """The class."""
        found: type[RemoteProvider] = getattr(rerank_integrations, self.kind)
        return found

    def made(self, **arguments: Any) -> RemoteProvider:
        """A provider with a key."""
        return self.provider(**{"api_key": THE_KEY, **self.more, **arguments})

    def body(self, query: str, documents: Sequence[Any], top: int | None = None) -> dict[str, Any]:
        """The body that the endpoint documents for a call with the model "m"."""
        ready = [
            {"text": one} if isinstance(one, str) and self.texts == "object" else one
            for one in documents
        ]
        asked: Any = {"text": query} if self.queries == "object" else query
        body = {self.documents: ready, **self.always}
        body[self.query] = [query] * len(ready) if self.queries == "repeated" else asked
        if self.names_model:
            body["model"] = "m"
        if self.kind == "Scaleway":  # it refuses a request without
            top = top or len(ready)
        if self.top and top is not None:
            body[self.top] = top
        return body

    def answers(self, scores: Mapping[str, float]) -> Any:
        """A server's step: each document with its score, as the endpoint documents it."""

        def respond(received: Received) -> Reply:
            body = received.body
            texts = [one["text"] if isinstance(one, dict) else one for one in body[self.documents]]
            if self.results == "scores":
                return Reply({"scores": [scores[text] for text in texts], **self.usage[0]})
            found: list[dict[str, Any]] = [
                {"index": index, str(self.score): scores[text]} for index, text in enumerate(texts)
            ]
            found.sort(key=lambda one: -float(one[str(self.score)]))
            if self.kind == "LocalAI":  # some of its versions neither sort nor cut
                found.sort(key=lambda one: one["index"])
            elif self.top:
                found = found[: body.get(self.top)]
            if self.results is None:
                return Reply(found)
            said = {self.results: found, **self.usage[0]}
            if self.kind == "OpenRouter":  # which always echoes
                said["model"] = body["model"]
                for one in found:
                    one["document"] = {"text": texts[one["index"]]}
            return Reply(said)

        return respond


def ranked(
    server: Server,
    provider: RemoteProvider,
    model: str,
    query: str,
    documents: Any,
    **options: Any,
) -> RerankResponse[Any]:
    """What a call gives, sync and async alike; the two send the same, as the server's last two.

    Raises:
        RerankError: of the call.
    """
    given = {"max_retries": 0, **options}
    before = len(server.received)

    async def asynchronously() -> RerankResponse[Any] | RerankError:
        async with RerankClient(model, provider=provider, **given) as client:
            try:
                return await client.arerank(query, documents)
            except RerankError as error:
                return error

    def directly() -> RerankResponse[Any] | RerankError:
        with RerankClient(model, provider=provider, **given) as client:
            try:
                return client.rerank(query, documents)
            except RerankError as error:
                return error

    said, again = directly(), asyncio.run(asynchronously())
    first, second = server.received[before:]
    assert (first.path, first.content) == (second.path, second.content)
    assert first.headers == second.headers
    if isinstance(said, RerankError):
        assert (type(again), str(again)) == (type(said), str(said))
        raise said
    assert again == said
    return said


_TOKENS = ({"usage": {"total_tokens": 26}}, {"total_tokens": 26})
_BOTH = (
    {"usage": {"prompt_tokens": 42, "total_tokens": 42, "completion_tokens": 0}},
    {"total_tokens": 42, "prompt_tokens": 42, "completion_tokens": 0},
)
_COHERE = (
    {"id": "x", "meta": {"billed_units": {"search_units": 1}}},
    {"search_units": 1},
)

ENDPOINTS: Mapping[str, Endpoint] = {
    "azureai": Endpoint(
        "AzureAI",
        "/providers/cohere/v2/rerank",
        None,
        ["AZURE_AI_API_KEY"],
        "AZURE_AI_API_BASE",
        usage=_COHERE,
        error=MESSAGE,
    ),
    "cohere": Endpoint(
        "Cohere",
        "/v2/rerank",
        "https://api.cohere.com/v2/rerank",
        ["CO_API_KEY", "COHERE_API_KEY"],
        "CO_API_URL",
        usage=_COHERE,
        error=MESSAGE,
    ),
    "compatible": Endpoint("Compatible", "/rerank", None, needs=False, usage=_TOKENS),
    "contextualai": Endpoint(
        "ContextualAI",
        "/v1/rerank",
        "https://api.contextual.ai/v1/rerank",
        ["CONTEXTUAL_API_KEY"],
        "CONTEXTUAL_AI_BASE_URL",
        error=VALIDATION,
        instruction={"instruction": INSTRUCTION},
    ),
    "dashscope": Endpoint(
        "DashScope",
        "/compatible-api/v1/reranks",
        "https://dashscope.aliyuncs.com/compatible-api/v1/reranks",
        ["DASHSCOPE_API_KEY"],
        usage=_TOKENS,
        error=CODED,
        instruction={"instruct": INSTRUCTION},
    ),
    "deepinfra": Endpoint(
        "DeepInfra",
        "/v1/inference/m",
        "https://api.deepinfra.com/v1/inference/m",
        ["DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"],
        query="queries",
        queries="repeated",
        top=None,
        names_model=False,
        results="scores",
        usage=(
            {"input_tokens": 42, "inference_status": {"status": "succeeded", "cost": 0.5}},
            {"prompt_tokens": 42, "cost": 0.5},
        ),
        error={"detail": {"error": "{}"}},
        instruction={"instruction": INSTRUCTION},
    ),
    "fireworks": Endpoint(
        "Fireworks",
        "/inference/v1/rerank",
        "https://api.fireworks.ai/inference/v1/rerank",
        ["FIREWORKS_API_KEY"],
        always={"return_documents": False},
        results="data",
        usage=_BOTH,
        error={"error": {"object": "error", "type": "t", "code": "c", "message": "{}"}},
        instruction={"task": INSTRUCTION},
    ),
    "infinity": Endpoint(
        "Infinity",
        "/rerank",
        "http://localhost:7997/rerank",
        ["INFINITY_API_KEY"],
        needs=False,
        usage=_TOKENS,
        error=VALIDATION,
    ),
    "isaacus": Endpoint(
        "Isaacus",
        "/v1/rerankings",
        "https://api.isaacus.com/v1/rerankings",
        ["ISAACUS_API_KEY"],
        "ISAACUS_BASE_URL",
        documents="texts",
        score="score",
        usage=({"usage": {"input_tokens": 19}}, {"prompt_tokens": 19}),
        error=PROBLEM,
    ),
    "jina": Endpoint(
        "Jina",
        "/v1/rerank",
        "https://api.jina.ai/v1/rerank",
        ["JINA_API_KEY"],
        always={"return_documents": False},
        usage=_TOKENS,
        error=DETAIL,
    ),
    "litellm": Endpoint(
        "LiteLLM",
        "/v1/rerank",
        "http://localhost:4000/v1/rerank",
        ["LITELLM_PROXY_API_KEY"],
        "LITELLM_PROXY_API_BASE",
        needs=False,
        usage=(
            {"meta": {"billed_units": {"total_tokens": 7}, "tokens": {"input_tokens": 7}}},
            {"total_tokens": 7, "prompt_tokens": 7},
        ),
        error={"error": {"message": "{}", "type": "None", "param": "None", "code": "400"}},
    ),
    "llamacpp": Endpoint(
        "LlamaCpp",
        "/v1/rerank",
        "http://localhost:8080/v1/rerank",
        ["LLAMA_API_KEY"],
        needs=False,
        usage=_TOKENS,
        error={"error": {"code": 400, "message": "{}", "type": "invalid_request_error"}},
    ),
    "localai": Endpoint(
        "LocalAI", "/v1/rerank", "http://localhost:8080/v1/rerank", needs=False, usage=_TOKENS
    ),
    "mixedbread": Endpoint(
        "Mixedbread",
        "/v1/reranking",
        "https://api.mixedbread.com/v1/reranking",
        ["MXBAI_API_KEY"],
        "MIXEDBREAD_BASE_URL",
        documents="input",
        top="top_k",
        results="data",
        score="score",
        usage=_BOTH,
        error=VALIDATION,
        fields="m",
        renders=None,
    ),
    "novita": Endpoint(
        "Novita",
        "/openai/v1/rerank",
        "https://api.novita.ai/openai/v1/rerank",
        ["NOVITA_API_KEY"],
        usage=_TOKENS,
        error={"code": 400, "reason": "INVALID", "message": "{}"},
    ),
    "nvidia": Endpoint(
        "NVIDIA",
        "/v1/ranking",
        "https://ai.api.nvidia.com/v1/retrieval/m/reranking",
        ["NVIDIA_API_KEY"],
        documents="passages",
        texts="object",
        queries="object",
        top=None,
        results="rankings",
        score="logit",
        usage=_BOTH,
        error=PROBLEM,
    ),
    "openrouter": Endpoint(
        "OpenRouter",
        "/api/v1/rerank",
        "https://openrouter.ai/api/v1/rerank",
        ["OPENROUTER_API_KEY"],
        usage=(
            {"usage": {"cost": 0.001, "search_units": 1, "total_tokens": 150}},
            {"cost": 0.001, "search_units": 1, "total_tokens": 150},
        ),
        error={"error": {"code": 400, "message": "{}", "metadata": None}},
    ),
    "pinecone": Endpoint(
        "Pinecone",
        "/rerank",
        "https://api.pinecone.io/rerank",
        ["PINECONE_API_KEY"],
        "PINECONE_CONTROLLER_HOST",
        header=("api-key", THE_KEY),
        headers={"x-pinecone-api-version": "2026-07"},
        texts="object",
        always={"return_documents": False},
        results="data",
        score="score",
        usage=({"usage": {"rerank_units": 1}}, {"search_units": 1}),
        error={"error": {"code": "INVALID_ARGUMENT", "message": "{}"}, "status": 400},
        fields="cohere-rerank-3.5",
        renders="bge-reranker-v2-m3",
    ),
    "portkey": Endpoint(
        "Portkey",
        "/v1/rerank",
        "https://api.portkey.ai/v1/rerank",
        ["PORTKEY_API_KEY"],
        header=("x-portkey-api-key", THE_KEY),
        headers={"x-portkey-provider": "@host"},
        usage=({"usage": {"search_units": 1}}, {"search_units": 1}),
        error={"error": {"message": "{}", "type": None, "param": None, "code": None}},
        more={"provider": "@host"},
    ),
    "scaleway": Endpoint(
        "Scaleway",
        "/v1/rerank",
        "https://api.scaleway.ai/v1/rerank",
        ["SCW_SECRET_KEY"],
        usage=_TOKENS,
    ),
    "sglang": Endpoint(
        "SGLang",
        "/v1/rerank",
        "http://localhost:30000/v1/rerank",
        needs=False,
        names_model=False,
        always={"return_documents": False},
        results=None,
        score="score",
        error={"object": "error", "message": "{}", "type": "BadRequest", "code": 400},
        instruction={"instruct": INSTRUCTION},
    ),
    "siliconflow": Endpoint(
        "SiliconFlow",
        "/v1/rerank",
        "https://api.siliconflow.cn/v1/rerank",
        ["SILICONFLOW_API_KEY"],
        usage=(
            {"tokens": {"input_tokens": 5, "output_tokens": 0}},
            {"prompt_tokens": 5, "completion_tokens": 0},
        ),
        error={"code": 20012, "message": "{}", "data": None},
        instruction={"instruction": INSTRUCTION},
        instructed="Qwen/Qwen3-Reranker-8B",
    ),
    "tei": Endpoint(
        "TEI",
        "/rerank",
        "http://localhost:8080/rerank",
        needs=False,
        documents="texts",
        names_model=False,
        top=None,
        results=None,
        score="score",
        error={"error": "{}", "error_type": "Validation"},
    ),
    "together": Endpoint(
        "Together",
        "/v1/rerank",
        "https://api.together.ai/v1/rerank",
        ["TOGETHER_API_KEY"],
        "TOGETHER_BASE_URL",
        usage=_BOTH,
        fields="Salesforce/Llama-Rank-V1",
    ),
    "vercelgateway": Endpoint(
        "VercelGateway",
        "/v2/rerank",
        "https://ai-gateway.vercel.sh/v2/rerank",
        ["AI_GATEWAY_API_KEY"],
        usage=_COHERE,
        error=MESSAGE,
    ),
    "vllm": Endpoint(
        "VLLM",
        "/v1/rerank",
        "http://localhost:8000/v1/rerank",
        ["VLLM_API_KEY", "HOSTED_VLLM_API_KEY"],
        needs=False,
        usage=_TOKENS,
        instruction={"instruction": INSTRUCTION},
    ),
    "voyage": Endpoint(
        "Voyage",
        "/v1/rerank",
        "https://api.voyageai.com/v1/rerank",
        ["VOYAGE_API_KEY"],
        top="top_k",
        results="data",
        usage=_TOKENS,
        error=DETAIL,
        instruction={"query": f"{INSTRUCTION}\na red bicycle"},
        instructed="rerank-2.5",
    ),
    "xinference": Endpoint(
        "Xinference",
        "/v1/rerank",
        "http://localhost:9997/v1/rerank",
        needs=False,
        usage=(
            {"meta": {"tokens": {"input_tokens": 9, "output_tokens": 1}, "billed_units": None}},
            {"prompt_tokens": 9, "completion_tokens": 1},
        ),
        error=DETAIL,
        instruction={"kwargs": f'{{"instruction": "{INSTRUCTION}"}}'},
    ),
    "zeroentropy": Endpoint(
        "ZeroEntropy",
        "/v1/models/rerank",
        "https://api.zeroentropy.dev/v1/models/rerank",
        ["ZEROENTROPY_API_KEY"],
        "ZEROENTROPY_BASE_URL",
        usage=({"total_tokens": 3, "total_bytes": 30}, {"total_tokens": 3}),
        error=DETAIL,
    ),
}
VARIABLES = (
    *(
        name
        for one in ENDPOINTS.values()
        for name in (*one.keys, *([one.base] if one.base else ()))
    ),
    "VOYAGE_API_KEY_PATH",
    "DASHSCOPE_WORKSPACE_ID",
)
