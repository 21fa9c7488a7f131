"""Models are measured on judged queries: figures, verdict, budget, checkpoint, comparison."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calls import client_of
from cases import cases
from evaluation_support import dataset, folder, level, model, right, wrong
from loopback import Reply, Server, ranks_all
from rerank_integrations import (
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    Price,
    Progress,
    RerankClient,
    RerankError,
    Retry,
)
from rerank_integrations.evaluation import (
    Evaluation,
    FirstStage,
    Measured,
    ModelResult,
    Pair,
    Verdict,
    evaluate,
)
from rerank_integrations.evaluation._verdict import verdict_of

THIRD = 1 / math.log2(4)  # what the third place is worth
AT_ONCE = Retry(initial_delay=0, max_delay=0)


def test_models_are_compared_with_no_reranking() -> None:
    """Means, gains, wins and losses, the gap to the best order, and what is found where."""
    models = {"good": model(right), "bad": model(wrong), "none": model(level)}
    found = evaluate(dataset(), models)

    assert (found.queries, found.documents, found.k, found.top_k) == (25, 125, 10, 100)
    first = found.first_stage
    assert first.means["nDCG@10"] == pytest.approx(THIRD)
    assert (first.oracle, first.lost, first.without_relevant) == (1, 0, ())
    good, bad, none = found.models.values()
    assert (good.wins, good.losses, good.ties) == (25, 0, 0)
    assert (bad.wins, bad.losses, bad.ties) == (0, 25, 0)
    assert (none.wins, none.losses, none.ties) == (0, 0, 25)
    own = good.measures["nDCG@10"]
    assert own is good.decides
    assert own.mean == 1
    assert [own.gain, own.ci_low, own.ci_high] == pytest.approx([1 - THIRD] * 3)
    assert own.p_value == pytest.approx(0.0002)  # the least that 9,999 draws can give
    assert own.p_adjusted == pytest.approx(6 * 0.0002)  # three models, and three pairs of them
    assert none.decides.p_adjusted == 1
    assert [one.gap_closed for one in (good, none)] == [1, 0]
    assert good.kept == {1: 1.0, 2: 1.0, 3: 1.0, 5: 1.0}
    assert first.kept == {1: 0.0, 2: 0.0, 3: 1.0, 5: 1.0}
    assert good.curve == {0: pytest.approx(THIRD), 5: 1.0}
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("good", "bad"),
        ("good", "none"),
        ("bad", "none"),
    ]
    assert (found.pairs[0].wins, found.pairs[0].losses) == (0, 25)
    assert found.verdict.recommended == "good"
    assert found.verdict.worse == ("bad",)


def test_a_local_engine_measures_a_folder(tmp_path: Path) -> None:
    """A name and a folder are enough; a relative score has no threshold, and nobody charges."""
    lines = [f'{{"_id": "{n}", "text": "the red car number {n}"}}' for n in range(8)]
    queries = [f'{{"_id": "q{n}", "text": "the car {n}"}}' for n in range(3)]
    qrels = "\n".join(f"q{n}\t{n}\t1" for n in range(3))
    folder(
        tmp_path,
        **{
            "corpus.jsonl": "\n".join(lines),
            "queries.jsonl": "\n".join(queries),
            "qrels/test.tsv": qrels,
        },
    )
    found = evaluate(tmp_path, ["local:hybrid", "local:bm25"], top_k=6)
    hybrid, bm25 = found.models.values()

    assert (hybrid.score_kind, bm25.score_kind) == ("relative", "unbounded")
    assert hybrid.threshold_note == "its scores are relative to the other documents of a list"
    assert bm25.threshold_note == "there are too few queries"
    assert (hybrid.cost_per_1000, hybrid.in_process) == (0, True)
    assert hybrid.latency is not None
    assert (hybrid.latency.calls, hybrid.latency.at_once) == (3, 1)
    assert set(hybrid.curve) == {0, 5, 6}
    assert hybrid.curve[6] == hybrid.decides.mean
    assert found.verdict.outcome == "too few"
    assert found.verdict.text.startswith("Too few queries to tell (usable: 3, needed: 20).")


def measured(gain: float, p_value: float, *, low: float = 0.01, high: float = 0.1) -> Measured:
    """A model's measure; the first stage has 0.4."""
    return Measured(
        mean=0.4 + gain,
        gain=gain,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        p_adjusted=p_value,
        detectable=0.03,
        per_query={},
    )


