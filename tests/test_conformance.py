"""The conformance test for compressors: ours pass it, and each wrong one breaks its rules."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import SkipTest

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import Field, SecretStr

import wrong_compressors as wrong
from cases import cases
from conformance_support import SECRET, check_bug, suite_of
from loopback import Server
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.testing import CompressorConformance
from wrong_compressors import Correct

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
        "top_n_may_be_none",
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
    wrong.NoneAsLimit: ("top_n_may_be_none",),
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
    wrong.RunsALoop: ("sync_works_inside_a_running_loop",),
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


@cases("kind", BUGS, ids=lambda kind: kind.__name__)
def test_a_bug_breaks_its_own_rules_and_no_other(kind: type[Correct]) -> None:
    """Each wrong compressor fails the rules about its bug, and passes all others."""
    check_bug(suite_of(CompressorConformance, kind, secrets=(SECRET,)), BUGS[kind])


@cases(
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
        getattr(suite_of(CompressorConformance, Correct, **settings), f"test_{skipped}")()


def test_a_name_is_looked_up_in_a_thread_without_blame() -> None:
    """That asyncio itself resolves host names in a thread is no work of the compressor."""

    class Resolving(Correct):
        async def acompress_documents(
            self, documents: Any, query: str, callbacks: Any = None
        ) -> Any:
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
            return await super().acompress_documents(documents, query)

    suite_of(CompressorConformance, Resolving).test_async_is_native()
