"""Many calls at once: rows in, results out, with bounds on memory, cost and what is in flight."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd  # type: ignore[import-untyped]
import pytest

from calls import client_of
from cases import cases
from fakes import Clock
from loopback import TIME, Received, Reply, Server, ranking, ranks_all
from many_calls import WAYS, Came, Enough, asynchronous, many
from rerank_integrations import (
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    Price,
    Progress,
    RerankClient,
    ServiceUnavailableError,
)

TEXTS = ["apple pie", "a red bicycle"]
AT_ONCE = 4


def rows(count: int) -> list[dict[str, Any]]:
    """So many rows; an id is its query."""
    return [{"id": f"q{n}", "query": f"q{n}", "documents": TEXTS} for n in range(count)]


def written(path: Path, *lines: bytes) -> str:
    """A file of these lines, after a byte order mark."""
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    return str(path)


def costing(cost: float | None, **counts: float) -> Reply:
    """A response that says its cost."""
    said = counts if cost is None else {**counts, "cost": cost}
    return ranking(0.9, 0.8, usage=said)


def threads() -> list[threading.Thread]:
    """The threads that make calls."""
    return [one for one in threading.enumerate() if one.name == "rerank"]


def until_ended() -> None:
    """Wait until no thread makes a call any more."""
    for one in threads():
        one.join(TIME)
        assert not one.is_alive()


class Held:
    """A server that answers some queries at once, and the others when it is told."""

    def __init__(self, *at_once: str) -> None:
        self.gate = threading.Event()
        self.came = threading.Event()  # a query that is held
        self._at_once = at_once

    def __call__(self, received: Received) -> Reply:
        """Answer."""
        if received.query not in self._at_once:
            self.came.set()
            assert self.gate.wait(TIME)
        return ranks_all(received)


@cases("way", WAYS)
@cases("kind", ["list", "generator", "file", "path", "async iterable"])
def test_rows_of_every_kind(way: str, kind: str, server: Server, tmp_path: Path) -> None:
    """Each row gives one result with its id, its own response, and the row itself.

    A row without an id has its number, in a file that of its line, where blank lines count.
    """
    if (way, kind) == ("sync", "async iterable"):
        return
    given: list[dict[str, Any]] = [
        {"id": "a", "query": "apple pie", "documents": TEXTS, "more": [1]},
        {"query": "a red bicycle", "documents": TEXTS},
        {"id": 7, "query": "apple pie", "documents": tuple(TEXTS)},
    ]
    lines = [json.dumps(row).encode() for row in given]
    path = written(tmp_path / "in.jsonl", lines[0], b"", *lines[1:], b"  ")
    kinds: dict[str, Any] = {
        "list": given,
        "generator": (row for row in given),
        "file": path,
        "path": Path(path),
        "async iterable": asynchronous(given),
    }
    server.plays(lambda received: Reply(ranks_all(received).body | {"usage": {"cost": 0.5}}))
    with client_of(server) as client:
        came = many(way, client, kinds[kind], preserve_order=True)

    assert came.error is None
    assert came.ids == ["a", 3 if kind in ("file", "path") else 2, 7]
    assert [result.row["query"] for result in came.results] == [row["query"] for row in given]
    for result in came.results:
        assert result.response is not None
        assert (result.error, result.is_stored) == (None, False)
        assert result.seconds is not None
        assert result.seconds > 0
        assert result.response[0].document == result.row["query"]
    assert came.run is not None
    assert (came.run.cost, came.run.usage.cost, came.run.requests) == (1.5, 1.5, 3)
    assert came.run.progress[:4] == (3, 0, 3, 1.5)


BAD_ROWS: list[tuple[Any, str]] = [
    ("text", "row 2: a row must be {'query': ..., 'documents': [...]}, not str"),
    ({"documents": TEXTS}, "row 2: the row has no key 'query'; its keys are 'documents'"),
    ({"query": "q"}, "row 2: the row has no key 'documents'"),
    ({"query": "q", "documents": "text"}, "row 2: documents must be a list of documents"),
    ({"query": "", "documents": TEXTS}, "row 2: query is empty"),
    ({"query": "q", "documents": ["a", None]}, "row 2: document 1"),
    ({"id": True, "query": "q", "documents": TEXTS}, "row 2: id must be a str or an int, not True"),
    (
        {"id": 10**4000, "query": "q", "documents": TEXTS},
        "row 2: id must be a str or an int, not an int of",
    ),
    ({"id": 1.5, "query": "q", "documents": TEXTS}, "row 2: id must be a str or an int"),
    ({"id": "\ud83d", "query": "q", "documents": TEXTS}, "row 2: id must be a str or an int"),
    (b'{"query": ', "in.jsonl, line 2: not valid JSON"),
    (b'{"query": "q"}', "in.jsonl, line 2: the row has no key 'documents'"),
]


@cases("way", WAYS)
@cases(("bad", "message"), BAD_ROWS)
def test_a_bad_row_is_an_error_of_its_own(
    way: str, bad: Any, message: str, server: Server, tmp_path: Path
) -> None:
    """A row that is wrong says where it stands; it ends the run, or is kept apart."""
    given: Any = [rows(1)[0], bad, rows(3)[2]]
    if isinstance(bad, bytes):
        lines = [json.dumps(row).encode() for row in (given[0], given[2])]
        given = written(tmp_path / "in.jsonl", lines[0], bad, lines[1])
    with client_of(server) as client:
        came = many(way, client, given, on_error="keep", preserve_order=True)
        assert came.error is None
        assert [result.error is None for result in came.results] == [True, False, True]
        error = came.results[1].error
        assert isinstance(error, InvalidRequestError)
        assert message in str(error)
        assert came.results[1].id == 2
        assert came.run is not None
        assert came.run.progress[:2] == (2, 1)
        stopped = many(way, client, given, preserve_order=True)
    assert (stopped.ids, str(stopped.error)) == (["q0"], str(error))


@cases("way", WAYS)
@cases("fault", ["server", "rows"])
def test_what_fails_leaves_the_other_rows_alone(way: str, fault: str, server: Server) -> None:
    """A call that fails is the error of its row; rows that cannot be read end a run.

    Then what was in flight is given out first. A caller may change a row that was read.
    """

    def read() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(rows(6)):
            if fault == "rows" and number == 5:
                raise RuntimeError("the disk is gone")
            yield row
            row["documents"][:] = row["documents"] if number < 0 else TEXTS
            row.pop("query")

    def respond(received: Received) -> Reply:
        return Reply(status=503) if received.query == "q2" else ranks_all(received)

    server.plays(respond if fault == "server" else ranks_all)
    with client_of(server, max_retries=0) as client:
        came = many(way, client, read(), on_error="keep", max_concurrency=3)
    failed = [result for result in came.results if result.error]
    if fault == "rows":
        assert (sorted(came.ids), failed) == (["q0", "q1", "q2", "q3", "q4"], [])
        assert isinstance(came.error, RuntimeError)
        return
    assert (len(came.results), came.error) == (6, None)
    [only] = failed
    assert (only.id, type(only.error)) == ("q2", ServiceUnavailableError)
    assert only.error is not None
    assert only.error.__notes__ == ["row 3, id 'q2'"]


FRAME = pd.DataFrame(rows(2))
WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (FRAME, {"checkpoint": "run.sqlite"}, "to_dict"),
    (rows(1)[0], {"checkpoint": "run.jsonl"}, "rows must be an iterable"),
    (b"in.jsonl", {}, "rows must be an iterable"),
    (7, {}, "not int"),
    ("no-such-file.jsonl", {}, "there is no file 'no-such-file.jsonl'"),
    ([], {"max_concurrency": 0}, "max_concurrency must be an int of at least 1, not 0"),
    ([], {"max_concurrency": None}, "max_concurrency"),
    ([], {"max_concurrency": True}, "max_concurrency"),
    ([], {"max_requests": 0}, "max_requests"),
    ([], {"max_cost": 0}, "max_cost must be US dollars above 0"),
    ([], {"max_cost": float("nan")}, "max_cost"),
    ([], {"on_error": "ignore"}, "on_error must be 'raise' or 'keep'"),
    ([], {"price": 0.002}, "price must be a Price"),
    ([], {"progress": "bar"}, "progress must be True, False or a function"),
    ([], {"checkpoint": 7}, "checkpoint is the path of a file, not int"),
    ([], {"checkpoint": "run.csv"}, "checkpoint must end in .sqlite"),
    ([], {"top_n": 0}, "top_n"),
    ([], {"max_costs": 1}, "max_costs"),
]


@cases(("given", "options", "message"), WRONG)
def test_wrong_arguments_are_refused_at_once(
    given: Any, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """What cannot work is refused by the call itself, before a row is read or a file is made."""
    monkeypatch.chdir(tmp_path)
    client = client_of("http://127.0.0.1:1")
    for method in (client.rerank_many, client.arerank_many):
        with pytest.raises((ConfigurationError, InvalidRequestError)) as caught:
            method(given, **options)
        assert message in str(caught.value)
    stream: Any = asynchronous([])
    with pytest.raises(InvalidRequestError, match="arerank_many takes it"):
        client.rerank_many(stream)
    prices: list[Any] = [{}, {"per_million_tokens": -1}, {"per_1000_search_units": "2"}]
    for price in prices:
        with pytest.raises(ConfigurationError, match="Price: give"):
            Price(**price)
    assert list(tmp_path.iterdir()) == []


@cases("way", WAYS)
@cases("preserve_order", [False, True])
def test_so_many_calls_at_once(way: str, preserve_order: Any, server: Server) -> None:
    """As many calls are in flight as `max_concurrency` says and never more, in any order.

    With `preserve_order`, results come in the order of the rows; else as they are ready.
    """
    together, lock = threading.Barrier(AT_ONCE), threading.Lock()
    counts = {"now": 0, "most": 0}
    second_wave = threading.Event()

    def respond(received: Received) -> Reply:
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts.values())
        number = int(received.query[1:])
        if number < AT_ONCE:  # the first ones wait for each other
            together.wait(TIME)
        if number == 0:  # and the very first for one of the next
            assert second_wave.wait(TIME)
        elif number >= AT_ONCE:
            second_wave.set()
        with lock:
            counts["now"] -= 1
        return ranks_all(received)

    server.plays(respond)
    with client_of(server) as client:
        options: dict[str, Any] = {
            "max_concurrency": AT_ONCE,
            "preserve_order": preserve_order,
        }
        came = many(way, client, rows(5 * AT_ONCE), **options)
    assert came.error is None
    assert counts["most"] == AT_ONCE
    assert sorted(came.ids) == sorted(row["id"] for row in rows(5 * AT_ONCE))
    assert (came.ids == [row["id"] for row in rows(5 * AT_ONCE)]) is preserve_order


@cases("way", WAYS)
@cases("why", ["the consumer is slow", "the first row is slow"])
def test_rows_are_not_read_far_ahead(way: str, why: str, server: Server) -> None:
    """However many rows there are, few are read before their results are taken."""
    ahead: list[int] = []
    taken = 0
    is_full = threading.Event()

    def read() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(rows(9 * AT_ONCE), 1):
            ahead.append(number - taken)
            if ahead[-1] >= 2 * AT_ONCE:
                is_full.set()
            yield row

    def respond(received: Received) -> Reply:
        if why == "the first row is slow" and received.query == "q0":
            assert is_full.wait(TIME)
        return ranks_all(received)

    def each(came: Came) -> None:
        nonlocal taken
        taken = len(came.results)

    server.plays(respond)
    options: dict[str, Any] = {
        "max_concurrency": AT_ONCE,
        "preserve_order": why == "the first row is slow",
    }
    with client_of(server) as client:
        came = many(way, client, read(), each=each, until=is_full.is_set, **options)
    assert (len(came.results), came.error) == (9 * AT_ONCE, None)
    assert AT_ONCE <= max(ahead) <= 3 * AT_ONCE


@cases("way", WAYS)
@cases("how", ["break", "exception", "not begun"])
def test_a_run_that_is_left_early_sends_nothing_more(way: str, how: str, server: Server) -> None:
    """After a consumer has left, no call begins, and no task or thread remains."""
    held = Held("q0")
    server.plays(held)

    def each(_: Came) -> None:
        raise Enough if how == "break" else ValueError

    with client_of(server) as client:
        if how == "not begun":
            with client.rerank_many(rows(9)):
                pass
            assert server.received == []
            return
        came = many(
            way,
            client,
            rows(20 * AT_ONCE),
            each=each,
            until=lambda: len(server.received) > AT_ONCE,
            max_concurrency=AT_ONCE,
        )
        assert isinstance(came.error, Enough if how == "break" else ValueError)
        assert (came.ids, came.tasks_left) == (["q0"], 0)
        held.gate.set()
        until_ended()
    assert len(server.received) == 1 + AT_ONCE
    assert threads() == []


@cases("how", ["by the rows", "by a timeout"])
def test_a_wait_that_is_cancelled_ends_a_run(how: str, server: Server) -> None:
    """Rows that are cancelled end a run, too, and none ends as if there were no more rows."""
    held = Held("q0")
    server.plays(held)

    async def cancelled() -> AsyncIterator[Any]:
        yield rows(1)[0]
        nothing = asyncio.get_running_loop().create_future()
        nothing.cancel()
        await nothing

    async def rank(client: RerankClient) -> None:
        given = cancelled() if how == "by the rows" else rows(3)
        run = client.arerank_many(given, max_concurrency=1)
        assert (await anext(run)).id == "q0"
        following = asyncio.ensure_future(anext(run))
        if how == "by a timeout":
            assert await asyncio.to_thread(held.came.wait, TIME)
            following.cancel()
        done, _ = await asyncio.wait([following], timeout=TIME)
        assert done
        assert following.cancelled()
        with pytest.raises(ConfigurationError, match="make another one"):
            await anext(run)
        assert len(asyncio.all_tasks()) == 1

    with client_of(server) as client:
        asyncio.run(rank(client))
        held.gate.set()


class Budget(NamedTuple):
    """A budget for ten rows, the responses, and how many results and requests there are."""

    options: dict[str, Any]
    script: Sequence[Reply]
    results: int
    requests: int
    error: type[Exception] = BudgetExceededError


GOOD = ranking(0.9, 0.8)
UNITS, TOKENS = costing(None, search_units=1), costing(None, total_tokens=500)
BUDGETS = [
    Budget({"max_cost": 0.010}, [costing(0.001)], 10, 10),
    # a sum of floats is not exact
    Budget({"max_cost": 0.010, "max_concurrency": 1}, [costing(0.001)], 10, 10),
    Budget({"max_cost": 0.0099}, [costing(0.001)], 9, 9),
    Budget({"max_cost": 0.001}, [costing(0.001)], 1, 1),  # one call until the cost is known
    Budget({"max_cost": 0.010}, [costing(0.004), costing(0.001)], 4, 4),  # the largest is reserved
    Budget({"max_cost": 1.0, "max_requests": 3}, [costing(0.001)], 3, 3),
    Budget({"max_requests": 10}, [GOOD], 10, 10),
    Budget({"max_requests": 3}, [Reply(status=503), GOOD], 1, 2),  # a retry is a request
    Budget({"max_requests": 9, "max_documents_per_request": 1}, [ranking(0.9)], 4, 8),
    Budget({"max_cost": 1.0, "price": Price(per_1000_search_units=500)}, [UNITS], 2, 2),
    Budget({"max_cost": 1.0, "price": Price(per_million_tokens=1000)}, [TOKENS], 2, 2),
    Budget({"max_cost": 2.5}, [costing(0.5), costing(None)], 5, 5),  # it counts as the largest
    # the first response says no cost, and no price makes one of it
    Budget({"max_cost": 1}, [UNITS], 0, 1, ConfigurationError),
    Budget(
        {"max_cost": 1, "price": Price(per_million_tokens=1)}, [UNITS], 0, 1, ConfigurationError
    ),
]


@cases("way", WAYS)
@cases("budget", BUDGETS)
def test_nothing_is_sent_beyond_the_budget(
    way: str, budget: Budget, server: Server, pauses: object
) -> None:
    """A run stops before the call that could exceed its budget, with all that was finished.

    A budget that is exactly enough raises nothing.
    """
    server.plays(*budget.script)
    with client_of(server) as client:
        came = many(way, client, iter(rows(10)), **{"max_concurrency": 8, **budget.options})
    assert (len(came.results), len(server.received)) == (budget.results, budget.requests)
    assert came.requests == budget.requests
    if budget.results == 10:
        assert came.error is None
        return
    assert isinstance(came.error, budget.error)
    assert came.run is not None
    if budget.error is ConfigurationError:
        # the row is paid; only the price that fits what the response counts is named
        assert came.run.progress.done == 1
        assert str(came.error).endswith(
            "count search_units: pass price=Price(per_1000_search_units=...)"
        )
        return
    said: dict[str, Any] = {
        "current_cost": came.run.cost,
        "max_cost": budget.options.get("max_cost"),
        "requests": budget.requests,
        "max_requests": budget.options.get("max_requests"),
    }
    for error in (came.error, pickle.loads(pickle.dumps(came.error))):  # noqa: S301  # ours
        assert {name: getattr(error, name) for name in said} == said
        assert "budget is used up" in str(error)


@cases(
    ("model", "given", "options", "told"),
    [
        ("cohere:m", {}, {}, "responses of cohere do not say it: pass price=Price(per_1000_"),
        ("jina:m", {"fallbacks": ["local:bm25"]}, {}, "responses of jina and local do not say it"),
        ("local:bm25", {}, {}, "leave it out for what runs in this process"),
        ("cohere:m", {}, {"price": Price(per_1000_search_units=2)}, None),
        ("cohere:m", {"base_url": "https://gateway.example"}, {}, None),  # which may say it
        ("cohere:m", {"base_url": "https://api.cohere.com/v2/"}, {}, "responses of cohere"),
        ("cohere:m", {"fallbacks": ["openrouter:m"]}, {}, None),
        ("openrouter:m", {}, {}, None),
    ],
)
def test_a_budget_without_a_known_cost_is_refused_before_anything_is_sent(
    model: str, given: Any, options: Any, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no response would say the cost and there is no price; what may say it is asked."""
    for name in ("CO_API_KEY", "JINA_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "the-key")
    client = RerankClient(model, **given)
    for method in (client.rerank_many, client.arerank_many):
        if told is None:
            method([], max_cost=1, **options)
            continue
        with pytest.raises(ConfigurationError) as caught:
            method([], max_cost=1, **options)
        assert told in str(caught.value)


@cases("way", WAYS)
def test_progress_is_told(way: str, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A function is told the progress after each row; a bar shows it, and is closed at the end."""
    told: list[Progress] = []
    server.plays(costing(0.25))
    with client_of(server) as client:
        given = [*rows(4), {"query": "no documents"}]
        came = many(way, client, given, progress=told.append, on_error="keep")
        assert came.error is None
        assert len(told) == 5
        assert told[-1][:4] == (4, 1, 4, 1.0)
        assert [one.done + one.failed for one in told] == sorted(
            one.done + one.failed for one in told
        )
        pytest.importorskip("tqdm", reason="the bar is tqdm's")
        many(way, client, given, progress=True, on_error="keep")
    shown = capsys.readouterr().err
    assert "5/5" in shown
    assert "failed 1, requests 4, $1.0000" in shown
    assert shown.endswith("\n")


@cases("way", WAYS)
def test_a_run_has_the_settings_of_a_call(
    way: str, clock: Clock, server: Server, second: Server
) -> None:
    """The settings of a call hold for each row, those of the client where none are given.

    A rate limit slows a run down and fails no row, also where the deadline is shorter.
    """
    given = [{"query": "red", "documents": [{"title": "a", "text": "b"}, {"title": "c"}]}]
    server.plays(lambda received: ranking(*[0.5] * received.body.get("top_n", 2)))
    with client_of(server, rank_fields=["title"], fallbacks=["together:n"]) as client:
        plain = client.with_options(top_n=1)
        options: dict[str, Any] = {"top_n": 2, "model": "other", "rank_fields": ["text", "title"]}
        for one, changes in ((plain, {}), (plain, options)):
            came = many(way, one, given, **changes)
            assert came.error is None
            assert len(came.results[0].response or ()) == changes.get("top_n", 1)
        bodies = [received.body for received in server.received]
        assert [body["model"] for body in bodies] == ["m", "other"]
        assert bodies[0]["documents"] != bodies[1]["documents"]
        server.plays(Reply(status=401))
        came = many(way, client, given)
        [result] = came.results
        assert result.response is not None
        assert (result.response.model, came.requests) == ("n", 2)
    server.plays(ranks_all)
    clock.is_frozen = True
    with client_of(server, deadline=1.0) as client:
        came = many(way, client, rows(7), max_concurrency=3, requests_per_minute=2)
    assert (len(came.results), came.error) == (7, None)
    assert sorted(clock.slept) == [60.0, 60.0, 120.0, 120.0, 180.0]
