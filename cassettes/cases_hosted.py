"""The calls of vendors whose answers have `results`, as Cohere's and Jina's have.

Each has strings, an error in the vendor's form, and what is special there.
"""

from __future__ import annotations

from cassettes.cases_openrouter import DOT
from cassettes.vendor import (
    ALL,
    IN_BODY,
    INSTRUCTED,
    PAGES,
    TEXTS,
    Vendor,
    as_object,
    listed,
)
from rerank_integrations import (
    AuthenticationError,
    BadRequestError,
    RateLimitError,
    RerankDocument,
    ResponseError,
    StatusError,
)

COHERE = Vendor(
    name="cohere",
    model="rerank-v3.5",
    address="https://api.cohere.com/v2/rerank",
    answer="the body has the form of V2RerankResponse in cohere 7.3.1",
    error="cohere 7.3.1 has an exception for the status, and reads `message` and `id`",
    kind="probability",
)
BILLED = {"billed_units": {"search_units": 1}}
META = {"api_version": {"version": "2"}, **BILLED}
COHERES = {"id": "07734bd2", "results": listed(), "meta": META}
OF_COHERE = {"usage": {"search_units": 1}, "id": "07734bd2", "request_id": "07734bd2"}
IN_A_TOWER = "🗼 Paris is the capital of France."  # one code point, two UTF-16 units, four bytes
PARIS = [{"start": 2, "end": 7, "score": 0.93}, {"start": 11, "end": 22, "score": 0.41}]
FIELD = [{"start": 19, "end": 24, "score": 0.93}]
TOKENS = {**META, "billed_units": {"input_tokens": 30}}
BY_TOKENS = {"id": "07734bd2", "request_id": "07734bd2", "usage": {"prompt_tokens": 30}}

COHERE_CASES = (
    COHERE.ranked("strings", "Strings are ranked.", COHERES, wants=OF_COHERE),
    COHERE.ranked(
        "max-tokens-per-doc",
        "Where documents are cut, and a priority; the answer has a warning.",
        {**COHERES, "meta": {**BILLED, "warnings": ["document 2 was cut"]}},
        wants={**OF_COHERE, "warnings": ("document 2 was cut",)},
        arguments={"max_tokens_per_doc": 512, "priority": 3},
    ),
    COHERE.ranked(
        "relevant-spans",
        "Relevant parts, counted in code points; a document without one has no key for them.",
        {
            **COHERES,
            "results": [{**listed()[0], "relevant_spans": PARIS}, listed()[1]],
            "meta": TOKENS,
        },
        wants={**BY_TOKENS, "spans": {0: {"Paris": 0.93, "the capital": 0.41}}},
        model="rerank-v5.0-pro",
        documents=(IN_A_TOWER, *TEXTS[1:]),
        arguments={"relevant_spans": {"threshold": 0.2, "max_spans": 3}},
    ),
    COHERE.ranked(
        "relevant-spans-of-fields",
        "Fields go out as one text, and the positions count in that.",
        {**COHERES, "results": [{**listed()[0], "relevant_spans": FIELD}, listed()[1]]},
        wants={**OF_COHERE, "spans": {0: {"Paris": 0.93}}},
        model="rerank-v5.0-pro",
        documents=PAGES,
        arguments={"relevant_spans": True},
    ),
    COHERE.refused(
        "422-unprocessable",
        "A request that Cohere rejects.",
        BadRequestError,
        {"id": "e1", "message": "model is not a rerank model"},
        "model is not a rerank model",
        wants={"request_id": "e1"},
    ),
    COHERE.refused(
        "429-too-many-requests",
        "A rate limit, with the time to wait.",
        RateLimitError,
        {"id": "e1", "message": "trial key limit"},
        "trial key limit",
        headers={"retry-after": "7"},
        wants={"is_retryable": True, "retry_after": 7.0, "request_id": "e1"},
    ),
    COHERE.refused(
        "498-invalid-token",
        "A key that Cohere does not know: its own status, and an error of the key.",
        AuthenticationError,
        {"id": "e1", "message": "invalid api token"},
        "invalid api token",
        wants={"request_id": "e1"},
    ),
    COHERE.refused(
        "499-client-closed-request",
        "Cohere saw the client go.",
        StatusError,
        {"id": "e1", "message": "client closed the request"},
        "client closed the request",
        wants={"request_id": "e1"},
    ),
)

