"""Facts about each provider that its class does not have, for README and its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

Mark: TypeAlias = Literal["server", "specification", "documentation"]

MARKS: Mapping[Mark, str] = {
    "server": "against the real server",
    "specification": "against the vendor's specification or SDK, not the live service",
    "documentation": "against documentation, source code or other clients, not the live service",
}
_SDK_OF_COHERE = "the requests and responses of `cohere` 7.3.1"
_LITELLM = "the requests of `litellm` 1.110.2"


class Facts(NamedTuple):
    """A provider as the documentation presents it.

    Attributes:
        title: the name of the provider.
        summary: what it is, in one or two sentences.
        link: the vendor's page about its API.
        model: a model for the example.
        models: the models that it has.
        images: how a document may have an image; empty for text only.
        usage: what `response.usage` has; empty for nothing.
        scores: the scales of the scores, if the class does not tell all.
        mark: how the provider was tested.
        source: what it was compared with.
        group: where the models run, for the overview.
        limits: one or two sentences each.
        errors: the rows of a table: what the vendor sends, and what the caller gets.
        base_url: the base URL of the example, if there is no default.
        instruction: more about the instruction, for the end of a cell.
        more: sections of the page after its arguments.
        is_generated: whether the whole page is generated; else only its first table is.
    """

    title: str
    summary: str
    link: str
    model: str
    models: str
    images: str = ""
    usage: str = ""
    scores: str = ""
    mark: Mark = "documentation"
    source: str = "the vendor's page"
    group: Literal["vendor", "gateway", "server"] = "vendor"
    limits: tuple[str, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    base_url: str | None = None
    instruction: str = ""
    more: str = ""
    is_generated: bool = True


_SPANS = """## Relevant spans

Rerank 5 and newer mark the relevant parts of a document. The positions are indexes into
`result.sent_text`, the text that was sent. For a document with fields, that is all fields as one
text.

```python
from rerank_integrations import Cohere

provider = Cohere(relevant_spans={"threshold": 0.2, "max_spans": 3})
client = RerankClient("rerank-v5.0-pro", provider=provider)
[result] = client.rerank("a red bicycle", ["We sell a red bicycle."])
print([result.sent_text[span.start : span.end] for span in result.spans])  # ['red', 'bicycle']
```

