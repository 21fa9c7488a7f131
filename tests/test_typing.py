"""What type checkers and editors know about the public names."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

import jedi  # type: ignore[import-untyped]

import rerank_integrations
from cases import cases
from rerank_integrations import (
    NOT_GIVEN,
    AsyncManyResults,
    ManyResults,
    OpenRouter,
    RerankClient,
    evaluation,
    testing,
)
from rerank_integrations.evaluation import evaluate, sample
from rerank_integrations.haystack import RerankRanker
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor
from support import settings

Line: TypeAlias = tuple[str, int]
"""A line of a program."""

HERE = Path(__file__).parent
ROOT = HERE.parent
PROGRAMS = [str(HERE / "typing" / name) for name in ("right.py", "wrong.py")]
SETTINGS = settings()
CHECKED: dict[str, Any] = {
    "init": RerankClient.__init__,
    "rerank": RerankClient.rerank,
    "arerank": RerankClient.arerank,
    "rerank_many": RerankClient.rerank_many,
    "arerank_many": RerankClient.arerank_many,
    "with_options": RerankClient.with_options,
    "compressor": RerankCompressor.__init__,
    "compressor.with_options": RerankCompressor.with_options,
    "compressor.rerank": RerankCompressor.rerank,
    "compressor.arerank": RerankCompressor.arerank,
    "postprocessor": RerankPostprocessor.__init__,
    "postprocessor.with_options": RerankPostprocessor.with_options,
    "ranker": RerankRanker.__init__,
    "evaluate": evaluate,
    "sample": sample,
}
OWN_CONCURRENCY = {"rerank_many": 64, "arerank_many": 64, "evaluate": 8, "sample": None}
MADE_BY_THE_CLIENT = (*ManyResults.__mro__, *AsyncManyResults.__mro__)


def mypy() -> set[Line]:
    """The lines that mypy --strict flags."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *PROGRAMS]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False).stdout
    return {(name, int(line)) for name, line in re.findall(r"(\w+\.py):(\d+): error", shown)}