VERCEL = Vendor(
    name="vercelgateway",
    model="cohere/rerank-v3.5",
    address="https://ai-gateway.vercel.sh/v2/rerank",
    answer="https://vercel.com/docs/ai-gateway/sdks-and-apis/cohere-rerank says that the endpoint "
    "answers as Cohere's does; the body has the form of V2RerankResponse in cohere 7.3.1",
    error="the body has the form that @ai-sdk/gateway 4.0.146 reads of Vercel's own endpoint",
    kind="probability",
)
VERCEL_CASES = (
    VERCEL.ranked("strings", "Strings are ranked.", COHERES, wants=OF_COHERE),
    VERCEL.refused(
        "401-unauthorized",
        "A key that Vercel does not know.",
        AuthenticationError,
        {"error": {"message": "no such key", "type": "authentication_error"}},
        "no such key",
        wants={"code": "authentication_error"},
    ),
)

AZURE = Vendor(
    name="azureai",
    model="Cohere-rerank-v4.0-pro",
    address="https://resource.services.ai.azure.com/providers/cohere/v2/rerank",
    answer="cohere 7.3.1 is used with this address; the body has the form of its V2RerankResponse",
    error="the body has the form of errors in https://github.com/microsoft/api-guidelines; that "
    "this endpoint keeps to it is not verified",
    kind="probability",
    arguments={"base_url": "https://resource.services.ai.azure.com"},
)
AZURE_CASES = (
    AZURE.ranked("strings", "Strings are ranked.", COHERES, wants=OF_COHERE),
    AZURE.ranked(
        "old-address",
        "A resource whose endpoint has /v1.",
        COHERES,
        wants=OF_COHERE,
        address="https://resource.services.ai.azure.com/v1/rerank",
        arguments={"base_url": "https://resource.services.ai.azure.com/v1"},
    ),
    AZURE.refused(
        "401-unauthorized",
        "A key of another resource.",
        AuthenticationError,
        {"error": {"code": "401", "message": "Access denied"}},
        "Access denied",
        wants={"code": "401"},
    ),
)

JINA = Vendor(
    name="jina",
    model="jina-reranker-v2-base-multilingual",
    address="https://api.jina.ai/v1/rerank",
    answer="the body has the keys that jina-haystack 2.0.1 and langchain-community 0.4.2 read",
    error="Jina's API answers with `detail`, as FastAPI does",
    kind="probability",
)
JINAS = {
    "model": "jina-reranker-v2-base-multilingual",
    "usage": {"total_tokens": 42},
    "results": listed(),
}
COSINES = {0: 0.31, 2: -0.07}
OF_JINA = {"usage": {"total_tokens": 42}}
JINA_CASES = (
    JINA.ranked("strings", "Strings are ranked, without an echo.", JINAS, wants=OF_JINA),
    JINA.ranked(
        "return-documents",
        "An echo is asked for; results hold the caller's own documents.",
        {**JINAS, "results": listed(echo=as_object)},
        wants=OF_JINA,
        arguments={"return_documents": True},
    ),
    JINA.ranked(
        "cosines",
        "The scores of version 3 are cosines.",
        {**JINAS, "model": "jina-reranker-v3", "results": listed(COSINES)},
        scores=COSINES,
        wants={**OF_JINA, "score_kind": "cosine"},
        model="jina-reranker-v3",
    ),
    JINA.ranked(
        "images",
        "Images by URL and as bare base64, beside a text.",
        {**JINAS, "model": "jina-reranker-m0"},
        wants=OF_JINA,
        model="jina-reranker-m0",
        documents=(
            RerankDocument(image="https://example.com/paris.png"),
            TEXTS[1],
            RerankDocument(image=f"data:image/png;base64,{DOT}"),
        ),
    ),
    JINA.ranked(
        "image-query",
        "An image as the query, as bare base64.",
        {**JINAS, "model": "jina-reranker-m0"},
        wants=OF_JINA,
        answer="the query is that of Jina's OpenAPI file, in tryAGI/Jina (RerankerM0Request); "
        f"{JINA.answer}",
        model="jina-reranker-m0",
        query=RerankDocument(image=f"data:image/png;base64,{DOT}"),
    ),
    JINA.refused(
        "422-unprocessable",
        "A list of problems.",
        BadRequestError,
        {"detail": [IN_BODY]},
        "body.query: Field required",
    ),
)

