"""A run that is killed, interrupted or left goes on where it stopped."""

from __future__ import annotations

import json
import math
import os
import select
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import kills
from calls import client_of
from cases import cases
from loopback import TIME, Received, Reply, Server, ranks_all, running
from many_calls import WAYS, Came, Enough, many
from rerank_integrations import (
    CheckpointMismatchError,
    ConfigurationError,
    InvalidRequestError,
    RerankBatch,
    RerankClient,
    RerankDocument,
    _checkpoint,
)
from test_many import AT_ONCE, TEXTS, Held, costing, rows, threads, until_ended

STORES = kills.STORES
COUNT = 60


def stored(came: Came) -> list[bool]:
    """Whether each result came from the checkpoint."""
    assert all(result.seconds is None for result in came.results if result.is_stored)
    return [result.is_stored for result in came.results]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forks")
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """However often a run is killed, no row is lost, and none is twice in the checkpoint.

    Each kill costs at most what was in flight. Ctrl-C ends a run at once, too, although calls are
    in flight, and what it has stored is not asked for again.
    """
    with kills.forking() as forks:
        for store in STORES:
            seed = int.from_bytes(os.urandom(2))
            figures = kills.killed_run(forks, tmp_path / store, 6, seed, COUNT)
            told = f"{store} with seed {seed}: {figures}"
            assert sorted(figures.kept) == sorted(row["id"] for row in kills.rows(COUNT)), told
            assert figures.wrong == [], told
            assert max(figures.lost) <= kills.AT_ONCE, told
            assert set(figures.served) == set(figures.kept), told
            assert sum(figures.served.values()) <= COUNT + figures.kills * kills.AT_ONCE, told
        for way in (*kills.WAYS, "batch"):
            _interrupted(forks, tmp_path / f"{way}.{'jsonl' if way == 'sync' else 'sqlite'}", way)


def _interrupted(forks: Any, path: Path, way: str) -> None:
    """A run ends at one Ctrl-C, while a server does not answer, and another goes on."""
    held = Held("q0", "q1", "q2")
    with running(held) as server:
        print(server.url, path, 20, way, "", sep="\t", file=forks.stdin, flush=True)
        pid = int(forks.stdout.readline())
        while len(server.received) < 3 + kills.AT_ONCE:
            time.sleep(0.002)
        os.kill(pid, signal.SIGINT)
        assert select.select([forks.stdout], [], [], 15)[0], way  # a request would wait for 30
        assert int(forks.stdout.readline()) in (-signal.SIGINT, 128 + signal.SIGINT)
        held.gate.set()
        assert sorted(kills.kept_in(path)) == ["q0", "q1", "q2"]
        came = many("sync", kills.client_of(server.url), kills.rows(20), checkpoint=path)
        assert (came.error, came.requests) == (None, 17)