def result(name: str, gain: float, p_value: float, **more: Any) -> ModelResult:
    """A model's result."""
    judged = dataclasses.replace(measured(0, 1), mean=more.pop("judged", 0.5))
    given: dict[str, Any] = dict.fromkeys(one.name for one in dataclasses.fields(ModelResult))
    own = measured(gain, p_value, low=gain - 0.02, high=gain + 0.02)
    measures = {"nDCG@10": own, "judged@10": judged}
    return ModelResult(**{**given, "name": name, "in_process": False, "measures": measures, **more})


def pair(first: str, second: str, p_value: float) -> Pair:
    """Two models compared."""
    return Pair(
        first=first,
        second=second,
        difference=0.0,
        ci_low=0.0,
        ci_high=0.0,
        p_value=p_value,
        p_adjusted=p_value,
        wins=0,
        losses=0,
        ties=0,
    )


A_GAINS = "A gains 0.080 nDCG@10 (95 % interval 0.060 to 0.100) over no reranking"
SIZE = "a difference of 0.030 or more would be detected with a probability of 80 %"
A = {"cost_per_1000": 0.21}


@cases(
    ("models", "pairs", "more", "outcome", "recommended", "text"),
    [
        (
            [result("A", 0.08, 0.01, **A)],
            [],
            {},
            "pays",
            "A",
            f"{A_GAINS}, for $0.21 per 1,000 queries.",
        ),
        ([result("A", 0.08, 0.01)], [], {}, "pays", "A", f"{A_GAINS}, at an unknown price."),
        (
            [result("A", 0.08, 0.01, cost_per_1000=0.0, in_process=True)],
            [],
            {},
            "pays",
            "A",
            f"{A_GAINS}, at no charge, since it runs in this process.",
        ),
        (
            [result("A", 0.08, 0.01, **A), result("B", 0.09, 0.01, cost_per_1000=0.42)],
            [pair("A", "B", 0.4)],
            {},
            "pays",
            "A",
            (
                f"{A_GAINS}, for $0.21 per 1,000 queries; B costs 2.0 times as much and is not "
                f"distinguishable from it."
            ),
        ),
        (
            [result("A", 0.08, 0.01, **A), result("B", 0.09, 0.01)],
            [pair("A", "B", 0.4)],
            {},
            "pays",
            "A",
            (
                f"{A_GAINS}, for $0.21 per 1,000 queries; B has an unknown price and is not "
                f"distinguishable from it."
            ),
        ),
        (
            [result("A", 0.08, 0.01, **A), result("B", 0.05, 0.01, cost_per_1000=0.01)],
            [pair("A", "B", 0.01)],
            {},
            "pays",
            "A",
            f"{A_GAINS}, for $0.21 per 1,000 queries.",
        ),
        # what is not distinguishable from the best, but neither from no reranking, is no choice
        (
            [result("A", 0.08, 0.01, **A), result("B", 0.05, 0.3, cost_per_1000=0.01)],
            [pair("A", "B", 0.4)],
            {},
            "pays",
            "A",
            f"{A_GAINS}, for $0.21 per 1,000 queries.",
        ),
        (
            [result("A", 0.08, 0.01, judged=0.3, **A)],
            [],
            {},
            "pays",
            "A",
            (
                f"{A_GAINS}, for $0.21 per 1,000 queries; but 30% of its first 10 documents are "
                f"judged, and 50% without reranking, so label more documents before you rely on "
                f"this."
            ),
        ),
        (
            [result("A", 0.08, 0.01, **A)],
            [],
            {"oracle": 0.49},
            "pays",
            "A",
            (
                f"{A_GAINS}, for $0.21 per 1,000 queries; this is close to the best possible order "
                f"of the candidates, so improve the first stage next."
            ),
        ),
        (
            [result("A", 0.08, 0.01, **A), result("C", -0.05, 0.01)],
            [pair("A", "C", 0.01)],
            {},
            "pays",
            "A",
            (
                f"{A_GAINS}, for $0.21 per 1,000 queries. C makes the ranking worse, by 0.050 "
                f"nDCG@10 (95 % interval 0.030 to 0.070)."
            ),
        ),
        (
            [result("A", 0.08, 0.06)],
            [],
            {},
            "not distinguishable",
            None,
            f"No model is distinguishable from no reranking on 100 queries; {SIZE}.",
        ),
        (
            [result("C", -0.05, 0.01)],
            [],
            {},
            "worse",
            None,
            "C makes the ranking worse, by 0.050 nDCG@10 (95 % interval 0.030 to 0.070).",
        ),
        (
            [result("A", 0.08, 0.06), result("C", -0.05, 0.01)],
            [pair("A", "C", 0.01)],
            {},
            "worse",
            None,
            (
                f"A is not distinguishable from no reranking on 100 queries; {SIZE}. C makes the "
                f"ranking worse, by 0.050 nDCG@10 (95 % interval 0.030 to 0.070)."
            ),
        ),
        (
            [result("A", 0.08, 0.01)],
            [],
            {"queries": 19},
            "too few",
            None,
            (
                "Too few queries to tell (usable: 19, needed: 20). With this number, a difference "
                "of 0.030 or more would be detected with a probability of 80 %."
            ),
        ),
        (
            [result("A", 0.0, 1.0)],
            [],
            {"oracle": 0.0},
            "nothing found",
            None,
            (
                "The first stage found no relevant document for any query, so no reranking can "
                "help. Check the first stage, and the ids in the judgments."
            ),
        ),
    ],
)
def test_the_verdict_says_what_the_figures_say(  # noqa: PLR0917
    models: list[ModelResult],
    pairs: list[Pair],
    more: dict[str, Any],
    outcome: str,
    recommended: str | None,
    text: str,
) -> None:
    """Each rule of the verdict has its words; what is not significant is never called equal."""
    first = FirstStage(
        name="BM25",
        means={"nDCG@10": 0.4, "judged@10": 0.5},
        per_query={},
        oracle=more.get("oracle", 0.9),
        without_relevant=(),
        kept={},
    )
    found = verdict_of(10, more.get("queries", 100), first, models, pairs)

    assert found.text == str(found) == text
    assert (found.outcome, found.recommended) == (outcome, recommended)
    assert not any(word in found.text for word in ("equal", "same", "as good"))


