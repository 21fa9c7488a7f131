"""What type checkers and editors know about the public names."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import jedi  # type: ignore[import-untyped]

from cases import cases
from rerank_integrations import NOT_GIVEN, OpenRouter, RerankClient
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
}


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


@cases("name", CHECKED)
def test_each_signature_names_each_setting(name: str) -> None:
    """Every function that takes the settings names all of them, keyword-only, in one order."""
    parameters = inspect.signature(CHECKED[name]).parameters
    names = [option.name for option in SETTINGS]
    if name.endswith("_many"):  # there it is how many calls, and has a default
        names.remove("max_concurrency")
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
        own = {"max_concurrency": 64} if name.endswith("_many") else {}
        shown_defaults = {one.name: parameters[one.name].default for one in SETTINGS}
        assert shown_defaults == dict.fromkeys(shown_defaults, NOT_GIVEN) | own


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