def test_a_file_that_was_cut_at_any_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a JSONL file ends, a run opens it, and asks again for the torn line alone."""
    monkeypatch.setattr(os, "fsync", int)
    whole = tmp_path / "whole.jsonl"
    server.plays(costing(0.001))
    with client_of(server) as client:
        many("sync", client, rows(2), checkpoint=whole, preserve_order=True, max_concurrency=1)
        content = whole.read_bytes()
        ends = [place for place, byte in enumerate(content, 1) if byte == ord("\n")]
        for size in range(len(content) + 1):
            cut = tmp_path / f"{size}.jsonl"
            cut.write_bytes(content[:size])
            shutil.copy(f"{whole}.run.json", f"{cut}.run.json")
            with client.rerank_many([], checkpoint=cut):
                pass
            kept = content[: max((end for end in ends if end <= size), default=0)]
            assert cut.read_bytes() == kept
            if size + 1 in ends or size in ends:  # and goes on
                came = many("sync", client, rows(2), checkpoint=cut, max_concurrency=1)
                assert (came.error, len(came.results)) == (None, 2)
                assert came.requests == sum(end > size for end in ends)
                assert cut.read_bytes() == content


def without_run(path: Path) -> None:
    """Remove what says of which run a file is."""
    Path(f"{path}.run.json").unlink()


def of_somebody(path: Path) -> None:
    """Put a file there that no run has written; its only line has no end."""
    without_run(path)
    path.write_text('{"id": 1, "query": "q"}')


REFUSED: list[tuple[str, dict[str, Any], Any, type[Exception], str]] = [
    *(
        (store, changes, None, CheckpointMismatchError, message)
        for store in STORES
        for changes, message in (
            ({"model": "other"}, "model was 'm', and is 'other'"),
            ({"top_n": 1}, "top_n was None, and is 1"),
            ({"rank_fields": ["a"]}, "rank_fields was None, and is ['a']"),
            ({"extra_body": {"a": 1}}, "extra_body was None, and is {'a': 1}"),
            ({"score_transform": "sigmoid"}, "score_transform was None, and is 'sigmoid'"),
        )
    ),
    ("run.jsonl", {}, without_run, CheckpointMismatchError, "is missing; use another file"),
    (
        "run.jsonl",
        {},
        lambda path: Path(f"{path}.run.json").write_text("{"),
        ConfigurationError,
        "has no readable settings",
    ),
    (
        "run.jsonl",
        {},
        of_somebody,
        CheckpointMismatchError,
        "is missing; use another file",
    ),
    (
        "run.jsonl",
        {},
        lambda path: path.write_text('{"query": "q"}\n'),
        ConfigurationError,
        "is not a file of results: the line at byte 0",
    ),
    (
        "run.sqlite",
        {},
        lambda path: path.write_bytes(b"no database" * 100),
        ConfigurationError,
        "cannot use the checkpoint",
    ),
    *(
        (f"file/{store}", {}, lambda path: path.parent.write_text(""), ConfigurationError, "cannot")
        for store in STORES
    ),
]


@cases(("name", "changes", "spoil", "kind", "message"), REFUSED)
def test_another_checkpoint_is_refused(
    name: str, changes: dict[str, Any], spoil: Any, kind: Any, message: str, *, tmp_path: Path
) -> None:
    """A file of another run, or one that cannot be used, is refused before anything is sent.

    The error says what differs. The same settings open the file again.
    """
    path = tmp_path / name
    with running(ranks_all) as server, client_of(server) as client:
        if path.parent == tmp_path:
            for _ in range(2):
                came = many("sync", client, rows(3), checkpoint=path, timeout=9.0, max_retries=0)
                assert (came.error, len(server.received)) == (None, 3)
        server.received.clear()
        if spoil is not None:
            if name == "run.sqlite":
                for one in tmp_path.iterdir():
                    one.unlink()
            spoil(path)
        content = path.read_bytes() if path.is_file() else b""
        for method in (client.rerank_many, client.arerank_many):
            with pytest.raises(kind) as caught:
                method(rows(3), checkpoint=path, **changes)
            assert message in str(caught.value)
        assert server.received == []
        assert path.suffix == ".sqlite" or not content or path.read_bytes() == content


def images(shade: int) -> list[Any]:
    """Documents that JSON does not have, made anew."""
    return [
        RerankDocument(text="a", image=b"\x89PNG\r\n\x1a\n" + bytes([shade])),
        {"text": "b", "image": Image.new("L", (2, 2), shade)},
        {"text": "half \ud83d", "number": float("nan")},
    ]


IDS: list[tuple[str, Sequence[dict[str, Any]], Sequence[Any]]] = [
    # what it is, the rows of one run, and the documents of another that each must refuse
    ("a number is no text", [{"id": 1, "documents": ["a"]}, {"id": "1", "documents": ["b"]}], []),
    ("an id twice", [{"id": "a", "documents": ["a"]}, {"id": "a", "documents": ["a"]}], []),
    ("other documents", [{"id": "a", "documents": ["a"]}], [["b"], ["a", "b"], []]),
    ("images", [{"id": "a", "documents": images(1)}], [images(2), images(1)[:2]]),
    ("half of a pair", [{"id": "a", "documents": ["\ud83d"]}], [["\ud83e"]]),
]


@cases("store", STORES)
@cases("way", WAYS)
@cases(("what", "given", "others"), IDS)
def test_a_row_is_known_by_its_id_and_its_documents(
    store: str,
    way: str,
    what: str,
    given: Sequence[dict[str, Any]],
    others: Sequence[Any],
    *,
    tmp_path: Path,
) -> None:
    """A response is for the same id, query and documents; with others the id is an error."""

    def respond(received: Received) -> Reply:
        scores = [0.5 - place / 8 for place in range(len(received.body["documents"]))]
        return Reply(
            {"results": [{"index": i, "relevance_score": one} for i, one in enumerate(scores)]}
        )

    path = tmp_path / store
    options: dict[str, Any] = {
        "checkpoint": path,
        "rank_fields": ["text"],
        "on_image": "text",
        "max_concurrency": 1,
    }
    all_rows = [{"query": "q", **row} for row in given]
    with running(respond) as server, client_of(server) as client:
        first = many(way, client, all_rows, **options)
        again = many(way, client, all_rows, **options)
        assert (first.error, again.error, again.requests) == (None, None, 0), what
        assert stored(first) == ([False, True] if what == "an id twice" else [False] * len(given))
        assert all(stored(again))
        for one, other in zip(first.results, again.results, strict=True):
            assert one.response is not None
            assert other.response is not None
            assert one.response.results == other.response.results
        for documents in others:
            changed = [{**all_rows[0], "documents": documents}]
            came = many(way, client, changed, on_error="keep", **options)
            error = came.results[0].error
            assert isinstance(error, InvalidRequestError)
            assert "with another query or other documents" in str(error)
    assert len(kills.kept_in(path)) == len({json.dumps(row["id"]) for row in given})


@cases("store", STORES)
@cases("way", WAYS)
def test_one_run_after_another(store: str, way: str, tmp_path: Path) -> None:
    """What a run that was left had in flight is not kept, for another run may have the file.

    Two runs at once share a SQLite file; a JSONL file is refused while a run has it.
    """
    path, held = tmp_path / store, Held("q0")
    options: dict[str, Any] = {"checkpoint": path, "max_concurrency": AT_ONCE}

    def each(_: Came) -> None:
        raise Enough

    with running(held) as server, client_of(server) as client:

        def is_full() -> bool:
            return len(server.received) > AT_ONCE

        many(way, client, rows(20), each=each, until=is_full, **options)
        server.plays(ranks_all)
        whole = many(way, client, rows(20), **options)
        assert (whole.error, whole.requests) == (None, 19)
        held.gate.set()  # the calls of the first run end now
        until_ended()
        assert threads() == []
        assert sorted(kills.kept_in(path)) == sorted(row["id"] for row in rows(20))
        again = many(way, client, rows(20), **options)
        assert (again.requests, len(kills.kept_in(path))) == (0, 20)

        with client.rerank_many(rows(20), **options) as one:
            next(one)
            if path.suffix == ".jsonl":
                with pytest.raises(ConfigurationError, match="another run writes to"):
                    client.rerank_many([], checkpoint=path)
            else:
                assert len(list(client.rerank_many(rows(20), **options))) == 20
        assert len(list(client.rerank_many(rows(20), **options))) == 20
        # the same row twice at once is paid twice, and kept once
        server.plays(Held())
        twice = [{"id": "new", "query": "new", "documents": TEXTS}] * 2
        changed = [twice[0], {**twice[0], "documents": ["other"]}]
        both = _together(way, server, client, twice, path)
        assert [result.error for result in both.results] == [None, None]
        server.plays(Held())
        path = tmp_path / f"other-{store}"
        # a JSONL file holds the ids of rows that are in flight: the first row keeps its id
        both = _together(way, server, client, changed, path, sent=2 if "sqlite" in store else 1)
        [error] = [result.error for result in both.results if result.error]
        assert "with another query or other documents" in str(error)
        assert kills.kept_in(path) == ["new"]
        if path.suffix == ".jsonl":
            assert "row 2: id 'new' is that of row 1 already" in str(error)


def _together(
    way: str, server: Server, client: RerankClient, given: Any, path: Path, *, sent: int = 2
) -> Came:
    """Rank two rows that the server answers when it has all that are sent."""
    server.received.clear()
    both = threading.Barrier(sent)

    def respond(received: Received) -> Reply:
        both.wait(TIME)
        return ranks_all(received)

    server.plays(respond)
    came = many(way, client, given, checkpoint=path, on_error="keep", max_concurrency=2)
    assert (came.error, len(server.received)) == (None, sent)
    return came


def drop(file: Path) -> None:
    """Make a SQLite file unusable for a run that has it."""
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP TABLE rows")


@cases("store", STORES)
@cases("way", WAYS)
def test_what_a_run_writes(
    store: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that fail go to a file of their own, which each run makes anew, and are asked again.

    No key is in any file; the disk is not waited for after each row. A response that says no cost
    ends a run with a budget, and is kept, for it was paid. A file that cannot be written ends a
    run, after the results that were paid for.
    """
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    path, errors = tmp_path / "new" / store, tmp_path / "new" / "run.errors.jsonl"
    options: dict[str, Any] = {
        "checkpoint": path,
        "on_error": "keep",
        "extra_body": {"note": "the-key"},
        "extra_headers": {"x-team": "the-team"},
        "top_n": 10,  # which has a value of the query in it
    }
    bad = {"id": "bad", "query": "q", "documents": "text"}

    def respond(received: Received) -> Reply:
        return (
            Reply({"error": "no the-key"}, 401) if received.query == "q1" else ranks_all(received)
        )

    with running(respond) as server, client_of(f"{server.url}/v1?version=1") as client:
        came = many(way, client, [*rows(40), bad], **options)
        assert sum(result.error is not None for result in came.results) == 2
        if store == "run.jsonl":
            lines = [json.loads(line) for line in errors.read_bytes().splitlines()]
            assert sorted((one["id"], one["error"]) for one in lines) == [
                ("bad", "InvalidRequestError"),
                ("q1", "AuthenticationError"),
            ]
        assert len(syncs) < 20
        server.plays(ranks_all)
        came = many(way, client, rows(40), **options)
        assert (came.error, came.requests) == (None, 1)
        assert not errors.exists()
        for file in path.parent.iterdir():
            assert b"the-key" not in file.read_bytes(), file
            assert b"the-team" not in file.read_bytes(), file
        server.received.clear()
        fresh = tmp_path / store
        came = many(way, client, rows(9), checkpoint=fresh, max_cost=1)
        assert isinstance(came.error, ConfigurationError)
        assert (len(server.received), len(kills.kept_in(fresh))) == (1, 1)

        def spoil(received: Received) -> Reply:
            if received.query == "q12":
                drop(fresh)
            return ranks_all(received)

        if store == "run.sqlite":
            server.received.clear()
            server.plays(spoil)
            came = many(way, client, rows(40), checkpoint=fresh, max_concurrency=1)
            assert isinstance(came.error, ConfigurationError)
            assert "the checkpoint cannot be used: no such table" in str(came.error)
            assert came.ids[-1] == server.received[-1].query == "q12"


