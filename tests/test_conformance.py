"""The conformance test for compressors: ours pass it, and each of its rules catches a bug."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import SkipTest

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import Field, SecretStr

import wrong_compressors as wrong
from rerank_integrations import testing
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.testing import CompressorConformance, compressors
from server import Server, server_fixture  # noqa: F401
from wrong_compressors import SECRET, Correct

RULES = {name for name in dir(CompressorConformance) if name.startswith("test_")}
DOCS = Path(__file__).parents[1] / "docs" / "conformance.md"

# what each bug breaks, and nothing else; its own rule stands first
BUGS: dict[type[Correct], tuple[str, ...]] = {
    wrong.MutatesInput: (
        "inputs_are_left_alone",
        "results_are_copies",
        "a_later_call_leaves_earlier_results_alone",
        "a_document_given_twice_comes_back_twice",
    ),
    wrong.SharesMetadata: (
        "results_are_copies",
        "inputs_are_left_alone",
        "a_later_call_leaves_earlier_results_alone",
        "a_document_given_twice_comes_back_twice",
    ),
    wrong.WritesIntoNested: ("inputs_are_left_alone",),
    wrong.SortsInput: ("inputs_are_left_alone",),
    wrong.LosesId: ("ids_are_kept",),
    wrong.IndexAsId: ("ids_are_kept", "every_result_is_an_input"),
    wrong.LosesSubclass: ("subclasses_are_kept",),
    wrong.LosesMetadata: (
        "metadata_is_kept",
        "metadata_that_cannot_be_copied_is_kept",
        "models_in_metadata_stay_models",
        "equal_documents_come_back_each_once",
    ),
    wrong.DeepCopiesMetadata: ("metadata_that_cannot_be_copied_is_kept",),
    wrong.DumpsModels: ("models_in_metadata_stay_models",),
    wrong.TrustsTheEcho: ("every_result_is_an_input",),
    wrong.RepeatsAnIndex: (
        "every_result_is_an_input",
        "equal_documents_come_back_each_once",
        "top_n_may_exceed_the_list",
    ),
    wrong.MapsById: (
        "equal_documents_come_back_each_once",
        "a_document_given_twice_comes_back_twice",
    ),
    wrong.MapsByText: ("equal_documents_come_back_each_once",),
    wrong.DropsRepeated: ("a_document_given_twice_comes_back_twice",),
    wrong.SharesTwins: ("a_document_given_twice_comes_back_twice",),
    wrong.AsyncWithoutScore: ("sync_and_async_agree",),
    wrong.NoSequence: ("the_answer_is_a_sequence",),
    wrong.NumpyScore: ("scores_are_plain_floats",),
    wrong.IntScore: ("scores_are_plain_floats",),
    wrong.TextScore: ("scores_are_plain_floats",),
    wrong.NanScore: ("scores_are_plain_floats", "sync_and_async_agree"),
    wrong.AddsAnObject: ("what_is_added_can_be_written_as_json",),
    wrong.KeepsInputOrder: ("best_comes_first", "the_order_of_the_input_does_not_decide"),
    wrong.SwapsScores: ("the_order_of_the_input_does_not_decide",),
    wrong.FiltersThenIndexes: ("a_blank_document_shifts_nothing",),
    wrong.RefusesBlank: ("a_blank_document_shifts_nothing",),
    wrong.CutsThenRanks: ("top_n_keeps_the_best",),
    wrong.IgnoresTopN: ("top_n_keeps_the_best", "a_copy_with_another_top_n_works"),
    wrong.LargeTopN: ("top_n_may_exceed_the_list",),
    wrong.EmptyList: ("an_empty_list_gives_an_empty_list",),
    wrong.ListsOnly: ("a_tuple_of_documents_works",),
    wrong.ReusesResults: ("a_later_call_leaves_earlier_results_alone",),
    wrong.StateOnLoop: ("calls_on_one_loop_are_kept_apart",),
    wrong.StateOnThreads: ("calls_on_threads_are_kept_apart",),
    wrong.LoopBound: (
        "event_loops_one_after_another_work",
        # each of these uses one compressor on several loops
        "a_copy_with_another_top_n_works",
        "a_later_call_leaves_earlier_results_alone",
        "calls_on_threads_are_kept_apart",
        "deep_copies_work",
        "model_copies_work",
        "pickles_work",
    ),
    wrong.InheritedAsync: ("async_is_native",),
    wrong.AsyncInThread: ("async_is_native",),
    wrong.AsyncBlocks: ("async_is_native",),
    wrong.OtherCallbacks: ("callbacks_is_a_parameter", "every_kind_of_callbacks_is_accepted"),
    wrong.HiddenCallbacks: ("callbacks_is_a_parameter",),
    wrong.NeedsCallbacks: ("callbacks_is_a_parameter",),
    wrong.NoAsyncManager: ("every_kind_of_callbacks_is_accepted",),
    wrong.IgnoresUnknown: ("unknown_arguments_are_refused",),
    wrong.HoldsLock: ("pickles_work", "deep_copies_work"),
    wrong.ClientAfterUse: ("deep_copies_work", "pickles_work"),
    wrong.PickleLosesClient: ("pickles_work",),
    wrong.CopyLosesClient: ("model_copies_work", "pickles_work", "a_copy_with_another_top_n_works"),
    wrong.FreezesTopN: ("a_copy_with_another_top_n_works",),
    wrong.PlainKey: ("secrets_are_hidden",),
    wrong.KeyInError: ("secrets_are_hidden",),
}


class TestLocal(CompressorConformance):
    """RerankCompressor with the embedded engine, which computes in a thread."""

    native_async = False

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """One that ranks by words."""
        return RerankCompressor(model="local:bm25", **arguments)


class TestOverHttp(CompressorConformance):
    """RerankCompressor with a server on loopback, over real sockets."""

    secrets = (SECRET,)

    @pytest.fixture(autouse=True)
    def _serve(self, server: Server) -> None:
        self._url = server.url

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """One with a key."""
        return RerankCompressor(
            model="openrouter:m", api_key=SecretStr(SECRET), base_url=self._url, **arguments
        )


class TestCorrect(CompressorConformance):
    """The correct one, of which all wrong ones are made."""

    secrets = (SECRET,)

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """One without a bug."""
        return Correct(**arguments)


class WithoutScore(Correct):
    """Returns the caller's documents in order, and no score."""

    def result(self, document: Document, score: float) -> Document:
        """The very document."""
        return document


