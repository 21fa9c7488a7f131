"""What every provider defines: URL, headers, and what differs from the common body."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias
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
    type_problem,
)

# https://jina.ai/models/jina-reranker-v3: its scores depend on the other documents
_LISTWISE = ("jina-reranker-v3",)
# the version of a base address, before a path with a version of its own
_TWO_VERSIONS = re.compile(r"/v\d+(/v\d+/)")


ScoreKind: TypeAlias = Literal["probability", "logit", "cosine", "relative", "unbounded", "unknown"]
"""What the scores of a model are.

- "probability": from 0 to 1
- "logit": any number; `score_transform="sigmoid"` gives a probability
- "cosine": from -1 to 1
- "relative": it depends on the other documents of the list
- "unbounded": from 0 up, such as BM25
- "unknown": the vendor does not say
"""


RETRIEVAL_SCORES = "retrieval_scores"
"""The key of the body for the scores of the first stage, for a scorer in this process."""


class Dialect(NamedTuple):
    """How an endpoint spells the common request body; a key that is None is never sent.

    Attributes:
        documents, query, model, top_n, rank_fields: the keys.
        document_as: how a document of text alone is written: the string, or `{"text": ...}`.
        query_as: the same for the query; "repeated" is a list with the query for each document.
        needs_top_n: whether `top_n` is sent although the caller gives none.
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
        """The keys of the body that the call fills, with the argument that each comes from."""
        keys = {
            self.documents: "documents",
            self.query: "query",
            self.model: "model",
            self.top_n: "top_n",
            self.rank_fields: "rank_fields",
        }
        return {key: argument for key, argument in keys.items() if key}


class Instructed(NamedTuple):
    """How an instruction to the model is sent.

    Attributes:
        body: keys for the body.
        around_query: what is written before and after the query.
        around_document: the same for the text of each document.
    """

    body: Mapping[str, Any] = {}
    around_query: tuple[str, str] = ("", "")
    around_document: tuple[str, str] = ("", "")


class HTTPResponse(NamedTuple):
    """What came back over HTTP; `headers` has lower-case names.

    `problem` says why there is no content, where the body could not be read.
    """

    status_code: int
    headers: Mapping[str, str]
    content: bytes | bytearray
    problem: str | None = None

    def __repr__(self) -> str:  # a response may echo images
        return f"<HTTPResponse {self.status_code}, {len(self.content)} bytes>"


Handler: TypeAlias = Callable[[bytes], HTTPResponse | Awaitable[HTTPResponse]]
"""Takes a request body; returns the response, or an awaitable of it.

Under asyncio it is called in a worker thread, unless it is an `async def` function; an awaitable is
awaited on the caller's event loop.
"""


class HTTPRequest(NamedTuple):
    """A request, ready to be sent; the pieces of its body follow one another."""

    url: str
    headers: Secret[dict[str, str]]
    content: Sequence[bytes]
    handler: Handler | None = None  # instead of the network
    method: str = "POST"

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.content))

    def __repr__(self) -> str:  # a body may hold images
        return f"<HTTPRequest to {shown_address(self.url)}, {self.size} bytes>"


class ErrorDetails(NamedTuple):
    """An error status as it was read, before a provider adds what only it knows.

    `error` is the error object of the body, `{}` where there is none.
    """

    status_code: int
    headers: Mapping[str, str]
    error: Mapping[str, Any]
    message: str
    code: str | None
    retry_after: float | None
    is_retryable: bool
    key_hint: str | None = None  # what to check, where it is not the provider's own key

    def __repr__(self) -> str:
        return f"<failure {self.status_code}>"


