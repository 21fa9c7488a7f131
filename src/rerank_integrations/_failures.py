"""An error answer, in whatever shape it came, as one exception."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from pydantic_core import from_json

from rerank_integrations._hidden import Hidden
from rerank_integrations.errors import AuthenticationError, ImageError, StatusError, error_class
from rerank_integrations.models import without_image_data
from rerank_integrations.providers._validation import seconds_in
from rerank_integrations.providers.base import Answer, Failure, Provider

_RETRYABLE = frozenset({408, 409, 429, 500, 502, 503, 504, 524, 529})
_LONGEST = 500  # characters of the far side's words that an error repeats
_SHORTEST_SECRET = 6  # a shorter header value is too common a word to cut out
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def status_error(provider: Provider, answer: Answer, secrets: Hidden[list[str]]) -> StatusError:
    """The exception for an answer with an error status.

    Args:
        provider: adds what only it knows.
        answer: the status, headers and body.
        secrets: texts that must not appear in the message.
    """
    payload = json_object(answer.content)
    error = payload.get("error")
    failure = provider.explain(
        Failure(
            status_code=answer.status_code,
            headers=answer.headers,
            error=error if isinstance(error, Mapping) else {},
            message=message_in(payload) or _plain_text(answer),
            code=_code(payload),
            retry_after=_retry_after(answer.headers, time.time()),
            is_retryable=_retryable(answer.status_code),
        )
    )
    kind = error_class(failure.status_code)
    if failure.code in provider.image_codes:
        kind = ImageError
    message = without_secrets(failure.message, secrets)
    request_id, code = (
        fact and without_secrets(fact, secrets)
        for fact in (request_id_of(provider, answer.headers, payload), failure.code)
    )
    text = f"{provider.name} answered {failure.status_code}: {message}"
    if 300 <= failure.status_code < 400:
        text += "; redirects are not followed: set base_url to the final address"
    if failure.code:
        text += f" ({failure.code})"
    if failure.status_code in (404, 405) and kind is not ImageError:  # often a wrong base_url
        text += f"; the request went to {provider.url}"
    if issubclass(kind, AuthenticationError):
        text += f"; check {provider.key_hint}"
    if request_id:
        text += f" [request {request_id}]"
    return kind(
        without_secrets(text, secrets),
        status_code=failure.status_code,
        provider=provider.name,
        message=message,
        code=code,
        request_id=request_id,
        retry_after=failure.retry_after,
        is_retryable=failure.is_retryable,
    )


def message_in(payload: Mapping[str, Any]) -> str:
    """The words of an error body: in any of the shapes that gateways and servers use."""
    error = payload.get("error")
    if isinstance(error, str):
        return error
    for holder in (error, payload):
        if isinstance(holder, Mapping):
            for key in ("message", "detail", "title"):
                if holder.get(key):
                    return _flat(holder[key])
    return ""


def request_id_of(
    provider: Provider, headers: Mapping[str, str], payload: Mapping[str, Any]
) -> str | None:
    """The id to quote to support: from the provider's own headers, else the body's id."""
    for name in provider.request_id_headers:
        if headers.get(name):
            return headers[name]
    found = payload.get("id")
    return found if isinstance(found, str) else None


def json_object(content: bytes | bytearray) -> Mapping[str, Any]:
    """The body as an object; `{}` where it is none."""
    try:
        payload = from_json(content)
    except ValueError:
        return {}
    return payload if isinstance(payload, Mapping) else {}


def without_secrets(text: str, secrets: Hidden[list[str]]) -> str:
    """The text, shortened, without image data and without any of `secrets`."""
    text = without_image_data(text)
    for secret in secrets.reveal():
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def cut_out(error: BaseException, secrets: Hidden[list[str]]) -> None:
    """Take secrets out of an error and of what caused it: both may quote what came."""
    link: BaseException | None = error
    while link is not None:
        if any(s in str(link) for s in secrets.reveal() if len(s) >= _SHORTEST_SECRET):
            link.args = (without_secrets(str(link), secrets),)
        link = link.__cause__ or link.__context__


def _retryable(status_code: int) -> bool:
    return status_code in _RETRYABLE or 520 <= status_code <= 523  # the last: Cloudflare's edge


def _flat(value: object) -> str:
    """A message as text; FastAPI's list of problems as `place: message`, without their input."""
    if not isinstance(value, list):
        return str(value)
    lines = []
    for item in value:
        if isinstance(item, Mapping):
            place = item.get("loc")
            where = ".".join(map(str, place)) if isinstance(place, list) else ""
            lines.append(f"{where}: {item.get('msg')}" if where else str(item.get("msg")))
        else:
            lines.append(str(item))
    return "; ".join(lines)


def _code(payload: Mapping[str, Any]) -> str | None:
    error = payload.get("error")
    if not isinstance(error, Mapping):
        return None
    for key in ("code", "type"):
        if error.get(key) is not None and isinstance(error[key], str | int):
            return str(error[key])
    return None


def _plain_text(answer: Answer) -> str:
    """The body's text; of an HTML page its title."""
    if answer.problem:
        return answer.problem
    text = answer.content[: 8 * _LONGEST].decode("utf-8", "replace").strip()
    if text.startswith("<"):
        title = _TITLE.search(text)
        return f"an HTML page, {title[1].strip()!r}" if title else "an HTML page"
    return text or "no message"


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` in seconds or as a date."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = seconds_in(headers.get(name))
        if seconds is not None:
            return seconds * factor
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # slow, and rare

    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None
