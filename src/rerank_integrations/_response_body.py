"""Reads response bodies: JSON in any encoding, and error messages in any format."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

from pydantic_core import from_json

from rerank_integrations.providers.base import ErrorDetails, HTTPResponse

_TITLE = re.compile("<title", re.IGNORECASE)
_TITLE_END = re.compile("</title", re.IGNORECASE)
_MOST_READ = 4000  # characters of a message that are searched for what is too large
_SURROGATES = re.compile("[\ud800-\udfff]")
_UTF_16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
# Messages of real servers about input that is too large, by the setting that makes it smaller, in
# the order in which they are searched. A status 500 with such a message is not retried, because the
# same input would fail again. Except at its end, no pattern has an unbounded repetition, so each
# takes time in proportion to the text.
_TOO_LARGE = {
    "query": re.compile(
        r"query(?: (?:text|string|length))? (?:(?:is|was) too (?:long|large|big)|exceed)",
        re.IGNORECASE,
    ),
    "max_document_chars": re.compile(
        # vLLM, SGLang, Voyage, llama.cpp, and OpenRouter's code context_length_exceeded
        r"context[ _](?:length|size|window)|maximum (?:sequence|input|text|token) (?:length|size)"
        # llama.cpp and llama-box, with status 500; "input prompt is too big compared to KV size"
        r"|too (?:large|long) to process|(?:input|prompt|text|document|passage|string|sequence|quer"
        r"y)s?(?: \w{1,20})? (?:is|are) too (?:long|large|big)|string_too_long|max_tokens_exceeded"
        # TEI: `inputs` must have less than 512 tokens. Jina: Single text cannot exceed 8194 tokens
        r"|less than [\d,]{1,12} tokens|exceed\w{0,4}[^.;]{0,60}[\d,]{1,12} (?:tokens|characters)"
        # Pinecone: pair with 1100 tokens, which exceeds ... Infinity: String should have at most
        r"|[\d,]{1,12} tokens[^.;]{0,40}exceed|at most [\d,]{1,12} (?:characters|tokens)"
        # Cohere; NVIDIA: Input length 5000 exceeds maximum allowed token size 4096
        r"|too many tokens|exceed\w{0,4}[^.;]{0,40} token (?:size|limit|length)"
        r"|token_limit_exceeded"
        # DashScope: document index:0 is invalid, it should not be larger than 300000
        r"|document index:?.{0,40}larger than"
        # Xinference and other servers on torch, with status 500, for a text above the 512 tokens
        # of a BERT: "The expanded size of the tensor (913) must match the existing size (514)"
        r"|size of (?:the )?tensor .{0,12} ?must match|index out of range in self",
        re.IGNORECASE,
    ),
    "max_documents_per_request": re.compile(
        # TEI: batch size 64 > maximum allowed batch size 32. Voyage: allowed tokens per submitted
        # batch is 600000; The batch size limit is 1000
        r"batch size|(?:submitted|your) batch"
        # Cohere: too many documents. Baidu: max number of documents is 64
        r"|(?:too many|number of) (?:documents|inputs|texts|items|passages|chunks|pairs|sentences)"
        # Infinity and NIM: List should have at most 2048 items. Bedrock: maximum item count: 1000
        r"|at most [\d,]{1,12} (?:items|documents|inputs|texts|passages)|maximum item count"
        # Pinecone: Request contains 101 documents, exceeding the limit of 100
        r"|[\d,]{1,12} (?:documents|items|inputs|texts|passages)[^.;]{0,40}exceed"
        r"|exceed\w{0,4}[^.;]{0,40}(?:documents|items|inputs|texts|passages)"
        r"|more than [\d,]{1,12} (?:documents|items|inputs|texts|passages|elements)",
        re.IGNORECASE,
    ),
    "max_request_bytes": re.compile(
        # nginx: 413 Request Entity Too Large; OpenRouter's code payload_too_large
        r"(?:entity|payload|content|body|request)[ _](?:is )?too[ _](?:large|long|big)"
        # axum, so TEI; API gateways
        r"|length limit exceeded|(?:body|payload|request) (?:size|length)? ?(?:limit|exceed)"
        r"|maximum (?:body|request|payload|content) (?:size|length)",
        re.IGNORECASE,
    ),
}
# "top_n must be at most the number of documents" is not about too many documents
_TOP_N = ("top_n", "top_k")
FIXES = {
    "query": "shorten the query",
    "max_document_chars": "a text is too long: set max_document_chars",
    "max_documents_per_request": "there are too many documents for one request: set "
    "max_documents_per_request below {}",
    "max_image_pixels": "the image is too large: set max_image_pixels",
    "max_request_bytes": "the request is too large: set max_request_bytes, or send fewer documents",
}


def read_json(content: bytes | bytearray) -> Any:
    """Parse JSON in UTF-8, UTF-16 or UTF-32; lone surrogates become U+FFFD.

    Raises:
        ValueError: it is not JSON.
    """
    with suppress(ValueError):
        return from_json(content)
    try:
        return _without_surrogates(json.loads(content))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_object(content: bytes | bytearray) -> Mapping[str, Any]:
    """Parse a body that is a JSON object; `{}` for any other body."""
    try:
        payload = read_json(content)
    except ValueError:
        return {}
    return payload if isinstance(payload, Mapping) else {}


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return _SURROGATES.sub("\ufffd", value)
        case dict():
            return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
        case list():
            return [_without_surrogates(item) for item in value]
        case _:
            return value


def text_of(content: bytes | bytearray) -> str:
    """Return the text of a body that is not JSON."""
    is_wide = content[:4].startswith(_UTF_16_OR_32)
    coding = json.detect_encoding(bytes(content[:4])) if is_wide else "utf-8"
    return _SURROGATES.sub("\ufffd", content.decode(coding, "replace"))


def plain_text(response: HTTPResponse) -> str:
    """Return the text of a body; for an HTML page, its title."""
    if response.problem:
        return response.problem
    text = text_of(response.content).strip()
    if not text.startswith("<"):
        return text or "no message"
    title = _TITLE.search(text)
    start = text.find(">", title.end()) + 1 if title else 0
    end = _TITLE_END.search(text, start) if start else None
    return f"an HTML page, {text[start : end.start()].strip()!r}" if end else "an HTML page"


def error_message(payload: Mapping[str, Any]) -> str:
    """Return the message in an error body, in any format that gateways and servers use."""
    error = payload.get("error")
    if isinstance(error, str):
        return error
    for holder in (error, payload):
        if isinstance(holder, Mapping):
            for key in ("message", "detail", "title", "msg", "error_msg"):
                found = holder.get(key)
                if isinstance(found, Mapping):  # DeepInfra: {"detail": {"error": "..."}}
                    found = error_message(found) or found
                if found:
                    return _flat(found)
    return ""


def _flat(value: object) -> str:
    """Convert a message to text; FastAPI's list of errors as `place: message`, without input."""
    if not isinstance(value, list):
        return str(value)
    lines = []
    for item in value:
        if isinstance(item, Mapping):
            place = item.get("loc")
            where = ".".join(map(str, place)) if isinstance(place, list) else ""
            said = item.get("msg", item.get("message"))
            lines.append(f"{where}: {said}" if where else str(said))
        else:
            lines.append(str(item))
    return "; ".join(lines)


def code_of(payload: Mapping[str, Any]) -> str | None:
    """Return the vendor's error code in an error body."""
    error = payload.get("error")
    holder, keys = (error, ("code", "type")) if isinstance(error, Mapping) else (payload, ("code",))
    for key in keys:  # beside the message: DashScope, SiliconFlow, Novita, SGLang
        if holder.get(key) is not None and isinstance(holder[key], str | int):
            return str(holder[key])
    return None


def what_is_too_large(failure: ErrorDetails) -> str | None:
    """Return the setting that makes the request smaller, if the server says it is too large."""
    if failure.status_code not in (400, 413, 422, 500):
        return None
    words = f"{failure.message[:_MOST_READ]} {failure.code or ''}"[: 2 * _MOST_READ]
    found = (setting for setting, pattern in _TOO_LARGE.items() if pattern.search(words))
    if failure.status_code != 413 and any(name in words.lower() for name in _TOP_N):
        return None
    return next(found, "max_request_bytes" if failure.status_code == 413 else None)


def holds_word(text: str, word: str) -> bool:
    """Return whether a text contains a word, and not only as a part of another word."""
    around = text.split(word)
    return any(
        not (before[-1:].isalnum() or after[:1].isalnum()) for before, after in pairwise(around)
    )
