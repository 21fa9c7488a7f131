"""The calls of vendors with another list: `data`, `rankings`, `scores`; and of `Compatible`.

Each has strings, an error in the vendor's form, and what is special there.
"""

from __future__ import annotations

from cassettes.cases_openrouter import DOT
from cassettes.vendor import (
    ALL,
    BEST,
    IN_BODY,
    INSTRUCTED,
    LOGITS,
    PAGES,
    TEXTS,
    TOP_2,
    Vendor,
    listed,
)
from rerank_integrations import (
    AuthenticationError,
    BadRequestError,
    PaymentRequiredError,
    RerankDocument,
)

VOYAGE = Vendor(
    name="voyage",
    model="rerank-2.5",
    address="https://api.voyageai.com/v1/rerank",
    answer="the body has the keys that voyageai 0.5.0 reads",
    error="voyageai 0.5.0 has an exception for the status, and reads `detail`",
)
VOYAGES = {
    "object": "list",
    "data": listed(),
    "model": "rerank-2.5",
    "usage": {"total_tokens": 26},
}
OF_VOYAGE = {"usage": {"total_tokens": 26}}
VOYAGE_CASES = (
    VOYAGE.ranked("strings", "Strings are ranked; `top_n` is `top_k`.", VOYAGES, wants=OF_VOYAGE),
    VOYAGE.ranked(
        "no-truncation",
        "What is too long is not to be cut.",
        VOYAGES,
        wants=OF_VOYAGE,
        arguments={"truncation": False},
    ),
    VOYAGE.ranked(
        "instruction",
        "There is no key for an instruction, so it stands before the query.",
        VOYAGES,
        wants=OF_VOYAGE,
        options=INSTRUCTED,
    ),
    VOYAGE.ranked(
        "atlas-key",
        "A key that begins with `al-` is one of MongoDB Atlas, which has its own host.",
        VOYAGES,
        wants=OF_VOYAGE,
        answer="voyageai 0.5.0 chooses the host by the key, and reads the same body from both",
        address="https://ai.mongodb.com/v1/rerank",
        arguments={"api_key": "al-key-of-nobody"},
    ),
    VOYAGE.refused(
        "400-bad-request",
        "A request that Voyage rejects.",
        BadRequestError,
        {"detail": "Model m is not supported"},
        "Model m is not supported",
    ),
)

PINECONE = Vendor(
    name="pinecone",
    model="bge-reranker-v2-m3",
    address="https://api.pinecone.io/rerank",
    answer="the body has the form of RerankResult in pinecone 10.2.0",
    error="the body has the keys that pinecone 10.2.0 reads of an error",
    kind="probability",
)
PINECONES = {
    "model": "bge-reranker-v2-m3",
    "data": listed(key="score"),
    "usage": {"rerank_units": 1},
}
OF_PINECONE = {"usage": {"search_units": 1}}
PINECONE_CASES = (
    PINECONE.ranked(
        "strings",
        "Strings go out as objects; the key has a header of its own.",
        PINECONES,
        wants=OF_PINECONE,
    ),
    PINECONE.ranked(
        "one-rank-field",
        "This model ranks one field by itself.",
        PINECONES,
        wants=OF_PINECONE,
        documents=PAGES,
        options={"top_n": 2, "rank_fields": ["title"]},
    ),
    PINECONE.ranked(
        "too-many-rank-fields",
        "For a model that ranks one field, two are written as one text.",
        PINECONES,
        wants=OF_PINECONE,
        documents=PAGES,
        options={"top_n": 2, "rank_fields": ["title", "text"]},
    ),
    PINECONE.ranked(
        "rank-fields",
        "A model that ranks any number of fields.",
        {**PINECONES, "model": "cohere-rerank-3.5"},
        wants=OF_PINECONE,
        model="cohere-rerank-3.5",
        documents=PAGES,
        options={"top_n": 2, "rank_fields": ["title", "text"]},
    ),
    PINECONE.ranked(
        "parameters",
        "A parameter of the model.",
        PINECONES,
        wants=OF_PINECONE,
        arguments={"parameters": {"truncate": "END"}},
    ),
    PINECONE.refused(
        "400-bad-request",
        "A request that Pinecone rejects.",
        BadRequestError,
        {"error": {"code": "INVALID_ARGUMENT", "message": "no such model"}, "status": 400},
        "no such model",
        wants={"code": "INVALID_ARGUMENT"},
    ),
)