`relevant_spans=True` requests them with Cohere's default limits. Each span has `start`, `end` and
`score`; the best span is first.
"""

PROVIDERS: Mapping[str, Facts] = {
    "openrouter": Facts(
        title="OpenRouter",
        summary="Rerank models of several vendors behind one key, vision models included.",
        link="https://openrouter.ai/docs/api/api-reference/rerank/create-rerank",
        model="cohere/rerank-v3.5",
        models="Cohere, Voyage, NVIDIA, Qwen",
        images="vision models: a URL or a data URI, with or without text",
        usage="search units, tokens, cost",
        scores="Cohere: `probability`, from 0 to 1; NVIDIA: `logit`, any number; others: `unknown`",
        mark="specification",
        source="OpenRouter's OpenAPI file",
        group="gateway",
        is_generated=False,
    ),
    "together": Facts(
        title="Together AI",
        summary="Rerank models on dedicated endpoints.",
        link="https://docs.together.ai/docs/inference/embeddings/rerank",
        model="Salesforce/Llama-Rank-V1",
        models="models on dedicated endpoints",
        usage="tokens",
        mark="specification",
        source="Together's OpenAPI file",
        is_generated=False,
    ),
    "portkey": Facts(
        title="Portkey",
        summary="One gateway to several hosts.",
        link="https://portkey.ai/docs/api-reference",
        model="@my-cohere/rerank-v3.5",
        models="Cohere, Voyage, Jina, Pinecone, Bedrock, Azure AI, Vertex",
        usage="search units, which are [not reliable](portkey.md#usage)",
        scores="`probability`, from 0 to 1, if the host is recognized as Cohere or "
        "[Pinecone](#pinecone); else `unknown`",
        mark="specification",
        source="Portkey's OpenAPI file",
        group="gateway",
        is_generated=False,
    ),
    "jina": Facts(
        title="Jina",
        summary="Jina's own endpoint.",
        link="https://jina.ai/reranker/",
        model="jina-reranker-v2-base-multilingual",
        models="Jina's models",
        images="`jina-reranker-m*` models: a URL, a data URI or base64, without text",
        usage="tokens",
        scores="`probability`, from 0 to 1; version 3: `cosine`, from -1 to 1",
        source="the requests of `jina-haystack` 2.0.1 and `langchain-community` 0.4.2",
        is_generated=False,
    ),
    "vllm": Facts(
        title="vLLM",
        summary="A rerank model on your own vLLM server.",
        link="https://docs.vllm.ai/en/latest/serving/openai_compatible_server/",
        model="BAAI/bge-reranker-v2-m3",
        models="the model on your server",
        images="vision models: a URL or a data URI, with or without text",
        usage="tokens",
        scores="`unknown`, dependent on the model",
        source=_LITELLM,
        group="server",
        is_generated=False,
    ),
    "cohere": Facts(
        title="Cohere",
        summary="Cohere's own rerank API, version 2, with relevant spans.",
        link="https://docs.cohere.com/reference/rerank",
        model="rerank-v3.5",
        models="Rerank 3.5, 4 and 5",
        usage="search units, tokens",
        mark="specification",
        source=_SDK_OF_COHERE,
        limits=(
            "Cohere rejects more than 10,000 documents in a request, and recommends at most 1,000.",
            "Cohere truncates a document after `max_tokens_per_doc` tokens, 4096 when None.",
            "Cohere's own warnings are in `response.warnings`.",
        ),
        errors=(("498, an invalid token", "`AuthenticationError`"),),
        more=_SPANS,
    ),
    "azureai": Facts(
        title="Azure AI Foundry",
        summary="Cohere's rerank models, deployed on your Azure AI Foundry resource.",
        link="https://learn.microsoft.com/azure/ai-foundry",
        model="my-cohere-rerank",
        models="Cohere's, as deployments on your resource",
        usage="search units, tokens",
        mark="specification",
        source=f"{_SDK_OF_COHERE} at an Azure address",
        base_url="https://my-resource.services.ai.azure.com",
        limits=(
            "The model is the name of your deployment.",
            (
                "If the model has an endpoint of its own, as on older resources, end its address "
                'with `/v1`: `base_url="https://NAME.eastus2.models.ai.azure.com/v1"`.'
            ),
        ),
    ),
    "vercelgateway": Facts(
        title="Vercel AI Gateway",
        summary="Cohere's rerank API on the Vercel AI Gateway, with a key of the gateway.",
        link="https://vercel.com/docs/ai-gateway",
        model="cohere/rerank-v3.5",
        models="Cohere",
        usage="search units, tokens",
        mark="specification",
        source=f"{_SDK_OF_COHERE}, the client that Vercel's page names",
        group="gateway",
        limits=("A model name includes its vendor: `cohere/rerank-v3.5`.",),
    ),
    "voyage": Facts(
        title="Voyage",
        summary="Voyage AI's own rerank API, also on MongoDB Atlas.",
        link="https://docs.voyageai.com/reference/reranker-api",
        model="rerank-2.5",
        models="`rerank-2.5`, `rerank-2.5-lite`",
        usage="tokens",
        mark="specification",
        source="the requests and responses of `voyageai` 0.5.0",
        instruction="it counts as part of the query",
        limits=(
            (
                "`rerank-2.5` takes a query of at most 8,000 tokens, and 600,000 tokens in one "
                "request. The query counts once for each document."
            ),
            "Voyage truncates a text that is too long, unless `truncation=False`.",
            (
                "A key that begins with `al-` is a key of MongoDB Atlas: its requests are sent to "
                "`https://ai.mongodb.com/v1`."
            ),
        ),
        errors=(("`detail`", "`error.message`"),),
    ),
    "pinecone": Facts(
        title="Pinecone",
        summary="Rerank models hosted by Pinecone, which rank fields on the server.",
        link="https://docs.pinecone.io/reference/api/latest/inference/rerank",
        model="bge-reranker-v2-m3",
        models="BGE, Pinecone's own, Cohere",
        usage="rerank units, as `search_units`",
        mark="specification",
        source="the requests and responses of `pinecone` 10.2.0",
        limits=(
            (
                "`bge-reranker-v2-m3` and `pinecone-rerank-v0` take one field and 100 documents in "
                "one request. With more fields, each document is sent as one text."
            ),
            (
                "`cohere-rerank-3.5` takes 200 documents and `cohere-rerank-4-fast` 250, both with "
                "any number of fields."
            ),
        ),
    ),
    "mixedbread": Facts(
        title="Mixedbread",
        summary="Mixedbread's own rerank API, which ranks fields on the server.",
        link="https://www.mixedbread.com/api-reference/endpoints/reranking",
        model="mixedbread-ai/mxbai-rerank-large-v2",
        models="`mxbai-rerank-...`",
        usage="tokens",
        mark="specification",
        source="the requests and responses of `mixedbread` 0.54.0",
        limits=("Mixedbread truncates a text that is too long.",),
    ),
    "nvidia": Facts(
        title="NVIDIA NIM",
        summary="NVIDIA's rerank models and vision models, hosted by NVIDIA or on your own NIM.",
        link="https://docs.nvidia.com/nim/nemo-retriever/text-reranking",
        model="nvidia/llama-3.2-nv-rerankqa-1b-v2",
        models="NVIDIA's, hosted or on your own NIM",
        images="models with `-vl-` in their name: base64, not a URL, with or without text",
        usage="tokens",
        mark="specification",
        source="the requests and responses of NVIDIA's own `langchain-nvidia-ai-endpoints` 1.5.0",
        limits=(
            "NIM 2.4 takes only PNG and JPEG images.",
            (
                "The address of a hosted model includes the model. Requests to your own NIM are "
                "sent to `/v1/ranking`, and need no key."
            ),
            'A text that is too long is an error, unless `truncate="END"`.',
        ),
        more="""## Your own NIM