@cases("store", STORES)
@cases("way", WAYS)
@cases("fails", [False, True])
def test_what_was_given_out_is_in_the_file(
    store: str, way: str, fails: Any, server: Server, tmp_path: Path
) -> None:
    """Calls that end together may be written together; none is given out before that.

    Where the file fails, all that ended together was paid for, and is given out.
    """
    if fails and store == "run.jsonl":
        return
    path = tmp_path / store
    together = threading.Barrier(AT_ONCE, partial(drop, path) if fails else None)

    def respond(received: Received) -> Reply:
        together.wait(TIME)
        return ranks_all(received)

    def each(came: Came) -> None:
        assert fails or {result.id for result in came.results} <= set(kills.kept_in(path))

    server.plays(respond)
    with client_of(server) as client:
        given = rows(5 * AT_ONCE)
        came = many(
            way, client, given, each=each, checkpoint=path, max_concurrency=AT_ONCE, timeout=TIME
        )
    if fails:
        assert isinstance(came.error, ConfigurationError)
        assert (len(came.results), len(server.received)) == (AT_ONCE, AT_ONCE)
    else:
        assert (came.error, len(came.results)) == (None, 5 * AT_ONCE)


@cases("store", STORES)
@cases("way", WAYS)
def test_a_file_that_fails_ends_a_run(store: str, way: str, tmp_path: Path) -> None:
    """A file that cannot be read, or to which no error can be added, is an error of ours.

    It comes after the results that were paid for.
    """
    path = tmp_path / store
    with running(ranks_all) as server, client_of(server) as client:

        def given() -> Iterator[Any]:
            yield rows(1)[0]
            if store == "run.sqlite":
                drop(path)
            else:
                server.plays(Reply(status=400))
                (tmp_path / "run.errors.jsonl").mkdir()
            yield from rows(9)[1:]

        options: dict[str, Any] = {"checkpoint": path, "max_concurrency": 1, "on_error": "keep"}
        came = many(way, client, given(), **options)
    assert isinstance(came.error, ConfigurationError)
    assert "the checkpoint cannot be used: " in str(came.error)
    assert came.ids == (["q0"] if store == "run.sqlite" else ["q0", "q1"])


