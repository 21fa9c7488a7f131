"""The layout of the modules, and which way the imports run."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest

import rerank_integrations
from calls import client_of
from cases import cases
from loopback import Reply, Server, ranks_all
from rerank_integrations import DocumentInput, Retry

PACKAGE = "rerank_integrations"
ROOT = Path(rerank_integrations.__file__).parent
PACKAGES = {"cli", "evaluation", "providers", "testing"}
OF_THE_PACKAGE = {"__version__", "lazy_attributes"}  # names, not modules
ADAPTERS = {"haystack", "langchain", "llama_index"}
# the three of the design, and what adapters share
FOR_ADAPTERS = {"client", "models", "errors", "_adapter"}
TESTS = Path(__file__).parent
AT_ONCE = Retry(initial_delay=0, max_delay=0)
# in a statement, and as text: what is patched is named by text
PRIVATE = re.compile(rf"\b{PACKAGE}\._[a-z]|\bfrom {PACKAGE} import (.*\W)?_[a-z]")


def modules() -> dict[str, Path]:
    """Every source file by its dotted name inside the package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in ROOT.rglob("*.py")
        if path != ROOT / "__init__.py"
    }


def imports(path: Path, *, at_run_time: bool = False) -> set[str]:
    """The absolute names that a file imports; at run time without those for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(ast.walk(node))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            found.add(node.module or "")
            if node.module == PACKAGE:
                found.update(f"{PACKAGE}.{alias.name}" for alias in node.names)
    return found


def rooms(path: Path) -> set[str]:
    """The rooms of the package that a file reads from when it is imported."""
    inside = {
        name.split(".")[1]
        for name in imports(path, at_run_time=True)
        if name.startswith(f"{PACKAGE}.")
    }
    return inside - OF_THE_PACKAGE


def graph() -> dict[str, set[str]]:
    """For each module the modules that it imports, at any place and for type checkers too.

    Each of `PACKAGES` is one module.
    """
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        room = name.split(".", maxsplit=1)[0]
        inside = {one.split(".")[1] for one in imports(path) if one.startswith(f"{PACKAGE}.")}
        found.setdefault(room, set()).update(inside - {room, *OF_THE_PACKAGE})
    return found


def level(name: str, found: dict[str, set[str]], above: tuple[str, ...] = ()) -> int:
    """How many imports lead down from a module at most; a cycle is an error."""
    assert name not in above, f"a cycle: {' -> '.join([*above, name])}"
    return max((1 + level(one, found, (*above, name)) for one in found[name]), default=0)


def test_imports_have_no_cycle_and_few_levels() -> None:
    """No import leads back, `client` is at most 8 levels up, and the whole graph at most 11.

    What reads and writes SQLite files for all others stands at the bottom.
    """
    found = graph()
    levels = {name: level(name, found) for name in found}

    assert levels["client"] <= 8, levels
    assert max(levels.values()) <= 11, levels
    assert found["_cache"] <= {"errors", "providers"}


def test_each_module_has_a_line_in_the_layout() -> None:
    """Outside of the packages, CONTRIBUTING says in one line what each module is for, and no other.

    So a new module needs a subject that can be said next to those of the others. There are at most
    30 lines, which one screen shows; what would need more is a package.
    """
    own = {name for name in modules() if name.split(".")[0] not in {*PACKAGES, "__main__"}}
    text = (TESTS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    layout = text.split("## Code layout")[1].split("```")[1]
    named = re.findall(r"\b(\w+)\.py\b", layout)

    assert own <= set(named)
    assert len(own) <= 30
    assert all((ROOT / f"{name}.py").exists() or name == "base" for name in named)
    assert sorted(named) == sorted(set(named))


def test_few_tests_name_private_modules() -> None:
    """At most 14 test files name private modules: the support modules, and pure functions' tests.

    All others go through public names, so that a module can be renamed.
    """
    naming = {
        path.name
        for path in TESTS.rglob("*.py")
        if PRIVATE.search(path.read_text(encoding="utf-8"))
    }

    assert len(naming) <= 14, sorted(naming)


def test_fixtures_are_not_imported() -> None:
    """A fixture comes from `conftest.py` or a module that it registers, never by an import."""
    importing = {
        path.name
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and any(alias.name.endswith("_fixture") for alias in node.names)
    }

    assert not importing


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_call_passes_few_modules(server: Server, way: str) -> None:
    """At most 6 of our modules are on the stack at any moment of a call."""
    deepest: set[str] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal deepest
        on_stack: set[str] = set()
        one: FrameType | None = frame if event == "call" else None
        while one is not None:
            name = one.f_globals.get("__name__", "")
            if name.startswith(f"{PACKAGE}."):
                on_stack.add(name.split(".")[1])
            one = one.f_back
        deepest = max(deepest, on_stack, key=len)

    server.plays(ranks_all, Reply({"error": "too busy"}, 503), Reply({"data": [{"id": "m"}]}))
    with client_of(
        server, "portkey", extra_headers={"X-A": "1"}, retry=AT_ONCE, cache="memory"
    ) as client:
        documents: list[DocumentInput] = [{"title": "a", "text": "b"}, "c"]
        sys.setprofile(profile)
        try:
            if way == "sync":
                client.rerank("q", documents, rank_fields=["title", "text"])
                client.models()
            else:
                asyncio.run(client.arerank("q", documents, rank_fields=["title", "text"]))
                asyncio.run(client.amodels())
        finally:
            sys.setprofile(None)
    assert 0 < len(deepest) <= 6, deepest


@cases("name", sorted(ADAPTERS))
def test_an_adapter_knows_the_client_the_models_and_the_errors_only(name: str) -> None:
    """An adapter needs the client, models, errors and what adapters share, and no other room."""
    assert rooms(modules()[name]) <= FOR_ADAPTERS


def test_only_the_sender_names_the_http_library() -> None:
    """Only the sender and its pools import what speaks HTTP, and no file opens a connection.

    Httpx does. What it is asked to do is the subject of other tests.
    """
    libraries = {
        *("aiohttp", "h11", "h2", "http", "httpcore", "httptools", "httpx", "httpx2", "requests"),
        *("socket", "socketserver", "urllib3", "websockets"),
    }
    opening = {
        *("create_connection", "create_datagram_endpoint", "create_unix_connection"),
        *("open_connection", "open_unix_connection", "sock_connect", "urlopen"),
    }
    users = {
        name
        for name, path in modules().items()
        if any(found.split(".")[0] in libraries for found in imports(path))
    }
    opened = {
        f"{name}: {found}"
        for name, path in modules().items()
        for found in re.findall(r"\w+", path.read_text(encoding="utf-8"))
        if found in opening
    }

    assert not opened
    assert users == {"_sender", "_pool"}


@cases("name", sorted(modules()))
def test_a_framework_is_named_by_its_adapter_only(name: str) -> None:
    """No file but its own adapter, and the tests for authors of others, imports a framework."""
    frameworks = {
        "haystack": "haystack",
        "langchain": "langchain_core",
        "llama_index": "llama_index",
    }
    named = {found.split(".")[0] for found in imports(modules()[name])}
    theirs = named & set(frameworks.values())

    if name.startswith("testing.") and name != "testing.__init__":
        assert len(theirs) <= 1
    else:
        assert theirs <= {frameworks.get(name)}


def test_no_code_asks_for_a_providers_name() -> None:
    """Shared code, also that of providers, compares nothing with a provider's name.

    Nor with a constant that holds one. It asks the provider object, such as for
    `fallback_codes`. The test sees names, and not a fact that names no provider.
    """
    names = {path.stem for path in (ROOT / "providers").glob("[a-z]*.py")} - {"base"}
    for name, path in modules().items():
        if name.removeprefix("providers.") in {*names, "__init__"}:  # that one finds them by name
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare | ast.MatchValue):
                used = [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
                read = [node, *(constants[one] for one in used if one in constants)]
                literals = {
                    n.value for one in read for n in ast.walk(one) if isinstance(n, ast.Constant)
                }
                assert not literals & names, f"{name}: {ast.unparse(node)}"


@cases(
    "statement",
    [
        "import rerank_integrations",
        "import rerank_integrations.testing",
        "from rerank_integrations import RerankClient; RerankClient('local:bm25')",
        "from rerank_integrations import RerankClient; RerankClient('local:hybrid')",
        "from rerank_integrations import RerankClient; RerankClient('local:cross-encoder/a/b')",
    ],
)
def test_an_import_loads_nothing_that_was_not_asked_for(statement: str) -> None:
    """Importing the package and making a client load no framework, engine or HTTP library."""
    frameworks = ["haystack", "langchain_core", "llama_index"]
    engines = ["bm25s", "numpy", "Stemmer", "fastembed", "onnxruntime", "sentence_transformers"]
    heavy = [*frameworks, *engines, "httpx"]
    code = f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert shown.strip() == "[]"


def test_every_public_name_can_be_had() -> None:
    """Every name in `__all__` is an attribute of the package, and `dir()` lists it."""
    for name in rerank_integrations.__all__:
        assert getattr(rerank_integrations, name) is not None
    assert set(rerank_integrations.__all__) <= set(dir(rerank_integrations))


def test_type_checkers_see_every_public_name() -> None:
    """The stub for type checkers names what is loaded at run time, no more and no less."""
    source = (ROOT / "__init__.pyi").read_text(encoding="utf-8")
    named = {
        alias.asname
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert named - {None} == set(rerank_integrations.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy loading of names keeps the usual error for a name that is not there."""
    with pytest.raises(AttributeError, match="no attribute 'Reranker'"):
        _ = rerank_integrations.Reranker  # type: ignore[attr-defined]


@cases("name", sorted(modules()))
def test_each_file_opens_with_one_sentence(name: str) -> None:
    """Each file's docstring opens with one sentence that says its subject."""
    docstring = ast.get_docstring(ast.parse(modules()[name].read_text(encoding="utf-8"))) or ""

    assert docstring.splitlines()[0].endswith(".")