def answering(usage: dict[str, Any] | None = None) -> Callable[..., Reply]:
    """A server's step: ranks by shared words, with what it says of usage."""
    return lambda received: Reply(ranks_all(received).body | {"usage": usage or {}})


def test_what_a_run_takes(server: Server) -> None:
    """Cost, tokens and requests of a thousand queries; a missing price is unknown and not 0."""
    with client_of(server, retry=AT_ONCE) as client:
        server.plays(answering({"cost": 0.002, "total_tokens": 30, "search_units": 1}))
        said = evaluate(dataset(4), {"m": client}, curve=False).models["m"]
        server.plays(answering({"search_units": 1}))
        unknown = evaluate(dataset(4), {"m": client}).models["m"]
        priced = evaluate(dataset(4), {"m": client}, price={"m": Price(per_1000_search_units=3.0)})
        server.plays(Reply({}, 503), answering({"cost": 0.002}))
        retried = evaluate(dataset(4), {"m": client}, max_concurrency=1).models["m"]

    server.plays(answering({"cost": 0.002}))
    with client_of(server, cache="memory") as client:
        whole = evaluate(dataset(4), {"m": client}, max_queries=2).models["m"]
        part = evaluate(dataset(4), {"m": client}).models["m"]
        again = evaluate(dataset(4), {"m": client}).models["m"]

    # what has scores from a cache says nothing of the cost and the time of a call
    assert [one.cost_per_1000 for one in (whole, part, again)] == [pytest.approx(2.0)] * 2 + [None]
    assert [one.latency and one.latency.calls for one in (whole, part, again)] == [2, 2, None]
    assert again.decides == part.decides
    assert said.cost_per_1000 == pytest.approx(2.0)
    assert (said.tokens_per_1000, said.search_units_per_1000) == (30_000, 1000)
    assert (said.requests_per_1000, said.in_process) == (1000, False)
    assert said.curve_note == "no curve, since it was turned off"
    assert said.latency is not None
    assert said.latency.calls == 4
    assert 0 < said.latency.p50 <= said.latency.p95 <= said.latency.p99
    assert (unknown.cost_per_1000, unknown.tokens_per_1000) == (None, None)
    assert set(unknown.curve) == {0, 5}
    assert priced.models["m"].cost_per_1000 == pytest.approx(3.0)
    assert retried.requests_per_1000 == 1250


