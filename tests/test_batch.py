"""RerankBatch: rows and frames in, the same with new columns out, in any process."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from cases import cases
from loopback import TIME, Received, Reply, Server, ranking, ranks_all
from rerank_integrations import (
    ConfigurationError,
    InvalidRequestError,
    OpenRouter,
    RerankBatch,
    RerankClient,
    StatusError,
    batch as batch_module,
)
from rerank_integrations.errors import RerankError

COUNTS = ("search_units", "total_tokens", "prompt_tokens", "completion_tokens", "cost")
NEW = {"indices", "scores", "usage", "error"}
ROWS: list[dict[str, Any]] = [
    {"query": "b", "documents": ["a", "b"]},
    {"query": "y", "documents": ["x", "y", "z"]},
]
FOUND = [[1, 0], [1, 0, 2]]


def batch_of(server: Server, **settings: Any) -> RerankBatch:
    """A batch whose gateway is the server."""
    provider = OpenRouter(api_key="the-key", base_url=server.url)
    return RerankBatch("m", provider=provider, **settings)


async def collected(batch: RerankBatch, rows: Any, *, as_stream: bool) -> list[dict[str, Any]]:
    """All rows of `arows`, of a list or of an async iterable."""

    async def stream() -> Any:
        for row in rows:
            yield row

    return [row async for row in batch.arows(stream() if as_stream else rows)]


def by_columns(batch: RerankBatch, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rank a mapping of columns."""
    columns = batch({name: [row[name] for row in rows] for name in ("query", "documents")})
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def by_pandas(batch: RerankBatch, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rank a frame of pandas whose index is not the usual one."""
    frame = batch(pd.DataFrame(rows, index=range(7, 7 + len(rows))))
    assert list(frame.index) == list(range(7, 7 + len(rows)))
    return [
        {str(name): None if value is pd.NA else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


WAYS: dict[str, Any] = {
    "columns": by_columns,
    "pandas": by_pandas,
    "rows": lambda batch, rows: list(batch.rows(iter(rows))),
    "arows": lambda batch, rows: asyncio.run(collected(batch, rows, as_stream=False)),
    "a stream": lambda batch, rows: asyncio.run(collected(batch, rows, as_stream=True)),
}


@cases("way", list(WAYS))
def test_each_row_has_its_results_and_its_error(server: Server, way: str) -> None:
    """Rows keep their order and keys; a row that fails says why and leaves the others alone."""
    bad = [
        {"query": "q", "documents": "abc"},
        {"query": "q", "documents": ["a", None]},
        {"query": 5, "documents": ["a"]},
    ]
    found = WAYS[way](batch_of(server), [*ROWS, *bad])

    assert [row["indices"] for row in found] == [*FOUND, None, None, None]
    assert [row["query"] for row in found] == ["b", "y", "q", "q", 5]
    assert found[0]["scores"] == [1.0, 0.999]
    assert found[0]["error"] is None
    assert set(found[0]["usage"]) == set(COUNTS)
    assert "row 3: documents must be a list" in found[2]["error"]
    assert "UnsupportedDocumentError" in found[3]["error"]
    assert found[4]["error"].startswith("InvalidRequestError")
    assert [found[4][name] for name in ("scores", "usage")] == [None, None]
    assert len(server.received) == 2


def test_what_engines_hand_over_is_understood(server: Server) -> None:
    """Numpy arrays are lists, None is an empty list, and a None in a struct was not there.

    A frame without rows has the columns, and sends nothing.
    """
    arrays = np.array(["a", "b"], dtype=object)
    structs = [{"text": "b", "title": None}, {"text": "a", "title": "t"}]
    columns: dict[str, Any] = {
        "query": np.array(["b", "q", "q", "b"], dtype=object),
        "documents": [arrays, None, float("nan"), np.array(structs, dtype=object)],
        "more": [1, 2, 3, 4],
    }
    batch = batch_of(server, top_n=1, rank_fields=["title", "text"])
    found = batch(columns)
    for wrong in (
        {"query": ["q"]},
        pd.DataFrame({"documents": [["a"]]}),
        ["q"],
        {**columns, "query": []},
    ):
        with pytest.raises(InvalidRequestError):
            batch(wrong)

    assert found["indices"][:3] == [[1], [], []]
    assert found["more"] == [1, 2, 3, 4]
    assert set(found) == {*columns, *NEW}
    assert "title: None" not in str(server.received[-1].body)
    assert len(found["indices"][3]) == 1
    assert set(columns) == {"query", "documents", "more"}  # the caller's own is untouched

    server.reset()
    frame = pd.DataFrame(ROWS)
    empty = batch(frame.head(0))  # an engine asks so for the columns of a result
    assert set(empty.columns) == {"query", "documents", *NEW}
    assert not server.received
    assert list(empty.dtypes) == list(batch(frame).dtypes)


@cases(
    ("settings", "says"),
    [
        ({}, "model"),
        ({"model": "openrouter:m", "top_m": 1}, "top_n"),
        ({"model": "openrouter:m", "client": 1}, "RerankClient"),
        ({"model": "openrouter:m", "on_error": "keep"}, "'column' or 'raise'"),
        ({"model": "openrouter:m", "max_concurrency": 0}, "max_concurrency"),
        ({"model": "openrouter:m", "checkpoint": "run.jsonl"}, "SQLite"),
        ({"model": "openrouter:m", "checkpoint": "run.ndjson"}, "SQLite"),
        ({"model": "openrouter:m", "checkpoint": "run.txt"}, "SQLite"),
        ({"model": "openrouter:m", "rate_limit": "redis://x"}, "sqlite:///path"),
        ({"model": "openrouter:m", "rate_limit": object()}, "reserve"),
        ({"model": "openrouter:m", "deadline": -1}, "deadline"),
        ({"model": "openrouter:m", "prefix": None}, "prefix must be a str, not NoneType"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(settings: Any, says: str) -> None:
    """What is wrong is said before an engine starts, and needs no key."""
    with pytest.raises(ConfigurationError, match=says):
        RerankBatch(**settings)


@cases("way", ["rows", "arows"])
def test_rows_come_from_a_file_too_and_are_counted_in_each(
    server: Server, tmp_path: Path, way: str
) -> None:
    """A path is that of a JSONL file; an error names the row in its batch or file; no frame."""
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in ROWS) + "\nno JSON\n")
    batch = batch_of(server, top_n=1)

    def ask(rows: Any) -> list[dict[str, Any]]:
        if way == "rows":
            return list(batch.rows(rows))
        return asyncio.run(collected(batch, rows, as_stream=False))

    found = ask(file)
    columns: dict[str, Any] = {"query": ["q", ""], "documents": [["a"], ["b"]]}

    assert [one["indices"] for one in found[: len(ROWS)]] == [one["indices"] for one in ask(ROWS)]
    assert f"{file}, line {len(ROWS) + 1}: not valid JSON" in found[-1]["error"]
    for _ in range(2):
        assert "row 2: query is empty" in batch(columns)["error"][1]
    with pytest.raises(InvalidRequestError, match="not a DataFrame"):
        ask(pd.DataFrame(ROWS))


FORKS = """
import asyncio, os, sys
from rerank_integrations import ConfigurationError, RerankBatch, RerankClient

def refused(made):
    try:
        next(made)
    except ConfigurationError as error:
        made.close()
        return "of which this one is a fork" in str(error)

async def is_refused(made):
    try:
        await anext(made)
    except ConfigurationError as error:
        await made.aclose()
        return "of which this one is a fork" in str(error)

async def first(made):
    return await anext(made)

async def rest(made):
    return [one async for one in made]

def on_loops():
    with asyncio.Runner() as runner:
        begun = [batch.arows(others), client.arerank_many(others)]
        for one in begun:
            runner.run(first(one))
        child = os.fork()
        if not child:
            os._exit(not all(asyncio.run(is_refused(one)) for one in begun))
        assert os.waitpid(child, 0)[1] == 0
        for one in begun:
            assert len(runner.run(rest(one))) == 199

batch = RerankBatch("local:bm25", top_n=1)
rows = [{"query": "red", "documents": ["a blue car", "a red car"]}]
print(next(batch.rows(rows))["indices"], flush=True)
client, others = RerankClient("local:bm25"), 200 * rows
begun = [batch.rows(others), client.rerank_many(others)]
begun += [client.rerank_many(others, checkpoint=sys.argv[1] + end) for end in (".jsonl", ".sqlite")]
for one in begun:
    next(one)
unbegun = client.rerank_many(others)
end, go = os.pipe()
child = os.fork()
print(next(batch.rows(rows))["indices"], flush=True)
if child:
    for one in begun:
        assert len(list(one)) == 199
    with client.rerank_many(rows, checkpoint=sys.argv[1] + ".jsonl") as again:
        assert next(again).is_stored  # the child holds no lock
    os.write(go, b"1")
    assert os.waitpid(child, 0)[1] == 0
    on_loops()
else:
    os.read(end, 1)
    assert all(map(refused, [*begun, unbegun]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_anew(tmp_path: Path) -> None:
    """A batch that was used before a fork works in parent and child, and all end in order.

    Runs that were made before it go on in the parent alone; the child refuses them.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIME,
    )

    assert (done.stdout.split("\n"), done.stderr) == (["[1]"] * 3 + [""], "")


@cases("way", list(WAYS))
def test_an_error_is_raised_where_that_is_asked_for(server: Server, way: str) -> None:
    """With `on_error="raise"` the error of a row is raised as it is."""
    server.plays(Reply({"error": "no such model"}, 404))
    with pytest.raises(RerankError) as caught:
        WAYS[way](batch_of(server, on_error="raise"), ROWS)

    assert isinstance(caught.value, StatusError)
    assert caught.value.status_code == 404


@cases("way", ["rows", "arows"])
@cases("ends", ["at the end", "by an error"])
def test_a_slow_source_delays_no_row(server: Server, way: str, ends: str) -> None:
    """A row is asked for and given out while the source waits for its next one.

    What was asked for is given out before an error of the source is raised.
    """
    batch, taken = batch_of(server), threading.Event()

    def slow() -> Any:
        yield ROWS[0]
        assert taken.wait(TIME), "the first row was not given out"
        yield from ROWS
        if ends == "by an error":
            raise RuntimeError("the disk is gone")

    async def stream() -> Any:
        source = slow()
        while (row := await asyncio.to_thread(next, source, None)) is not None:
            yield row

    async def on_a_loop() -> None:
        async for row in batch.arows(stream()):
            found.append(row)
            taken.set()

    found: list[dict[str, Any]] = []
    try:
        if way == "rows":
            for row in batch.rows(slow()):
                found.append(row)
                taken.set()
        else:
            asyncio.run(on_a_loop())
    except RuntimeError as error:
        assert str(error) == "the disk is gone"
        found.append({"indices": "an error"})
    assert [row["indices"] for row in found] == [
        *(FOUND[0], *FOUND),
        *(["an error"] if ends == "by an error" else []),
    ]


@cases("way", list(WAYS))
@cases("name", sorted(NEW))
def test_no_column_of_the_caller_is_overwritten(server: Server, way: str, name: str) -> None:
    """A name that is there is refused, before its row is sent; a prefix makes other names."""
    rows = [{**row, name: "mine"} for row in ROWS]
    rank = {**WAYS, "columns": by_pandas}[way]
    if way == "columns":
        with pytest.raises(InvalidRequestError, match=f"already has a column '{name}'"):
            batch_of(server)({one: [row[one] for row in rows] for one in rows[0]})
    with pytest.raises(InvalidRequestError, match=f"'{name}'; pass prefix='rerank_'"):
        rank(batch_of(server), rows)
    assert server.received == []
    found = rank(batch_of(server, prefix="rerank_"), rows)
    assert [row["rerank_indices"] for row in found] == FOUND
    assert {name: "mine", **ROWS[0]}.items() <= found[0].items()
    assert set(found[0]) == {*rows[0], *(f"rerank_{one}" for one in NEW)}


@cases("how", ["with", "async with", "collected", "a copy"])
def test_a_batch_is_closed(server: Server, tmp_path: Path, how: str) -> None:
    """It keeps no connection, file or thread when it is closed or collected; a call opens them.

    Copies that engines unpickle for each task share a worker, so they are not closed with it.
    """
    other = batch_of(server)
    file = tmp_path / "run.sqlite"
    settings: dict[str, Any] = {"checkpoint": file, "max_concurrency": 2}

    def loops() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name == "batches"]

    async def on_a_loop() -> None:
        async with batch_of(server, **settings) as batch:
            assert len(await collected(batch, ROWS, as_stream=False)) == 2

    gc.collect()
    for worker in list(batch_module._WORKERS.values()):  # of other tests, which unpickled copies
        worker.close().result(TIME)
    before = server.connections
    if how == "with":
        with batch_of(server, **settings) as batch:
            for _ in range(2):
                assert [row["indices"] for row in batch.rows(ROWS)] == FOUND
                batch.close()
                batch.close()
    elif how == "async with":
        asyncio.run(on_a_loop())
    else:
        batch = batch_of(server, **settings)
        used = pickle.loads(pickle.dumps(batch)) if how == "a copy" else batch  # noqa: S301
        assert by_columns(used, ROWS)[0]["error"] is None
        if how == "a copy":
            del batch
            gc.collect()
            assert by_columns(other, ROWS)[0]["error"] is None  # the loop has had its turn
            assert file.with_name("run.sqlite-wal").exists()
            used.close()
            other.close()
        del used
        batch = other
        gc.collect()
    assert server.connections > before
    for thread in loops():
        thread.join(TIME)
    assert loops() == []
    server.until_closed(server.connections)
    assert not file.with_name("run.sqlite-wal").exists()


def test_threads_and_copies_share_a_client_and_its_bound(server: Server) -> None:
    """All threads and unpickled copies in a process have one client, and so one bound."""
    batch = batch_of(server, max_concurrency=3)
    at_once, most, lock = 0, 0, threading.Lock()

    def slow(received: Received) -> Reply:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.002)
        with lock:
            at_once -= 1
        return ranks_all(received)

    server.plays(slow)
    threads = [
        threading.Thread(target=pickle.loads(pickle.dumps(batch)), args=({**columns},))  # noqa: S301
        for columns in [{"query": ["b"] * 10, "documents": [["a", "b"]] * 10}] * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(server.received) == 40
    assert most <= 3
    assert server.connections <= 3


def test_a_checkpoint_is_asked_first(server: Server, tmp_path: Path) -> None:
    """Another batch with the same checkpoint pays for new rows alone, with ids and without."""
    settings = {"checkpoint": tmp_path / "run.sqlite"}
    frame = pd.DataFrame(ROWS)
    first = batch_of(server, **settings)(frame)
    again = batch_of(server, **settings)(pd.DataFrame([*ROWS, {"query": "c", "documents": "c"}]))
    assert list(again["indices"][:2]) == list(first["indices"]) == FOUND
    assert len(server.received) == 2

    named = frame.assign(id=np.array([1.0, 2]))
    batch_of(server, **settings)(named)
    batch_of(server, **settings)(named[::-1].assign(id=np.array([2, 1])))
    assert len(server.received) == 4
    with_bytes = {"query": "q", "documents": [{"text": "a", "raw": b"\xff"}]}
    [row] = batch_of(server, **settings).rows([with_bytes])
    assert "UnsupportedDocumentError" in row["error"]


def test_a_batch_works_again_after_its_run_has_failed(server: Server, tmp_path: Path) -> None:
    """Who asks while the client of a run that failed is being closed has an answer, too."""

    class Slow(httpx.AsyncClient):
        async def aclose(self) -> None:
            for _ in range(1000):
                if any(one.query == "y" for one in server.received):
                    break
                await asyncio.sleep(0.002)
            await super().aclose()

    file = tmp_path / "run.sqlite"
    batch = batch_of(server, checkpoint=file, async_http_client=Slow)
    with closing(sqlite3.connect(file)) as db:
        assert by_columns(batch, ROWS[:1])[0]["error"] is None
        db.execute("DROP TABLE rows")
    with pytest.raises(ConfigurationError, match="the checkpoint cannot be used"):
        by_columns(batch, [{"query": "z", "documents": ["z"]}])
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(by_columns, batch, ROWS[1:]).result(TIME)
    assert found[0]["indices"] == FOUND[1]


def test_a_file_of_a_limit_holds_no_key(server: Server, tmp_path: Path) -> None:
    """Neither does one whose key is in the query; and a file that fails is an error of ours."""
    file = tmp_path / "limit.db"
    url = f"{server.url}?api-key=the-secret"
    client = RerankClient("m", provider=OpenRouter(api_key="the-key", base_url=url))
    run = client.rerank_many(
        ROWS * 2,
        rate_limit=f"sqlite:///{file}",
        requests_per_minute=1_000_000,
        max_concurrency=1,
        on_error="keep",
        preserve_order=True,
    )
    assert next(run).error is None
    written = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert server.url.encode() in written
    assert b"the-secret" not in written
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP TABLE slots")
    *_, last = run
    assert isinstance(last.error, ConfigurationError)
    assert "cannot use the rate limit" in str(last.error)


def test_a_limit_of_the_users_own_is_asked_for_each_request(server: Server) -> None:
    """An object with `reserve` decides when each request goes, retries included."""
    asked: list[tuple[int, int]] = []

    class Limit:
        def reserve(self, requests: int, documents: int) -> float:
            asked.append((requests, documents))
            return 0.0

    server.plays(Reply(status=503, headers={"Retry-After": "0"}), ranking(0.2, 0.1))
    client = RerankClient("m", provider=OpenRouter(api_key="the-key", base_url=server.url))
    rows = [{"query": "q", "documents": ["a", "b"]}]
    results = list(client.rerank_many(rows, rate_limit=Limit()))

    assert results[0].error is None
    assert asked == [(1, 2), (1, 2)]


WORKER = """
import sys
from rerank_integrations import OpenRouter, RerankBatch

url, limit, name = sys.argv[1:]
batch = RerankBatch(
    "m",
    provider=OpenRouter(api_key="the-key", base_url=url),
    max_concurrency=4,
    rate_limit=limit,
    requests_per_minute=3000,
    documents_per_minute=1500,
)
list(batch.rows([{"query": name, "documents": ["a"]}]))
print("ready", flush=True)
sys.stdin.readline()
for row in batch.rows({"query": name, "documents": ["a"]} for _ in range(15)):
    assert row["error"] is None, row
"""


def test_one_rate_limit_serves_all_processes(server: Server, tmp_path: Path) -> None:
    """No request comes before its slot, and each process has its share of the slots."""
    came: list[tuple[float, str]] = []

    def noted(received: Received) -> Reply:
        came.append((time.monotonic(), received.query))
        return ranks_all(received)

    server.plays(noted)
    address = f"sqlite:///{tmp_path / 'limit.db'}"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, server.url, address, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    came.clear()
    began = time.monotonic()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=30)

    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(came) == 45
    # a request may be late, and so several come at once; but never is one early
    early = [n for n, (at, _) in enumerate(sorted(came)) if at - began < n * 60 / 1500]
    assert not early
    shares = Counter(name for _, name in came[:24])
    assert min(shares[name] for name in "abc") >= 3, shares