class TestWithoutScore(CompressorConformance):
    """A compressor may attach no score."""

    score_key = None

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """One without scores."""
        return WithoutScore(**arguments)


class TopK(Correct):
    """Calls its limit otherwise, and leaves blank documents out."""

    top_k: int | None = Field(default=None, ge=1)

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        """At most top_k."""
        with_text = [document for document in documents if document.page_content]
        return super().answer(with_text, query)[: self.top_k]


class TestTopK(CompressorConformance):
    """A compressor may call its limit otherwise, and may leave blank documents out."""

    top_n_field = "top_k"

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """One with top_k."""
        return TopK(**arguments)


class TestWithoutLimit(CompressorConformance):
    """A compressor may have no limit."""

    top_n_field = None

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """One without top_n."""
        return wrong.IgnoresTopN(**arguments)


class TestInThread(CompressorConformance):
    """A compressor that computes in this process may do it in a thread."""

    native_async = False

    def make(self, **arguments: Any) -> BaseDocumentCompressor:
        """One that has no async method of its own."""
        return wrong.InheritedAsync(**arguments)


def suite_of(build: Callable[..., BaseDocumentCompressor], **settings: Any) -> Any:
    """The conformance test for what `build` makes."""

    class Suite(CompressorConformance):
        def make(self, **arguments: Any) -> BaseDocumentCompressor:
            return build(**arguments)

    for name, value in settings.items():
        setattr(Suite, name, value)
    return Suite()


def broken(suite: Any) -> dict[str, Exception]:
    """The errors by the rules that raised them."""
    found: dict[str, Exception] = {}
    for rule in sorted(RULES):
        try:
            getattr(suite, rule)()
        except SkipTest:
            continue
        except Exception as error:  # noqa: BLE001  # a wrong compressor raises what it likes
            found[rule.removeprefix("test_")] = error
    return found