def test_a_run_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    """What was paid for is not asked again; it has a cost and no time; the figures are alike."""
    server.plays(answering({"cost": 0.5}))
    data = dataset(6)
    with client_of(server) as client:
        with pytest.raises(BudgetExceededError):
            evaluate(data, {"m": client}, checkpoint_dir=tmp_path, max_cost=2.0)
        assert len(server.received) == 4
        rest = evaluate(data, {"m": client}, checkpoint_dir=tmp_path, max_cost=2.0)
        assert len(server.received) == 6
        again = evaluate(data, {"m": client}, checkpoint_dir=tmp_path, max_cost=2.0)
        assert len(server.received) == 6
        whole = evaluate(data, {"m": client})  # who passes a client closes it

    assert (rest.spent, again.spent, whole.spent) == (1.0, None, 3.0)
    one, two = rest.models["m"], again.models["m"]
    assert (one.stored, two.stored) == (4, 6)
    assert one.latency is not None
    assert one.latency.calls == 2
    assert (two.latency, two.requests_per_1000) == (None, None)
    assert one.cost_per_1000 == two.cost_per_1000 == pytest.approx(500.0)
    assert two.decides == one.decides == whole.models["m"].decides


def test_the_budget_is_for_all_models_together(server: Server) -> None:
    """The second model has what the first has left; engines of this process need no price."""
    server.plays(answering({"cost": 0.5}))
    with client_of(server) as client:
        models = {"a": client, "mine": model(right), "b": client}
        with pytest.raises(BudgetExceededError, match=r"\$2 of max_cost=2.0; one more"):
            evaluate(dataset(4), models, max_cost=2.0)
        assert len(server.received) == 4
        with pytest.raises(BudgetExceededError) as caught:
            evaluate(dataset(4), models, max_cost=3.0)
        assert len(server.received) == 10
        assert (caught.value.current_cost, caught.value.max_cost) == (3.0, 3.0)
        assert "$3 of max_cost=3.0" in str(caught.value)
        assert evaluate(dataset(4), models, max_cost=4.0).spent == 4.0


def test_what_was_done_before_an_interruption_is_not_asked_again(
    server: Server, tmp_path: Path
) -> None:
    """A run that breaks off in the middle pays again at most for what was in flight."""

    def told(name: str, progress: Progress) -> None:
        assert name == "m"
        if progress.done == 5:
            raise KeyboardInterrupt

    server.plays(answering({"cost": 0.5}))
    given: dict[str, Any] = {"checkpoint_dir": tmp_path, "max_concurrency": 1}
    with client_of(server) as client:
        with pytest.raises(KeyboardInterrupt):
            evaluate(dataset(8), {"m": client}, progress=told, **given)
        stored = evaluate(dataset(8), {"m": client}, **given).models["m"].stored

    assert stored >= 5
    assert len(server.received) in {8, 9}


def test_calls_that_fail_are_said_and_keep_the_order(server: Server) -> None:
    """A failed query keeps the first stage's order; a model that never succeeds is an error."""

    def some(received: Any) -> Reply:
        return (
            Reply({"error": "no"}, 400) if "question 2" in received.query else ranks_all(received)
        )

    with client_of(server, retry=AT_ONCE) as client:
        server.plays(some)
        whole = evaluate(dataset(4), {"m": client})
        found = whole.models["m"]
        server.plays(Reply({"error": "no key"}, 401))
        server.received.clear()
        with pytest.raises(AuthenticationError) as caught:
            evaluate(dataset(30), {"m": client}, max_concurrency=1)

    assert found.failed == ("q2",)
    assert str(whole.verdict).endswith(
        "Failed calls of m: 1. Their queries keep the order of the first stage."
    )
    assert "400" in found.failure or "no" in found.failure
    assert found.decides.per_query["q2"] == pytest.approx(THIRD)
    assert caught.value.__notes__[-1] == "no call of m succeeded"
    assert len(server.received) < 12  # it does not go on to the end


