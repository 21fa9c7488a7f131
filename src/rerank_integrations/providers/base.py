"""The base classes of all providers: URL, headers, and the differences from the common body."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias, get_origin
from urllib.parse import parse_qsl, urlencode

from pydantic import SecretStr

from rerank_integrations._secrets import Secret
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._model_list import (
    ModelInfo,
    ModelsPage,
    listed,
    mapping,
    openai_model,
)
from rerank_integrations.providers._validation import (
    Address,
    address_problem,
    header_problem,
    is_open_http,
    json_problem,
    key_header,
    normalised_base_url,
    refuse_unknown,
    secret,
    shown,
    shown_address,
    type_hints,
    type_problem,
)

# models whose scores depend on the other documents, on each endpoint that serves them:
# https://jina.ai/models/jina-reranker-v3
_LISTWISE = ("jina-reranker-v3",)
# the version of a base address, before a path with a version of its own
_TWO_VERSIONS = re.compile(r"/v\d+(/v\d+/)")


ScoreKind: TypeAlias = Literal["probability", "logit", "cosine", "relative", "unbounded", "unknown"]
"""The scale of the scores of a model.

- "probability": from 0 to 1
- "logit": any number; `score_transform="sigmoid"` turns it into a probability
- "cosine": from -1 to 1
- "relative": depends on the other documents of the list
- "unbounded": from 0 up, such as BM25
- "unknown": not documented by the vendor
"""


# for the messages about classes that do not set them
_EXAMPLES = {"name": '"acme"', "default_base_url": '"https://acme.example/v1"'}

RETRIEVAL_SCORES = "retrieval_scores"
"""The body key of the first-stage scores, for a scorer in this process."""


class Dialect(NamedTuple):
    """The names and forms that an endpoint uses in the request body.

    Attributes:
        documents: the body key of the documents.
        query: the body key of the query.
        model: the body key of the model; None sends no model.
        top_n: the body key of `top_n`; None sends none: then the client applies it.
        rank_fields: the body key of `rank_fields`.
        document_as: how a text is sent: "text" as a string, "object" as `{"text": ...}`.
        query_as: the same for the query; "repeated" sends a list with the query once for each
            document.
        needs_top_n: whether `top_n` is sent even if the caller sets none.
    """

    documents: str = "documents"
    query: str = "query"
    model: str | None = "model"
    top_n: str | None = "top_n"
    rank_fields: str = "rank_fields"
    document_as: Literal["text", "object"] = "text"
    query_as: Literal["text", "object", "repeated"] = "text"
    needs_top_n: bool = False

    def own_keys(self) -> dict[str, str]:
        """The body keys that the call sets, each with the name of its argument."""
        keys = {
            self.documents: "documents",
            self.query: "query",
            self.model: "model",
            self.top_n: "top_n",
            self.rank_fields: "rank_fields",
        }
        return {key: argument for key, argument in keys.items() if key}


class Instructed(NamedTuple):
    """How an instruction is sent to the model.

    Attributes:
        body: keys to add to the request body.
        around_query: the text to add before and after the query.
        around_document: the text to add before and after each document.
    """

    body: Mapping[str, Any] = {}
    around_query: tuple[str, str] = ("", "")
    around_document: tuple[str, str] = ("", "")


class HTTPResponse(NamedTuple):
    """An HTTP response.

    Attributes:
        status_code: the HTTP status.
        headers: the headers, with lower-case names.
        content: the body.
        problem: why the body could not be read; None if it was read.
    """

    status_code: int
    headers: Mapping[str, str]
    content: bytes | bytearray
    problem: str | None = None

    def __repr__(self) -> str:  # a response may echo images
        return f"<HTTPResponse {self.status_code}, {len(self.content)} bytes>"


Handler: TypeAlias = Callable[[bytes], HTTPResponse | Awaitable[HTTPResponse]]
"""A function that takes a request body and returns the response, or an awaitable of it.