```python
from rerank_integrations import NVIDIA

nim = NVIDIA(base_url="http://localhost:8000/v1", truncate="END")
client = RerankClient("nvidia/llama-nemotron-rerank-vl-1b-v2", provider=nim)
client.rerank("a red bicycle", [{"image": "data:image/png;base64,iVBORw0KGgo="}, "a red bicycle"])
```
""",
    ),
    "fireworks": Facts(
        title="Fireworks AI",
        summary="Qwen3 rerankers on Fireworks AI, which follow an instruction.",
        link="https://docs.fireworks.ai/api-reference/rerank-documents",
        model="accounts/fireworks/models/qwen3-reranker-8b",
        models="Qwen3",
        usage="tokens",
        source="the requests of `langchain-fireworks` 1.7.1",
        limits=(
            "Fireworks rejects unknown body keys, so `extra_body` has few uses.",
            "The context length is 40,960 tokens.",
        ),
    ),
    "siliconflow": Facts(
        title="SiliconFlow",
        summary="BGE, BCE and Qwen3 rerankers on SiliconFlow.",
        link="https://docs.siliconflow.cn/en/api-reference/rerank/create-rerank",
        model="Qwen/Qwen3-Reranker-8B",
        models="BGE, BCE, Qwen3",
        usage="tokens",
        source="the requests of `llama-index-postprocessor-siliconflow-rerank` 0.5.0",
        limits=(
            (
                "The default address is the one in China. With an account of `siliconflow.com`, "
                'pass `base_url="https://api.siliconflow.com/v1"`.'
            ),
        ),
        errors=(("`message`, next to a `code`", "`error.message`"),),
    ),
    "deepinfra": Facts(
        title="DeepInfra",
        summary="Qwen3 rerankers on DeepInfra, which follow an instruction.",
        link="https://deepinfra.com/Qwen/Qwen3-Reranker-8B/api",
        model="Qwen/Qwen3-Reranker-8B",
        models="Qwen3",
        usage="tokens, cost",
        source=_LITELLM,
        limits=(
            "A request repeats the query for each document, so a long query makes it large.",
            "The address includes the model.",
            "The context length is 32,768 tokens.",
        ),
    ),
    "dashscope": Facts(
        title="DashScope",
        summary="Qwen3 and GTE rerankers of Alibaba Cloud Model Studio (DashScope).",
        link="https://help.aliyun.com/zh/model-studio/text-rerank-api",
        model="qwen3-rerank",
        models="Qwen3, GTE",
        usage="tokens",
        source=_LITELLM,
        limits=(
            (
                "DashScope truncates a document after 4,000 tokens. All documents and the query, "
                "which counts once for each document, have at most 120,000 tokens together."
            ),
            "`qwen3-vl-rerank` needs another API, which this package does not support.",
        ),
    ),
    "zeroentropy": Facts(
        title="ZeroEntropy",
        summary="ZeroEntropy's own rerank API.",
        link="https://docs.zeroentropy.dev/api-reference/models/rerank",
        model="zerank-2",
        models="`zerank-2`",
        usage="tokens",
        mark="specification",
        source="the requests and responses of `zeroentropy` 0.1.0a11",
        limits=(
            (
                "A request may have 5,000,000 bytes. Each document counts its text, the query and "
                "150 bytes more. A longer list is split into several requests."
            ),
            (
                "Above the rate limit of the fast tier, a response may take more than 10 s. "
                '`latency="fast"` returns an error instead.'
            ),
        ),
    ),
    "contextualai": Facts(
        title="Contextual AI",
        summary="Contextual AI's rerankers, which follow an instruction.",
        link="https://docs.contextual.ai/api-reference/rerank/rerank",
        model="ctxl-rerank-v2-instruct-multilingual",
        models="`ctxl-rerank-v2-...`",
        mark="specification",
        source="the requests and responses of `contextual-client` 0.11.0",
        limits=(
            (
                "A request may have 400,000 tokens. The query, the instruction and one document "
                "may have 8,000 tokens together."
            ),
        ),
    ),
    "isaacus": Facts(
        title="Isaacus",
        summary="Isaacus's rerankers for legal texts.",
        link="https://docs.isaacus.com/api-reference/rerankings",
        model="kanon-2-reranker",
        models="Kanon, for legal texts",
        usage="tokens",
        mark="specification",
        source="the requests and responses of `isaacus` 0.22.1",
        errors=(("`detail` of `application/problem+json`", "`error.message`"),),
    ),
    "novita": Facts(
        title="Novita AI",
        summary="BGE and Qwen3 rerankers on Novita AI.",
        link="https://novita.ai/docs/api-reference/model-apis-llm-create-rerank",
        model="baai/bge-reranker-v2-m3",
        models="BGE, Qwen3",
        usage="tokens",
    ),
    "scaleway": Facts(
        title="Scaleway",
        summary="Qwen3 rerankers of Scaleway's Generative APIs, hosted in Europe.",
        link="https://www.scaleway.com/en/docs/generative-apis",
        model="qwen3-reranker-8b",
        models="Qwen3",
        usage="tokens",
        source=_LITELLM,
        limits=("Scaleway rejects a request without `top_n`, so the client always sends it.",),
    ),
    "litellm": Facts(
        title="LiteLLM proxy",
        summary="Models of several vendors behind your own LiteLLM proxy.",
        link="https://docs.litellm.ai/docs/rerank",
        model="my-reranker",
        models="the models in the configuration of the proxy",
        usage="search units, tokens",
        scores="`unknown`, dependent on the vendor behind the proxy",
        mark="server",
        source="the proxy of `litellm` 1.106.2, in front of mock vendors",
        group="gateway",
        limits=("The model is a name from the configuration of the proxy.",),
        errors=(
            (
                "429 after an earlier failure",
                (
                    "`RateLimitError`: the proxy takes the model out of service for some seconds, "
                    "and removes `Retry-After`; `router_settings.disable_cooldowns: true` turns "
                    "this off"
                ),
            ),
            ("500 in plain text", "`ServerError`; the proxy requires a key and got none"),
        ),
        instruction='for vLLM and DeepInfra models, pass `extra_body={"instruction": "..."}`',
    ),
    "infinity": Facts(
        title="Infinity",
        summary="Rerank models on your own Infinity server.",
        link="https://michaelfeil.eu/infinity",
        model="mixedbread-ai/mxbai-rerank-xsmall-v1",
        models="the models on your server",
        usage="tokens",
        scores="`probability`, from 0 to 1; `logit` with `raw_scores=True`",
        mark="server",
        source="Infinity 0.0.78 with a cross-encoder",
        group="server",
        errors=(("422", "`BadRequestError`; `error.body` contains the request"),),
    ),
    "tei": Facts(
        title="Text Embeddings Inference",
        summary="A rerank model on your own server with Text Embeddings Inference by Hugging Face.",
        link="https://huggingface.github.io/text-embeddings-inference",
        model="BAAI/bge-reranker-v2-m3",
        models="the model on your server",
        scores="`probability`, from 0 to 1; `logit` with `raw_scores=True`",
        source="the requests of `llama-index-postprocessor-tei-rerank` 0.6.0, and "
        "the types in the source code of the server",
        group="server",
        limits=(
            (
                "If the server was started with another `--max-client-batch-size`, pass that "
                "number as `max_documents_per_request` to the client."
            ),
            "The server has one model, so the name of the model is not sent.",
            "A text that is too long is an error, unless `truncate=True`.",
        ),
        errors=(("413", "`PayloadTooLargeError`: too many documents in one request"),),
    ),
    "sglang": Facts(
        title="SGLang",
        summary="A rerank model on your own SGLang server, vision models included.",
        link="https://docs.sglang.io/supported_models/rerank_models.html",
        model="Qwen/Qwen3-Reranker-8B",
        models="the model on your server",
        images="vision models: a URL or a data URI, with or without text",
        scores="Qwen3: `probability`, from 0 to 1; others: `unknown`",
        source="the source code of the server, version 0.5.23",
        group="server",
        limits=(
            "The server has one model, so the name of the model is not sent.",
            "Older versions take only the query and the documents, and reject images.",
        ),
    ),
    "llamacpp": Facts(
        title="llama.cpp",
        summary="A GGUF rerank model on your own llama.cpp server, started with `--reranking`.",
        link="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        model="bge-reranker-v2-m3",
        models="the model on your server",
        usage="tokens",
        source="the source code of the server, in `llama-cpp-python` 0.3.36",
        group="server",
        errors=(
            ("501", "`ServerError`: the server was not started with `--reranking`"),
            (
                "400 `exceed_context_size_error`",
                (
                    "`BadRequestError`: a text is longer than the batch of the server; "
                    "`max_document_chars` truncates it"
                ),
            ),
        ),
    ),
    "xinference": Facts(
        title="Xinference",
        summary="Rerank models on your own Xinference server.",
        link="https://inference.readthedocs.io/en/latest/models/model_abilities/rerank.html",
        model="bge-reranker-v2-m3",
        models="the models on your server",
        usage="tokens",
        scores="`unknown`, dependent on the model",
        mark="specification",
        source="the requests of `xinference-client` 4.1.0",
        group="server",
        instruction="only some models follow it",
        errors=(("500", "`ServerError`: the model failed"),),
    ),
    "localai": Facts(
        title="LocalAI",
        summary="Rerank models on your own LocalAI server.",
        link="https://localai.io/features/reranker",
        model="jina-reranker-v1-base-en",
        models="the models on your server",
        usage="tokens",
        scores="`unknown`, dependent on the model",
        source="the source code of the server",
        group="server",
        limits=(
            (
                "The client sorts the results and applies `top_n`, because version 3.7.0 of the "
                "server does neither."
            ),
        ),
    ),
}