SILICONFLOW = Vendor(
    name="siliconflow",
    model="BAAI/bge-reranker-v2-m3",
    address="https://api.siliconflow.cn/v1/rerank",
    answer="llama-index-postprocessor-siliconflow-rerank 0.5.0 reads `results`; that .cn has its "
    "tokens in `meta` is not verified",
    error="the body has the form of https://github.com/QuantumNous/new-api/issues/2734; that it "
    "comes with this status is not verified",
    kind="probability",
)
COUNTED = {"input_tokens": 42, "output_tokens": 0}
NO_MODEL = "Model does not exist. Please check it carefully."
SILICONFLOWS = {"id": "019aa1", "results": listed()}
OF_SILICONFLOW = {
    "usage": {"prompt_tokens": 42, "completion_tokens": 0},
    "id": "019aa1",
    "request_id": "019aa1",
}
SILICONFLOW_CASES = (
    SILICONFLOW.ranked(
        "strings",
        "Strings are ranked.",
        {**SILICONFLOWS, "meta": {"tokens": COUNTED}},
        wants=OF_SILICONFLOW,
    ),
    SILICONFLOW.ranked(
        "international",
        "The international address has its tokens outside of `meta`.",
        {**SILICONFLOWS, "tokens": COUNTED},
        wants=OF_SILICONFLOW,
        answer="the form is that of https://docs.siliconflow.com/en/api-reference/rerank/create-rerank",
        address="https://api.siliconflow.com/v1/rerank",
        arguments={"base_url": "https://api.siliconflow.com/v1"},
    ),
    SILICONFLOW.ranked(
        "chunks",
        "How long documents are cut.",
        {**SILICONFLOWS, "meta": {"tokens": COUNTED}},
        wants=OF_SILICONFLOW,
        arguments={"max_chunks_per_doc": 1024, "overlap_tokens": 80},
    ),
    SILICONFLOW.ranked(
        "instruction",
        "An instruction to a Qwen3 model.",
        {**SILICONFLOWS, "meta": {"tokens": COUNTED}},
        wants=OF_SILICONFLOW,
        model="Qwen/Qwen3-Reranker-8B",
        options=INSTRUCTED,
    ),
    SILICONFLOW.refused(
        "200-with-an-error-inside",
        "A success without results is none.",
        ResponseError,
        {"code": 50508, "message": "System is really busy", "data": None},
        "the response of siliconflow is invalid: status 200 with an error inside: "
        "System is really busy",
        wants={"status": None},
    ),
    SILICONFLOW.refused(
        "400-bad-request",
        "A model that SiliconFlow does not have; the code stands beside the message.",
        BadRequestError,
        {"code": 20012, "message": NO_MODEL, "data": None},
        NO_MODEL,
        error="a user has published the body (https://github.com/QuantumNous/new-api/issues/2734)",
        wants={"code": "20012"},
    ),
)