@cases("store", STORES)
@cases("way", WAYS)
def test_an_incomplete_response_is_not_finished(store: str, way: str, tmp_path: Path) -> None:
    """A response without some documents is given out and not stored; the next run asks again.

    What a fallback has ranked is finished, and stored with the names of its model and provider.
    """
    path, errors = tmp_path / store, tmp_path / "run.errors.jsonl"
    options: dict[str, Any] = {
        "checkpoint": path,
        "on_partial": "keep",
        "max_documents_per_request": 1,
        "max_retries": 0,
    }

    def respond(received: Received) -> Reply:
        is_bad = received.query == "q1" and received.body["documents"] == TEXTS[1:]
        return Reply(status=400) if is_bad else ranks_all(received)

    with running(respond) as server, client_of(server, fallbacks=["local:bm25"]) as client:
        first = many(way, client.with_options(), rows(3), **options, preserve_order=True)
        assert first.error is None
        assert [one.response.missing for one in first.results if one.response] == [(), (1,), ()]
        assert sorted(kills.kept_in(path)) == ["q0", "q2"]
        if store == "run.jsonl":
            [line] = map(json.loads, errors.read_text().splitlines())
            assert line["id"] == "q1"
            assert "incomplete: documents 1 are missing" in line["message"]
        server.plays(Reply(status=401))
        again = many(way, client, rows(3), **options, preserve_order=True)
        assert stored(again) == [True, False, True]
        third = many(way, client, rows(3), **options, preserve_order=True)
    assert all(stored(third))
    for came in (again, third):
        asked = [
            (one.response.model, one.response.provider) for one in came.results if one.response
        ]
        assert asked == [("m", "openrouter"), ("bm25", "local"), ("m", "openrouter")]