def test_a_fallback_is_not_measured_in_the_place_of_a_model(server: Server) -> None:
    """A model that fails is an error or a failed query, whatever its client falls back to."""

    def some(received: Any) -> Reply:
        return ranks_all(received) if "question 1" in received.query else Reply({}, 500)

    server.plays(some)
    with client_of(server, max_retries=0, fallbacks=["local:bm25"]) as client:
        found = evaluate(dataset(4), {"m": client}).models["m"]
        assert client.rerank("question 2", ["a"]).attempts[0].error is not None  # it stays there

    assert set(found.failed) == {"q0", "q2", "q3"}
    assert found.decides.per_query["q2"] == pytest.approx(THIRD)
    with pytest.raises(RerankError, match="no key"):
        evaluate(dataset(2), ["together:m"], fallbacks=["local:bm25"])


def test_queries_without_anything_relevant() -> None:
    """They count for the threshold alone; where no candidate is relevant, that is said."""
    data = dataset(30)
    some = {
        q: row if n % 2 else dict.fromkeys(row, 0)
        for n, (q, row) in enumerate(data.judgments.items())
    }
    found = evaluate(dataclasses.replace(data, judgments=some), [model(right)])
    assert (found.queries, found.without_relevant_judgment) == (15, 15)
    threshold = found.models["local:mine"].threshold
    assert threshold is not None
    assert threshold.nothing_relevant > 0

    elsewhere = {query: {"q0-1" if query != "q0" else "q1-1": 1} for query in data.judgments}
    lost = evaluate(dataclasses.replace(data, judgments=elsewhere), [model(right)])
    assert lost.verdict.outcome == "nothing found"
    assert (lost.first_stage.lost, lost.models["local:mine"].gap_closed) == (1, None)
    assert len(lost.first_stage.without_relevant) == 30


@cases(
    ("models", "given", "error", "told"),
    [
        ([], {}, ConfigurationError, "models is empty"),
        (["local:bm25", "local:bm25"], {}, ConfigurationError, "models has local:bm25 twice"),
        (["local:bm25"], {"k": 0}, InvalidRequestError, "k must be an int of at least 1, not 0"),
        (["local:bm25"], {"max_queries": 0}, InvalidRequestError, "max_queries must be an int"),
        (["local:bm25"], {"top_k": True}, InvalidRequestError, "top_k must be an int"),
        (
            ["local:bm25"],
            {"judgments": {}},
            ConfigurationError,
            "no query of small has a document that is judged relevant",
        ),
        (["none:such"], {}, ConfigurationError, "none"),
        (
            {"theirs": "local:bm25"},
            {"price": {"their": Price(per_million_tokens=1)}},
            ConfigurationError,
            (
                "price has 'their', which is no model of this evaluation; "
                r"did you mean 'theirs'\? they are theirs"
            ),
        ),
        (["local:bm25"], {"price": {"local:bm25": 1}}, ConfigurationError, "must be a Price"),
        (["local:bm25"], {"price": 1}, ConfigurationError, r"local:bm25 must be a Price\(...\)"),
        (
            ["local:bm25", RerankClient("cohere:m", api_key="the-key")],
            {"max_cost": 1},
            ConfigurationError,
            "responses of cohere do not say it",
        ),
    ],
)
def test_wrong_arguments_are_told(
    models: list[str], given: dict[str, Any], error: type[Exception], told: str
) -> None:
    """Before anything is sent."""
    data = dataset(3, **{name: given.pop(name) for name in list(given) if name == "judgments"})
    with pytest.raises(error, match=told):
        evaluate(data, models, **given)


def test_progress_names_the_model_and_settings_reach_it() -> None:
    """A function is told of each row; settings are those of the clients that are made here."""
    told: list[tuple[str, int]] = []

    def report(name: str, progress: Progress) -> None:
        told.append((name, progress.done))

    data = dataset(3)
    found = evaluate(data, "local:bm25", max_queries=2, curve=False, progress=report)
    assert found.queries == 2
    assert [name for name, _ in told] == ["local:bm25"] * 2
    assert told[-1][1] == 2
    with pytest.raises(ConfigurationError, match="score_transform"):
        evaluate(data, ["local:bm25"], score_transform="none")  # type: ignore[arg-type]


