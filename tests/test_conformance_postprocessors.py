"""The conformance test for postprocessors: ours pass it, and each wrong one breaks its rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest import SkipTest

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore
from pydantic import Field, SecretStr

import wrong_postprocessors as wrong
from cases import cases
from conformance_support import SECRET, check_bug, suite_of
from loopback import Server
from rerank_integrations import RerankClient
from rerank_integrations.llama_index import RerankPostprocessor
from rerank_integrations.testing import PostprocessorConformance
from wrong_postprocessors import Correct

# what each bug breaks, and nothing else; its own rule stands first
BUGS: dict[type[Correct], tuple[str, ...]] = {
    wrong.MutatesInput: (
        "inputs_are_left_alone",
        "results_are_copies",
        "a_later_call_leaves_earlier_results_alone",
        "a_document_given_twice_comes_back_twice",
    ),
    wrong.WritesMetadata: ("inputs_are_left_alone", "nothing_added_reaches_a_prompt"),
    wrong.WritesIntoNested: ("inputs_are_left_alone",),
    wrong.ExcludesInPlace: ("inputs_are_left_alone",),
    wrong.SortsInput: ("inputs_are_left_alone",),
    wrong.LosesId: ("ids_are_kept", "every_result_is_an_input", "every_kind_of_node_works"),
    wrong.IndexAsId: ("ids_are_kept", "every_result_is_an_input", "every_kind_of_node_works"),
    wrong.LosesSubclass: ("subclasses_are_kept", "every_kind_of_node_works"),
    wrong.LosesMetadata: (
        "metadata_is_kept",
        "metadata_that_cannot_be_copied_is_kept",
        "models_in_metadata_stay_models",
        "equal_documents_come_back_each_once",
        "nothing_added_reaches_a_prompt",
    ),
    wrong.DeepCopiesNodes: ("metadata_that_cannot_be_copied_is_kept", "every_kind_of_node_works"),
    wrong.DumpsMetadata: ("models_in_metadata_stay_models",),
    wrong.DumpsNodes: ("every_kind_of_node_works",),
    wrong.ReadsText: ("every_kind_of_node_works",),
    wrong.TrustsTheEcho: ("every_result_is_an_input", "nothing_added_reaches_a_prompt"),
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
    wrong.ReturnsTuple: ("the_answer_is_a_list_of_nodes_with_score",),
    wrong.ReturnsOthers: ("the_answer_is_a_list_of_nodes_with_score",),
    wrong.NumpyScore: ("scores_are_plain_floats",),
    wrong.IntScore: ("scores_are_plain_floats",),
    wrong.TextScore: ("scores_are_plain_floats",),
    wrong.NanScore: ("scores_are_plain_floats", "sync_and_async_agree"),
    wrong.AddsAnObject: ("what_is_added_can_be_written_as_json",),
    wrong.VisibleScore: ("nothing_added_reaches_a_prompt",),
    wrong.KeepsInputOrder: ("best_comes_first", "the_order_of_the_input_does_not_decide"),
    wrong.SwapsScores: ("the_order_of_the_input_does_not_decide",),
    wrong.FiltersThenIndexes: ("a_blank_document_shifts_nothing",),
    wrong.RefusesBlank: ("a_blank_document_shifts_nothing",),
    wrong.CutsThenRanks: ("top_n_keeps_the_best",),
    wrong.IgnoresTopN: ("top_n_keeps_the_best", "a_copy_with_another_top_n_works"),
    wrong.LargeTopN: ("top_n_may_exceed_the_list",),
    wrong.NoneInEvent: ("top_n_may_be_none",),
    wrong.EmptyList: ("an_empty_list_gives_an_empty_list", "an_empty_list_needs_no_query"),
    wrong.EmptyListNeedsQuery: ("an_empty_list_needs_no_query",),
    wrong.NeedsScores: ("nodes_without_a_score_work",),
    wrong.RanksForEmbeddings: ("the_query_is_query_str",),
    wrong.TextsOnly: (
        "the_query_is_query_str",
        "a_query_engine_takes_it",
        "a_missing_query_is_a_value_error",
        "an_empty_list_needs_no_query",
    ),
    wrong.NoQueryNoError: ("a_missing_query_is_a_value_error",),
    wrong.NoQueryAttributeError: ("a_missing_query_is_a_value_error",),
    wrong.NoQueryUnclear: ("a_missing_query_is_a_value_error",),
    wrong.NoSpan: ("both_methods_run_in_a_span",),
    wrong.TellsNoInstrumentation: ("instrumentation_is_told",),
    wrong.TellsNoEnd: ("instrumentation_is_told",),
    wrong.TellsAnotherQuery: ("instrumentation_is_told",),
    wrong.TellsNoNodes: ("instrumentation_is_told",),
    wrong.TellsNoManager: ("the_callback_manager_is_told",),
    wrong.KeepsFirstManager: ("the_callback_manager_is_told",),
    wrong.TellsOriginals: ("events_keep_what_they_were_told",),
    wrong.Frozen: (
        "the_callback_manager_can_be_assigned",
        "the_callback_manager_is_told",
        "events_keep_what_they_were_told",
        "a_query_engine_takes_it",
    ),
    wrong.SettingIsNoField: ("a_dict_keeps_the_settings", "pickles_work"),
    wrong.KeyInDict: ("a_dict_keeps_the_settings",),
    wrong.ReusesResults: ("a_later_call_leaves_earlier_results_alone",),
    wrong.StateOnLoop: ("calls_on_one_loop_are_kept_apart",),
    wrong.StateOnThreads: ("calls_on_threads_are_kept_apart",),
    wrong.LoopBound: (
        "event_loops_one_after_another_work",
        # each of these uses one postprocessor on several loops
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
    wrong.IgnoresUnknown: ("unknown_arguments_are_refused",),
    wrong.HoldsLock: ("deep_copies_work",),
    wrong.ClientAfterUse: ("deep_copies_work",),
    wrong.ClosedInit: ("pickles_work",),
    wrong.CopyLosesClient: ("model_copies_work", "a_copy_with_another_top_n_works"),
    wrong.FreezesTopN: ("a_copy_with_another_top_n_works",),
    wrong.PlainKey: ("secrets_are_hidden",),
    wrong.KeyInError: ("secrets_are_hidden",),
}


class TestLocal(PostprocessorConformance):
    """RerankPostprocessor with the embedded engine, which computes in a thread."""

    native_async = False

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One that ranks by words."""
        return RerankPostprocessor(model="local:bm25", **arguments)


