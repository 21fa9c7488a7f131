"""The settings of a client, which a call can override; they are checked when they are set."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal, NoReturn, Protocol, TypeAlias, TypeVar, get_args, runtime_checkable

from pydantic import SecretStr

from rerank_integrations._cache import RerankCache, cache_of
from rerank_integrations._rate_limit import RateLimit
from rerank_integrations._secrets import Secret
from rerank_integrations.errors import (
    ConfigurationError,
    InvalidRequestError,
    RerankError,
    RerankTimeoutError,
    StatusError,
    TransportError,
)
from rerank_integrations.images import MAX_IMAGE_BYTES, ImageLimits, ImageUrls
from rerank_integrations.models import join_surrogates, replace_surrogates
from rerank_integrations.providers import (
    hint_without_colon,
    known_names,
    own_names,
    provider_class,
)
from rerank_integrations.providers._validation import (
    Address,
    finite,
    framing_problem,
    header_problem,
    json_problem,
    refuse_unknown,
)
from rerank_integrations.providers.base import Dialect, Instructed, Provider, RemoteProvider

OWN_KEYS = Dialect().own_keys()  # never from extra_body
# what the message of an adapter adds when it refuses an argument
INSTEAD = "; to use other arguments, pass client=RerankClient(...)"
# for these settings NOT_GIVEN is a valid value
_MAY_BE_NOT_GIVEN = ("max_documents_per_request", "on_image", "on_invalid_document")
_NO_SETTINGS = frozenset({"self", "__class__", "query", "documents"})
_PHASES = ("connect", "read", "write", "pool")
_LIMITS = (
    "max_document_chars",
    "max_image_bytes",
    "max_image_pixels",
    "max_documents_per_request",
    "max_request_bytes",
    "requests_per_minute",
    "documents_per_minute",
)
# the proxies in front of the gateways refuse bodies of about 100 MB; a third of that leaves room
# for what they add, and keeps retries cheap
MAX_REQUEST_BYTES = 32 * 2**20
_MANY_DIGITS = 10**20  # larger than any count; Python refuses to print an int of too many digits
_MOST_SECONDS = 4_000_000  # `threading.TIMEOUT_MAX` of Windows is a little more


class NotGiven:
    """The type of `NOT_GIVEN`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> Literal[False]:
        return False

    def __reduce__(self) -> str:
        return "NOT_GIVEN"  # a copy or a pickle is the same object


NOT_GIVEN = NotGiven()
"""The default value of arguments for which None has a meaning of its own."""


@runtime_checkable
class PhasedTimeout(Protocol):
    """An `httpx.Timeout`, or an object with the same method."""

    def as_dict(self) -> dict[str, float | None]:
        """Return the seconds for connect, read, write and pool."""


class HTTPClient(Protocol):
    """An `httpx.Client`, or an object with the same methods, such as an `httpx2.Client`."""

    @property
    def timeout(self) -> PhasedTimeout:
        """The timeouts of a request that sets none."""

    def build_request(
        self,
        method: str,
        url: str,
        /,
        *,
        params: Any = ...,
        headers: Any = ...,
        content: Any = ...,
        extensions: Any = ...,
    ) -> Any:
        """Create a request, with the headers of the client.

        Args:
            method: the HTTP method.
            url: the address.
            params: the parameters to add to the query string.
            headers: the headers to add.
            content: the body.
            extensions: the timeouts, and hooks for the connection.
        """

    def send(self, request: Any, /, *, stream: bool = ..., follow_redirects: bool = ...) -> Any:
        """Send a request and return the response.

        Args:
            request: what `build_request` returned.
            stream: True leaves the body to be read.
            follow_redirects: False returns a redirect as the response.
        """

    def close(self) -> None:
        """Close the connections; it is called only if the client was created for this package."""


class AsyncHTTPClient(Protocol):
    """An `httpx.AsyncClient`, or an object with the same methods.

    Examples of others are an `httpx2.AsyncClient` and an `httpx_aiohttp.HttpxAiohttpClient`.
    """

    @property
    def timeout(self) -> PhasedTimeout:
        """The timeouts of a request that sets none."""

    def build_request(
        self,
        method: str,
        url: str,
        /,
        *,
        params: Any = ...,
        headers: Any = ...,
        content: Any = ...,
        extensions: Any = ...,
    ) -> Any:
        """Create a request, as in `HTTPClient`."""

    async def send(
        self, request: Any, /, *, stream: bool = ..., follow_redirects: bool = ...
    ) -> Any:
        """Send a request and return the response, as in `HTTPClient`."""

    async def aclose(self) -> None:
        """Close the connections; it is called only if the client was created for this package."""


