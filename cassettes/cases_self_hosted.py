"""The calls of servers that are run by their users, at the address that each has by default.

Each has strings, an error in the server's form, and what is special there.
"""

from __future__ import annotations

from cassettes.cases_openrouter import DOT
from cassettes.vendor import (
    ALL,
    IN_BODY,
    INSTRUCTED,
    LOGITS,
    TEXTS,
    TOP_2,
    Vendor,
    as_object,
    listed,
)
from rerank_integrations import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitError,
    RerankDocument,
    ServerError,
    StatusError,
)

QWEN3 = "Qwen/Qwen3-Reranker-0.6B"
BGE = "BAAI/bge-reranker-v2-m3"
SEES = "Qwen/Qwen3-VL-Reranker-2B"
TOTAL = {"prompt_tokens": 42, "total_tokens": 42}
WITH_AN_IMAGE = (
    RerankDocument(text=TEXTS[0], image=f"data:image/png;base64,{DOT}"),
    TEXTS[1],
    RerankDocument(image="https://example.com/madrid.png"),
)
LIKE_AN_IMAGE = RerankDocument(text="a city like this", image=f"data:image/png;base64,{DOT}")
TEMPLATE = (
    "the template is that of https://huggingface.co/Qwen/Qwen3-Reranker-0.6B, which a server "
    "without a chat template does not apply"
)