def pyright(tmp_path: Path) -> set[Line]:
    """The lines that Pyright flags in strict mode."""
    config = {
        "include": PROGRAMS,
        "typeCheckingMode": "strict",
        "reportMissingTypeStubs": False,
        "extraPaths": [str(ROOT / "src")],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project"]
    command += [str(tmp_path), "--pythonpath", sys.executable]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    errors = [one for one in json.loads(shown)["generalDiagnostics"] if one["severity"] == "error"]
    return {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in errors}


def marked() -> set[Line]:
    """The lines that are wrong, all of them in the one program."""
    lines = Path(PROGRAMS[1]).read_text().splitlines()
    return {("wrong.py", place) for place, line in enumerate(lines, 1) if line.endswith("# wrong")}


def test_mypy_flags_each_misuse_and_nothing_else() -> None:
    """Mypy --strict accepts the right program and flags each wrong line of the other."""
    assert marked() ^ mypy() == set()
    assert len(marked()) >= 25


def test_pyright_flags_each_misuse_and_nothing_else(tmp_path: Path) -> None:
    """Pyright in strict mode accepts the right program and flags each wrong line of the other."""
    assert marked() ^ pyright(tmp_path) == set()


def named_in(name: str) -> list[Any]:
    """The settings that a function takes; of many calls it has a `max_concurrency` of its own."""
    has_own = name in OWN_CONCURRENCY
    return [one for one in SETTINGS if not (has_own and one.name == "max_concurrency")]


@cases("name", CHECKED)
def test_each_signature_names_each_setting(name: str) -> None:
    """Every function that takes the settings names all of them, keyword-only, in one order."""
    parameters = inspect.signature(CHECKED[name]).parameters
    names = [option.name for option in named_in(name)]
    named = [one for one in parameters.values() if one.name in names]
    assert [one.name for one in named] == names
    assert {one.kind for one in named} == {inspect.Parameter.KEYWORD_ONLY}
    assert not [one for one in parameters.values() if one.kind is inspect.Parameter.VAR_KEYWORD]


def test_the_defaults_of_the_client_are_those_of_the_table() -> None:
    """The signature of the client shows the defaults in force; elsewhere nothing is given."""
    shown = inspect.signature(RerankClient.__init__).parameters
    for option in SETTINGS:
        default = None if option.name == "extra_headers" else option.default
        assert shown[option.name].default == default
    for name in CHECKED.keys() - {"init"}:
        parameters = inspect.signature(CHECKED[name]).parameters
        defaults = {one.name: parameters[one.name].default for one in named_in(name)}
        assert set(defaults.values()) == {NOT_GIVEN}
        if name in OWN_CONCURRENCY:
            shown_default = getattr(parameters.get("max_concurrency"), "default", None)
            assert shown_default == OWN_CONCURRENCY[name]


def written(kind: Any) -> Iterator[tuple[ModuleType, str, ast.expr]]:
    """The annotations of a function, or of what a class defines: module, place, expression."""
    module = sys.modules[kind.__module__]
    found = [node for node in tree_of(module).body if getattr(node, "name", "") == kind.__name__]
    members = (
        found
        if inspect.isfunction(kind)
        else [one for node in found for one in getattr(node, "body", [])]
    )
    for node in members:
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            yield module, f"{kind.__name__}.{ast.unparse(node.target)}", node.annotation
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name, arguments = node.name, node.args
        is_called = name in ("__init__", "__call__", "__getitem__", "__iter__")
        if name.startswith("_") and (not is_called or kind in MADE_BY_THE_CLIENT):
            continue
        every = [*arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        types = [one.annotation for one in every if one is not None]
        for annotation in filter(None, [*types, node.returns]):
            yield module, f"{kind.__name__}.{name}", annotation


@functools.cache
def tree_of(module: ModuleType) -> ast.Module:
    """The source of a module."""
    return ast.parse(inspect.getsource(module))


@functools.cache
def names_of_others(module: ModuleType) -> set[str]:
    """What a module imports from other packages."""
    return {
        alias.asname or alias.name.partition(".")[0]
        for statement in tree_of(module).body
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.If | ast.Try)
        for node in ast.walk(statement)
        if isinstance(node, ast.Import)
        or (
            isinstance(node, ast.ImportFrom)
            and not str(node.module).startswith("rerank_integrations")
        )
        for alias in node.names
    }


def own_names(module: ModuleType, expression: ast.expr) -> set[str]:
    """The names of this package in an annotation, without type variables."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated":
            assert isinstance(node.slice, ast.Tuple)
            del node.slice.elts[1:]  # how pydantic reads it
    return {
        node.id
        for node in ast.walk(expression)
        if isinstance(node, ast.Name)
        and node.id not in names_of_others(module)
        and not hasattr(builtins, node.id)
        and not isinstance(getattr(module, node.id, None), TypeVar)
    }


def _at(place: str) -> Any:
    """What a page of the reference shows, such as `langchain.RerankCompressor`."""
    module, _, name = f"rerank_integrations.{place}".rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_each_name_of_a_signature_is_public() -> None:
    """What annotates a public argument, result or attribute can be imported, and is documented.

    From the package, or from the public module of the object. This holds for aliases too: for the
    types that they stand for.
    """
    reference = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: rerank_integrations\.(\S+)$", reference, re.MULTILINE))
    packages = [rerank_integrations, evaluation, testing]
    public = {name: getattr(one, name) for one in packages for name in one.__all__}
    every = [*public.values(), *(_at(place) for place in shown)]
    kinds = {
        kind
        for one in every
        if inspect.isclass(one) or inspect.isfunction(one)
        for kind in (one.__mro__ if inspect.isclass(one) else [inspect.unwrap(one)])
        if kind.__module__.startswith("rerank_integrations")
    }
    found = [one for kind in kinds for one in written(kind)]
    aliases = [
        (module, ast.unparse(node.target), node.value)
        for module in {module for module, _, _ in found}
        for node in tree_of(module).body
        if isinstance(node, ast.AnnAssign) and node.value is not None
        if ast.unparse(node.annotation) == "TypeAlias" and ast.unparse(node.target) in public
    ]
    hidden = {
        (name, where)
        for module, where, expression in found + aliases
        for name in own_names(module, expression)
        if name not in public or getattr(module, name, public[name]) is not public[name]
        if f"{module.__name__.removeprefix('rerank_integrations.')}.{name}" not in shown
    }

    assert len(found) > 1000
    assert len(aliases) > 10
    assert not sorted(hidden)


@cases("kind", [OpenRouter, RerankClient, RerankCompressor, RerankPostprocessor])
def test_help_shows_each_argument(kind: Any) -> None:
    """`inspect.signature`, which `help()` and IPython show, names the arguments and their types."""
    parameters = inspect.signature(kind).parameters
    assert "api_key" in parameters
    assert all(one.annotation is not inspect.Parameter.empty for one in parameters.values())


@cases(
    ("code", "expected"),
    [
        ("RerankClient(", {"model", "api_key", "top_n", "http_client", "on_partial"}),
        ("RerankClient('m').rerank(", {"query", "documents", "top_n", "deadline"}),
        ("RerankClient('m').with_options(", {"provider", "max_retries"}),
        ("OpenRouter(", {"api_key", "title", "session_id"}),
        ("RerankCompressor(", {"model", "api_key", "score_key", "max_retries"}),
        ("RerankCompressor('m').with_options(", {"top_n", "api_key"}),
    ],
)
def test_jedi_lists_the_arguments(code: str, expected: set[str]) -> None:
    """Jedi, and so IPython, lists the arguments behind an open bracket."""
    script = jedi.Script(
        f"from rerank_integrations import OpenRouter, RerankClient\n"
        f"from rerank_integrations.langchain import RerankCompressor\n{code}"
    )
    signatures = script.get_signatures(3, len(code))
    assert signatures
    for signature in signatures:  # several where the result's type depends on the documents
        assert expected <= {parameter.name for parameter in signature.params}


@cases(
    ("code", "expected"),
    [
        ("response.", {"results", "usage", "request_id", "warnings"}),
        ("response[0].", {"index", "relevance_score", "document"}),
        ("response.usage.", {"cost", "search_units"}),
    ],
)
def test_jedi_completes_results(code: str, expected: set[str]) -> None:
    """Jedi completes the attributes of a response, a result and its usage."""
    script = jedi.Script(
        f"from rerank_integrations import RerankClient\n"
        f"response = RerankClient('m').rerank('q', [])\n{code}"
    )
    assert expected <= {completion.name for completion in script.complete(3, len(code))}