class _CheckedArguments(type):
    """Refuses unknown arguments, and hides secret ones before any frame holds them in clear."""

    if not TYPE_CHECKING:  # type checkers and editors read the fields of the dataclass

        def __call__(cls, *args: Any, **given: Any) -> Any:
            known = [field.name for field in dataclasses.fields(cls)]
            places = [field.name for field in dataclasses.fields(cls) if not field.kw_only]
            if len(args) <= len(places) and not given.keys() & places[: len(args)]:
                given, args = dict(zip(places, args, strict=False)) | given, ()
            given = {  # `dataclasses.replace` hands on some that are hidden already
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
            """The arguments, which `inspect` would not look for behind `__call__`."""
            own = inspect.signature(cls.__init__)
            return own.replace(parameters=list(own.parameters.values())[1:])


@dataclass(frozen=True, kw_only=True)
class Provider(metaclass=_CheckedArguments):
    """A rerank endpoint that speaks the common dialect.

    A subclass overrides what differs; nothing outside asks for its name.

    Raises:
        ConfigurationError: an unknown argument, or a header that HTTP cannot carry.
    """

    name: ClassVar[str]
    dialect: ClassVar[Dialect] = Dialect()
    score_kind: ClassVar[ScoreKind] = "unknown"
    takes_text_with_image: ClassVar[bool] = True
    takes_bare_base64: ClassVar[bool] = False
    takes_image_urls: ClassVar[bool] = True
    max_documents: ClassVar[int | None] = 1000
    max_body_bytes: ClassVar[int | None] = None
    says_cost: ClassVar[bool] = True  # or may say it: False where a response never does
    request_id_headers: ClassVar[tuple[str, ...]] = ("x-request-id",)
    image_codes: ClassVar[frozenset[str]] = frozenset()
    secret_arguments: ClassVar[frozenset[str]] = frozenset()
    api_key_env: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        problem = header_problem(self.headers()) or json_problem(self.body())
        if problem:
            raise ConfigurationError(f"{type(self).__name__}: {problem}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the class is frozen

    def _set_secret(self, name: str) -> None:
        """Put an argument that is a key into form.

        Raises:
            ConfigurationError: it is empty, as a variable may be that was never filled.
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
        """The address that requests are posted to."""
        raise NotImplementedError

    def address(self, model: str) -> str:
        """The address that requests for this model are posted to."""
        del model
        return self.url

    @property
    def key_hint(self) -> str:
        """Where the key came from or should come from, for a message about a refused one."""
        return "the key"

    @property
    def handler(self) -> Handler | None:
        """Ranks a request body in this process; None for an endpoint on the network."""
        return None

    def headers(self) -> dict[str, str]:
        """The headers that say who asks; they hold secrets."""
        return {}

    def secrets(self) -> list[str]:
        """What must not appear in a message, although the server may repeat it."""
        values = (getattr(self, name) for name in self.secret_arguments)
        return [v.get_secret_value() for v in values if isinstance(v, SecretStr)]

    def body(self) -> dict[str, Any]:
        """The keys that this provider adds to the common body; None values are left out."""
        return {}

    def check(self, model: str) -> None:
        """Raise ConfigurationError where this provider, as set up, cannot serve the model."""

    def for_fallback(self, model: str) -> Provider:
        """What ranks with another of its models, for a fallback that is given by name: itself."""
        del model
        return self

    @property
    def takes_retrieval_scores(self) -> bool:
        """Whether the score that a document brings from the first stage counts."""
        return False

    def max_rank_fields(self, model: str) -> int | None:
        """How many fields the endpoint ranks by itself for this model.

        0 where it takes texts only, None for any number. With more fields than this, each document
        is sent as one text.
        """
        del model
        return 0

    def most_documents(self, model: str) -> int | None:
        """How many documents one request may have for this model; None for no limit."""
        del model
        return self.max_documents

    def takes_images(self, model: str) -> bool:
        """Whether the model sees images."""
        del model
        return False

    def kind_of_scores(self, model: str) -> ScoreKind:
        """What the scores of this model are, with the provider's arguments as they are."""
        del model
        return self.score_kind

    def instructed(self, model: str, instruction: str) -> Instructed:
        """How to send an instruction to the model.

        Raises:
            ConfigurationError: nothing takes one; the message says so.
        """
        del instruction
        raise ConfigurationError(
            f"{self.name} takes no instruction (model {model}): its API has no parameter for one; "
            "leave instruction= out, or put what you look for into the query"
        )

    def splits(self, model: str) -> bool:
        """Whether scores of several requests can be compared: a listwise model's cannot."""
        return not any(name in model for name in _LISTWISE)

    def may_say_cost(self) -> bool:
        """Whether a response may have the cost of the call in its usage."""
        return self.says_cost

    def cache_scope(self, model: str) -> str | None:
        """What decides a score besides what is sent; None where no score can be cached."""
        del model
        return "" if self.handler is None else None

    def with_image(self, text: str, image: str) -> Mapping[str, Any] | Sequence[Any]:
        """A document with an image, and a text unless that is empty."""
        return {"text": text, "image": image} if text else {"image": image}

    def document(self, fields: Mapping[str, Any], text: str) -> Mapping[str, Any]:
        """A document of JSON values for an endpoint that ranks fields; `text` has all of them."""
        del text
        return fields

    def results(self, payload: Mapping[str, Any], count: int) -> list[Any] | None:
        """The results, where they are under no common key; each has an index and a score.

        `count` is the number of documents of the request.
        """
        del payload, count
        return None

    def parse_error(self, failure: ErrorDetails) -> ErrorDetails:
        """The failure with what only this provider's documentation knows about it."""
        return failure

    def served_by(self, headers: Mapping[str, str]) -> str | None:
        """Who served the call, where the headers of the response say it and its body does not."""
        del headers
        return None

    def warnings(self, response: HTTPResponse) -> tuple[str, ...]:
        """What the caller should know although the call succeeded."""
        del response
        return ()

    def models_address(self, query: Mapping[str, str]) -> str:
        """The address that lists the models, with the query of a page; of the first it is empty.

        Raises:
            ConfigurationError: there is none; the message names the provider's page.
        """
        del query
        said = (type(self).__doc__ or "").split(maxsplit=1)[:1]
        pages = [word.rstrip(".,") for word in said if word.startswith("https://")]
        see = f"; its page is {pages[0]}" if pages else ""
        raise ConfigurationError(f"{self.name} has no endpoint that lists its rerank models{see}")

    def own_models(self) -> Sequence[ModelInfo] | None:
        """The models, where no request is needed to know them."""
        return None

    def models_page(self, payload: Any) -> ModelsPage | None:
        """The models on a page of the list, which is parsed JSON; None where it is no list."""
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
        """What an entry of the list says, without `raw`; None for no rerank model."""
        return openai_model(entry)

    def next_models(self, payload: Mapping[str, Any]) -> Mapping[str, str] | None:
        """The query that the next page of the list adds; None on the last page."""
        del payload
        return None


@dataclass(frozen=True, kw_only=True)
class RemoteProvider(Provider):
    """A provider that is reached over the network with a key.

    Args:
        api_key: the key; from the provider's environment variable when None.
        base_url: another address. Without a path it gets the vendor's prefix; with one it is
            taken as it is; a trailing `/` or `/rerank` is cut. A query such as
            `?api-version=2024-05-01` is sent with every request, and its values are not shown.
        allow_http: whether the key and the documents may go unencrypted to another machine.

    Raises:
        ConfigurationError: no key, or an address that is none.
    """

    base_url_env: ClassVar[str | None] = None
    default_base_url: ClassVar[str]
    has_default: ClassVar[bool] = True  # else `default_base_url` gives only the path of a prefix
    rerank_path: ClassVar[str] = "/rerank"
    other_key_envs: ClassVar[tuple[str, ...]] = ()
    needs_key: ClassVar[bool] = True
    key_header: ClassVar[tuple[str, str]] = ("Authorization", "Bearer")
    _key_env: ClassVar[str | None] = None  # of an object: the variable that its key came from
    instruction_key: ClassVar[str | None] = None
    models_path: ClassVar[str | None] = None  # one with a version replaces that of the address
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
            raise ConfigurationError(
                f"{own} has no key: set the environment variable {self.api_key_env} "
                f"or pass api_key=..., or provider={own}(api_key=...) with the model alone"
            )
        super().__post_init__()

    def _environment_key(self) -> SecretStr | None:
        for name in self._key_variables():
            found = secret(_environment(name))
            if found is not None:
                self._set("_key_env", name)
                return found
        return None

    @classmethod
    def _key_variables(cls) -> list[str]:
        """The environment variables that are read for the key, in their order."""
        return [name for name in (cls.api_key_env, *cls.other_key_envs) if name]

    def _default_address(self) -> str:
        """The address where none is given."""
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
                "base_url begins with http://, so the key and the documents would travel "
                "unencrypted; use https://, or say that you want it: "
                f"provider={type(self).__name__}(base_url=..., allow_http=True)"
            )
        return normalised_base_url(
            given.get_secret_value(), self.default_base_url, self._rerank_path()
        )

    def may_say_cost(self) -> bool:
        """As the vendor documents it; at another address there may be a gateway that does."""
        path = self._rerank_path()
        own = normalised_base_url(self.default_base_url, self.default_base_url, path)
        return self.says_cost or self.base_url != own

    def _rerank_path(self) -> str:
        """What follows the base address; cut from a `base_url` that has it already."""
        return self.rerank_path

    def _needs_key(self) -> bool:
        return self.needs_key

    @property
    def key_hint(self) -> str:
        """The argument and the environment variable: the one that was used, if one was."""
        name = self._key_env or next(iter(self._key_variables()), None)
        return f"api_key= or the environment variable {name}" if name else "api_key="

    @property
    def url(self) -> str:
        """The address that every request is posted to."""
        return self._address(self._rerank_path())

    def _address(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """The base address with a path, and its query with more of it."""
        base, _, own = (self.base_url or "").partition("?")
        joined = "&".join(filter(None, (own, urlencode(query or {}))))
        return Address(f"{base}{path}?{joined}" if joined else f"{base}{path}")

    def models_address(self, query: Mapping[str, str]) -> str:
        """The base address with `models_path`, where the provider has one."""
        if self.models_path is None:
            return super().models_address(query)
        address = self._address(self.models_path, {**self.models_query, **query})
        path, mark, rest = address.partition("?")
        return Address(_TWO_VERSIONS.sub(r"\1", path) + mark + rest)

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Under the key of the body that the provider has for it."""
        if self.instruction_key is None:
            return super().instructed(model, instruction)
        return Instructed({self.instruction_key: instruction})

    def secrets(self) -> list[str]:
        """The keys, and the values in the query of the address."""
        query = self.url.partition("?")[2]
        values = [value for _, value in parse_qsl(query)]
        written = [pair.partition("=")[2] for pair in query.split("&")]
        return super().secrets() + [value for value in (*values, *written) if value]

    def headers(self) -> dict[str, str]:
        """The key."""
        return key_header(self.api_key, *self.key_header)


def _environment(name: str | None) -> str | None:
    return os.environ.get(name) if name else None
