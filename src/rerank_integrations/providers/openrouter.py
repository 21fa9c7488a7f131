"""OpenRouter: rerank models of several vendors behind one key, vision models included."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Annotated, Any, ClassVar, Literal, TypeAlias
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._instructions import before_query, is_voyage, no_instruction
from rerank_integrations.providers._model_list import (
    MILLION,
    ModelInfo,
    dollars,
    mapping,
    named_model,
    whole,
)
from rerank_integrations.providers._validation import finite, seconds_in
from rerank_integrations.providers.base import (
    ErrorDetails,
    Instructed,
    RemoteProvider,
    ScoreKind,
)

_CATEGORY = re.compile(r"[a-z0-9-]{1,30}")
_MOST_CATEGORIES = 2
_LONGEST_SESSION_ID = 256
_MILLISECONDS_FROM = 1e10  # an epoch above this is in milliseconds
_SCORE_KINDS: Mapping[str, ScoreKind] = {"cohere": "probability", "nvidia": "logit"}
# models whose pages name text alone as input; a newer one is not refused before it is known
_TEXT_ONLY = (
    *("cohere/rerank-v3.5", "cohere/rerank-4-", "cohere/rerank-5-"),
    *("voyageai/rerank-2.5", "qwen/qwen3-reranker-"),
)


Sort: TypeAlias = Literal["price", "throughput", "latency", "exacto"]
"""A criterion to sort the hosts by."""

Quantization: TypeAlias = Literal[
    "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32",
    "unknown",
]  # fmt: skip
"""How the weights of a model are stored."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SortConfig(_Strict):
    """How to sort the hosts.

    Attributes:
        by: the criterion.
        partition: "model" sorts the hosts of each model separately, "none" sorts all together.
    """

    by: Sort | None = None
    partition: Literal["model", "none"] | None = None


