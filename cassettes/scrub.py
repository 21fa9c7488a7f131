"""What is stored of a request and of an answer: nothing that is secret, private or of one day."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

HIDDEN = "(hidden)"

# the values of all other headers are hidden, so that a new one is secret until it is named here
SHOWN = frozenset(
    {
        "accept",
        "content-type",
        "http-referer",
        "x-openrouter-categories",
        "x-openrouter-title",
        "x-pinecone-api-version",
        "x-portkey-metadata",
        "x-portkey-parent-span-id",
        "x-portkey-provider",
        "x-portkey-span-id",
        "x-portkey-span-name",
        "x-portkey-trace-id",
    }
)
# the HTTP library's own, and our version: another one sends the same call
LEFT_OUT = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "transfer-encoding", "user-agent"}
)
# of an answer only what the client reads, or could read; no cookie, no date
KEPT = frozenset(
    {
        "content-type",
        "retry-after",
        "retry-after-ms",
        "x-generation-id",
        "x-portkey-cache-status",
        "x-portkey-gateway-exception",
        "x-portkey-last-used-option-index",
        "x-portkey-provider",
        "x-portkey-retry-attempt-count",
        "x-portkey-trace-id",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-request-id",
        "x-tokenlimit-limit",
        "x-tokenlimit-remaining",
    }
)
PRIVATE = frozenset({"user_id"})  # keys of an answer's body that name an account


def scrubbed_request(request: Any) -> Any:
    """The request with the headers that are the same for everybody who makes the call."""
    given = {str(name).lower(): value for name, value in request.headers.items()}
    request.headers = {
        name: given[name] if name in SHOWN else HIDDEN for name in sorted(given.keys() - LEFT_OUT)
    }
    return request


def scrubbed_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with the headers that mean something, and without names of accounts."""
    given = {str(name).lower(): values for name, values in answer["headers"].items()}
    headers = {name: [", ".join(given[name])] for name in sorted(given.keys() & KEPT)}
    body = answer["body"]["string"]
    with suppress(ValueError):  # not JSON
        found = json.loads(body)
        if isinstance(found, dict) and PRIVATE & found.keys():
            found |= dict.fromkeys(PRIVATE & found.keys(), HIDDEN)
            body = json.dumps(found, ensure_ascii=False).encode()
    # the reason phrase follows from the code, or is the server's own
    status = {"code": answer["status"]["code"], "message": None}
    return {"status": status, "headers": headers, "body": {"string": body}}
