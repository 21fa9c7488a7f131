"""`rerank evaluate` and `rerank sample`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cases import cases
from evaluation_support import dataset
from loopback import Reply, Server, ranks_all
from rerank_integrations.cli._app import app


@pytest.fixture(name="data")
def data_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 21 queries, as the working directory."""
    small = dataset(21, size=3, relevant_at=2)
    lines: dict[str, list[dict[str, Any]]] = {
        "corpus.jsonl": [{"_id": name, "text": text} for name, text in small.documents.items()],
        "queries.jsonl": [{"_id": n, "text": f"{n} good"} for n in [*small.queries, "more"]],
        "candidates.jsonl": [
            {"query_id": n, "doc_ids": ids} for n, ids in small.candidates.items()
        ],
    }
    monkeypatch.chdir(tmp_path)
    folder = Path("data")
    (folder / "qrels").mkdir(parents=True)
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    qrels = [f"{query}\t{one}\t1" for query, row in small.judgments.items() for one in row]
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels), encoding="utf-8")
    return folder


def rerank(*words: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="rerank")


def test_evaluate_says_the_verdict_and_writes_reports(data: Path) -> None:
    """Figures on stdout, what was left out on stderr; a drop since an older run is exit code 1."""
    given = ("evaluate", data, "-m", "local:bm25", "-m", "local:hybrid", "--no-curve")
    done = rerank(*given, "--html", "r.html", "--markdown", "r.md", "--json", "r.json")

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("local:bm25 gains 0.369 nDCG@10 (95 % interval 0.369 to 0.369)")
    assert "no reranking" in done.stdout
    assert done.stderr == "data: 1 queries have no judgments; left out (more)\n"
    assert Path("r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "## All measures" in Path("r.md").read_text(encoding="utf-8")
    old = json.loads(Path("r.json").read_text(encoding="utf-8"))
    same = rerank(*given, "--compare", "r.json", "--max-drop", "0", "-q")
    assert (same.exit_code, same.stderr) == (0, "")
    queries = old["first_stage"]["per_query"]["nDCG@10"]
    for value in old["models"].values():
        value["measures"]["nDCG@10"]["per_query"] = dict.fromkeys(queries, 2.0)
    Path("old.json").write_text(json.dumps(old), encoding="utf-8")
    worse = rerank(*given, "--compare", "old.json")
    assert (worse.exit_code, worse.stdout.count("  worse")) == (1, 2)


def test_a_paid_run_has_a_budget_and_goes_on(
    data: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices are for all models or one; a used-up budget is exit code 3, a missing key is 4."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "the-key")
    server.plays(lambda received: Reply(ranks_all(received).body | {"usage": {"search_units": 1}}))
    given: tuple[Any, ...] = (
        "evaluate",
        data,
        "-m",
        "openrouter:m",
        "--max-queries",
        "6",
        "--checkpoint",
        "runs",
    )
    given = (*given, "--base-url", f"openrouter:m={server.url}", "--extra-body", '{"own": 1}')
    price = ("--price-per-1000-searches", "1000", "--max-cost", "4")
    stopped = rerank(*given, *price)
    assert stopped.exit_code == 3, stopped.output
    assert "$4 of --max-cost=4.0" in stopped.stderr
    done = rerank(*given, "--price-per-1000-searches", "openrouter:m=1000")
    assert done.exit_code == 0, done.output
    assert "$1,000.00" in done.stdout
    assert [one.body["own"] for one in server.received] == [1] * 6
    monkeypatch.delenv("OPENROUTER_API_KEY")
    assert rerank(*given).exit_code == 4


def test_nothing_in_the_input_steers_the_terminal(data: Path) -> None:
    """What was left out is named without control characters."""
    with (data / "qrels" / "test.tsv").open("a", encoding="utf-8") as file:
        file.write("\n\x1b]0;owned\x07\tx\t1\n")
    done = rerank("evaluate", data, "-m", "local:bm25", "--no-curve")
    assert "judged queries are not among the queries; left out (" in done.stderr
    assert "\x1b" not in done.output


@cases(
    ("words", "told"),
    [
        (("--max-drop", "1"), "--max-drop needs --compare"),
        (("--html", "no/such/r.html"), "the directory no/such does not exist"),
        (
            ("--price-per-1000-searches", "bm25=1"),
            (
                "--price-per-1000-searches names 'bm25', which is not one of --model; did you mean "
                "'local:bm25'? the models are local:bm25"
            ),
        ),
        (("--base-url", "x=http://localhost"), "--base-url names 'x', which is not one of --model"),
        (("--price-per-million-tokens", "much"), "a price must be USD, or MODEL=USD"),
        (("--split", "dev"), "pass --split one of test"),
        (
            ("-m", "cohere:m", "--max-cost", "1", "--price-per-million-tokens", "local:bm25=1"),
            (
                "--max-cost needs to know the cost, and responses of cohere do not say it: pass "
                "--price-per-1000-searches or --price-per-million-tokens"
            ),
        ),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(
    data: Path, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, in the words of the options."""
    monkeypatch.setenv("CO_API_KEY", "the-key")
    done = rerank("evaluate", data, "-m", "local:bm25", *words)
    assert (done.exit_code, told in done.stderr) == (2, True), done.stderr


def test_sample_writes_a_table_once(data: Path) -> None:
    """It is never overwritten without --force, and evaluate reads what was filled in."""
    done = rerank("sample", data, "labels.csv", "-n", "2", "--depth", "2", "-m", "local:bm25")
    assert (done.exit_code, done.stderr) == (0, "labels.csv: 4 documents to label\n")
    assert rerank("sample", data, "labels.csv").exit_code == 2
    assert rerank("sample", data, "labels.csv", "-n", "1", "--force", "-q").output == ""
    text = Path("labels.csv").read_text(encoding="utf-8-sig")
    Path("labels.csv").write_text(text.replace(",\n", ",1\n"), encoding="utf-8")
    labelled = rerank("evaluate", data, "--labels", "labels.csv", "-m", "local:bm25")
    assert "Too few queries to tell (usable: 1, needed: 20)" in labelled.stdout
