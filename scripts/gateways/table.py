"""What a provider's class cannot say of it; one entry is a row of README and a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

Mark: TypeAlias = Literal["server", "specification", "documentation"]

MARKS: Mapping[Mark, str] = {
    "server": "tested against the real server",
    "specification": "tested against the vendor's specification or SDK",
    "documentation": "from documentation only",
}
_SDK_OF_COHERE = "requests and responses are compared with those of `cohere` 7.3.1"
_LITELLM = "requests are compared with those of another client, `litellm` 1.110.2"


class Facts(NamedTuple):
    """A provider as the documentation presents it.

    Attributes:
        title: what it is called.
        summary: what it is, in one or two sentences.
        link: the vendor's page about its API.
        model: a model for the example.
        models: which models there are, for the overview.
        documents: what a document may hold.
        usage: what `response.usage` has; empty for nothing.
        mark: how the provider was tested.
        source: the same in words.
        group: where the models run, for the overview.
        limits: one sentence each.
        errors: one sentence each.
        base_url: for the example, where there is no default address.
        instruction: more about it.
        more: sections of the page behind its arguments.
        is_generated: whether the page is written from here; else only the rows are.
    """

    title: str
    summary: str
    link: str
    model: str
    models: str
    documents: str = "text"
    usage: str = ""
    mark: Mark = "documentation"
    source: str = "the requests follow the vendor's page"
    group: Literal["vendor", "gateway", "server"] = "vendor"
    limits: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    base_url: str | None = None
    instruction: str = ""
    more: str = ""
    is_generated: bool = True


_SPANS = """## Relevant spans

Rerank 5 and newer say which parts of a document are relevant. Positions count in
`result.sent_text`, the text that was sent: for a document with fields, all of them as one text.

```python
from rerank_integrations import Cohere

provider = Cohere(relevant_spans={"threshold": 0.2, "max_spans": 3})
client = RerankClient("rerank-v5.0-pro", provider=provider)
[result] = client.rerank("a red bicycle", ["We sell a red bicycle."])
print([result.sent_text[span.start : span.end] for span in result.spans])  # ['red', 'bicycle']
```