def test_json_makes_the_round_trip(tmp_path: Path) -> None:
    """All figures come back, those of each query too; a file of another kind is refused."""
    found = evaluate(dataset(), {"good": model(right), "bad": model(wrong)})
    path = tmp_path / "new.json"
    text = found.to_json(path)
    back = Evaluation.from_json(path)

    assert path.read_text(encoding="utf-8") == text
    assert back == found
    assert back.table() == found.table()
    assert back.to_markdown() == found.to_markdown()
    assert isinstance(back.verdict, Verdict)
    own = json.loads(text)["models"]["good"]["measures"]["MRR@10"]
    assert {"p_value", "ci_low", "ci_high"} < set(own)
    with pytest.raises(ConfigurationError, match="has no texts"):
        back.to_html()
    path.write_text('{"models": {}}', encoding="utf-8")
    for name, told in ((path, "was not written by to_json"), (tmp_path / "no", "cannot read")):
        with pytest.raises(ConfigurationError, match=told):
            found.compare(name)


@cases(
    ("change", "told"),
    [
        (lambda figures: figures.update(format=2), "its format is 2"),
        (lambda figures: figures["models"]["m"].update(measures={}), "m has other measures"),
        (lambda figures: _per_query(figures).pop("q1"), "m has other measures or queries"),
        (lambda figures: _per_query(figures).update(q1=math.nan), "NaN is in it"),
    ],
)
def test_a_file_that_a_comparison_cannot_rely_on_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    """Of another format, without a part, or with what is no number: it would pass unseen."""
    path = tmp_path / "old.json"
    figures = json.loads(evaluate(dataset(2), {"m": model(right)}, curve=False).to_json())
    change(figures)
    path.write_text(json.dumps(figures), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"was not written by to_json .*{told}"):
        Evaluation.from_json(path)


def _per_query(figures: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = figures["models"]["m"]["measures"]["nDCG@10"]["per_query"]
    return found


@cases(
    ("old", "new", "max_drop", "code"),
    [
        (right, right, None, 0),
        (wrong, right, None, 0),
        (right, wrong, None, 1),
        (right, level, 0.9, 1),  # significant, however small
        (level, level, 0.0, 0),
    ],
)
def test_a_drop_is_a_regression(
    tmp_path: Path, old: Any, new: Any, max_drop: float | None, code: int
) -> None:
    """A significant drop of a model's mean on the same queries ends with exit code 1."""
    path = tmp_path / "old.json"
    evaluate(dataset(12), {"m": model(old)}, curve=False).to_json(path)
    found = evaluate(dataset(10), {"m": model(new)}, curve=False).compare(path, max_drop=max_drop)

    assert (found.exit_code, found.queries) == (code, 10)
    assert [one.model for one in found.regressions] == ["m"] * code
    assert [one.model for one in found.changes] == ["no reranking (candidates)", "m"]
    assert ("worse" in str(found)) == bool(code)


def test_what_cannot_be_compared_is_told() -> None:
    """Models of one side only are listed; few queries count where a drop has a limit."""
    old = evaluate(dataset(4), {"a": model(right), "b": model(right)}, curve=False)
    new = evaluate(dataset(4), {"a": model(level), "c": model(right)}, curve=False)
    found = new.compare(old)
    assert (found.missing, found.added, found.exit_code) == (("b",), ("c",), 0)
    assert "b is only in the old evaluation" in str(found)
    assert new.compare(old, max_drop=0.1).exit_code == 1
    with pytest.raises(ConfigurationError, match="no model in common: a, b and x; give the models"):
        evaluate(dataset(4), {"x": model(right)}, curve=False).compare(old)
    elsewhere = evaluate(dataset(4, name="big"), {"a": model(right)}, curve=False, top_k=5)
    assert elsewhere.compare(old).differences == (
        "the dataset differs: 'small' before, 'big' now",
        "top_k differs: 100 before, 5 now",
    )
    assert "'big' now" in str(elsewhere.compare(old))
    with pytest.raises(ConfigurationError, match="evaluate both with the same k="):
        evaluate(dataset(4), [model(right)], k=5).compare(old)
    renamed = dataset(4)
    other = dataclasses.replace(
        renamed,
        queries={f"x{q}": t for q, t in renamed.queries.items()},
        judgments={f"x{q}": t for q, t in renamed.judgments.items()},
        candidates={f"x{q}": t for q, t in renamed.candidates.items()},
    )
    with pytest.raises(ConfigurationError, match="no query in common"):
        evaluate(other, [model(right)]).compare(old)


def test_a_missing_extra_says_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked."""
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(
        ConfigurationError, match=r"pip install 'rerank-integrations\[evaluation\]'"
    ):
        evaluate(dataset(3), ["local:bm25"])