MIXEDBREAD = Vendor(
    name="mixedbread",
    model="mixedbread-ai/mxbai-rerank-large-v2",
    address="https://api.mixedbread.com/v1/reranking",
    answer="the body has the form of RerankResponse in mixedbread 0.54.0",
    error="mixedbread 0.54.0 has an exception for the status; that the body has `detail`, as "
    "FastAPI writes it, is not verified",
)
MIXEDBREADS = {
    "usage": {"prompt_tokens": 42, "total_tokens": 42, "completion_tokens": 0},
    "model": "mixedbread-ai/mxbai-rerank-large-v2",
    "data": listed(key="score", input=None, object="rank_result"),
    "object": "list",
    "top_k": 2,
    "return_input": False,
}
OF_MIXEDBREAD = {"usage": MIXEDBREADS["usage"]}
MIXEDBREAD_CASES = (
    MIXEDBREAD.ranked(
        "strings",
        "Strings are ranked, as `input`; the number is `top_k`.",
        MIXEDBREADS,
        wants=OF_MIXEDBREAD,
    ),
    MIXEDBREAD.ranked(
        "rank-fields",
        "Objects go out as they are, and the fields to rank by are named.",
        MIXEDBREADS,
        wants=OF_MIXEDBREAD,
        documents=PAGES,
        options={"top_n": 2, "rank_fields": ["title"]},
    ),
    MIXEDBREAD.ranked(
        "objects",
        "Without rank_fields all fields are named.",
        MIXEDBREADS,
        wants=OF_MIXEDBREAD,
        documents=PAGES,
    ),
    MIXEDBREAD.ranked(
        "rewrite-query",
        "The query is to be rewritten.",
        MIXEDBREADS,
        wants=OF_MIXEDBREAD,
        arguments={"rewrite_query": True},
    ),
    MIXEDBREAD.refused(
        "422-unprocessable",
        "A list of problems.",
        BadRequestError,
        {"detail": [IN_BODY]},
        "body.query: Field required",
    ),
)

NVIDIA = Vendor(
    name="nvidia",
    model="nvidia/llama-3.2-nv-rerankqa-1b-v2",
    address="https://ai.api.nvidia.com/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking",
    answer="langchain-nvidia-ai-endpoints 1.5.0 and litellm 1.110.2 read the body",
    error="langchain-nvidia-ai-endpoints 1.5.0 reads problem+json (RFC 7807) and `error`",
    kind="logit",
)
RANKINGS = {
    "rankings": listed(LOGITS, "logit"),
    "usage": {"prompt_tokens": 42, "total_tokens": 42},
}
OF_NVIDIA = {"usage": {"prompt_tokens": 42, "total_tokens": 42}}
SEES = "nvidia/llama-nemotron-rerank-vl-1b-v2"
NVIDIA_CASES = (
    NVIDIA.ranked(
        "strings",
        "A hosted model has an address of its own, with `_` for `.`; `top_n` is applied here.",
        {**RANKINGS, "rankings": listed({**LOGITS, 1: -9.5}, "logit")},
        scores=LOGITS,
        wants=OF_NVIDIA,
    ),
    NVIDIA.ranked(
        "own-server",
        "A server of one's own is asked at `/ranking`.",
        RANKINGS,
        scores=LOGITS,
        wants=OF_NVIDIA,
        address="http://localhost:8000/v1/ranking",
        arguments={"base_url": "http://localhost:8000/v1", "truncate": "END"},
    ),
    NVIDIA.ranked(
        "images",
        "Images as data URIs; one without a text has no `text`.",
        RANKINGS,
        scores=LOGITS,
        wants=OF_NVIDIA,
        model=SEES,
        address=f"https://ai.api.nvidia.com/v1/retrieval/{SEES}/reranking",
        documents=(
            RerankDocument(text=TEXTS[0], image=f"data:image/png;base64,{DOT}"),
            TEXTS[1],
            RerankDocument(image=f"data:image/png;base64,{DOT}"),
        ),
    ),
    NVIDIA.ranked(
        "probabilities",
        "Logits as probabilities, because the caller asks for them.",
        {**RANKINGS, "rankings": listed({0: 0.0}, "logit")},
        scores={0: 0.5},
        wants={**OF_NVIDIA, "score_kind": "probability"},
        options={"top_n": 1, "score_transform": "sigmoid"},
    ),
    NVIDIA.refused(
        "402-payment-required",
        "No credits are left.",
        PaymentRequiredError,
        {"type": "about:blank", "title": "Payment Required", "status": 402, "detail": "no credits"},
        "no credits",
        headers={"content-type": "application/problem+json"},
    ),
    NVIDIA.refused(
        "422-unprocessable",
        "A passage that a server of one's own rejects.",
        BadRequestError,
        {"error": "passages: field required"},
        "passages: field required",
    ),
)