`relevant_spans=True` asks for them with Cohere's own bounds. Each span has `start`, `end` and
`score`; the best is first.
"""

PROVIDERS: Mapping[str, Facts] = {
    "openrouter": Facts(
        title="OpenRouter",
        summary="Rerank models of several vendors behind one key; images too.",
        link="https://openrouter.ai/docs/api/api-reference/rerank/create-rerank",
        model="cohere/rerank-v3.5",
        models="Cohere, Voyage, NVIDIA, Qwen",
        documents="text, images, both",
        usage="units, tokens, cost",
        mark="specification",
        source="requests and responses are checked by OpenRouter's OpenAPI file",
        group="gateway",
        is_generated=False,
    ),
    "together": Facts(
        title="Together AI",
        summary="Rerank models on dedicated endpoints.",
        link="https://docs.together.ai/docs/inference/embeddings/rerank",
        model="Salesforce/Llama-Rank-V1",
        models="models on dedicated endpoints",
        documents="text, fields",
        usage="tokens",
        mark="specification",
        source="requests and responses are checked by Together's OpenAPI file",
        is_generated=False,
    ),
    "portkey": Facts(
        title="Portkey",
        summary="One gateway to several hosts.",
        link="https://portkey.ai/docs/api-reference",
        model="@my-cohere/rerank-v3.5",
        models="Cohere, Voyage, Jina, Pinecone, Bedrock, Azure AI, Vertex",
        documents="text, fields",
        usage="units (for Voyage and Jina these are tokens: do not bill by them)",
        mark="specification",
        source="requests and responses are checked by Portkey's OpenAPI file",
        group="gateway",
        is_generated=False,
    ),
    "jina": Facts(
        title="Jina",
        summary="Jina's own endpoint.",
        link="https://jina.ai/reranker/",
        model="jina-reranker-v2-base-multilingual",
        models="Jina's models",
        documents="text; an image with `jina-reranker-m0`",
        usage="tokens",
        source="requests are compared with those of other clients, `jina-haystack` 2.0.1 and "
        "`langchain-community` 0.4.2",
        is_generated=False,
    ),
    "vllm": Facts(
        title="vLLM",
        summary="A rerank model on a server of your own.",
        link="https://docs.vllm.ai/en/latest/serving/openai_compatible_server/",
        model="BAAI/bge-reranker-v2-m3",
        models="the model on your server",
        documents="text, images, both",
        usage="tokens",
        source=_LITELLM,
        group="server",
        is_generated=False,
    ),
    "cohere": Facts(
        title="Cohere",
        summary="Cohere's own endpoint, version 2 of its API, with relevant spans.",
        link="https://docs.cohere.com/reference/rerank",
        model="rerank-v3.5",
        models="Rerank 3.5, 4 and 5",
        usage="search units, tokens; Cohere's warnings are in `response.warnings`",
        mark="specification",
        source=_SDK_OF_COHERE,
        limits=(
            "Cohere refuses more than 10,000 documents in a request, and advises 1,000.",
            "A document is cut at `max_tokens_per_doc`, 4096 when None.",
        ),
        errors=("498 is a token that Cohere does not accept: an `AuthenticationError`.",),
        more=_SPANS,
    ),
    "azureai": Facts(
        title="Azure AI Foundry",
        summary="Cohere's models on an Azure resource of your own.",
        link="https://learn.microsoft.com/azure/ai-foundry",
        model="my-cohere-rerank",
        models="Cohere's, on your resource",
        usage="search units, tokens",
        mark="specification",
        source=f"{_SDK_OF_COHERE} at an Azure address",
        base_url="https://my-resource.services.ai.azure.com",
        limits=(
            "The model is the name of your deployment.",
            (
                "An older resource, with an endpoint of its own for the model, has `/v1` in its "
                'address: `base_url="https://NAME.eastus2.models.ai.azure.com/v1"`.'
            ),
        ),
    ),
    "vercelgateway": Facts(
        title="Vercel AI Gateway",
        summary="Cohere's API at Vercel's address, with one key for many vendors.",
        link="https://vercel.com/docs/ai-gateway",
        model="cohere/rerank-v3.5",
        models="Cohere",
        usage="search units, tokens",
        mark="specification",
        source=f"{_SDK_OF_COHERE}, which Vercel's page names as the client",
        group="gateway",
        limits=("Models are written with their vendor: `cohere/rerank-v3.5`.",),
    ),
    "voyage": Facts(
        title="Voyage",
        summary="Voyage's own endpoint, also that of MongoDB Atlas.",
        link="https://docs.voyageai.com/reference/reranker-api",
        model="rerank-2.5",
        models="`rerank-2.5`, `rerank-2.5-lite`",
        usage="tokens",
        mark="specification",
        source="requests and responses are compared with those of `voyageai` 0.5.0",
        instruction="It counts as a part of the query, once for each document.",
        limits=(
            (
                "A query of `rerank-2.5` has at most 8,000 tokens, and a request 600,000: the "
                "query counts once for each document."
            ),
            "Voyage cuts what is too long, unless `truncation=False`.",
            (
                "A key that begins with `al-` is one of MongoDB Atlas: requests go to "
                "`https://ai.mongodb.com/v1`."
            ),
        ),
        errors=("The message is in `detail`, and becomes `error.message`.",),
    ),
    "pinecone": Facts(
        title="Pinecone",
        summary="Rerank models hosted by Pinecone, which ranks fields itself.",
        link="https://docs.pinecone.io/reference/api/latest/inference/rerank",
        model="bge-reranker-v2-m3",
        models="BGE, Pinecone's own, Cohere",
        documents="text, fields",
        usage="rerank units, as `search_units`",
        mark="specification",
        source="requests and responses are compared with those of `pinecone` 10.2.0",
        limits=(
            (
                "`bge-reranker-v2-m3` and `pinecone-rerank-v0` rank one field, and take 100 "
                "documents; with more fields each document is sent as one text."
            ),
            (
                "`cohere-rerank-3.5` takes 200 documents, `cohere-rerank-4-fast` 250, with any "
                "number of fields. Larger lists go in several requests."
            ),
        ),
    ),
    "mixedbread": Facts(
        title="Mixedbread",
        summary="Mixedbread's own endpoint, which ranks fields itself.",
        link="https://www.mixedbread.com/api-reference/endpoints/reranking",
        model="mixedbread-ai/mxbai-rerank-large-v2",
        models="`mxbai-rerank-...`",
        documents="text, fields",
        usage="tokens",
        mark="specification",
        source="requests and responses are compared with those of `mixedbread` 0.54.0",
        limits=("Mixedbread cuts what is too long.",),
    ),
    "nvidia": Facts(
        title="NVIDIA NIM",
        summary="NVIDIA's rerank models, hosted by NVIDIA or on a NIM of your own; images too.",
        link="https://docs.nvidia.com/nim/nemo-retriever/text-reranking",
        model="nvidia/llama-3.2-nv-rerankqa-1b-v2",
        models="NVIDIA's, hosted or yours",
        documents="text; images as base64 for models with `-vl-` in the name",
        usage="tokens",
        mark="specification",
        source="requests and responses are compared with those of NVIDIA's own "
        "`langchain-nvidia-ai-endpoints` 1.5.0",
        limits=(
            "The API has no `top_n`: it is applied here.",
            (
                "An image is sent as base64, never as a URL; a document of an image alone has no "
                "`text`. NIM 2.4 takes PNG and JPEG only."
            ),
            (
                "NVIDIA's own address has the model in its path. A NIM of your own is asked at "
                "`/ranking`, and needs no key."
            ),
            'What is too long is refused, unless `truncate="END"` cuts it.',
        ),
        more="""## A NIM of your own

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
        summary="Qwen3 rerankers that follow an instruction.",
        link="https://docs.fireworks.ai/api-reference/rerank-documents",
        model="accounts/fireworks/models/qwen3-reranker-8b",
        models="Qwen3",
        usage="tokens",
        source="requests are compared with those of another client, `langchain-fireworks` 1.7.1",
        limits=(
            "Keys that Fireworks does not know are refused, so `extra_body` is of little use.",
            "The context is 40,960 tokens.",
        ),
    ),
    "siliconflow": Facts(
        title="SiliconFlow",
        summary="BGE, BCE and Qwen3 rerankers.",
        link="https://docs.siliconflow.cn/en/api-reference/rerank/create-rerank",
        model="Qwen/Qwen3-Reranker-8B",
        models="BGE, BCE, Qwen3",
        usage="tokens",
        source="requests are compared with those of another client, "
        "`llama-index-postprocessor-siliconflow-rerank` 0.5.0",
        limits=(
            (
                "The address is that of China; accounts of `siliconflow.com` pass "
                '`base_url="https://api.siliconflow.com/v1"`.'
            ),
            "`max_chunks_per_doc` and `overlap_tokens` are for BGE and BCE only.",
        ),
        errors=("The message is beside a `code`, and becomes `error.message`.",),
    ),
    "deepinfra": Facts(
        title="DeepInfra",
        summary="Qwen3 rerankers, one address for each model.",
        link="https://deepinfra.com/Qwen/Qwen3-Reranker-8B/api",
        model="Qwen/Qwen3-Reranker-8B",
        models="Qwen3",
        usage="tokens, cost",
        source=_LITELLM,
        limits=(
            "The query is sent once for each document, so a long one makes large requests.",
            "The API has no `top_n`: it is applied here.",
            "The context is 32,768 tokens.",
        ),
    ),
    "dashscope": Facts(
        title="DashScope",
        summary="Qwen3 and GTE rerankers of Alibaba Cloud Model Studio.",
        link="https://help.aliyun.com/zh/model-studio/text-rerank-api",
        model="qwen3-rerank",
        models="Qwen3, GTE",
        usage="tokens",
        source=_LITELLM,
        limits=(
            (
                "A document has at most 4,000 tokens and is cut there. The query, counted once for "
                "each document, and all documents together have at most 120,000."
            ),
            (
                "A workspace in Singapore has an address of its own: `workspace=` or the variable "
                "`DASHSCOPE_WORKSPACE_ID`."
            ),
            "`qwen3-vl-rerank` has another API, which is not supported.",
        ),
    ),
    "zeroentropy": Facts(
        title="ZeroEntropy",
        summary="ZeroEntropy's own endpoint.",
        link="https://docs.zeroentropy.dev/api-reference/models/rerank",
        model="zerank-2",
        models="`zerank-2`",
        usage="tokens",
        mark="specification",
        source="requests and responses are compared with those of `zeroentropy` 0.1.0a11",
        limits=(
            (
                "A request has at most 5,000,000 bytes, and each document counts 150 bytes and the "
                "query besides its own text; larger lists go in several requests."
            ),
            (
                'Over the fast rate an answer may take more than 10 s. `latency="fast"` makes that '
                "an error."
            ),
        ),
    ),
    "contextualai": Facts(
        title="Contextual AI",
        summary="Rerankers that follow an instruction.",
        link="https://docs.contextual.ai/api-reference/rerank/rerank",
        model="ctxl-rerank-v2-instruct-multilingual",
        models="`ctxl-rerank-v2-...`",
        mark="specification",
        source="requests and responses are compared with those of `contextual-client` 0.11.0",
        limits=(
            (
                "A request has at most 400,000 tokens; query, instruction and one document "
                "together at most 8,000."
            ),
        ),
    ),
    "isaacus": Facts(
        title="Isaacus",
        summary="Rerankers for legal texts.",
        link="https://docs.isaacus.com/api-reference/rerankings",
        model="kanon-2-reranker",
        models="Kanon, for legal texts",
        usage="tokens",
        mark="specification",
        source="requests and responses are compared with those of `isaacus` 0.22.1",
        limits=("Long texts are cut into chunks by `chunking_options`.",),
        errors=("Errors are `application/problem+json`; the detail becomes `error.message`.",),
    ),
    "novita": Facts(
        title="Novita AI",
        summary="BGE and Qwen3 rerankers.",
        link="https://novita.ai/docs/api-reference/model-apis-llm-create-rerank",
        model="baai/bge-reranker-v2-m3",
        models="BGE, Qwen3",
        usage="tokens",
    ),
    "scaleway": Facts(
        title="Scaleway",
        summary="Qwen3 rerankers of Scaleway's Generative APIs, in Europe.",
        link="https://www.scaleway.com/en/docs/generative-apis",
        model="qwen3-reranker-8b",
        models="Qwen3",
        usage="tokens",
        source=_LITELLM,
        limits=("Scaleway refuses a request without `top_n`, so it is always sent.",),
    ),
    "litellm": Facts(
        title="LiteLLM proxy",
        summary="Many vendors behind a proxy of your own.",
        link="https://docs.litellm.ai/docs/rerank",
        model="my-reranker",
        models="those of its configuration",
        usage="search units, tokens",
        mark="server",
        source="the proxy of `litellm` 1.106.2, in front of a server that plays the vendors",
        group="gateway",
        limits=("The model is a name of the proxy's configuration.",),
        errors=(
            (
                "The proxy drops `Retry-After`, and after one failure puts the model out of "
                "service for some seconds: calls then get 429. `router_settings.disable_cooldowns: "
                "true` switches that off."
            ),
            "Without a key that it wants, it returns 500 in plain text.",
        ),
        instruction='For vLLM and DeepInfra behind it pass `extra_body={"instruction": "..."}`.',
    ),
    "infinity": Facts(
        title="Infinity",
        summary="Rerank models on a server of your own.",
        link="https://michaelfeil.eu/infinity",
        model="mixedbread-ai/mxbai-rerank-xsmall-v1",
        models="the models on your server",
        usage="tokens",
        mark="server",
        source="Infinity 0.0.78, with a cross-encoder",
        group="server",
        limits=(
            (
                "A server that was started with `--url-prefix` has it in its address: "
                "`http://localhost:7997/v1`."
            ),
            "`raw_scores=True` gives logits, and `response.score_kind` says so.",
        ),
        errors=("422 echoes the request in `error.body`.",),
    ),
    "tei": Facts(
        title="Text Embeddings Inference",
        summary="Hugging Face's server for one rerank model, on a machine of your own.",
        link="https://huggingface.github.io/text-embeddings-inference",
        model="BAAI/bge-reranker-v2-m3",
        models="the model on your server",
        source="requests are compared with those of another client, "
        "`llama-index-postprocessor-tei-rerank` 0.6.0, and with the types in the server's source",
        group="server",
        limits=(
            (
                "A server that was started with `--max-client-batch-size` takes other numbers: "
                "pass its own as `max_documents_per_request`."
            ),
            (
                "The server has one model, so its name is not sent. It has no `top_n`: that is "
                "applied here."
            ),
            "What is too long is refused, unless `truncate=True`.",
            "`raw_scores=True` gives logits, and `response.score_kind` says so.",
        ),
        errors=("413 is a batch that is too large: a `PayloadTooLargeError`.",),
    ),
    "sglang": Facts(
        title="SGLang",
        summary="A rerank model on a server of your own; images too.",
        link="https://docs.sglang.io/supported_models/rerank_models.html",
        model="Qwen/Qwen3-Reranker-8B",
        models="the model on your server",
        documents="text, images, both",
        source="the requests follow the server's source, 0.5.23",
        group="server",
        limits=(
            "The server has one model, so its name is not sent.",
            "Older servers know the query and the documents only, and refuse images.",
        ),
    ),
    "llamacpp": Facts(
        title="llama.cpp",
        summary="A GGUF rerank model on llama.cpp's server.",
        link="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        model="bge-reranker-v2-m3",
        models="the model on your server",
        usage="tokens",
        source="the requests follow the server's source, in `llama-cpp-python` 0.3.36",
        group="server",
        errors=(
            "501: the server was not started with `--reranking`.",
            (
                "400 `exceed_context_size_error`: a text is longer than the server's batch; "
                "`max_document_chars` cuts it."
            ),
        ),
    ),
    "xinference": Facts(
        title="Xinference",
        summary="Rerank models on a server of your own.",
        link="https://inference.readthedocs.io/en/latest/models/model_abilities/rerank.html",
        model="bge-reranker-v2-m3",
        models="the models on your server",
        usage="tokens",
        mark="specification",
        source="requests are compared with those of `xinference-client` 4.1.0",
        group="server",
        instruction="The server looks for it there alone, and only some models follow it.",
        errors=("A failing model is a 500.",),
    ),
    "localai": Facts(
        title="LocalAI",
        summary="Rerank models on a server of your own.",
        link="https://localai.io/features/reranker",
        model="jina-reranker-v1-base-en",
        models="the models on your server",
        usage="tokens",
        source="the requests follow the server's source",
        group="server",
        limits=(
            (
                "Results are put into order here, and `top_n` is applied here too: version 3.7.0 "
                "does neither."
            ),
        ),
    ),
}
