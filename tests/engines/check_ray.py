"""Ray Data: `map_batches` with the class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import pytest
import ray

from engine_support import (
    COUNT,
    IN_FLIGHT,
    ROWS,
    AsyncRank,
    Gateway,
    by_id,
    kill,
    processes,
    run_documented,
)
from rerank_integrations import RerankBatch


@pytest.fixture(name="workers", scope="module", autouse=True)
def workers_fixture() -> Iterator[None]:
    """A Ray of this machine alone."""
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 * 1024**2,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}},
    )
    yield
    ray.shutdown()


@pytest.mark.parametrize("batch_format", ["pandas", "pyarrow", "numpy"])
def test_the_class(gateway: Gateway, batch_format: str) -> None:
    """The rows are ranked as by a plain client, each once, in batches of every format.

    A row that fails is one of them, so that a column has text in one block, and none in others.
    """
    plain = gateway.plainly()
    bad = {"id": COUNT, "query": "q", "documents": [None]}
    ranked = ray.data.from_items([*ROWS, bad]).map_batches(
        RerankBatch,
        fn_constructor_kwargs=gateway.settings(),
        batch_size=64,
        batch_format=batch_format,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    found = ranked.take_all()

    assert by_id(row for row in found if row["id"] != COUNT) == plain
    [failed] = [row for row in found if row["id"] == COUNT]
    assert "UnsupportedDocumentError" in failed["error"]
    assert gateway.requests == COUNT


def test_an_async_class(gateway: Gateway) -> None:
    """The same with an async class."""
    plain = gateway.plainly()
    found = ray.data.from_items(ROWS).map_batches(
        AsyncRank,
        fn_constructor_args=(gateway.settings(),),
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=1),
    )

    assert by_id(found.take_all()) == plain
    assert gateway.requests == COUNT


def test_a_killed_worker(gateway: Gateway, tmp_path: Path) -> None:
    """With a checkpoint, what a killed worker had finished is neither lost nor paid again."""
    plain = gateway.plainly()
    victims: list[int] = []

    def kill_one() -> None:
        victims.extend(processes("ray::MapWorker")[:1])
        kill(victims[0])

    gateway.kill = kill_one
    found = ray.data.from_items(ROWS).map_batches(
        RerankBatch,
        fn_constructor_kwargs=gateway.settings(checkpoint=str(tmp_path / "run.sqlite")),
        batch_size=64,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=2),
    )

    assert by_id(found.take_all()) == plain
    assert victims
    print("asked again:", gateway.requests - COUNT)
    assert gateway.requests - COUNT <= IN_FLIGHT


def test_the_documented_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The block of docs/engines.md runs, and prints what it says."""
    run_documented("ray", capsys)
