"""Daft: a batch method over `arows`."""

from __future__ import annotations

import os
from typing import Any

os.environ["DO_NOT_TRACK"] = "true"  # read at the import

import daft
import pytest

from engine_support import COUNT, ROWS, Gateway, by_id, run_documented
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


def test_the_documented_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The block of docs/engines.md runs, and prints what it says."""
    run_documented("daft", capsys)