DASHSCOPE = Vendor(
    name="dashscope",
    model="qwen3-rerank",
    address="https://dashscope.aliyuncs.com/compatible-api/v1/reranks",
    answer="the body has the keys that litellm 1.110.2 reads",
    error="the body has the keys that dashscope 2.0.2 reads of an error",
    kind="probability",
)
DASHSCOPES = {
    "object": "list",
    "results": listed(),
    "model": "qwen3-rerank",
    "id": "85ba5752",
    "usage": {"total_tokens": 79},
}
OF_DASHSCOPE = {"usage": {"total_tokens": 79}, "id": "85ba5752", "request_id": "85ba5752"}
DASHSCOPE_CASES = (
    DASHSCOPE.ranked("strings", "Strings are ranked.", DASHSCOPES, wants=OF_DASHSCOPE),
    DASHSCOPE.ranked(
        "instruction",
        "An instruction goes as `instruct`.",
        DASHSCOPES,
        wants=OF_DASHSCOPE,
        options=INSTRUCTED,
        answer="the key is in https://help.aliyun.com/zh/model-studio/text-rerank-api; "
        + DASHSCOPE.answer,
    ),
    DASHSCOPE.ranked(
        "singapore",
        "A workspace in Singapore has a host of its own.",
        DASHSCOPES,
        wants=OF_DASHSCOPE,
        answer="the host is in https://help.aliyun.com/zh/model-studio/text-rerank-api; "
        + DASHSCOPE.answer,
        address="https://ws-1.ap-southeast-1.maas.aliyuncs.com/compatible-api/v1/reranks",
        arguments={"workspace": "ws-1"},
    ),
    DASHSCOPE.refused(
        "400-bad-request",
        "A request that DashScope rejects, with the code and the id beside the message.",
        BadRequestError,
        {"code": "InvalidParameter", "message": "top_n is no number", "request_id": "85ba5752"},
        "top_n is no number",
        wants={"code": "InvalidParameter", "request_id": "85ba5752"},
    ),
)

ZEROENTROPY = Vendor(
    name="zeroentropy",
    model="zerank-2",
    address="https://api.zeroentropy.dev/v1/models/rerank",
    answer="the body has the form of ModelRerankResponse in zeroentropy 0.1.0a11",
    error="zeroentropy 0.1.0a11 has an exception for the status, and zeroentropy-ai-provider 1.0.0 "
    "reads `detail`",
    kind="probability",
)
ZEROENTROPIES = {
    "actual_latency_mode": "fast",
    "e2e_latency": 0.2,
    "inference_latency": 0.1,
    "results": listed(),
    "total_bytes": 549,
    "total_tokens": 42,
}
OF_ZEROENTROPY = {"usage": {"total_tokens": 42}}
ZEROENTROPY_CASES = (
    ZEROENTROPY.ranked(
        "strings",
        "Strings are ranked; the tokens stand beside the results.",
        ZEROENTROPIES,
        wants=OF_ZEROENTROPY,
    ),
    ZEROENTROPY.ranked(
        "latency",
        "It is to fail rather than to wait.",
        ZEROENTROPIES,
        wants=OF_ZEROENTROPY,
        arguments={"latency": "fast"},
    ),
    ZEROENTROPY.refused(
        "429-too-many-requests",
        "The fast rate is used up.",
        RateLimitError,
        {"detail": "fast rate limit"},
        "fast rate limit",
        wants={"is_retryable": True},
        arguments={"latency": "fast"},
    ),
)

CONTEXTUAL = Vendor(
    name="contextualai",
    model="ctxl-rerank-v2-instruct-multilingual",
    address="https://api.contextual.ai/v1/rerank",
    answer="the body has the form of RerankCreateResponse in contextual-client 0.11.0",
    error="contextual-client 0.11.0 has an exception for the status; the body is FastAPI's",
    kind="probability",
)
EIGHT = {1: 0.61824445, 0: 0.1}
CONTEXTUAL_CASES = (
    CONTEXTUAL.ranked(
        "strings",
        "Strings are ranked; scores have eight digits.",
        {"results": listed(EIGHT)},
        scores=EIGHT,
    ),
    CONTEXTUAL.ranked(
        "instruction",
        "An instruction has its key.",
        {"results": listed()},
        options=INSTRUCTED,
    ),
    CONTEXTUAL.refused(
        "422-unprocessable",
        "A list of problems.",
        BadRequestError,
        {"detail": [IN_BODY]},
        "body.query: Field required",
    ),
)

