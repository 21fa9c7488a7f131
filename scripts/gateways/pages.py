"""The text of the pages and tables: what the classes say, joined with `table.PROVIDERS`."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
# models by which the providers tell who follows an instruction, and what scores are
_ANY, _QWEN3, _VOYAGE = "a-model", "Qwen/Qwen3-Reranker-8B", "voyageai/rerank-2.5"
_MODELS = (_ANY, _QWEN3, "jina-reranker-v3", "cohere/rerank-v3.5", "nvidia/rerank")
_WITH_FIELDS = ("bge-reranker-v2-m3", "Llama-Rank-V1")  # models that rank fields themselves
_WIDTH = 120
_CODE_WIDTH = 100
_UNBROKEN = re.compile(r"\[[^]]*\]\([^)]*\)|`[^`]*`")
_ARGUMENT = re.compile(r"^    (?P<names>[\w, ]+): (?P<text>.*\n(?:     +.*\n)*)", re.MULTILINE)
SCORE_KINDS: Mapping[ScoreKind, str] = {
    "probability": "from 0 to 1",
    "logit": 'any number; `score_transform="sigmoid"` makes a probability of it',
    "cosine": "from -1 to 1",
    "relative": "it depends on the other documents of the list",
    "unbounded": "from 0 up",
    "unknown": "the vendor does not say",
}
_SHORT_MARKS: Mapping[Mark, str] = {
    "server": "server",
    "specification": "spec, SDK",
    "documentation": "docs",
}
_GROUPS = {
    "vendor": ("A vendor's own API", "a key of the vendor"),
    "gateway": ("Gateways and proxies", "one key, or one proxy, for models of several vendors"),
    "server": ("Servers of your own", "a server of your own"),
}

_KEY_AND_ADDRESS = (
    (
        "no `api_key=`",
        "the key is read from the environment variable that the provider's page names",
    ),
    (
        "`base_url=` without a path",
        (
            "it gets the path of the default address: for `cohere:`, `https://rerank.example.org` "
            "becomes `https://rerank.example.org/v2`"
        ),
    ),
    (
        "`base_url=` with a path",
        "it is taken as it is, without a final `/` or `/rerank`",
    ),
    (
        "`http://` to another machine",
        (
            "it is a `ConfigurationError`, unless you allow it, with the model alone: "
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
    """How an instruction is sent, in a sentence or two."""
    provider = example(name)
    error = f"`{ConfigurationError.__name__}`"
    for model, who in ((_ANY, ""), (_QWEN3, "For Qwen3 models "), (_VOYAGE, "For Voyage 2.5 ")):
        found = _instructed(provider, model)
        if found is not None:
            others = f" For other models it is a {error}." if who else ""
            return f"{who}`instruction=` is {_way(found)}.{others}"
    return f"`instruction=` is a {error}: the API has no parameter for it."


def _way(found: Instructed) -> str:
    for key, value in found.body.items():
        is_nested = value != "..."
        return f"sent inside body `{key}`, a JSON text" if is_nested else f"sent as body `{key}`"
    if found.around_document != ("", ""):
        return "written around the query and each document, in the template of the model"
    return "written before the query, in a line of its own"


def short_instruction(name: str) -> str:
    """For which models an instruction is sent, in a word."""
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
    """The kinds of scores of its models, that of the example first."""
    provider = example(name)
    models = (PROVIDERS[name].model, *_MODELS)
    return list(dict.fromkeys(provider.kind_of_scores(model) for model in models))


def rank_fields_of(name: str) -> str:
    """Who ranks fields, in a word."""
    provider = example(name)
    models = (_ANY, PROVIDERS[name].model, *_WITH_FIELDS)
    native = [provider.max_rank_fields(model) != 0 for model in models]
    return "server" if all(native) else "some models" if any(native) else "as text"


# the pages


def pages() -> dict[Path, str]:
    """Each file that `make providers` writes, with its text."""
    with patch.dict(os.environ, clear=True):  # keys and addresses of whoever runs this
        generated = {
            PAGES / f"{name}.md": page(name)
            for name, facts in PROVIDERS.items()
            if facts.is_generated
        }
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        readme = f"{before}{BEGIN}\n\n{providers_table('docs/gateways/')}\n\n{END}{after}"
        return {**generated, PAGES / "index.md": overview(), README: readme}


def page(name: str) -> str:
    """The page of one provider."""
    facts = PROVIDERS[name]
    kinds = score_kinds(name)
    arguments = dataclasses.fields(remote_class(name))
    parts = [
        f"# {facts.title}",
        _wrapped(f"{facts.summary} [API]({facts.link})."),
        _wrapped(_access(name)),
        f"```python\n{_program(name, kinds[0])}\n```",
        f"```sh\n{curl(name)}\n```",
        "## Arguments",
        _table(
            ("argument", "where it goes", "meaning"),
            [
                (f"`{one.name}`", place_of(name, one), meaning_of(remote_class(name), one.name))
                for one in arguments
            ],
        ),
        facts.more.strip(),
        "## Documents and limits",
        "\n".join(_wrapped(f"- {limit}", "  ") for limit in _limits(name)),
        "## Instruction and scores",
        _wrapped(f"{instruction_of(name)} {facts.instruction}"),
        _wrapped(_scores(kinds)),
        "## Errors and usage",
        _wrapped(" ".join(["[Errors of every gateway](../errors.md).", *facts.errors])),
        _wrapped(f"Usage: {facts.usage}." if facts.usage else "The response has no usage."),
        "## How it was tested",
        _wrapped(_sentence(f"{MARKS[facts.mark]}: {facts.source}.")),
        WRITTEN,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _access(name: str) -> str:
    kind = remote_class(name)
    if not kind.api_key_env:
        key = "The server needs no key; one that wants a key gets `api_key=`."
    elif not kind.needs_key:
        key = f"The key, if the server wants one, is read from `{kind.api_key_env}`."
    else:
        others = "".join(
            f", else the file that `{other}` names"
            if other.endswith("_PATH")
            else f", else `{other}`"
            for other in kind.other_key_envs
        )
        key = f"The key is read from `{kind.api_key_env}`{others}."
    variable = f" or `{kind.base_url_env}`" if kind.base_url_env else ""
    address = f"The address is `{kind.default_base_url}`; another comes from `base_url=`{variable}."
    if not kind.has_default:
        address = (
            f"There is no default address: `base_url=`{variable} names your resource, which is "
            f"asked at `{kind.default_base_url}`."
        )
    return f"{key} {address}"


def _program(name: str, kind_of_scores: str) -> str:
    kind, facts = remote_class(name), PROVIDERS[name]
    arguments = [f'"{name}:{facts.model}"']
    if facts.base_url:
        arguments.append(f'base_url="{facts.base_url}"')
    call = f"client = RerankClient({', '.join(arguments)})"
    if len(call) > _CODE_WIDTH:
        call = f"client = RerankClient(\n    {', '.join(arguments)}\n)"
    comment = f"# the key from {kind.api_key_env}" if kind.api_key_env else ""
    if not comment or not kind.needs_key:
        comment = f"# {kind.default_base_url}"
    return "\n".join(
        [
            "from rerank_integrations import RerankClient",
            "",
            comment,
            call,
            f'response = client.rerank("{_QUERY}", {json.dumps(_DOCUMENTS)}, top_n=1)',
            "print(response[0].document)  # a red bicycle",
            f"print(response.score_kind)  # {kind_of_scores}",
        ]
    )


def curl(name: str) -> str:
    """The request of the example, as it leaves the client, for a command line."""
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
    """Where an argument goes, found by setting it."""
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
    """A value that an argument takes and that is not its default."""
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
    """What the docstring of the class, or of the one that it derives from, says of an argument."""
    for owner in kind.__mro__:
        text = inspect.cleandoc(vars(owner).get("__doc__") or "").partition("Args:\n")[2]
        for found in _ARGUMENT.finditer(text.partition("\n\n")[0] + "\n"):
            said = " ".join(found["text"].split())
            if argument in found["names"].split(", ") and not said.startswith("as in"):
                return said.removesuffix(".").replace("|", "\\|")
    raise LookupError(f"{kind.__name__} does not say what {argument} is")


def _limits(name: str) -> Iterator[str]:
    facts, provider = PROVIDERS[name], example(name)
    yield f"Documents: {facts.documents}."
    yield {
        "server": "Fields are ranked by the server, by the names in `rank_fields`.",
        "some models": "Fields are ranked by the server, for some models.",
        "as text": "Fields are written as one text here ([Fields](../rank-fields.md)).",
    }[rank_fields_of(name)]
    most = provider.most_documents(facts.model)
    if most is not None:
        yield f"More than {most:,} documents go in several requests, and are ranked together."
    yield from facts.limits


def _scores(kinds: Sequence[ScoreKind]) -> str:
    meaning = f"`response.score_kind` is `{kinds[0]}`: {SCORE_KINDS[kinds[0]]}."
    if len(kinds) > 1:
        others = " or ".join(f"`{kind}`" for kind in kinds[1:])
        meaning += f" For other models it is {others}."
    return f"{meaning} [How scores compare](../client.md#how-scores-compare)."


# the tables


def providers_table(folder: str) -> str:
    """README's table: a row for each provider; `folder` is where the pages are."""
    rows = [
        (
            f"[{facts.title}]({folder}{name}.md) `{name}:`",
            _short_key(name),
            short_documents(facts),
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
    """The page that helps to choose a provider."""
    parts = [
        "# Providers",
        _wrapped(
            "A model is named `provider:model`, such as `cohere:rerank-v3.5`. All providers have "
            "the same client, settings, errors and results; what differs is said here and on the "
            "page of each."
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
                facts.documents,
                facts.usage or "none",
                _SHORT_MARKS[facts.mark],
            )
            for name, facts in PROVIDERS.items()
            if facts.group == group
        ]
        head = ("provider", "prefix", "models", "documents", "usage", "tested")
        parts += [f"## {heading}", _table(head, rows)]
    parts += [
        "## How they were tested",
        _table(
            ("tested", "means"),
            [(_SHORT_MARKS[mark], meaning) for mark, meaning in MARKS.items()],
        ),
        "The page of each provider says what it was compared with.",
        "## Kinds of scores",
        _wrapped(
            "`response.score_kind` says what the numbers are; a provider with several kinds of "
            "models is in several rows."
        ),
        _table(
            ("`score_kind`", "scores", "providers"),
            [(f"`{kind}`", text, _with_scores(kind)) for kind, text in SCORE_KINDS.items()],
        ),
        "## Instructions",
        _wrapped(
            "`instruction=` says what the model is to look for. Where a model cannot take one, it "
            "is an error; a fallback that cannot is called without it, with a warning."
        ),
        _table(("provider", "how it is sent"), _instruction_rows()),
        _wrapped(
            f"None: {_joined(name for name in PROVIDERS if short_instruction(name) == 'no')}."
        ),
        WRITTEN,
    ]
    return "\n\n".join(parts) + "\n"


def _choices() -> list[tuple[str, str]]:
    rows = [
        (sentence, _joined(name for name, facts in PROVIDERS.items() if facts.group == group))
        for group, (_, sentence) in _GROUPS.items()
    ]
    seeing = _joined(name for name, facts in PROVIDERS.items() if "image" in facts.documents)
    return [
        *rows,
        ("page images to rank", f"{seeing}, and [Local](local.md) with a scorer of yours"),
        ("another server, or a proxy with its own key header", "[`Compatible`](compatible.md)"),
        (
            "an API that `Compatible` cannot describe",
            "[a provider of your own](../own-provider.md)",
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


def short_documents(facts: Facts) -> str:
    """Whether a document may have an image."""
    return "text, images" if "image" in facts.documents else "text"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cells)} |".replace("| --- ", "|---") for cells in lines
    ).replace("|--- |", "|---|")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _wrapped(text: str, indent: str = "") -> str:
    """The text in lines that end in no link and no code."""
    joined = _UNBROKEN.sub(lambda found: found[0].replace(" ", "\0"), text.strip())
    filled = textwrap.fill(
        joined,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\0", " ")
