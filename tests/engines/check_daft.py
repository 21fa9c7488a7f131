"""Daft: a batch method over `arows`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["DO_NOT_TRACK"] = "true"  # read at the import

import daft
import pytest

from engine_support import COUNT, IN_FLIGHT, ROWS, Gateway, by_id, kill, processes, run_documented
from rerank_integrations import RerankBatch

RANKED = daft.DataType.struct(
    {"indices": daft.DataType.list(daft.DataType.int64()), "error": daft.DataType.string()}
)


@daft.cls
class Rank:
    """Made once in a process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.batch = RerankBatch(**settings)

    @daft.method.batch(return_dtype=RANKED)  # type: ignore[untyped-decorator]
    async def rank(self, query: daft.Series, documents: daft.Series) -> list[Any]:
        """Rank the rows of a batch."""
        columns = zip(query.to_pylist(), documents.to_pylist(), strict=True)
        rows = [{"query": one, "documents": its} for one, its in columns]
        return [row async for row in self.batch.arows(rows)]


@daft.cls(use_process=True)
class RankAside:
    """The same in a process of its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.batch = RerankBatch(**settings)

    @daft.method.batch(return_dtype=RANKED)  # type: ignore[untyped-decorator]
    def rank(self, number: daft.Series, query: daft.Series, documents: daft.Series) -> list[Any]:
        """Rank the rows of a batch, each known by its id."""
        every = zip(number.to_pylist(), query.to_pylist(), documents.to_pylist(), strict=True)
        rows = [{"id": one, "query": its, "documents": texts} for one, its, texts in every]
        return list(self.batch.rows(rows))


def ranked(gateway: Gateway, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, ranked by Daft."""
    rank = Rank(gateway.settings())
    frame = daft.from_pylist(rows).with_column(
        "ranked", rank.rank(daft.col("query"), daft.col("documents"))
    )
    return [{**row, **row["ranked"]} for row in frame.to_pylist()]


def test_a_batch_method(gateway: Gateway) -> None:
    """The rows are ranked as by a plain client, each once."""
    plain = gateway.plainly()

    assert by_id(ranked(gateway, ROWS)) == plain
    assert gateway.requests == COUNT


def test_a_row_that_fails(gateway: Gateway) -> None:
    """A row that fails says so, and what was paid for the others is not lost."""
    rows = [*ROWS, {"id": COUNT, "query": "q", "documents": [None]}]
    found = ranked(gateway, rows)

    assert [row["id"] for row in found if row["error"]] == [COUNT]
    assert gateway.requests == COUNT


def test_a_killed_worker(gateway: Gateway, tmp_path: Path) -> None:
    """Daft keeps nothing of a query whose worker is killed; with a checkpoint the next one does."""
    plain = gateway.plainly()
    gateway.kill = lambda: kill(processes("daft.execution.udf_worker")[-1])

    def query() -> list[dict[str, Any]]:
        rank = RankAside(gateway.settings(checkpoint=str(tmp_path / "run.sqlite")))
        columns = [daft.col(name) for name in ("id", "query", "documents")]
        frame = daft.from_pylist(ROWS).with_column("ranked", rank.rank(*columns))
        return [{**row, **row["ranked"]} for row in frame.to_pylist()]

    with pytest.raises(Exception, match=r"(?i)udf|connection|eof|terminated"):
        query()
    assert gateway.requests < COUNT
    assert by_id(query()) == plain
    print("asked again:", gateway.requests - COUNT)
    assert 0 < gateway.requests - COUNT <= IN_FLIGHT


def test_the_documented_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The block of docs/engines.md runs, and prints what it says."""
    run_documented("daft", capsys)