class TestKeepingTheFirstScore(TestLocal):
    """RerankPostprocessor that also keeps the retrieval score in the metadata."""

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One that adds to the metadata."""
        return super().make(keep_retrieval_score=True, **arguments)


class TestWithClient(TestLocal):
    """RerankPostprocessor whose settings are those of a client; a dict holds no client."""

    from_dict_arguments = None

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One whose arguments go to the client."""
        return RerankPostprocessor(client=RerankClient("local:bm25", **arguments))


class TestOverHttp(PostprocessorConformance):
    """RerankPostprocessor with a server on loopback, over real sockets."""

    secrets = (SECRET,)
    from_dict_arguments: Mapping[str, Any] | None = {"api_key": SecretStr(SECRET)}

    @pytest.fixture(autouse=True)
    def _serve(self, server: Server) -> None:
        self._url = server.url

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One with a key."""
        return RerankPostprocessor(
            model="openrouter:m", api_key=SecretStr(SECRET), base_url=self._url, **arguments
        )


class TestCorrect(PostprocessorConformance):
    """The correct one, of which all wrong ones are made."""

    secrets = (SECRET,)

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One without a bug."""
        return Correct(**arguments)


class WithoutScore(Correct):
    """Returns the caller's nodes in order, and no score."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        """The very wrapper."""
        return given


class TestWithoutScore(PostprocessorConformance):
    """A postprocessor may attach no score."""

    attaches_score = False

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One without scores."""
        return WithoutScore(**arguments)


class TopK(Correct):
    """Calls its limit otherwise, refuses None for it, and leaves blank nodes out."""

    top_k: int = Field(default=100, ge=1)

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        """At most top_k."""
        return super().answer([found for found in nodes if wrong.plain(found)], query)[: self.top_k]


class TestTopK(PostprocessorConformance):
    """A postprocessor may call its limit otherwise, without None, and leave blank nodes out."""

    top_n_field = "top_k"

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One with top_k."""
        return TopK(**arguments)


class TestWithoutLimit(PostprocessorConformance):
    """A postprocessor may have no limit."""

    top_n_field = None

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One without top_n."""
        return wrong.IgnoresTopN(**arguments)


class TestInThread(PostprocessorConformance):
    """A postprocessor that computes in this process may do it in a thread."""

    native_async = False

    def make(self, **arguments: Any) -> BaseNodePostprocessor:
        """One that has no async method of its own."""
        return wrong.InheritedAsync(**arguments)


@cases("kind", BUGS, ids=lambda kind: kind.__name__)
def test_a_bug_breaks_its_own_rules_and_no_other(kind: type[Correct]) -> None:
    """Each wrong postprocessor fails the rules about its bug, and passes all others."""
    check_bug(suite_of(PostprocessorConformance, kind, secrets=(SECRET,)), BUGS[kind])


@cases(
    ("settings", "skipped"),
    [
        ({"native_async": False}, "async_is_native"),
        ({"attaches_score": False}, "scores_are_plain_floats"),
        ({"tells_events": False}, "instrumentation_is_told"),
        ({"tells_events": False}, "the_callback_manager_is_told"),
        ({"tells_events": False}, "events_keep_what_they_were_told"),
        ({"from_dict_arguments": None}, "a_dict_keeps_the_settings"),
        ({"top_n_field": None}, "top_n_keeps_the_best"),
        ({"secrets": ()}, "secrets_are_hidden"),
    ],
)
def test_what_does_not_apply_is_skipped_with_the_reason(
    settings: dict[str, Any], skipped: str
) -> None:
    """A rule that a setting turns off says so instead of passing."""
    suite = suite_of(PostprocessorConformance, Correct, **settings)
    with pytest.raises(SkipTest, match=next(iter(settings))):
        getattr(suite, f"test_{skipped}")()


def test_the_score_setting_is_named_where_no_score_is_found() -> None:
    """A result without a score says which setting allows it."""

    class NoScore(Correct):
        def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
            return given.model_copy(update={"score": None})

    suite = suite_of(PostprocessorConformance, NoScore)
    with pytest.raises(AssertionError, match="attaches_score = False"):
        suite.test_best_comes_first()