ISAACUS = Vendor(
    name="isaacus",
    model="kanon-2-reranker",
    address="https://api.isaacus.com/v1/rerankings",
    answer="the body has the form of RerankingResponse in isaacus 0.22.1",
    error="https://docs.isaacus.com has errors as problem+json (RFC 7807)",
    kind="probability",
)
ISAACUSES = {"results": listed(key="score"), "usage": {"input_tokens": 19}}
OF_ISAACUS = {"usage": {"prompt_tokens": 19}}
ISAACUS_CASES = (
    ISAACUS.ranked("strings", "Strings are ranked, as `texts`.", ISAACUSES, wants=OF_ISAACUS),
    ISAACUS.ranked(
        "query-language",
        "A query in Isaacus' own language, and how texts are cut and scored.",
        ISAACUSES,
        wants=OF_ISAACUS,
        query="{IS confidentiality clause}",
        arguments={
            "is_iql": True,
            "scoring_method": "chunk_max",
            "chunking_options": {"size": 512, "overlap_ratio": 0.1},
        },
    ),
    ISAACUS.refused(
        "401-unauthorized",
        "A key that Isaacus does not know.",
        AuthenticationError,
        {
            "type": "https://docs.isaacus.com/errors/unauthorized",
            "title": "Unauthorized",
            "status": 401,
            "detail": "the key is not valid",
        },
        "the key is not valid",
        headers={"content-type": "application/problem+json"},
    ),
)

NOVITA = Vendor(
    name="novita",
    model="baai/bge-reranker-v2-m3",
    address="https://api.novita.ai/openai/v1/rerank",
    answer="the form is that of https://novita.ai/docs/api-reference/model-apis-llm-create-rerank",
    error="the body has `code`, `reason` and `message`, which is not verified",
)
TOTAL = {"prompt_tokens": 42, "total_tokens": 42}
NOVITA_CASES = (
    NOVITA.ranked(
        "strings",
        "Strings are ranked.",
        {"model": NOVITA.model, "results": listed(echo=as_object), "usage": TOTAL},
        wants={"usage": TOTAL},
    ),
    NOVITA.refused(
        "401-unauthorized",
        "A key that Novita does not know.",
        AuthenticationError,
        {"code": 401, "reason": "INVALID_API_KEY", "message": "invalid API key"},
        "invalid API key",
        wants={"code": "401"},
    ),
)

SCALEWAY = Vendor(
    name="scaleway",
    model="qwen3-reranker-8b",
    address="https://api.scaleway.ai/v1/rerank",
    answer="the body has the keys that litellm 1.110.2 reads",
    error="the body has the form of OpenAI's, whose API Scaleway follows, which is not verified",
)
SCALEWAYS = {"id": "rerank-1", "model": "qwen3-reranker-8b", "usage": {"total_tokens": 42}}
OF_SCALEWAY = {"usage": {"total_tokens": 42}, "id": "rerank-1", "request_id": "rerank-1"}
SCALEWAY_CASES = (
    SCALEWAY.ranked(
        "strings",
        "Strings are ranked.",
        {**SCALEWAYS, "results": listed(echo=as_object)},
        wants=OF_SCALEWAY,
    ),
    SCALEWAY.ranked(
        "without-top-n",
        "Scaleway refuses a request without `top_n`, so that of all documents is sent.",
        {**SCALEWAYS, "results": listed(ALL, echo=as_object)},
        scores=ALL,
        wants=OF_SCALEWAY,
        options={},
        answer="a request without the key is refused: "
        f"https://github.com/volcengine/OpenViking/issues/4027; {SCALEWAY.answer}",
    ),
    SCALEWAY.refused(
        "400-bad-request",
        "A model that Scaleway does not have.",
        BadRequestError,
        {"error": {"message": "unknown model", "type": "BadRequestError", "code": 400}},
        "unknown model",
        wants={"code": "400"},
    ),
)

CASES = (
    *COHERE_CASES,
    *VERCEL_CASES,
    *AZURE_CASES,
    *JINA_CASES,
    *SILICONFLOW_CASES,
    *DASHSCOPE_CASES,
    *ZEROENTROPY_CASES,
    *CONTEXTUAL_CASES,
    *ISAACUS_CASES,
    *NOVITA_CASES,
    *SCALEWAY_CASES,
)