def _price(value: object) -> object:
    """A number as the string of digits that OpenRouter's schema requires."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Real | Decimal) and not isinstance(value, bool):
        price = Decimal(str(value))
        if price.is_finite() and price >= 0:
            return f"{abs(price):f}"
    raise ValueError("a price is a finite number of at least 0, or a string of digits")


DollarAmount: TypeAlias = Annotated[str | float | Decimal | None, BeforeValidator(_price)]


class MaxPrice(_Strict):
    """The maximum price in US dollars: numbers, or strings of digits such as "0.5".

    Numbers are sent as strings, as OpenRouter requires:
    https://openrouter.ai/docs/features/provider-routing.

    Attributes:
        prompt: per million prompt tokens.
        completion: per million completion tokens.
        request: per request.
        image: per image.
        audio: per audio unit.
    """

    prompt: DollarAmount = None
    completion: DollarAmount = None
    request: DollarAmount = None
    image: DollarAmount = None
    audio: DollarAmount = None


class Percentiles(_Strict):
    """A limit for each percentile: seconds for latency, tokens per second for throughput."""

    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p99: float | None = None


class ProviderPreferences(_Strict):
    """Which of OpenRouter's hosts may serve the call, with the keys of its API.

    API documentation: https://openrouter.ai/docs/features/provider-routing

    Attributes:
        allow_fallbacks: whether another host may serve the call if the first one is unavailable.
        require_parameters: use only hosts that support all parameters of the request.
        data_collection: whether hosts may collect data.
        zdr: use only hosts with zero data retention.
        enforce_distillable_text: use only models whose author allows text distillation.
        order: the hosts to try, in this order.
        only: use only these hosts.
        ignore: never use these hosts.
        quantizations: use only hosts with these quantizations.
        sort: how to sort the hosts if there is no `order`; turns off load balancing.
        max_price: the maximum price in US dollars.
        preferred_max_latency: prefer hosts with at most this latency, in seconds.
        preferred_min_throughput: prefer hosts with at least this throughput, in tokens per second.
        options: further parameters for each host.

    Raises:
        pydantic.ValidationError: a key is unknown, or a value is invalid.
    """

    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    enforce_distillable_text: bool | None = None
    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    quantizations: list[Quantization] | None = None
    sort: Sort | SortConfig | None = None
    max_price: MaxPrice | None = None
    preferred_max_latency: float | Percentiles | None = None
    preferred_min_throughput: float | Percentiles | None = None
    options: dict[str, dict[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class OpenRouter(RemoteProvider):
    """Rerank models of several vendors on OpenRouter.

    API documentation: https://openrouter.ai/docs/api/api-reference/rerank/create-rerank

    Args:
        api_key: the API key; from `OPENROUTER_API_KEY` when None.
        base_url: the base URL; `https://openrouter.ai/api/v1` when None.
        allow_http: as in `RemoteProvider`.
        http_referer: the URL of your app, for attribution. (SDK: `http_referer`.)
        title: the name of your app. (SDK: `x_open_router_title`.)
        categories: at most two of OpenRouter's app categories. (SDK: `x_open_router_categories`.)
        provider_preferences: which hosts may serve the call; a mapping or `ProviderPreferences`.
            (SDK: `provider`.)
        session_id: groups calls on OpenRouter's pages; at most 256 characters.
        user: the ID of your end user; OpenRouter does not pass it to the host.
        trace: IDs and names for broadcast traces, such as `trace_id`. Other keys are sent
            unchanged.

    Raises:
        ConfigurationError: there is no key, or OpenRouter would reject or ignore an argument.
    """

    name: ClassVar[str] = "openrouter"
    api_key_env: ClassVar[str | None] = "OPENROUTER_API_KEY"
    default_base_url: ClassVar[str] = "https://openrouter.ai/api/v1"
    models_path: ClassVar[str | None] = "/models"
    models_query: ClassVar[Mapping[str, str]] = {"output_modalities": "rerank"}
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
            self._set("provider_preferences", _checked_preferences(self.provider_preferences))
        if self.session_id is not None and len(self.session_id) > _LONGEST_SESSION_ID:
            raise ConfigurationError(f"session_id has more than {_LONGEST_SESSION_ID} characters")
        super().__post_init__()

    def kind_of_scores(self, model: str) -> ScoreKind:
        """Probabilities for Cohere's models, logits for NVIDIA's, else unknown."""
        return _SCORE_KINDS.get(model.partition("/")[0], self.score_kind)

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Write the instruction before the query, for Voyage 2.5; OpenRouter has no key for it."""
        if is_voyage(model):
            return before_query(instruction)
        raise no_instruction(self.name, model, "Voyage 2.5")

    def takes_images(self, model: str) -> bool:
        """False for the models that are known to be text-only.

        OpenRouter returns 400 for an image if the model is text-only, so one image would fail the
        whole call: https://openrouter.ai/models?output_modalities=rerank.
        """
        return not model.startswith(_TEXT_ONLY)

    def headers(self) -> dict[str, str]:
        """The key, and the attribution of your app."""
        optional = {
            "HTTP-Referer": self.http_referer,
            "X-OpenRouter-Title": self.title,
            "X-OpenRouter-Categories": ",".join(self.categories or ()) or None,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return super().headers() | given

    def body(self) -> dict[str, Any]:
        """Routing preferences, and the IDs that group calls."""
        preferences: Any = self.provider_preferences  # as `_checked_preferences` has left it
        return {
            "provider": preferences and preferences.model_dump(exclude_none=True),
            "session_id": self.session_id,
            "trace": self.trace,
            "user": self.user,
        }

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """Parse an entry of https://openrouter.ai/docs/api-reference/list-available-models."""
        pricing = mapping(entry.get("pricing"))
        return named_model(
            entry.get("id"),
            whole(entry.get("context_length")),
            modalities=mapping(entry.get("architecture")).get("input_modalities"),
            prices={
                "million_tokens": dollars(pricing.get("prompt"), MILLION),
                "request": dollars(pricing.get("request")),
                "image": dollars(pricing.get("image")),
            },
        )

    def next_models(self, payload: Mapping[str, Any]) -> Mapping[str, str] | None:
        """The query of the link to the next page; the host of the link is ignored."""
        link = mapping(payload.get("links")).get("next")
        query = link.partition("?")[2] if isinstance(link, str) else ""
        return dict(parse_qsl(query)) or None

    def parse_error(self, failure: ErrorDetails) -> ErrorDetails:
        """Read OpenRouter's error types, its `availability`, and its rate-limit reset.

        https://openrouter.ai/docs/api/reference/errors-and-debugging
        """
        metadata = mapping(failure.error.get("metadata"))
        availability = mapping(failure.error.get("availability"))
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


def _checked_preferences(given: ProviderPreferences | Mapping[str, Any]) -> ProviderPreferences:
    """The preferences as an object.

    Raises:
        ConfigurationError: a key or a value is invalid; the message lists the known keys.
    """
    if isinstance(given, ProviderPreferences):
        return given
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise ConfigurationError(
            f"OpenRouter: provider_preferences must be Mapping or ProviderPreferences, not {kind}"
        )
    try:
        return ProviderPreferences.model_validate(given)
    except ValidationError as cause:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in cause.errors()
        )
        raise ConfigurationError(
            f"provider_preferences: {problems}. Known keys: "
            f"{', '.join(ProviderPreferences.model_fields)}"
        ) from None


def _checked_categories(given: str | Sequence[str] | None) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given or ()
    names = tuple(str(part).strip() for part in parts)
    if len(names) > _MOST_CATEGORIES or not all(map(_CATEGORY.fullmatch, names)):
        raise ConfigurationError(
            f"categories are at most {_MOST_CATEGORIES} names of lower-case letters, digits and "
            "hyphens, at most 30 characters each, such as 'cli-agent'"
        )
    return names


def _wait(failure: ErrorDetails, availability: Mapping[str, Any]) -> float | None:
    """Seconds to wait: `retry_after`, or on a 429 the time until `X-RateLimit-Reset`.

    The header is a time since the epoch, in seconds or milliseconds.
    """
    asked = finite(availability.get("retry_after"))
    if asked is not None:
        return max(0.0, asked)
    reset = seconds_in(failure.headers.get("x-ratelimit-reset"))
    if failure.status_code != 429 or reset is None:
        return None
    seconds = reset / 1000 if reset > _MILLISECONDS_FROM else reset
    return max(0.0, seconds - time.time())