Under asyncio it is called in a worker thread, unless it is an `async def` function. An awaitable is
awaited on the caller's event loop.
"""


class HTTPRequest(NamedTuple):
    """A request that is ready to be sent.

    Attributes:
        url: the address.
        headers: the headers, which contain secrets.
        content: the parts of the body, in order.
        handler: the function that is called instead of the network; None for an HTTP request.
        method: the HTTP method.
    """

    url: str
    headers: Secret[dict[str, str]]
    content: Sequence[bytes]
    handler: Handler | None = None
    method: str = "POST"

    @property
    def size(self) -> int:
        """The size of the body in bytes."""
        return sum(map(len, self.content))

    def __repr__(self) -> str:  # a body may hold images
        return f"<HTTPRequest to {shown_address(self.url)}, {self.size} bytes>"


class ErrorDetails(NamedTuple):
    """A parsed error response, which a provider can refine in `parse_error`.

    Attributes:
        status_code: the HTTP status.
        headers: the headers, with lower-case names.
        error: the error object of the body; `{}` if there is none.
        message: the error message of the server.
        code: the error code of the server; None if there is none.
        retry_after: seconds to wait before a retry; None if the server does not say.
        is_retryable: whether the request may be sent again.
        key_hint: what to check after a rejected key, if it is not the provider's own key.
    """

    status_code: int
    headers: Mapping[str, str]
    error: Mapping[str, Any]
    message: str
    code: str | None
    retry_after: float | None
    is_retryable: bool
    key_hint: str | None = None

    def __repr__(self) -> str:
        return f"<failure {self.status_code}>"


class _CheckedArguments(type):
    """Rejects unknown arguments, and hides secret ones before a stack frame holds them in clear."""

    if not TYPE_CHECKING:  # type checkers and editors read the fields of the dataclass

        def __call__(cls, *args: Any, **given: Any) -> Any:
            problem = _class_problem(cls)
            if problem:
                args, given = (), {}  # one of them may be a key
                raise ConfigurationError(f"the class {cls.__name__} {problem}")
            known = [field.name for field in dataclasses.fields(cls)]
            places = [field.name for field in dataclasses.fields(cls) if not field.kw_only]
            if len(args) <= len(places) and not given.keys() & places[: len(args)]:
                given, args = dict(zip(places, args, strict=False)) | given, ()
            given = {  # `dataclasses.replace` passes on some that are hidden already
                name: Secret(shown(value))
                if value is not None and (name in cls.secret_arguments or name not in known)
                else value
                for name, value in given.items()
            }
            refuse_unknown(cls.__name__, list(given), known)
            problem = type_problem(cls, given)
            if problem:
                raise ConfigurationError(f"{cls.__name__}: {problem}")
            return super().__call__(*args, **given)

        @property
        def __signature__(cls) -> inspect.Signature:
            """The arguments, which `inspect` does not find through `__call__`."""
            own = inspect.signature(cls.__init__)
            return own.replace(parameters=list(own.parameters.values())[1:])


@cache
def _class_problem(cls: type) -> str | None:
    """The message about what the class of a provider lacks; None if it is complete."""
    hints = type_hints(cls)
    ours = [name for name, hint in hints.items() if ClassVar in (hint, get_origin(hint))]
    unset = next((name for name in ours if not hasattr(cls, name)), None)
    if unset is not None:
        return (
            f"has no {unset}; write in it: {unset}: ClassVar[str] = {_EXAMPLES.get(unset, '...')}"
        )
    if getattr(cls, "url", None) is Provider.url:
        return "has no url; derive it from RemoteProvider, or override the property url"
    plain = [
        kind
        for kind in cls.__mro__
        if issubclass(kind, Provider) and "__dataclass_fields__" not in vars(kind)
    ]
    fields = [name for kind in plain for name in inspect.get_annotations(kind) if name not in ours]
    if fields:
        return (
            f"has the arguments {', '.join(fields)}, but no decorator that reads them; write "
            "@dataclass(frozen=True, kw_only=True) above it, or ClassVar for what is no argument"
        )
    return None


@dataclass(frozen=True, kw_only=True)
class Provider(metaclass=_CheckedArguments):
    """The base class of all providers: an endpoint with the common request and response.

    A subclass overrides what differs from the common request.

    Attributes:
        name: the prefix of the provider, before the `:` of a model.
        dialect: the names and forms in the request body.
        score_kind: the scale of the scores.
        takes_text_with_image: whether one document may have both a text and an image.
        takes_bare_base64: whether an image is sent as base64 without the `data:` prefix.
        takes_image_urls: whether an image may be sent as a URL.
        max_documents: the maximum number of documents in one request; None for no limit.
        max_body_bytes: the maximum size of a request body in bytes; None for the client's limit.
        says_cost: False if a response never has the cost of the call; True if it may have it.
        request_id_headers: the response headers that may have the request ID, in order.
        image_codes: the error codes that raise an `ImageError`.
        fallback_codes: the error codes after which a fallback is used, whatever the status.
        secret_arguments: the arguments that are hidden in messages and reprs.
        api_key_env: the environment variable of the key; None if no variable is read.

    Raises:
        ConfigurationError: an argument is unknown or invalid, or a header cannot be sent over HTTP.
    """

    name: ClassVar[str]
    dialect: ClassVar[Dialect] = Dialect()
    score_kind: ClassVar[ScoreKind] = "unknown"
    takes_text_with_image: ClassVar[bool] = True
    takes_bare_base64: ClassVar[bool] = False
    takes_image_urls: ClassVar[bool] = True
    max_documents: ClassVar[int | None] = 1000
    max_body_bytes: ClassVar[int | None] = None
    says_cost: ClassVar[bool] = True
    request_id_headers: ClassVar[tuple[str, ...]] = ("x-request-id",)
    image_codes: ClassVar[frozenset[str]] = frozenset()
    fallback_codes: ClassVar[frozenset[str]] = frozenset()
    secret_arguments: ClassVar[frozenset[str]] = frozenset()
    api_key_env: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        problem = header_problem(self.headers()) or json_problem(self.body())
        if problem:
            raise ConfigurationError(f"{type(self).__name__}: {problem}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the class is frozen

    def _set_secret(self, name: str) -> None:
        """Convert an argument that is a key.

        Raises:
            ConfigurationError: it is empty.
        """
        given = getattr(self, name)
        found = secret(given)
        if given is not None and found is None:
            env = self.api_key_env if name == "api_key" else None
            instead = f" to take the key from the environment variable {env}" if env else ""
            raise ConfigurationError(
                f"{type(self).__name__}: {name} is empty; pass a key, or leave {name}= out{instead}"
            )
        self._set(name, found)

    @property
    def url(self) -> str:
        """The URL of the requests."""
        raise NotImplementedError

    def address(self, model: str) -> str:
        """The URL of the requests for this model."""
        del model
        return self.url

    @property
    def key_hint(self) -> str:
        """Where the key came from or should come from, for the error about a rejected key."""
        return "the key"

    @property
    def handler(self) -> Handler | None:
        """The function that ranks a request body in this process; None for HTTP."""
        return None

    def headers(self) -> dict[str, str]:
        """The headers of this provider, such as the key; they contain secrets."""
        return {}

    def secrets(self) -> list[str]:
        """The values to redact, for example when a server repeats them in an error."""
        values = (getattr(self, name) for name in self.secret_arguments)
        return [v.get_secret_value() for v in values if isinstance(v, SecretStr)]

    def body(self) -> dict[str, Any]:
        """The keys to add to the request body; a value of None is left out."""
        return {}

    def check(self, model: str) -> None:
        """Check that this provider can serve the model with its current arguments.

        Raises:
            ConfigurationError: it cannot.
        """

    def for_fallback(self, model: str) -> Provider:
        """Return the provider for a fallback by name to another of its models: itself."""
        del model
        return self

    @property
    def takes_retrieval_scores(self) -> bool:
        """Whether the first-stage score of a document is used."""
        return False

    def max_rank_fields(self, model: str) -> int | None:
        """The maximum number of fields that the server ranks for this model.

        With more fields than this, each document is sent as one text.

        Returns:
            The number; 0 if the endpoint takes only texts, None for no limit.
        """
        del model
        return 0

    def most_documents(self, model: str) -> int | None:
        """The maximum number of documents in one request for this model; None for no limit."""
        del model
        return self.max_documents

    def takes_images(self, model: str) -> bool:
        """Whether the model takes images."""
        del model
        return False

    def takes_image_query(self, model: str) -> bool:
        """Whether the query may be an image, sent in the form of `with_image`.

        A query with an image and a text needs `takes_text_with_image` as well.
        """
        del model
        return False

    def kind_of_scores(self, model: str) -> ScoreKind:
        """The scale of the scores of this model, with the current arguments."""
        del model
        return self.score_kind

    def instructed(self, model: str, instruction: str) -> Instructed:
        """How to send an instruction to the model.

        Raises:
            ConfigurationError: the API or the model takes no instruction.
        """
        del instruction
        raise ConfigurationError(
            f"{self.name} takes no instruction (model {model}): its API has no parameter for one; "
            "leave instruction= out, or put it into the query"
        )

    def splits(self, model: str) -> bool:
        """Whether a list may be split into several requests.

        False for a listwise model, whose scores depend on the other documents of the request.
        """
        return not any(name in model for name in _LISTWISE)

    def may_say_cost(self) -> bool:
        """Whether a response may have the cost of the call in its usage."""
        return self.says_cost

    def cache_scope(self, model: str) -> str | None:
        """A string for the cache key, for what a score depends on besides the request.

        Returns:
            The string; None if scores cannot be cached.
        """
        del model
        return "" if self.handler is None else None

    def with_image(self, text: str, image: str) -> Mapping[str, Any] | Sequence[Any]:
        """The request form of a document or query with an image; the text may be empty."""
        return {"text": text, "image": image} if text else {"image": image}

    def document(self, fields: Mapping[str, Any], text: str) -> Mapping[str, Any]:
        """The request form of a document with fields, for an endpoint that ranks fields.

        Args:
            fields: the fields as JSON values.
            text: all fields as one text.
        """
        del text
        return fields

    def results(self, payload: Mapping[str, Any], count: int) -> list[Any] | None:
        """The results of a response that has them under none of the common keys.

        Args:
            payload: the parsed body.
            count: the number of documents in the request.

        Returns:
            The results, each with an index and a score; None to use the common keys.
        """
        del payload, count
        return None

    def parse_error(self, failure: ErrorDetails) -> ErrorDetails:
        """Refine an error response with what this provider documents."""
        return failure

    def served_by(self, headers: Mapping[str, str]) -> str | None:
        """The host that served the call, from the response headers; None if they do not name it."""
        del headers
        return None

    def warnings(self, response: HTTPResponse) -> tuple[str, ...]:
        """Warnings about a successful response."""
        del response
        return ()

    def models_address(self, query: Mapping[str, str]) -> str:
        """The URL of the list of models.

        Args:
            query: the parameters of the page; empty for the first page.

        Raises:
            ConfigurationError: there is no list; the message links the provider's page, the first
                `https://` address in the class's docstring.
        """
        del query
        words = (type(self).__doc__ or "").split()
        page = next((word.rstrip(".,;)") for word in words if word.startswith("https://")), None)
        see = f"; its page is {page}" if page else ""
        raise ConfigurationError(f"{self.name} has no endpoint that lists its rerank models{see}")

    def own_models(self) -> Sequence[ModelInfo] | None:
        """The models, if they are known without a request; else None."""
        return None

    def models_page(self, payload: Any) -> ModelsPage | None:
        """Parse a page of the list of models; None if the body is not a list of models."""
        entries = listed(payload)
        if entries is None:
            return None
        found = [
            info._replace(raw=entry)
            for entry in entries
            if isinstance(entry, Mapping) and (info := self.model_info(entry)) is not None
        ]
        return ModelsPage(found, self.next_models(mapping(payload)))

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """Parse an entry of the list, without `raw`; None if it is not a rerank model."""
        return openai_model(entry)

    def next_models(self, payload: Mapping[str, Any]) -> Mapping[str, str] | None:
        """The parameters of the next page of the list; None on the last page."""
        del payload
        return None


@dataclass(frozen=True, kw_only=True)
class RemoteProvider(Provider):
    """The base class of providers that are called over HTTP with a key.

    Args:
        api_key: the API key; from the provider's environment variable when None.
        base_url: the base URL; the provider's own when None. Without a path, the path of the
            default is added. A path is used unchanged, except that a trailing `/` or `/rerank` is
            removed. A query string such as `?api-version=2024-05-01` is sent with every request,
            and its values are hidden.
        allow_http: True allows `http://` to another machine, so the key and the documents are sent
            unencrypted.

    Attributes:
        base_url_env: the environment variable of `base_url`; None if no variable is read.
        default_base_url: the base URL when none is given.
        has_default: False if a base URL is required; `default_base_url` then gives only the path.
        rerank_path: the path after the base URL.
        other_key_envs: more environment variables of the key, in order.
        needs_key: whether a key is required.
        key_header: the header of the key, and the scheme before the key.
        instruction_key: the body key of `instruction`; None if the API has none.
        models_path: the path of the list of models; None if there is no list. A path with a version
            replaces the version of the base URL.
        models_query: the parameters of the list of models.

    Raises:
        ConfigurationError: there is no key, the address is invalid, or an argument is invalid.
    """

    base_url_env: ClassVar[str | None] = None
    default_base_url: ClassVar[str]
    has_default: ClassVar[bool] = True
    rerank_path: ClassVar[str] = "/rerank"
    other_key_envs: ClassVar[tuple[str, ...]] = ()
    needs_key: ClassVar[bool] = True
    key_header: ClassVar[tuple[str, str]] = ("Authorization", "Bearer")
    _key_env: ClassVar[str | None] = None  # on an object: the variable that its key came from
    instruction_key: ClassVar[str | None] = None
    models_path: ClassVar[str | None] = None
    models_query: ClassVar[Mapping[str, str]] = {}
    secret_arguments: ClassVar[frozenset[str]] = frozenset({"api_key", "base_url"})

    api_key: SecretStr | str | None = field(default=None, repr=False)
    base_url: str | None = None
    allow_http: bool = False

    def __post_init__(self) -> None:
        self._set_secret("api_key")
        if self.api_key is None:
            self._set("api_key", self._environment_key())
        self._set("base_url", self._found_base_url())
        if self.api_key is None and self._needs_key():
            own = type(self).__name__
            variable = next(iter(self._key_variables()), None)
            told = f"set the environment variable {variable} or " if variable else ""
            raise ConfigurationError(
                f"{own} has no key: {told}pass api_key=..., or provider={own}(api_key=...) with "
                "the model alone"
            )
        super().__post_init__()

    def _environment_key(self) -> SecretStr | None:
        for name in self._key_variables():
            found = self._key_in(name)
            if found is not None:
                self._set("_key_env", name)
                return found
        return None

    def _key_in(self, name: str) -> SecretStr | None:
        """The key that an environment variable holds."""
        return secret(_environment(name))

    @classmethod
    def _key_variables(cls) -> list[str]:
        """The environment variables of the key, in order."""
        return [name for name in (cls.api_key_env, *cls.other_key_envs) if name]

    def _default_address(self) -> str:
        """The base URL when none is given."""
        if not self.has_default:
            variable = f" or set {self.base_url_env}" if self.base_url_env else ""
            raise ConfigurationError(
                f"{type(self).__name__} has no default address: pass base_url='https://...'"
                f"{variable}"
            )
        return self.default_base_url

    def _found_base_url(self) -> str:
        if shown(self.base_url) == "":
            raise ConfigurationError(
                f"{type(self).__name__}: base_url is empty; pass an address, or leave base_url= "
                "out for the provider's own"
            )
        env = _environment(self.base_url_env)
        given: Secret[str] = Secret(shown(self.base_url) or env or self._default_address())
        problem = address_problem(given.get_secret_value(), query=True)
        if problem:
            raise ConfigurationError(f"base_url {problem}")
        if not self.allow_http and is_open_http(given.get_secret_value()):
            raise ConfigurationError(
                "base_url begins with http://, so the key and the documents would be sent "
                "unencrypted; use https://, or allow it: "
                f"provider={type(self).__name__}(base_url=..., allow_http=True)"
            )
        return normalised_base_url(
            given.get_secret_value(), self.default_base_url, self._rerank_path()
        )

    def may_say_cost(self) -> bool:
        """`says_cost`; always True at another base URL, which may be a gateway that adds a cost."""
        path = self._rerank_path()
        own = normalised_base_url(self.default_base_url, self.default_base_url, path)
        return self.says_cost or self.base_url != own

    def _rerank_path(self) -> str:
        """The path after the base URL; it is removed from a `base_url` that ends with it."""
        return self.rerank_path

    def _needs_key(self) -> bool:
        return self.needs_key

    @property
    def key_hint(self) -> str:
        """`api_key=` and the environment variable of the key, the one that was used if any."""
        name = self._key_env or next(iter(self._key_variables()), None)
        return f"api_key= or the environment variable {name}" if name else "api_key="

    @property
    def url(self) -> str:
        """The URL of the requests."""
        return self._address(self._rerank_path())

    def _address(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """The base URL with a path, and with parameters added to its query string."""
        base, _, own = (self.base_url or "").partition("?")
        joined = "&".join(filter(None, (own, urlencode(query or {}))))
        return Address(f"{base}{path}?{joined}" if joined else f"{base}{path}")

    def models_address(self, query: Mapping[str, str]) -> str:
        """The base URL with `models_path`, if the provider has one."""
        if self.models_path is None:
            return super().models_address(query)
        address = self._address(self.models_path, {**self.models_query, **query})
        path, mark, rest = address.partition("?")
        return Address(_TWO_VERSIONS.sub(r"\1", path) + mark + rest)

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Send the instruction as `instruction_key`, if the provider has one."""
        if self.instruction_key is None:
            return super().instructed(model, instruction)
        return Instructed({self.instruction_key: instruction})

    def secrets(self) -> list[str]:
        """The keys, and the values in the query string of the base URL."""
        query = self.url.partition("?")[2]
        values = [value for _, value in parse_qsl(query)]
        written = [pair.partition("=")[2] for pair in query.split("&")]
        return super().secrets() + [value for value in (*values, *written) if value]

    def headers(self) -> dict[str, str]:
        """The key."""
        return key_header(self.api_key, *self.key_header)


def _environment(name: str | None) -> str | None:
    return os.environ.get(name) if name else None