VLLM = Vendor(
    name="vllm",
    model=BGE,
    address="http://localhost:8000/v1/rerank",
    answer="the body has the keys of https://docs.vllm.ai (v0.13), and litellm 1.110.2 reads them",
    error="the body has the form of vLLM's ErrorResponse",
)
VLLMS = {
    "id": "rerank-1",
    "model": BGE,
    "usage": TOTAL,
    "results": listed(echo=as_object),
}
OF_VLLM = {"usage": TOTAL, "id": "rerank-1", "request_id": "rerank-1", "model": BGE}
OF_VLLM_QWEN3 = {**OF_VLLM, "model": QWEN3}
VLLM_CASES = (
    VLLM.ranked("strings", "Strings are ranked; there is an echo.", VLLMS, wants=OF_VLLM),
    VLLM.ranked(
        "truncate-prompt-tokens",
        "Where pairs are cut.",
        VLLMS,
        wants=OF_VLLM,
        arguments={"truncate_prompt_tokens": 512},
    ),
    VLLM.ranked(
        "instruction",
        "A server with the model's chat template has a key for an instruction.",
        {**VLLMS, "model": QWEN3},
        wants=OF_VLLM_QWEN3,
        model=QWEN3,
        options=INSTRUCTED,
    ),
    VLLM.ranked(
        "instruction-without-template",
        "For a server without it, the template is written around query and documents.",
        {**VLLMS, "model": QWEN3},
        wants=OF_VLLM_QWEN3,
        answer=f"{TEMPLATE}; {VLLM.answer}",
        model=QWEN3,
        options=INSTRUCTED,
        arguments={"has_chat_template": False},
    ),
    VLLM.ranked(
        "content-parts",
        "A document with an image goes out as content parts.",
        {**VLLMS, "model": SEES, "results": listed()},
        wants={**OF_VLLM, "model": SEES},
        model=SEES,
        documents=WITH_AN_IMAGE,
    ),
    VLLM.ranked(
        "image-query",
        "A query with an image goes out as content parts, as a document does.",
        {**VLLMS, "model": SEES, "results": listed()},
        wants={**OF_VLLM, "model": SEES},
        answer=f"the query is a ScoreMultiModalParam of vLLM; {VLLM.answer}",
        model=SEES,
        query=LIKE_AN_IMAGE,
        documents=WITH_AN_IMAGE,
    ),
    VLLM.refused(
        "404-not-found",
        "A model that the server was not started with.",
        NotFoundError,
        {
            "error": {
                "message": "The model `m` does not exist.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
        },
        "The model `m` does not exist.",
        wants={"code": "404"},
    ),
)

SGLANG = Vendor(
    name="sglang",
    model=QWEN3,
    address="http://localhost:30000/v1/rerank",
    answer="the body is a list of RerankResponse in protocol.py of sglang 0.5.23",
    error="the body has the keys that SGLang writes, which is not verified",
    kind="probability",
)
META = {"id": "r1", "prompt_tokens": 14, "e2e_latency": 0.02}
SGLANGS = listed(key="score", meta_info=META)
OF_SGLANG = {"extra": {0: {"meta_info": META}, 2: {"meta_info": META}}}
SGLANG_CASES = (
    SGLANG.ranked(
        "strings",
        "A bare list, with what the server measured for each result.",
        SGLANGS,
        wants=OF_SGLANG,
    ),
    SGLANG.ranked(
        "another-model",
        "What the scores of other models are is not known.",
        SGLANGS,
        wants={**OF_SGLANG, "score_kind": "unknown"},
        model=BGE,
    ),
    SGLANG.ranked(
        "instruction",
        "An instruction goes as `instruct`.",
        SGLANGS,
        wants=OF_SGLANG,
        options=INSTRUCTED,
    ),
    SGLANG.ranked(
        "content-parts",
        "A document with an image goes out as a list of content parts.",
        listed(key="score"),
        model=SEES,
        documents=WITH_AN_IMAGE,
    ),
    SGLANG.ranked(
        "image-query",
        "A query with an image goes out as a list of content parts, as a document does.",
        listed(key="score"),
        answer="the query is that of examples/runtime/qwen3_vl_reranker.py in sgl-project/sglang; "
        f"{SGLANG.answer}",
        model=SEES,
        query=LIKE_AN_IMAGE,
        documents=WITH_AN_IMAGE,
    ),
    SGLANG.refused(
        "400-bad-request",
        "A server whose model is no reranker; the code stands beside the message.",
        BadRequestError,
        {
            "object": "error",
            "message": "the model is no reranker",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "the model is no reranker",
        wants={"code": "400"},
    ),
)

TEI = Vendor(
    name="tei",
    model=BGE,
    address="http://localhost:8080/rerank",
    answer="the body has the form of RerankResponse in docs/openapi.json (1.7.1) of "
    "https://github.com/huggingface/text-embeddings-inference, and "
    "llama-index-postprocessor-tei-rerank 0.6.0 reads it",
    error="the body is an example in docs/openapi.json (1.7.1) of "
    "https://github.com/huggingface/text-embeddings-inference",
    kind="probability",
)
TEIS = listed(ALL, "score")
TEI_CASES = (
    TEI.ranked(
        "strings",
        "A bare list of all documents, of which the best two are taken here.",
        TEIS,
    ),
    TEI.ranked(
        "raw-scores",
        "Scores are to be logits.",
        listed(LOGITS, "score"),
        scores=LOGITS,
        wants={"score_kind": "logit"},
        arguments={"raw_scores": True, "truncate": True},
    ),
    TEI.ranked(
        "instruction",
        "The template of a Qwen3 model is written around query and documents.",
        TEIS,
        answer=f"{TEMPLATE}; {TEI.answer}",
        model=QWEN3,
        options=INSTRUCTED,
    ),
    TEI.refused(
        "413-batch-size",
        "More documents than one request may have: the message says so, and is not ours.",
        PayloadTooLargeError,
        {"error": "batch size 3 > maximum allowed batch size 2", "error_type": "validation"},
        "batch size 3 > maximum allowed batch size 2",
        error="the form and the type are those of the example in docs/openapi.json (1.7.1) of "
        "https://github.com/huggingface/text-embeddings-inference; the words are the router's own, "
        "with numbers of ours",
    ),
    TEI.refused(
        "424-inference-error",
        "The model failed.",
        StatusError,
        {"error": "Inference failed", "error_type": "backend"},
        "Inference failed",
        error=TEI.error,
    ),
    TEI.refused(
        "429-overloaded",
        "The server has too many requests.",
        RateLimitError,
        {"error": "Model is overloaded", "error_type": "overloaded"},
        "Model is overloaded",
        error=TEI.error,
        wants={"is_retryable": True},
    ),
)

INFINITY = Vendor(
    name="infinity",
    model="mixedbread-ai/mxbai-rerank-xsmall-v1",
    address="http://localhost:7997/rerank",
    answer="the body has the form that Infinity 0.0.78 answered with on a machine of ours",
    error="the body has the form that Infinity 0.0.78 answered with on a machine of ours",
    kind="probability",
)
INFINITIES = {
    "object": "rerank",
    "results": listed(document=None),
    "model": "mixedbread-ai/mxbai-rerank-xsmall-v1",
    "usage": TOTAL,
    "id": "infinity-1",
    "created": 1764000000,
}
OF_INFINITY = {"usage": TOTAL, "id": "infinity-1", "request_id": "infinity-1"}
INFINITY_CASES = (
    INFINITY.ranked("strings", "Strings are ranked.", INFINITIES, wants=OF_INFINITY),
    INFINITY.ranked(
        "raw-scores",
        "Scores are to be logits.",
        {**INFINITIES, "results": listed(LOGITS, document=None)},
        scores=LOGITS,
        wants={**OF_INFINITY, "score_kind": "logit"},
        arguments={"raw_scores": True},
    ),
    INFINITY.ranked(
        "instruction",
        "The template of a Qwen3 model is written around query and documents.",
        {**INFINITIES, "model": QWEN3},
        wants=OF_INFINITY,
        answer=f"{TEMPLATE}; {INFINITY.answer}",
        model=QWEN3,
        options=INSTRUCTED,
    ),
    INFINITY.refused(
        "401-unauthorized",
        "A key with which the server was not started.",
        AuthenticationError,
        {"detail": "Unauthorized"},
        "Unauthorized",
        error="Infinity 0.0.78 answered with this body on a machine of ours",
    ),
    INFINITY.refused(
        "422-unprocessable",
        "A list of problems, which repeats what was sent; the message does not.",
        BadRequestError,
        {"detail": [{**IN_BODY, "input": {"documents": list(TEXTS)}}]},
        "body.query: Field required",
    ),
)

LLAMACPP = Vendor(
    name="llamacpp",
    model="bge-reranker-v2-m3",
    address="http://localhost:8080/v1/rerank",
    answer="the body has the keys that tools/server of llama.cpp writes (source distribution of "
    "llama-cpp-python 0.3.36)",
    error="the body has the keys that tools/server of llama.cpp writes (source distribution of "
    "llama-cpp-python 0.3.36)",
    kind="logit",
)
NOT_STARTED = "This server does not support reranking. Start it with `--reranking`"
TOO_LONG = "request (600 tokens) exceeds the available context size (512 tokens)"
LLAMACPP_CASES = (
    LLAMACPP.ranked(
        "strings",
        "Strings are ranked; scores are logits.",
        {
            "model": "bge-reranker-v2-m3",
            "object": "list",
            "usage": TOTAL,
            "results": listed(LOGITS),
        },
        scores=LOGITS,
        wants={"usage": TOTAL},
    ),
    LLAMACPP.refused(
        "400-exceed-context-size",
        "A text that is longer than the context.",
        BadRequestError,
        {
            "error": {
                "code": 400,
                "message": TOO_LONG,
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 600,
                "n_ctx": 512,
            }
        },
        TOO_LONG,
        error=f"{LLAMACPP.error}; the words are its own, with numbers of ours",
        wants={"code": "400"},
    ),
    LLAMACPP.refused(
        "501-not-supported",
        "A server that was not started with --reranking; the words are its own.",
        ServerError,
        {"error": {"code": 501, "message": NOT_STARTED, "type": "not_supported_error"}},
        NOT_STARTED,
        error=f"{LLAMACPP.error}; the words are its own",
        wants={"code": "501"},
    ),
)

XINFERENCE = Vendor(
    name="xinference",
    model="bge-reranker-v2-m3",
    address="http://localhost:9997/v1/rerank",
    answer="the body has the keys that xinference 4.1.0 writes and xinference-client 4.1.0 reads",
    error="the form is that of https://github.com/xorbitsai/inference/issues/4679",
)
XINFERENCES = {
    "id": "610a8724",
    "results": listed(document=None),
    "meta": {
        "api_version": None,
        "billed_units": None,
        "tokens": {"input_tokens": 42, "output_tokens": None},
        "warnings": None,
    },
}
OF_XINFERENCE = {"usage": {"prompt_tokens": 42}, "id": "610a8724", "request_id": "610a8724"}
XINFERENCE_CASES = (
    XINFERENCE.ranked(
        "strings", "Strings are ranked; `billed_units` is null.", XINFERENCES, wants=OF_XINFERENCE
    ),
    XINFERENCE.ranked(
        "instruction",
        "The server looks for an instruction inside `kwargs`, a JSON text.",
        XINFERENCES,
        wants=OF_XINFERENCE,
        model="Qwen3-Reranker-0.6B",
        options=INSTRUCTED,
    ),
    XINFERENCE.ranked(
        "chunks",
        "Into how many chunks a document is cut at most.",
        XINFERENCES,
        wants=OF_XINFERENCE,
        arguments={"max_chunks_per_doc": 10},
    ),
    XINFERENCE.refused(
        "500-scoring-failed",
        "The model failed: its worker's message.",
        ServerError,
        {"detail": "[address=127.0.0.1:53707, pid=1964] 'results'"},
        "[address=127.0.0.1:53707, pid=1964] 'results'",
        error="a user has published the body, with another address "
        "(https://github.com/xorbitsai/inference/issues/4679)",
        wants={"is_retryable": True},
    ),
)

LOCALAI = Vendor(
    name="localai",
    model="jina-reranker-v1-base-en",
    address="http://localhost:8080/v1/rerank",
    answer="the body has the form of JINARerankResponse in core/schema/jina.go of LocalAI",
    error="the body has the form of OpenAI's, whose API LocalAI follows, which is not verified",
)
LOCALAI_CASES = (
    LOCALAI.ranked(
        "strings",
        "Some versions do not obey `top_n` and do not sort; both is done here.",
        {
            "model": "jina-reranker-v1-base-en",
            "usage": {"total_tokens": 42, "prompt_tokens": 42},
            "results": listed({1: ALL[1], 2: ALL[2], 0: ALL[0]}, echo=as_object),
        },
        wants={"usage": TOTAL},
        answer="version 3.7.0 did neither (https://github.com/mudler/LocalAI/issues/7189); "
        f"{LOCALAI.answer}",
    ),
    LOCALAI.refused(
        "500-no-backend",
        "The backend of the model does not start.",
        ServerError,
        {"error": {"code": 500, "message": "could not load model", "type": ""}},
        "could not load model",
        wants={"code": "500", "is_retryable": True},
    ),
)

LITELLM = Vendor(
    name="litellm",
    model="our-reranker",
    address="http://localhost:4000/v1/rerank",
    answer="the body has the form that the proxy of litellm 1.106.2 answered with on a machine of "
    "ours",
    error="the body has the form that the proxy of litellm 1.106.2 answered with on a machine of "
    "ours",
)
LITELLM_CASES = (
    LITELLM.ranked(
        "strings",
        "Strings are ranked; the answer does not name the model.",
        {
            "id": "rerank-1",
            "results": listed(),
            "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 42}},
        },
        wants={
            "usage": {"search_units": 1, "prompt_tokens": 42},
            "id": "rerank-1",
            "request_id": "rerank-1",
        },
    ),
    LITELLM.refused(
        "429-too-many-requests",
        "The host's limit, in the proxy's words; when to come back is lost.",
        RateLimitError,
        {
            "error": {
                "message": "litellm.RateLimitError: CohereException - trial key limit",
                "type": "throttling_error",
                "param": None,
                "code": "429",
            }
        },
        "litellm.RateLimitError: CohereException - trial key limit",
        wants={"code": "429", "is_retryable": True},
        options=TOP_2,
    ),
)

CASES = (
    *VLLM_CASES,
    *SGLANG_CASES,
    *TEI_CASES,
    *INFINITY_CASES,
    *LLAMACPP_CASES,
    *XINFERENCE_CASES,
    *LOCALAI_CASES,
    *LITELLM_CASES,
)