FIREWORKS = Vendor(
    name="fireworks",
    model="accounts/fireworks/models/qwen3-reranker-8b",
    address="https://api.fireworks.ai/inference/v1/rerank",
    answer="the body has the keys that langchain-fireworks 1.7.1 and litellm 1.110.2 read",
    error="langchain-fireworks 1.7.1 has an exception for the status; the form of the body is not "
    "verified",
    kind="probability",
)
FIREWORKSES = {
    "object": "list",
    "model": "accounts/fireworks/models/qwen3-reranker-8b",
    "data": listed(),
    "usage": {"prompt_tokens": 42, "total_tokens": 42, "completion_tokens": 0},
}
OF_FIREWORKS = {"usage": FIREWORKSES["usage"]}
FIREWORKS_CASES = (
    FIREWORKS.ranked(
        "strings", "Strings are ranked without an echo.", FIREWORKSES, wants=OF_FIREWORKS
    ),
    FIREWORKS.ranked(
        "instruction",
        "An instruction goes as `task`.",
        FIREWORKSES,
        wants=OF_FIREWORKS,
        options=INSTRUCTED,
        answer="the key is in https://docs.fireworks.ai/api-reference/rerank-documents; "
        + FIREWORKS.answer,
    ),
    FIREWORKS.refused(
        "400-bad-request",
        "A key that Fireworks does not know.",
        BadRequestError,
        {
            "error": {
                "object": "error",
                "type": "invalid_request_error",
                "code": "invalid_request_error",
                "message": "Extra inputs are not permitted",
            }
        },
        "Extra inputs are not permitted",
        wants={"code": "invalid_request_error"},
        options={"extra_body": {"user": "u"}},
    ),
)

DEEPINFRA = Vendor(
    name="deepinfra",
    model="Qwen/Qwen3-Reranker-8B",
    address="https://api.deepinfra.com/v1/inference/Qwen/Qwen3-Reranker-8B",
    answer="the body has the keys that litellm 1.110.2 reads, and that "
    "https://deepinfra.com/Qwen/Qwen3-Reranker-8B/api has",
    error="the body has the keys that litellm 1.110.2 reads of an error",
    kind="probability",
)
DEEPINFRAS = {
    "scores": [ALL[0], ALL[1], ALL[2]],
    "input_tokens": 42,
    "request_id": "R1",
    "inference_status": {
        "status": "succeeded",
        "runtime_ms": 20,
        "cost": 0.000001,
        "tokens_input": 42,
    },
}
OF_DEEPINFRA = {"usage": {"prompt_tokens": 42, "cost": 0.000001}, "request_id": "R1"}
DEEPINFRA_CASES = (
    DEEPINFRA.ranked(
        "strings",
        "The query for each document, and scores in the order of the documents.",
        DEEPINFRAS,
        wants=OF_DEEPINFRA,
    ),
    DEEPINFRA.ranked(
        "instruction",
        "An instruction has its key.",
        DEEPINFRAS,
        wants=OF_DEEPINFRA,
        options=INSTRUCTED,
    ),
    DEEPINFRA.refused(
        "401-unauthorized",
        "A key that DeepInfra does not know: its message is nested.",
        AuthenticationError,
        {"detail": {"error": "User is not authenticated"}},
        "User is not authenticated",
    ),
)

COMPATIBLE = Vendor(
    name="compatible",
    model="m",
    address="https://rerank.example/v1/rerank",
    answer="no vendor's; the body has the form that Jina's and Cohere's have in common",
    error="no vendor's; the body is FastAPI's",
    arguments={"base_url": "https://rerank.example/v1"},
)
COMPATIBLE_CASES = (
    COMPATIBLE.ranked("strings", "The common keys.", {"results": listed()}),
    COMPATIBLE.ranked(
        "other-keys",
        "Every key and the header are others, and documents are objects.",
        {"data": listed(BEST, "score")},
        answer="no vendor's; the keys are those of Mixedbread, Pinecone, NVIDIA and Fireworks",
        address="https://rerank.example/api/ranking",
        options=INSTRUCTED,
        arguments={
            "base_url": "https://rerank.example/api",
            "path": "/ranking",
            "documents_key": "passages",
            "document_as": "object",
            "top_n_key": "top_k",
            "return_documents_key": "return_input",
            "instruction_key": "task",
            "auth_header": "Api-Key",
            "auth_scheme": "",
            "extra_headers": {"X-Team": "search-team"},
            "extra_body": {"truncate": "END"},
        },
    ),
    COMPATIBLE.ranked(
        "no-key-for-top-n",
        "A server that has no key for the number, and answers with a bare list.",
        listed(ALL, "score"),
        answer="no vendor's; the form is that of text-embeddings-inference",
        options=TOP_2,
        arguments={**COMPATIBLE.arguments, "top_n_key": None},
    ),
    COMPATIBLE.refused(
        "401-unauthorized",
        "A wrong key.",
        AuthenticationError,
        {"detail": "Unauthorized"},
        "Unauthorized",
    ),
)

CASES = (
    *VOYAGE_CASES,
    *PINECONE_CASES,
    *MIXEDBREAD_CASES,
    *NVIDIA_CASES,
    *FIREWORKS_CASES,
    *DEEPINFRA_CASES,
    *COMPATIBLE_CASES,
)