class _Phases(dict[str, float | None]):
    """The seconds for each phase, with the interface of an `httpx.Timeout`."""

    def as_dict(self) -> dict[str, float | None]:
        """Return the seconds for connect, read, write and pool."""
        return dict(self)


Timeout: TypeAlias = float | PhasedTimeout | None
"""Seconds for each phase of a request; None for no limit."""


OnImage: TypeAlias = Literal["raise", "text"]
"""What happens to an image if the provider takes only text."""


OnInvalidDocument: TypeAlias = Literal["raise", "skip", "text"]
"""What happens to a document that cannot be sent."""


OnPartial: TypeAlias = Literal["raise", "keep"]
"""What happens when one request of a split call fails."""

ScoreTransform: TypeAlias = Literal["sigmoid"] | Callable[[float], float]
"""How the provider's score is converted: "sigmoid", or a function of one score."""

_CHOICES = {
    "on_partial": get_args(OnPartial),
    "on_image": get_args(OnImage),
    "on_invalid_document": get_args(OnInvalidDocument),
    "image_urls": get_args(ImageUrls),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A retry policy: exponential backoff with jitter.

    The wait before retry number n is `initial_delay * exponent ** (n - 1)` seconds, but at most
    `max_delay`. Jitter shortens it by up to half. It is never shorter than the server's
    Retry-After; if that is more than 60 s, the request is not retried. No retry starts after the
    call's `deadline`.

    Args:
        max_retries: how often a request is retried; 0 for never.
        initial_delay: seconds before the first retry.
        max_delay: the longest backoff, in seconds.
        exponent: the factor by which the wait grows with each retry.
        max_elapsed: seconds since the call began, after which no retry starts; None for no limit.
        on_connection_error: whether to retry if a connection is refused, dropped, or not made in
            time.
        on_timeout: whether to retry if the response is not received in time.
        on_statuses: the statuses to retry, such as `(429, 503)`. None retries 408, 409, 429, 500,
            502 to 504, 520 to 524 and 529, unless the error shows that a retry cannot help.

    Raises:
        ConfigurationError: a value is out of range.
    """

    max_retries: int = 2
    initial_delay: float = 0.5
    max_delay: float = 8.0
    exponent: float = 2.0
    max_elapsed: float | None = None
    on_connection_error: bool = True
    on_timeout: bool = True
    on_statuses: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name, check in _RETRY_CHECKS.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, check(name, value))
            except ConfigurationError as error:
                raise ConfigurationError(f"Retry: {error}") from None

    def allows(self, error: RerankError) -> bool:
        """Return whether a request that failed with this error may be retried.

        Args:
            error: the error of the request.
        """
        if isinstance(error, StatusError) and self.on_statuses is not None:
            return error.status_code in self.on_statuses
        if isinstance(error, RerankTimeoutError) and error.phase not in _CONNECTING:
            return self.on_timeout and error.is_retryable
        if isinstance(error, TransportError):
            return self.on_connection_error and error.is_retryable
        return error.is_retryable

    def delay(self, retry: int, jitter: float) -> float:
        """Return the seconds to wait before a retry.

        Args:
            retry: the number of the retry; the first one is 1.
            jitter: a random number from 0 to 1; 1 gives the longest wait.
        """
        try:
            backoff = min(self.initial_delay * self.exponent ** (retry - 1), self.max_delay)
        except OverflowError:
            backoff = self.max_delay
        return backoff * (0.5 + jitter / 2)


@functools.lru_cache(maxsize=64)
def _retry_of(max_retries: int, on_timeout: bool) -> Retry:  # noqa: FBT001
    """Return the policy for the short forms; cached, because every request needs it."""
    return Retry(max_retries=max_retries, on_timeout=on_timeout)


_CONNECTING = ("connect", "write", "pool")  # phases before a response is awaited
_SHORT_FORMS = ("max_retries", "retry_on_timeout")
_RETRY_CONFLICT = (
    "retry= is the whole retry policy: leave out {given}, and set it in "
    "Retry(max_retries=..., on_timeout=...)"
)


def merged_retry(own: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings for retries: later ones win, and short forms change one value of a policy."""
    merged = {**own, **changes}
    policy = merged.get("retry")
    if not isinstance(policy, Retry):
        return merged
    if not isinstance(changes.get("retry"), Retry):
        parts = {"max_retries": "max_retries", "retry_on_timeout": "on_timeout"}
        changed = {parts[name]: changes[name] for name in _SHORT_FORMS if name in changes}
        merged["retry"] = dataclasses.replace(policy, **changed)
    return {name: value for name, value in merged.items() if name not in _SHORT_FORMS}


class _Hashed:
    """Has room for a hash of who asks, whom, for which model; no option, and not in a pickle."""

    __slots__ = ("_identity",)
    _identity: tuple[str, Secret[Any], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(_Hashed):
    """All settings of a call, validated.

    Raises:
        ConfigurationError: a setting is invalid.
        InvalidRequestError: `top_n` or `rank_fields` is invalid.
    """

    provider: Provider
    model: str
    top_n: int | None = None
    rank_fields: Sequence[str] | None = None
    instruction: str | None = None
    score_transform: ScoreTransform | None = None
    score_threshold: float | None = None
    timeout: Timeout | NotGiven = NOT_GIVEN
    deadline: float | None = 60.0
    max_retries: int = 2
    retry_on_timeout: bool = True
    retry: Retry | None = None
    extra_headers: Secret[Any] = field(default_factory=lambda: Secret(None))
    extra_body: Mapping[str, Any] | None = None
    on_image: OnImage | NotGiven = NOT_GIVEN
    on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN
    max_document_chars: int | None = None
    max_image_bytes: int | None = MAX_IMAGE_BYTES
    max_image_pixels: int | None = None
    image_urls: ImageUrls = "any"
    max_documents_per_request: int | NotGiven | None = NOT_GIVEN
    max_request_bytes: int | None = MAX_REQUEST_BYTES
    max_concurrency: int = 4
    on_partial: OnPartial = "raise"
    requests_per_minute: int | None = None
    documents_per_minute: int | None = None
    keep_raw: bool = False
    trace_content: bool = True
    cache: RerankCache | None = None

    def __post_init__(self) -> None:
        self._check([option.name for option in dataclasses.fields(self)])

    def _check(self, names: Iterable[str]) -> None:
        """Validate and normalise the options with these names."""
        for name in names:
            check = _CHECKS.get(name)
            if check is not None:
                object.__setattr__(self, name, check(name, getattr(self, name)))
        if "model" in names or "provider" in names:
            self.provider.check(self.model)
        if self.instruction is not None:
            self.instructed()
        if self.score_threshold is not None and self.score_transform is None:
            self._check_threshold()
        if self.extra_body:
            _refuse_own_keys(self.extra_body, self.provider.dialect.own_keys())

    def _check_threshold(self) -> None:
        """Refuse a score threshold for a model whose scores depend on the other documents."""
        if self.provider.kind_of_scores(self.model) == "relative":
            raise ConfigurationError(
                f"score_threshold has no meaning for {self.provider.name}:{self.model}: its scores "
                "depend on the other documents of the list; use top_n, or a model whose scores can "
                "be compared between lists, such as local:bm25 without retrieval_weight"
            )

    def replace(self, changes: Mapping[str, Any]) -> Options:
        """Return a copy with changes; headers and body keys are added."""
        if not changes:
            return self
        changed = dict(changes)
        if self.retry is not None and "retry" not in changed:
            changed = merged_retry({"retry": self.retry}, changed)
        provider = changed.get("provider", self.provider)
        if provider is None:
            changed["model"], provider = resolved(changed.get("model"), None)
            changed["provider"] = provider
        elif not isinstance(provider, Provider):
            _refuse_no_provider(provider)
        elif isinstance(changed.get("model"), str):
            _refuse_prefix(changed["model"], provider)
        headers, body = self.extra_headers, self.extra_body
        if provider.name != self.provider.name:  # headers may hold keys, which are for one vendor
            headers, body = Secret({}), None
            changed = {"extra_headers": None, "extra_body": None, **changed}
        if "extra_headers" in changed:
            changed["extra_headers"] = _joined(headers, changed["extra_headers"])
        if "extra_body" in changed:
            added = _checked_body("extra_body", changed["extra_body"]) or {}
            changed["extra_body"] = {**(body or {}), **added}
        return self._changed(changed)

    def _changed(self, changed: Mapping[str, Any]) -> Options:
        """Return a copy; only the changes are validated, because each call makes a copy."""
        other = object.__new__(type(self))
        for option in _NAMES:
            value = changed[option] if option in changed else getattr(self, option)
            object.__setattr__(other, option, value)
        other._check(changed)
        if hasattr(self, "_identity") and not changed.keys() & _OF_THE_IDENTITY:
            object.__setattr__(other, "_identity", self._identity)
        return other

    def identity(self, make: Callable[[Options], bytes]) -> bytes:
        """A hash of who asks, whom, for which model; made anew only where that has changed."""
        address, headers = str(self.address()), Secret(self.provider.headers())
        known = getattr(self, "_identity", None)
        if known is None or known[0] != address or known[1] != headers:
            known = (address, headers, make(self))
            object.__setattr__(self, "_identity", known)
        return known[2]

    def retry_policy(self) -> Retry:
        """Return the retry policy."""
        if self.retry is not None:
            return self.retry
        return _retry_of(self.max_retries, self.retry_on_timeout)

    def instructed(self) -> Instructed | None:
        """Return how the instruction is sent; None without an instruction.

        Raises:
            ConfigurationError: the model takes no instruction.
        """
        if self.instruction is None:
            return None
        return self.provider.instructed(self.model, self.instruction)

    def address(self) -> str:
        """Return the URL that requests are posted to."""
        return self.provider.address(self.model)

    def rate_limit(self) -> RateLimit:
        """Return how much may be sent in any minute."""
        return RateLimit(self.requests_per_minute, self.documents_per_minute)

    def most_documents(self) -> int | None:
        """Return the maximum number of documents in one request; None for no limit."""
        if isinstance(self.max_documents_per_request, NotGiven):
            return self.provider.most_documents(self.model)
        return self.max_documents_per_request

    def largest_body(self) -> int | None:
        """Return the maximum size of a request body in bytes; None for no limit."""
        limits = (self.max_request_bytes, self.provider.max_body_bytes)
        return min((limit for limit in limits if limit is not None), default=None)

    def image_limits(self) -> ImageLimits:
        """Return the limits for images."""
        urls = self.image_urls if self.provider.takes_image_urls else "none"
        return ImageLimits(self.max_image_bytes, self.max_image_pixels, urls)

    def timeouts(self) -> dict[str, float | None] | None:
        """Return the seconds for each phase of a request; None for the HTTP client's own."""
        if isinstance(self.timeout, NotGiven):
            return None
        if isinstance(self.timeout, PhasedTimeout):
            return self.timeout.as_dict()
        return dict.fromkeys(_PHASES, self.timeout)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Validate settings that need no provider.

    Raises:
        ConfigurationError: a setting is invalid.
        InvalidRequestError: `top_n` or `rank_fields` is invalid.
    """
    for name, value in settings.items():
        if name in _CHECKS and value is not NOT_GIVEN:
            _CHECKS[name](name, value)


def is_client(given: Any) -> bool:
    """Return whether this is an HTTP client, and not a callable that creates one."""
    return given is not None and not isinstance(given, type) and hasattr(given, "send")


def check_given(name: str, given: Any, *, is_async: bool) -> None:
    """Check that an argument is an HTTP client of the right kind, or a callable that creates one.

    Raises:
        ConfigurationError: it is neither.
    """
    if not is_client(given) and not hasattr(given, "send") and callable(given):
        return
    send = getattr(given, "send", None)
    fits = callable(getattr(given, "build_request", None)) and callable(send)
    if not fits or inspect.iscoroutinefunction(send) is not is_async:
        kind = "httpx.AsyncClient" if is_async else "httpx.Client"
        found = given.__name__ if isinstance(given, type) else type(given).__name__
        raise ConfigurationError(
            f"{name} must be an {kind}, or a callable that makes one, not {found}"
        )


F = TypeVar("F", bound=Callable[..., Any])


def argument_check(function: Callable[..., Any]) -> Callable[[dict[str, Any]], None]:
    """Return a function that checks the keyword arguments of a call.

    It refuses unknown ones with a suggestion. It also hides headers and keys in the dict itself,
    before a frame holds them in a local variable, so that no traceback shows them.
    """
    takes = [name for name in inspect.signature(function).parameters if name != "self"]
    owner = function.__qualname__.removesuffix(".__init__")
    known = frozenset(takes)
    hint = INSTEAD if "client" in known else ""

    def check(keywords: dict[str, Any]) -> None:
        hide_secrets(keywords, known)
        if not keywords.keys() <= known:
            refuse_unknown_argument(owner, list(keywords), takes, hint)
        if isinstance(keywords.get("retry"), Retry):
            _check_short_forms(keywords)

    return check


_OF_A_MODEL = "is for the model's own library: provider=Local(scorer=CrossEncoder(..., {name}=...))"
_OF_AN_LLM = "is for a language model: call it in a scorer of your own, provider=Local(scorer=...)"
_OF_HTTP = "is for the HTTP client: client=RerankClient(..., http_client=httpx.Client(...))"
_OF_THE_CONSTRUCTOR = "is for the constructor, next to the model: {name}=..."
_ADDRESS = "is written base_url=..., in the constructor"
_USER_AGENT = "is written extra_headers={{'user-agent': ...}}"
# arguments of other rerankers whose name is unlike ours, and our own arguments in a wrong place;
# {name} is the argument itself
_REPLACED = {
    "api_base": _ADDRESS,
    "api_key": _OF_THE_CONSTRUCTOR,
    "api_url": _ADDRESS,
    "async_http_client": _OF_HTTP,
    "base_url": _OF_THE_CONSTRUCTOR,
    "batch_size": "is written max_documents_per_request=...; a local model has a batch size of its "
    "own, in a function: provider=Local(scorer=lambda query, texts: ...)",
    "cache_dir": "is for the model's own library: provider=Local(scorer=...)",
    "cache_folder": _OF_A_MODEL,
    "choice_batch_size": _OF_AN_LLM,
    "choice_select_prompt": _OF_AN_LLM,
    "client_name": _USER_AGENT,
    "cross_encoder_kwargs": "is for the model's own library: "
    "provider=Local(scorer=CrossEncoder(...))",
    "custom_llm_provider": "is the name before the colon: model='cohere:rerank-v3.5'",
    "device": _OF_A_MODEL,
    "dtype": "is for the model's own library: "
    "provider=Local(scorer=CrossEncoder(..., model_kwargs={{'torch_dtype': ...}}))",
    "drop_params": "is not needed: an argument that the provider does not take is an error",
    "endpoint": _ADDRESS,
    "fallbacks": _OF_THE_CONSTRUCTOR,
    "format_node_batch_fn": _OF_AN_LLM,
    "http_client": _OF_HTTP,
    "k": "is written top_n=...",
    "lang": "is not needed: name the model, model='provider:model'",
    "llm": _OF_AN_LLM,
    "max_batch_size": "is written max_documents_per_request=...",
    "max_chunks_per_doc": "is max_tokens_per_doc in Cohere's API today: "
    "provider=Cohere(max_tokens_per_doc=...); SiliconFlow and Xinference have max_chunks_per_doc",
    "max_length": _OF_A_MODEL,
    "max_tokens_per_doc": "is an argument of the provider: provider=Cohere(max_tokens_per_doc=...) "
    "with the model alone; for any provider, max_document_chars=... truncates before sending",
    "model_type": "is not needed: the provider decides, model='provider:model'",
    "parse_choice_select_answer_fn": _OF_AN_LLM,
    "prefix_metadata": "is written score_key=..., in LangChain's adapter",
    "provider": _OF_THE_CONSTRUCTOR,
    "request_options": "is written timeout=..., max_retries=..., extra_headers=... and "
    "extra_body=...",
    "return_documents": "is not needed: each result holds the document that you passed, "
    "result.document",
    "session": _OF_HTTP,
    "task": "is written instruction=...",
    "token": "is written api_key=..., in the constructor",
    "trust_remote_code": _OF_A_MODEL,
    "truncate": "is an argument of the provider: provider=NVIDIA(truncate='END') with the model "
    "alone, or TEI(truncate=True); for any provider, max_document_chars=... truncates before "
    "sending",
    "truncation": "is an argument of the provider: provider=Voyage(truncation=...) with the model "
    "alone; for any provider, max_document_chars=... truncates before sending",
    "url": _ADDRESS,
    "user_agent": _USER_AGENT,
    "verbose": "is a log level: logging.getLogger('rerank_integrations').setLevel('INFO')",
    "verify_ssl": _OF_HTTP,
}


def refuse_unknown_argument(
    owner: str, given: Sequence[str], known: Sequence[str], more: str = ""
) -> None:
    """Raise ConfigurationError for an unknown argument, with a hint where it belongs."""
    unknown = next((name for name in given if name not in known), None)
    if unknown in _REPLACED:
        hint = _REPLACED[unknown].format(name=unknown)
        raise ConfigurationError(f"{owner} has no argument {unknown!r}; it {hint}")
    if unknown is not None and "provider" in known:
        owners = [
            kind.__name__
            for kind in map(provider_class, own_names())  # others may not load
            if unknown in {one.name for one in dataclasses.fields(kind)}
        ]
        if unknown in {one.name for one in dataclasses.fields(RemoteProvider)}:
            raise ConfigurationError(
                f"{owner} has no argument {unknown!r}; it is an argument of providers: pass a "
                f"provider object, such as provider=Together({unknown}=...), and the model alone"
            )
        if owners:
            such = "" if len(owners) == 1 else "such as "
            raise ConfigurationError(
                f"{owner} has no argument {unknown!r}; it is an argument of {', '.join(owners)}: "
                f"pass a provider object, {such}provider={owners[0]}({unknown}=...), and the model "
                "alone"
            )
    refuse_unknown(owner, given, known, more)


def _check_short_forms(keywords: Mapping[str, Any]) -> None:
    given = [name for name in _SHORT_FORMS if keywords.get(name, NOT_GIVEN) is not NOT_GIVEN]
    if given:
        raise ConfigurationError(_RETRY_CONFLICT.format(given=" and ".join(given)))


def positional_check(function: Callable[..., Any]) -> Callable[[int], str | None]:
    """Return a function that says what is wrong with a number of positional arguments."""
    takes = inspect.signature(function).parameters
    names = [one.name for one in takes.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    owner = function.__qualname__.removesuffix(".__init__")

    def problem(count: int) -> str | None:
        if count <= len(names):
            return None
        shown = ", ".join(name for name in names if name != "self") or "none"
        other = "api_key" if "api_key" in takes else "top_n"
        return (
            f"{owner} takes these positional arguments: {shown}; pass the others by name, as in "
            f"{other}=..."
        )

    return problem


def checked_arguments(function: F) -> F:
    """Decorate a function so that an `argument_check` runs before each call."""
    check, problem = argument_check(function), positional_check(function)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def checked(*args: Any, **keywords: Any) -> Any:
            check(keywords)
            wrong = problem(len(args))
            if wrong is not None:
                args = ()  # one of them may be a key
                raise ConfigurationError(wrong)
            return await function(*args, **keywords)

    else:

        @functools.wraps(function)
        def checked(*args: Any, **keywords: Any) -> Any:
            check(keywords)
            wrong = problem(len(args))
            if wrong is not None:
                args = ()
                raise ConfigurationError(wrong)
            return function(*args, **keywords)

    return checked  # type: ignore[return-value]


def hide_secrets(keywords: dict[str, Any], known: Container[str]) -> None:
    """Hide headers, keys and unknown values inside a dict of keyword arguments."""
    for name, value in list(keywords.items()):
        if name not in known:  # it may be an API key under a wrong name
            keywords[name] = Secret(value)
    headers = keywords.get("extra_headers")
    if headers is not None and not isinstance(headers, Secret | NotGiven):
        keywords["extra_headers"] = Secret(headers)
    key = keywords.get("api_key")
    if key is not None and not isinstance(key, SecretStr | Secret | NotGiven):
        keywords["api_key"] = SecretStr(key) if isinstance(key, str) else Secret(key)
    del key
    if isinstance(keywords.get("base_url"), str):
        # a URL with a password is refused, but a traceback shows the variables of those frames
        keywords["base_url"] = Address(keywords["base_url"])


def merged_settings(
    own: Mapping[str, Any], changes: Mapping[str, Any], only: Container[str] | None = None
) -> dict[str, Any]:
    """Merge settings with changes: headers and body keys are added, all others are replaced."""
    merged = merged_retry(own, changes)
    headers, body = own.get("extra_headers"), own.get("extra_body")
    if headers is not None and changes.get("extra_headers") is not None:
        merged["extra_headers"] = Secret(
            {
                **_lower(headers.get_secret_value()),
                **_lower(changes["extra_headers"].get_secret_value()),
            }
        )
    if isinstance(body, Mapping) and isinstance(changes.get("extra_body"), Mapping):
        merged["extra_body"] = {**body, **changes["extra_body"]}
    return {name: value for name, value in merged.items() if only is None or name in only}


def _lower(headers: Any) -> Any:
    """Convert header names to lower case; a value that is not a mapping is refused later."""
    if not isinstance(headers, Mapping):
        return {"": headers}
    return {str(name).lower(): value for name, value in headers.items()}


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that were passed: all but NOT_GIVEN, self, query and documents."""
    return {
        name: value
        for name, value in arguments.items()
        if value is not NOT_GIVEN and name not in _NO_SETTINGS
    }


def resolved(model: object, provider: object, **arguments: Any) -> tuple[str, Provider]:
    """Return the model and the provider object.

    If `provider` is None, `model` is "provider:model", and `arguments` are passed to the provider
    class.

    Raises:
        ConfigurationError: an unknown provider, no model, or a wrong type.
    """
    own, found = named(model, provider)
    return own, found(**arguments) if isinstance(found, type) else found


def named(model: object, provider: object) -> tuple[str, Provider | type[Provider]]:
    """Return the model, and the provider object that was passed or the class to create one.

    Raises:
        ConfigurationError: the same as from `resolved`, except errors of the provider itself.
    """
    if not isinstance(model, str) or not model.strip():
        raise ConfigurationError(
            "model must be a str, 'provider:model' such as 'openrouter:cohere/rerank-v3.5', "
            "or the model alone with provider="
        )
    if isinstance(provider, Provider):
        if model.startswith(f"{provider.name}:"):
            raise ConfigurationError(
                f"with provider= write the model without {provider.name + ':'!r}: "
                f"{model.partition(':')[2]!r}"
            )
        return model, provider
    if provider is not None:
        _refuse_no_provider(provider)
    name, colon, rest = model.partition(":")
    if not colon:
        raise ConfigurationError(
            f"{model!r} names no provider; {hint_without_colon(model)}write 'provider:model' with "
            f"one of {', '.join(known_names())}, or pass provider="
        )
    found = provider_class(name)
    if not rest.strip():
        raise ConfigurationError(f"{model!r} names no model; write '{name}:model'")
    return rest, found


def _refuse_no_provider(given: object) -> NoReturn:
    what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise ConfigurationError(
        f"provider must be a provider such as OpenRouter(api_key=...), not {what}"
    )


def _refuse_prefix(model: str, provider: Any) -> None:
    """Refuse "provider:model" next to a provider: all of it would be sent as the model."""
    name, colon, rest = model.partition(":")
    if not colon or name not in known_names():
        return
    if name == getattr(provider, "name", None):
        raise ConfigurationError(
            f"the provider is {name} already: write the model without {name + ':'!r}: {rest!r}"
        )
    raise ConfigurationError(
        f"{model!r} names another provider than {getattr(provider, 'name', provider)}; create "
        "another RerankClient, or use with_options(model=..., provider=None)"
    )


def _checked_model(_: str, model: Any) -> str:
    if not isinstance(model, str) or not model.strip():
        raise ConfigurationError("model must be the name of a model, a str that is not empty")
    return model


def _checked_top_n(_: str, top_n: Any) -> int | None:
    if top_n is None:
        return None
    number = _whole(top_n)
    if number is None or number < 1:
        raise InvalidRequestError(
            f"top_n must be an int of at least 1, or None for all documents, not {_short(top_n)}"
        )
    return number


def _checked_count(name: str, value: Any, least: int = 0) -> int:
    number = _whole(value)
    if number is None or number < least:
        raise ConfigurationError(f"{name} must be an int of at least {least}, not {_short(value)}")
    return number


def _checked_limit(name: str, value: Any) -> Any:
    if value is None or (value is NOT_GIVEN and name in _MAY_BE_NOT_GIVEN):
        return value
    if name == "max_image_pixels" and find_spec("PIL") is None:
        raise ConfigurationError(
            "max_image_pixels needs the extra 'images': pip install 'rerank-integrations[images]'"
        )
    number = _whole(value)
    if number is None or number < 1:
        raise ConfigurationError(
            f"{name} must be an int of at least 1, or None, not {_short(value)}"
        )
    return number


def _checked_threshold(name: str, value: Any) -> float | None:
    if value is None:
        return None
    number = finite(value)
    if number is None:
        raise ConfigurationError(f"{name} must be a finite number, or None, not {_short(value)}")
    return number


def _checked_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {value!r}")
    return value


def _checked_choice(name: str, value: Any) -> Any:
    choices = _CHOICES[name]
    if value is NOT_GIVEN and name in _MAY_BE_NOT_GIVEN:
        return value
    if value not in choices:
        words = " or ".join(map(repr, choices))
        raise ConfigurationError(f"{name} must be {words}, not {value!r}")
    return value


def _whole(value: Any) -> int | None:
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
    return None if number is not None and abs(number) >= _MANY_DIGITS else number


def _checked_rank_fields(_: str, rank_fields: Any) -> tuple[str, ...] | None:
    if rank_fields is None:
        return None
    if isinstance(rank_fields, str) or not isinstance(rank_fields, Sequence):
        raise InvalidRequestError("rank_fields must be a list of names, such as ['title', 'text']")
    if not rank_fields or not all(isinstance(name, str) and name for name in rank_fields):
        raise InvalidRequestError(
            "rank_fields must hold at least one name, and each must be a str that is not empty"
        )
    return tuple(dict.fromkeys(rank_fields))


def _checked_headers(_: str, given: Secret[Any] | None) -> Secret[dict[str, str]]:
    headers = given or Secret(None)
    if not isinstance(headers.get_secret_value(), Mapping | None):
        raise ConfigurationError("extra_headers must be a mapping of names to values")
    problem = header_problem(headers.get_secret_value() or {}) or framing_problem(
        headers.get_secret_value() or {}
    )
    if problem:
        raise ConfigurationError(problem)
    return Secret(
        {name.lower(): value for name, value in (headers.get_secret_value() or {}).items()}
    )


def _joined(old: Secret[dict[str, str]], new: Secret[Any] | None) -> Secret[dict[str, str]]:
    return Secret(
        old.get_secret_value() | _checked_headers("extra_headers", new).get_secret_value()
    )


def _checked_body(_: str, body: Any) -> dict[str, Any] | None:
    if body is None:
        return None
    if not isinstance(body, Mapping):
        raise ConfigurationError("extra_body must be a mapping of names to values")
    _refuse_own_keys(body, OWN_KEYS)
    problem = json_problem(dict(body))
    if problem:
        raise InvalidRequestError(f"extra_body {problem}")
    return dict(body)


def _refuse_own_keys(body: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    name = next((key for key in keys if key in body), None)
    if name is not None:
        raise ConfigurationError(
            f"extra_body must not have the key {name!r}; pass it as the argument {keys[name]}"
        )


def _checked_instruction(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{name} must be a str that is not empty, or None")
    joined = join_surrogates(value)
    if joined != replace_surrogates(value):
        raise ConfigurationError(f"{name} has a lone surrogate, which cannot be encoded; remove it")
    return joined


def _checked_transform(name: str, value: Any) -> Any:
    is_word = isinstance(value, str) and value == "sigmoid"
    if value is None or is_word or (callable(value) and not isinstance(value, type)):
        return value
    raise ConfigurationError(
        f"{name} must be 'sigmoid', a function of one score, or None, not {_short(value)}"
    )


def _checked_retry(name: str, value: Any) -> Retry | None:
    if value is None or isinstance(value, Retry):
        return value
    raise ConfigurationError(f"{name} must be a Retry(...) or None, not {type(value).__name__}")


def _checked_cache(_: str, value: Any) -> RerankCache | None:
    return cache_of(value)


def _checked_timeout(name: str, timeout: Any) -> Any:
    if isinstance(timeout, NotGiven):
        return timeout
    if isinstance(timeout, PhasedTimeout):
        for seconds in timeout.as_dict().values():
            if seconds != 0:  # httpx accepts 0
                _checked_seconds(name, seconds)
        return timeout
    if isinstance(timeout, Mapping) and timeout.keys() == set(_PHASES):  # from `model_dump`
        return _Phases({phase: _checked_seconds(name, timeout[phase]) for phase in _PHASES})
    return _checked_seconds(name, timeout)


def _checked_seconds(name: str, value: Any) -> Any:
    if value is None:
        return None
    seconds = finite(value)
    if seconds is None or seconds <= 0:
        raise ConfigurationError(
            f"{name} must be a number of seconds above 0, or None, not {_short(value)}"
        )
    if seconds > _MOST_SECONDS:
        raise ConfigurationError(
            f"{name} must be at most {_MOST_SECONDS:,} seconds, or None for no limit"
        )
    return value


def _short(value: object) -> str:
    """Return the repr of a value; Python refuses to print an int of more than 4,300 digits."""
    is_large = type(value) is int and abs(value) >= _MANY_DIGITS
    return "a number of many digits" if is_large else repr(value)


def _checked_delay(name: str, value: Any) -> float:
    number = finite(value)
    if number is None or not 0 <= number <= _MOST_SECONDS:
        raise ConfigurationError(
            f"{name} must be a number of seconds of at least 0 and at most {_MOST_SECONDS:,}"
        )
    return number


def _checked_exponent(name: str, value: Any) -> float:
    number = finite(value)
    if number is None or number < 1:
        raise ConfigurationError(f"{name} must be a number of at least 1")
    return number


def _checked_statuses(name: str, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    statuses = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [None]
    numbers = [_whole(status) for status in statuses]
    if any(number is None or not 100 <= number <= 599 for number in numbers):
        raise ConfigurationError(
            f"{name} must be a list of statuses, such as [429, 503] or range(500, 600), or None"
        )
    return tuple(sorted({number for number in numbers if number is not None}))


_RETRY_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "max_retries": _checked_count,
    "initial_delay": _checked_delay,
    "max_delay": _checked_delay,
    "exponent": _checked_exponent,
    "max_elapsed": _checked_seconds,
    "on_connection_error": _checked_flag,
    "on_timeout": _checked_flag,
    "on_statuses": _checked_statuses,
}
Retry.__init__ = checked_arguments(Retry.__init__)  # type: ignore[method-assign]
RerankCache.__init__ = checked_arguments(RerankCache.__init__)  # type: ignore[method-assign]
_OF_THE_IDENTITY = frozenset({"provider", "model", "extra_headers"})
_NAMES = [option.name for option in dataclasses.fields(Options)]
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "model": _checked_model,
    "top_n": _checked_top_n,
    "rank_fields": _checked_rank_fields,
    "timeout": _checked_timeout,
    "deadline": _checked_seconds,
    "instruction": _checked_instruction,
    "score_transform": _checked_transform,
    "score_threshold": _checked_threshold,
    "max_retries": _checked_count,
    "retry_on_timeout": _checked_flag,
    "retry": _checked_retry,
    "keep_raw": _checked_flag,
    "trace_content": _checked_flag,
    "cache": _checked_cache,
    "extra_headers": _checked_headers,
    "extra_body": _checked_body,
    "max_concurrency": functools.partial(_checked_count, least=1),
    **dict.fromkeys(_CHOICES, _checked_choice),
    **dict.fromkeys(_LIMITS, _checked_limit),
}
