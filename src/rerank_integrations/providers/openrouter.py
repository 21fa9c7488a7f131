"""OpenRouter: many vendors' rerank models behind one key, images included."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._numbers import finite, seconds_in
from rerank_integrations.providers.base import Failure, RemoteProvider

if TYPE_CHECKING:
    from rerank_integrations.providers._preferences import ProviderPreferences
else:  # models are slow to make, and `checked` looks at the type as well
    ProviderPreferences = Any

_CATEGORY = re.compile(r"[a-z0-9-]{1,30}")
_MOST_CATEGORIES = 2
_LONGEST_SESSION_ID = 256
_MILLISECONDS_FROM = 1e10  # an epoch above this is in milliseconds


@dataclass(frozen=True, kw_only=True)
class OpenRouter(RemoteProvider):
    """https://openrouter.ai/docs/api/api-reference/rerank/create-rerank.

    Args:
        api_key: the key; from `OPENROUTER_API_KEY` when None.
        base_url: another address; `https://openrouter.ai/api/v1` when None.
        http_referer: your app's URL, for attribution. (SDK: `http_referer`.)
        title: your app's name. (SDK: `x_open_router_title`.)
        categories: at most two of OpenRouter's app categories. (SDK: `x_open_router_categories`.)
        provider_preferences: which hosts may serve the call; a mapping or `ProviderPreferences`.
            (SDK: `provider`.)
        session_id: groups calls on OpenRouter's pages, at most 256 characters.
        user: your user's id; stays at OpenRouter.
        trace: ids and names for broadcast traces, such as `trace_id`; further keys pass.

    Raises:
        ConfigurationError: no key, or an argument that OpenRouter would refuse or drop.
    """

    name: ClassVar[str] = "openrouter"
    api_key_env: ClassVar[str] = "OPENROUTER_API_KEY"
    default_base_url: ClassVar[str] = "https://openrouter.ai/api/v1"
    request_id_headers: ClassVar[tuple[str, ...]] = ("x-generation-id", "x-request-id")
    image_codes: ClassVar[frozenset[str]] = frozenset(
        {
            "invalid_image",
            "image_too_large",
            "image_too_small",
            "unsupported_image_format",
            "image_not_found",
            "image_download_failed",
        }
    )

    http_referer: str | None = None
    title: str | None = None
    categories: str | Sequence[str] | None = None
    provider_preferences: ProviderPreferences | Mapping[str, Any] | None = None
    session_id: str | None = None
    user: str | None = None
    trace: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self._set("categories", _checked_categories(self.categories))
        if self.provider_preferences is not None:
            from rerank_integrations.providers._preferences import checked  # noqa: PLC0415  # slow

            self._set("provider_preferences", checked(self.provider_preferences))
        if self.session_id is not None and len(self.session_id) > _LONGEST_SESSION_ID:
            raise ConfigurationError(f"session_id has more than {_LONGEST_SESSION_ID} characters")
        super().__post_init__()

    def takes_images(self, model: str) -> bool:
        """OpenRouter takes them for every model, and answers 400 where one does not see."""
        del model
        return True

    def headers(self) -> dict[str, str]:
        """The key and what says which app asks."""
        optional = {
            "HTTP-Referer": self.http_referer,
            "X-OpenRouter-Title": self.title,
            "X-OpenRouter-Categories": ",".join(self.categories or ()) or None,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return super().headers() | given

    def body(self) -> dict[str, Any]:
        """Routing preferences and what groups calls."""
        preferences: Any = self.provider_preferences  # as `checked` has left it
        return {
            "provider": preferences and preferences.model_dump(exclude_none=True),
            "session_id": self.session_id,
            "trace": self.trace,
            "user": self.user,
        }

    def explain(self, failure: Failure) -> Failure:
        """Read OpenRouter's error types, its `availability`, and its rate-limit reset.

        https://openrouter.ai/docs/api/reference/errors-and-debugging
        """
        metadata = _mapping(failure.error.get("metadata"))
        availability = _mapping(failure.error.get("availability"))
        kind = metadata.get("error_type") or failure.error.get("error_type")
        code = kind or availability.get("code")
        if isinstance(code, str):
            failure = failure._replace(code=code)
        if isinstance(availability.get("retryable"), bool):
            failure = failure._replace(is_retryable=availability["retryable"])
        if failure.retry_after is None:
            failure = failure._replace(retry_after=_wait(failure, availability))
        if failure.status_code == 402:  # only the budget of calls in flight frees itself
            in_flight = metadata.get("limit_source") == "openrouter_in_flight_budget"
            failure = failure._replace(is_retryable=in_flight and failure.retry_after is not None)
        return failure


def _checked_categories(given: str | Sequence[str] | None) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given or ()
    names = tuple(str(part).strip() for part in parts)
    if len(names) > _MOST_CATEGORIES or not all(map(_CATEGORY.fullmatch, names)):
        raise ConfigurationError(
            f"categories are at most {_MOST_CATEGORIES} names of lower-case letters, digits and "
            "hyphens, at most 30 characters each, such as 'cli-agent'"
        )
    return names


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _wait(failure: Failure, availability: Mapping[str, Any]) -> float | None:
    """Seconds to wait: as asked, or on a 429 to an epoch that comes in seconds or ms."""
    asked = finite(availability.get("retry_after"))
    if asked is not None:
        return max(0.0, asked)
    reset = seconds_in(failure.headers.get("x-ratelimit-reset"))
    if failure.status_code != 429 or reset is None:
        return None
    seconds = reset / 1000 if reset > _MILLISECONDS_FROM else reset
    return max(0.0, seconds - time.time())
