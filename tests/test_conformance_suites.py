"""What holds for the conformance tests of all frameworks: their rules, their names, their page."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import test_conformance
import test_conformance_postprocessors
import wrong_compressors
import wrong_postprocessors
from cases import cases
from conformance_support import broken, rules_of
from rerank_integrations import testing
from rerank_integrations.testing import compressors, postprocessors

DOCS = Path(__file__).parents[1] / "docs" / "conformance.md"
SUITES: dict[str, Any] = {
    "compressors": testing.CompressorConformance,
    "postprocessors": testing.PostprocessorConformance,
}
BUGS: dict[str, dict[Any, tuple[str, ...]]] = {
    "compressors": {**test_conformance.BUGS},
    "postprocessors": {**test_conformance_postprocessors.BUGS},
}
WRONG = {"compressors": wrong_compressors, "postprocessors": wrong_postprocessors}
EXAMPLES = [
    *(inspect.getdoc(module) or "" for module in (compressors, postprocessors)),
    *re.findall(r"```python\n.*?```", DOCS.read_text(encoding="utf-8"), re.DOTALL),
]

every_suite = cases("name", SUITES)


@every_suite
def test_every_rule_catches_a_bug(name: str) -> None:
    """No rule is there that could not fail."""
    caught = {rule for rules in BUGS[name].values() for rule in rules}

    assert {f"test_{rule}" for rule in caught} == rules_of(SUITES[name])


@every_suite
def test_every_wrong_one_is_tried(name: str) -> None:
    """Each wrong class of the file is in the table."""
    correct = WRONG[name].Correct
    kinds = {kind for kind in vars(WRONG[name]).values() if inspect.isclass(kind)}

    assert {kind for kind in kinds if issubclass(kind, correct)} == {correct, *BUGS[name]}


@cases(
    ("name", "rule"), [(name, rule) for name in SUITES for rule in sorted(rules_of(SUITES[name]))]
)
def test_a_rule_is_one_sentence(name: str, rule: str) -> None:
    """The docstring of each rule is the rule, in one sentence."""
    docstring = getattr(SUITES[name], rule).__doc__

    assert re.fullmatch(r"[A-Z].*\.", docstring)


def test_a_rule_for_both_is_written_once() -> None:
    """A rule that both suites have is one and the same method."""
    one, other = SUITES.values()
    both = rules_of(one) & rules_of(other)

    assert len(both) > 20
    assert [rule for rule in both if getattr(one, rule) is not getattr(other, rule)] == []


@every_suite
def test_make_must_be_written(name: str) -> None:
    """A suite without make says what is missing."""
    with pytest.raises(NotImplementedError, match="make"):
        SUITES[name]().make()


def shown(code: str) -> subprocess.CompletedProcess[str]:
    """What a program prints, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True, check=False
    )


@cases(
    ("suite", "framework", "extra"),
    [
        ("CompressorConformance", "langchain_core", "langchain"),
        ("PostprocessorConformance", "llama_index", "llama-index"),
    ],
)
def test_without_the_framework_the_extra_is_named(suite: str, framework: str, extra: str) -> None:
    """Without the framework the import fails with the command that installs it."""
    missing = shown(
        f"sys.modules[{framework!r}] = None; import rerank_integrations.testing;"
        f"from rerank_integrations.testing import {suite}"
    )

    assert f"pip install 'rerank-integrations[{extra}]'" in missing.stderr.splitlines()[-1]


@cases(
    ("suite", "other"),
    [
        ("CompressorConformance", "llama_index"),
        ("PostprocessorConformance", "langchain_core"),
    ],
)
def test_a_suite_loads_its_own_framework_alone(suite: str, other: str) -> None:
    """Each suite works where the other framework is not installed."""
    printed = shown(
        f"from rerank_integrations.testing import {suite}; print({other!r} in sys.modules)"
    )

    assert printed.stdout.strip() == "False", printed.stderr


def test_the_names_of_the_room() -> None:
    """Public names are listed and loaded when used; others are an AttributeError."""
    assert dir(testing) == ["CompressorConformance", "PostprocessorConformance"] == testing.__all__
    assert testing.CompressorConformance is compressors.CompressorConformance
    assert testing.PostprocessorConformance is postprocessors.PostprocessorConformance
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = testing.Nothing


@cases("text", EXAMPLES, ids=["compressors", "postprocessors", "docs-1", "docs-2"])
def test_the_example_passes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples for authors pass as they stand, in a module of their own."""
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    module = ModuleType("test_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where pickle looks
    exec(compile(block, "test_example.py", "exec"), vars(module))  # noqa: S102

    [suite] = [found for name, found in vars(module).items() if name.startswith("Test")]
    assert issubclass(suite, tuple(SUITES.values()))
    assert broken(suite()) == {}


def test_the_page_for_authors_is_short() -> None:
    """Nobody reads more than a page for each framework."""
    assert len(DOCS.read_text(encoding="utf-8").splitlines()) <= 80
