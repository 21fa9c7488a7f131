"""The text of the pages and tables, from the provider classes and `table.PROVIDERS`."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from unittest.mock import patch

import httpx

from gateways.table import MARKS, PROVIDERS, Facts, Mark
from rerank_integrations import RerankClient
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers import provider_class
from rerank_integrations.providers.base import Instructed, RemoteProvider, ScoreKind

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = ROOT / "docs" / "gateways"
BEGIN = "<!-- written by `make providers` -->"
END = "<!-- end of what `make providers` writes -->"
WRITTEN = "<!-- written by `make providers` from scripts/gateways/table.py -->"
_KEY = "the-key"
_QUERY, _DOCUMENTS = "a red bicycle", ["a blue car", "a red bicycle"]
_OF_HTTPX = {"host", "user-agent", "accept-encoding", "connection", "content-length"}
# models by which the providers decide whether they take an instruction, and the score kind
_ANY, _QWEN3, _VOYAGE = "a-model", "Qwen/Qwen3-Reranker-8B", "voyageai/rerank-2.5"
_MODELS = (_ANY, _QWEN3, "jina-reranker-v3", "cohere/rerank-v3.5", "nvidia/rerank")
_VISION = "jina-reranker-m0"  # a model by whose name a provider decides about images
_WITH_FIELDS = ("bge-reranker-v2-m3", "Llama-Rank-V1")  # models for which servers rank fields
_WIDTH = 120
_CODE_WIDTH = 100
_UNBROKEN = re.compile(r"\[[^]]*\]\([^)]*\)|`[^`]*`")
_ARGUMENT = re.compile(r"^    (?P<names>[\w, ]+): (?P<text>.*\n(?:     +.*\n)*)", re.MULTILINE)
SCORE_KINDS: Mapping[ScoreKind, str] = {
    "probability": "from 0 to 1",
    "logit": 'any number; `score_transform="sigmoid"` turns it into a probability',
    "cosine": "from -1 to 1",
    "relative": "depends on the other documents of the list",
    "unbounded": "from 0 up",
    "unknown": "not documented",
}
_FIELDS = {
    "server": "ranked by the server",
    "some models": "ranked by the server for some models, else sent as text",
    "as text": "sent as text",
}
_SHORT_MARKS: Mapping[Mark, str] = {
    "server": "server",
    "specification": "spec, SDK",
    "documentation": "docs",
}
_GROUPS = {
    "vendor": ("A vendor's own API", "an API key of the vendor"),
    "gateway": (
        "Gateways and proxies",
        "one key, or your own proxy, for models of several vendors",
    ),
    "server": ("Servers of your own", "your own server with a rerank model"),
}

_KEY_AND_ADDRESS = (
    (
        "no `api_key=`",
        "the key is read from the environment variable on the page of the provider",
    ),
    (
        "`base_url=` without a path",
        (
            "the path of the default is added: for `cohere:`, `https://rerank.example.org` becomes "
            "`https://rerank.example.org/v2`"
        ),
    ),
    (
        "`base_url=` with a path",
        "the path is used unchanged, except that a trailing `/` or `/rerank` is removed",
    ),
    (
        "`http://` to another machine",
        (
            "a `ConfigurationError`, unless you set `allow_http` on a provider object: "
            '`RerankClient("my-model", provider=TEI(base_url="http://tei.internal:8080", '
            "allow_http=True))`"
        ),
    ),
)


@cache
def remote_class(name: str) -> type[RemoteProvider]:
    """The class of a provider in the table."""
    kind = provider_class(name)
    assert issubclass(kind, RemoteProvider), name  # noqa: S101
    return kind


def example(name: str, **given: Any) -> RemoteProvider:
    """A provider with a key, and an address where it has no default."""
    kind, facts = remote_class(name), PROVIDERS[name]
    needed: dict[str, Any] = {"api_key": _KEY} if kind.api_key_env else {}
    if facts.base_url:
        needed["base_url"] = facts.base_url
    return kind(**{**needed, **given})


# what a provider does


def instruction_of(name: str) -> str:
    """How an instruction is sent, for the cell of a table."""
    provider = example(name)
    error = f"`{ConfigurationError.__name__}`"
    for model, models in ((_ANY, ""), (_QWEN3, "Qwen3"), (_VOYAGE, "Voyage 2.5")):
        found = _instructed(provider, model)
        if found is not None:
            return f"{models}: {_way(found)}; other models: {error}" if models else _way(found)
    return f"no: {error}"


def takes_image_query(name: str) -> bool:
    """Whether the query may be an image, for any model."""
    return any(map(example(name).takes_image_query, (_ANY, _VISION)))


def _images(name: str) -> str:
    also = "; also as [the query](../images.md#an-image-as-the-query)"
    return (PROVIDERS[name].images or "no") + also * takes_image_query(name)


def _way(found: Instructed) -> str:
    for key, value in found.body.items():
        is_nested = value != "..."
        return f"sent inside `{key}`, a JSON text" if is_nested else f"sent as `{key}`"
    if found.around_document != ("", ""):
        return "written into the query and each document, as in the model's chat template"
    return "written before the query, on its own line"


def short_instruction(name: str) -> str:
    """The models that take an instruction, in a word."""
    provider = example(name)
    for model, word in ((_ANY, "yes"), (_QWEN3, "Qwen3"), (_VOYAGE, "Voyage 2.5")):
        if _instructed(provider, model) is not None:
            return word
    return "no"


def _instructed(provider: RemoteProvider, model: str) -> Instructed | None:
    try:
        return provider.instructed(model, "...")
    except ConfigurationError:
        return None


def score_kinds(name: str) -> list[ScoreKind]:
    """The kinds of scores of its models; the first is that of the example."""
    provider = example(name)
    models = (PROVIDERS[name].model, *_MODELS)
    return list(dict.fromkeys(provider.kind_of_scores(model) for model in models))


def rank_fields_of(name: str) -> str:
    """Who ranks fields, in a word."""
    provider = example(name)
    models = (_ANY, PROVIDERS[name].model, *_WITH_FIELDS)
    native = [provider.max_rank_fields(model) != 0 for model in models]
    return "server" if all(native) else "some models" if any(native) else "as text"


def documents_of(name: str) -> str:
    """What a document may have, in a few words."""
    fields = rank_fields_of(name) != "as text"
    return ", ".join(["text", *["fields"] * fields, *["images"] * bool(PROVIDERS[name].images)])


# the pages


def pages() -> dict[Path, str]:
    """Each file that `make providers` writes, with its text."""
    with patch.dict(os.environ, clear=True):  # keys and addresses of whoever runs this
        generated = {
            path: page(name) if facts.is_generated else _filled(path, features(name))
            for name, facts in PROVIDERS.items()
            for path in [PAGES / f"{name}.md"]
        }
        readme = _filled(README, providers_table("docs/gateways/"))
        return {**generated, PAGES / "index.md": overview(), README: readme}


def _filled(path: Path, table: str) -> str:
    """The text of a file, with the table in its place."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def page(name: str) -> str:
    """The page of one provider."""
    facts = PROVIDERS[name]
    arguments = dataclasses.fields(remote_class(name))
    parts = [
        f"# {facts.title}",
        _wrapped(f"{facts.summary} [API documentation]({facts.link})."),
        f"```sh\n{_setup(name)}\n```",
        f"```python\n{_program(name)}\n```",
        features(name),
        "The same request with curl:",
        f"```sh\n{curl(name)}\n```",
        "## Arguments",
        _table(
            ("argument", "sent as", "meaning"),
            [
                (f"`{one.name}`", place_of(name, one), meaning_of(remote_class(name), one.name))
                for one in arguments
            ],
        ),
        facts.more.strip(),
        _details(name),
        "## Errors",
        _wrapped(
            "[Errors](../errors.md) explains the errors of all providers."
            + (" In addition, for this one:" if facts.errors else "")
        ),
        _table(("the server sends", "you get"), facts.errors) if facts.errors else "",
        WRITTEN,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def features(name: str) -> str:
    """The table with what a newcomer needs to know first."""
    facts, provider = PROVIDERS[name], example(name)
    rows = [
        ("API key", _key(name)),
        ("base URL", _address(name)),
        ("models", f"{facts.models}{_listed(provider)}"),
        ("[images](../images.md)", _images(name)),
        ("[`rank_fields`](../rank-fields.md)", _FIELDS[rank_fields_of(name)]),
        (
            "[`instruction`](index.md#instructions)",
            "; ".join(filter(None, [instruction_of(name), facts.instruction])),
        ),
        ("[`score_kind`](../client.md#how-scores-compare)", facts.scores or _scores(name)),
        ("`top_n`", _top_n(provider)),
        ("documents in one request", _most(provider, facts.model)),
        ("usage", facts.usage or "none"),
        ("tested", _tested(facts)),
    ]
    return _table(("feature", "support"), rows)


def _key(name: str) -> str:
    kind = remote_class(name)
    variables = [
        f"the file that `{one}` names" if one.endswith("_PATH") else f"`{one}`"
        for one in (kind.api_key_env, *kind.other_key_envs)
        if one
    ]
    sources = ", else ".join([*variables, "`api_key=`"] if variables else ["`api_key=`"])
    sources = sources.replace(", else `api_key=`", ", or `api_key=`")
    return sources if kind.needs_key else f"optional: {sources}"


def _address(name: str) -> str:
    kind = remote_class(name)
    variable = f" or `{kind.base_url_env}`" if kind.base_url_env else ""
    if kind.has_default:
        return f"`{kind.default_base_url}`; set another with `base_url=`{variable}"
    return f"required: `base_url=`{variable}; requests are sent to `{kind.default_base_url}`"


def _listed(provider: RemoteProvider) -> str:
    try:
        provider.models_address({})
    except ConfigurationError:
        return ""
    return "; [`client.models()`](../client.md#models) lists models"


def _top_n(provider: RemoteProvider) -> str:
    if provider.dialect.top_n is None:
        return "applied by the client; the API has no such parameter"
    always = "always " if provider.dialect.needs_top_n else ""
    return f"{always}sent as `{provider.dialect.top_n}`"


def _most(provider: RemoteProvider, model: str) -> str:
    count = provider.most_documents(model)
    if count is None:
        return "no limit"
    for_this = "" if provider.most_documents(_ANY) == count else " for this model"
    return f"at most {count:,}{for_this}; a longer list is split into several requests"


def _tested(facts: Facts) -> str:
    if facts.mark == "server":
        return f"{MARKS[facts.mark]}: {facts.source}"
    other = "a real server" if facts.group == "server" else "the live service"
    return f"against {facts.source}, not {other}"


def _scores(name: str) -> str:
    first, *others = score_kinds(name)
    more = f"; other models: {' or '.join(f'`{kind}`' for kind in others)}" if others else ""
    return f"`{first}`, {SCORE_KINDS[first]}{more}"


def _details(name: str) -> str:
    facts = PROVIDERS[name]
    lines = [_wrapped(f"- {limit}", "  ") for limit in facts.limits]
    return "\n".join(["## Limits", "", *lines]) if lines else ""


def _setup(name: str) -> str:
    kind = remote_class(name)
    lines = ["pip install rerank-integrations"]
    if kind.api_key_env and kind.needs_key:
        lines.append(f'export {kind.api_key_env}="..."')
    return "\n".join(lines)


def _program(name: str) -> str:
    facts = PROVIDERS[name]
    arguments = [f'"{name}:{facts.model}"']
    if facts.base_url:
        arguments.append(f'base_url="{facts.base_url}"')
    call = f"client = RerankClient({', '.join(arguments)})"
    if len(call) > _CODE_WIDTH:
        call = f"client = RerankClient(\n    {', '.join(arguments)}\n)"
    return "\n".join(
        [
            "from rerank_integrations import RerankClient",
            "",
            call,
            f'response = client.rerank("{_QUERY}", {json.dumps(_DOCUMENTS)}, top_n=1)',
            "print(response[0].document)  # a red bicycle",
            f"print(response.score_kind)  # {score_kinds(name)[0]}",
        ]
    )


def curl(name: str) -> str:
    """The request of the example as a curl command."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        found = [{"index": index, "relevance_score": index} for index in (1, 0)]
        return httpx.Response(200, json={"results": found})

    http_client = httpx.Client(transport=httpx.MockTransport(answer))
    model, provider = PROVIDERS[name].model, example(name)
    with http_client, RerankClient(model, provider=provider, http_client=http_client) as client:
        client.rerank(_QUERY, _DOCUMENTS, top_n=1)
    [request] = sent
    variable = f"${remote_class(name).api_key_env}"
    headers = sorted(request.headers.items(), key=lambda one: _KEY not in one[1])  # the key first
    lines = [f"curl {request.url}"]
    lines += [
        f'-H "{key.title()}: {value.replace(_KEY, variable)}"'
        for key, value in headers
        if key not in _OF_HTTPX
    ]
    keys = [
        f'    "{key}": {json.dumps(value)}' for key, value in json.loads(request.content).items()
    ]
    lines.append("-d '{\n" + ",\n".join(keys) + "\n  }'")
    return " \\\n  ".join(lines)


def place_of(name: str, argument: dataclasses.Field[Any]) -> str:
    """Where an argument is sent, found by setting it."""
    before, after = example(name), example(name, **{argument.name: _value(name, argument)})
    if before.url != after.url:
        return "the address"
    headers = _changed(before.headers(), after.headers())
    body = _changed(before.body(), after.body())
    places = [f"header `{key}`" for key in headers] + [f"body `{key}`" for key in body]
    return ", ".join(places) or "not sent"


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [key for key, value in after.items() if before.get(key) != value]


def _value(name: str, argument: dataclasses.Field[Any]) -> Any:
    """A valid value of an argument that is not its default."""
    if argument.name == "base_url":
        return "https://example.org/rerank"
    hint = get_type_hints(remote_class(name))[argument.name]
    kinds = (hint, *get_args(hint))
    for kind in kinds:
        if get_origin(kind) is Literal:
            return get_args(kind)[-1]
    if bool in kinds:
        return not argument.default
    if int in kinds:
        return 9
    is_mapping = any(get_origin(kind) is collections.abc.Mapping for kind in kinds)
    return {"key": "value"} if is_mapping else "another"


def meaning_of(kind: type, argument: str) -> str:
    """The description of an argument in the docstring of the class or of a base class."""
    for owner in kind.__mro__:
        text = inspect.cleandoc(vars(owner).get("__doc__") or "").partition("Args:\n")[2]
        for found in _ARGUMENT.finditer(text.partition("\n\n")[0] + "\n"):
            said = " ".join(found["text"].split())
            if argument in found["names"].split(", ") and not said.startswith("as in"):
                return said.removesuffix(".").replace("|", "\\|")
    raise LookupError(f"{kind.__name__} has no description of {argument}")


# the tables


def providers_table(folder: str) -> str:
    """README's table with a row for each provider; `folder` has the pages."""
    rows = [
        (
            f"[{facts.title}]({folder}{name}.md) `{name}:`",
            _short_key(name),
            "text, images" if facts.images else "text",
            rank_fields_of(name),
            short_instruction(name),
            " ".join(score_kinds(name)) if len(score_kinds(name)) == 1 else "by model",
            _SHORT_MARKS[facts.mark],
        )
        for name, facts in PROVIDERS.items()
    ]
    rows += [
        (
            f"[any other server]({folder}compatible.md) `Compatible(...)`",
            "optional",
            "text",
            "as text",
            "optional",
            "unknown",
            "",
        ),
        (
            f"[in process]({folder}local.md) `local:`",
            "none",
            "text, images",
            "as text",
            "no",
            "by model",
            "",
        ),
    ]
    head = ("provider", "key", "documents", "`rank_fields`", "instruction", "scores", "tested")
    return _table(head, rows)


def overview() -> str:
    """The overview of all providers."""
    parts = [
        "# Providers",
        _wrapped(
            "A model is written `provider:model`, such as `cohere:rerank-v3.5`. The client, its "
            "settings, the errors and the results are the same for all providers. This page and "
            "the page of each provider list what differs."
        ),
        "## Which provider do I need",
        _table(("you have", "use"), _choices()),
    ]
    parts += ["## Key and address", _table(("you pass", "what happens"), _KEY_AND_ADDRESS)]
    for group, (heading, _) in _GROUPS.items():
        rows = [
            (
                f"[{facts.title}]({name}.md)",
                f"`{name}:`",
                facts.models,
                documents_of(name),
                facts.usage or "none",
                _SHORT_MARKS[facts.mark],
            )
            for name, facts in PROVIDERS.items()
            if facts.group == group
        ]
        head = ("provider", "prefix", "models", "documents", "usage", "tested")
        parts += [f"## {heading}", _table(head, rows)]
    parts += [
        "## How the providers were tested",
        _table(
            ("tested", "means"),
            [(_SHORT_MARKS[mark], meaning) for mark, meaning in MARKS.items()],
        ),
        "The page of each provider names what it was compared with.",
        "## Kinds of scores",
        _wrapped(
            "`response.score_kind` names the scale of the scores. A provider is in several rows if "
            "the scale depends on the model."
        ),
        _table(
            ("`score_kind`", "scores", "providers"),
            [(f"`{kind}`", text, _with_scores(kind)) for kind, text in SCORE_KINDS.items()],
        ),
        "## Instructions",
        _wrapped(
            "`instruction=` tells the model what to look for. If the model takes no instruction, "
            "it is an error. A fallback that takes none is called without it, with a warning."
        ),
        _table(("provider", "`instruction`"), _instruction_rows()),
        _wrapped(
            "These take none: "
            f"{_joined(name for name in PROVIDERS if short_instruction(name) == 'no')}."
        ),
        WRITTEN,
    ]
    return "\n\n".join(parts) + "\n"


def _choices() -> list[tuple[str, str]]:
    rows = [
        (sentence, _joined(name for name, facts in PROVIDERS.items() if facts.group == group))
        for group, (_, sentence) in _GROUPS.items()
    ]
    vision = _joined(name for name, facts in PROVIDERS.items() if facts.images)
    query = _joined(filter(takes_image_query, PROVIDERS))
    return [
        *rows,
        ("images to rank", f"{vision}, and [Local](local.md) with your own scorer"),
        ("an image as the query", f"{query}, and [Local](local.md) with your own scorer"),
        ("another server, or a proxy with another key header", "[`Compatible`](compatible.md)"),
        (
            "an API that `Compatible` cannot describe",
            "[your own provider class](../own-provider.md)",
        ),
        ("no key and no server", "[`local:hybrid`](local.md)"),
    ]


def _with_scores(kind: ScoreKind) -> str:
    names = [name for name in PROVIDERS if kind in score_kinds(name)]
    engines: dict[ScoreKind, str] = {
        "probability": "[Local](local.md) with a cross-encoder",
        "relative": "[Local](local.md), hybrid",
        "unbounded": "[Local](local.md), BM25",
    }
    return ", ".join(filter(None, [_joined(names), engines.get(kind, "")])) or "none"


def _instruction_rows() -> list[tuple[str, str]]:
    rows: dict[str, list[str]] = {}
    for name in PROVIDERS:
        if short_instruction(name) != "no":
            rows.setdefault(instruction_of(name), []).append(name)
    return [(_joined(names), sentence) for sentence, names in rows.items()]


def _joined(names: Iterable[str]) -> str:
    return ", ".join(f"[{PROVIDERS[name].title}]({name}.md)" for name in names)


def _short_key(name: str) -> str:
    kind = remote_class(name)
    return f"`{kind.api_key_env}`" if kind.api_key_env else "none"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cells)} |".replace("| --- ", "|---") for cells in lines
    ).replace("|--- |", "|---|")


def _wrapped(text: str, indent: str = "") -> str:
    """The text in lines; no link and no code is broken."""
    joined = _UNBROKEN.sub(lambda found: found[0].replace(" ", "\0"), text.strip())
    filled = textwrap.fill(
        joined,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\0", " ")