@pytest.mark.parametrize("kind", BUGS, ids=lambda kind: kind.__name__)
def test_a_bug_breaks_its_own_rules_and_no_other(kind: type[Correct]) -> None:
    """Each wrong compressor fails the rules about its bug, and passes all others."""
    errors = broken(suite_of(kind, secrets=(SECRET,)))

    assert errors.keys() == set(BUGS[kind])
    first = errors[BUGS[kind][0]]
    assert isinstance(first, AssertionError)
    assert re.search(r": .+", str(first)), "the message says what is wrong, and after it the cure"
    assert SECRET not in str(first)


def test_every_rule_catches_a_bug() -> None:
    """No rule is there that could not fail."""
    caught = {rule for rules in BUGS.values() for rule in rules}

    assert {f"test_{rule}" for rule in caught} == RULES


def test_every_wrong_compressor_is_tried() -> None:
    """Each wrong compressor of the file is in the table."""
    kinds = {kind for kind in vars(wrong).values() if inspect.isclass(kind)}

    assert {kind for kind in kinds if issubclass(kind, Correct)} == {Correct, *BUGS}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_is_one_sentence(rule: str) -> None:
    """The docstring of each rule is the rule, in one sentence."""
    docstring = getattr(CompressorConformance, rule).__doc__

    assert re.fullmatch(r"[A-Z].*\.", docstring)


@pytest.mark.parametrize(
    ("settings", "skipped"),
    [
        ({"native_async": False}, "async_is_native"),
        ({"score_key": None}, "scores_are_plain_floats"),
        ({"top_n_field": None}, "top_n_keeps_the_best"),
        ({"secrets": ()}, "secrets_are_hidden"),
    ],
)
def test_what_does_not_apply_is_skipped_with_the_reason(
    settings: dict[str, Any], skipped: str
) -> None:
    """A rule that a setting turns off says so instead of passing."""
    with pytest.raises(SkipTest, match=next(iter(settings))):
        getattr(suite_of(Correct, **settings), f"test_{skipped}")()


def test_a_name_is_looked_up_in_a_thread_without_blame() -> None:
    """That asyncio itself resolves host names in a thread is no work of the compressor."""

    class Resolving(Correct):
        async def acompress_documents(
            self, documents: Any, query: str, callbacks: Any = None
        ) -> Any:
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
            return await super().acompress_documents(documents, query)

    suite_of(Resolving).test_async_is_native()


def test_make_must_be_written() -> None:
    """A suite without make says what is missing."""
    with pytest.raises(NotImplementedError, match="make"):
        CompressorConformance().make()


def test_without_the_framework_the_extra_is_named() -> None:
    """Without LangChain the import fails with the command that installs it."""
    code = (
        "import sys; sys.modules['langchain_core'] = None; import rerank_integrations.testing;"
        "from rerank_integrations.testing import CompressorConformance"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert "pip install 'rerank-integrations[langchain]'" in shown.stderr.splitlines()[-1]


def test_the_names_of_the_room() -> None:
    """Public names are listed and loaded when used; others are an AttributeError."""
    assert dir(testing) == ["CompressorConformance"] == testing.__all__
    assert testing.CompressorConformance is compressors.CompressorConformance
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = testing.Nothing


@pytest.mark.parametrize(
    "text",
    [inspect.getdoc(compressors), DOCS.read_text(encoding="utf-8")],
    ids=["docstring", "docs"],
)
def test_the_example_passes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples for authors pass as they stand, in a module of their own."""
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    module = ModuleType("test_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where pickle looks
    exec(compile(block, "test_example.py", "exec"), vars(module))  # noqa: S102

    [suite] = [found for name, found in vars(module).items() if name.startswith("Test")]
    assert issubclass(suite, CompressorConformance)
    assert broken(suite()) == {}


def test_the_page_for_authors_is_short() -> None:
    """Nobody reads more than a page."""
    assert len(DOCS.read_text(encoding="utf-8").splitlines()) <= 40