class Factor:
    """A transform with a state."""

    def __call__(self, score: float) -> float:
        """Return a score."""
        return score


def doubled(score: float) -> float:
    """Return twice the score."""
    return 2 * score


@cases("store", STORES)
@cases("transform", [lambda score: score, partial(pow, 2.0), Factor(), Factor().__call__, doubled])
def test_a_transform_is_known_by_its_name(store: str, transform: Any, tmp_path: Path) -> None:
    """Only a function of a module can be told from another by a later run; others are refused."""
    path = tmp_path / store
    with running(ranks_all) as server, client_of(server) as client:
        if transform is not doubled:
            for method in (client.rerank_many, client.arerank_many):
                with pytest.raises(ConfigurationError, match="top level of a module"):
                    method(rows(1), checkpoint=path, score_transform=transform)
            with pytest.raises(ConfigurationError, match="top level of a module"):
                RerankBatch(client=client, checkpoint=tmp_path / "b.db", score_transform=transform)
            assert list(tmp_path.iterdir()) == []
            return
        for is_stored in (False, True):
            came = many("sync", client, rows(1), checkpoint=path, score_transform=transform)
            assert stored(came) == [is_stored]
            assert came.results[0].response is not None
            assert came.results[0].response[0].relevance_score == 2.0
        with pytest.raises(CheckpointMismatchError, match=r"test_checkpoint\.doubled"):
            client.rerank_many(rows(1), checkpoint=path, score_transform=math.tanh)


@cases("way", WAYS)
def test_a_locked_file_stops_no_event_loop(
    way: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished row waits outside of SQLite while another process has locked the file."""
    path = tmp_path / "run.sqlite"
    tries: list[bool] = []
    free = threading.Event()
    kept = _checkpoint.SqliteStore._commit

    def commit(store: Any, entry: Any) -> bool:
        began = time.monotonic()
        tries.append(kept(store, entry))
        assert time.monotonic() - began < _checkpoint._BUSY / 2
        if len(tries) >= 3:
            free.set()
        return tries[-1]

    monkeypatch.setattr(_checkpoint.SqliteStore, "_commit", commit)
    with client_of(server) as client, closing(_connected(path)) as other:
        many("sync", client, [], checkpoint=path)

        def respond(received: Received) -> Reply:
            if received.query == "q1":
                other.execute("BEGIN IMMEDIATE")
                releasing.start()
            return ranks_all(received)

        def release() -> None:
            free.wait(TIME)
            other.execute("COMMIT")

        releasing = threading.Thread(target=release)
        server.plays(respond)
        came = many(way, client, rows(3), checkpoint=path, max_concurrency=1)
        releasing.join(TIME)
    assert (came.error, sorted(kills.kept_in(path))) == (None, ["q0", "q1", "q2"])
    assert tries.count(False) >= 2


def _connected(path: Path) -> sqlite3.Connection:
    """Another process's connection, which any thread may use."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
