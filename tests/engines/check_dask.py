"""Dask: a bag and a frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dask
import dask.bag
import dask.dataframe
import pandas as pd  # type: ignore[import-untyped]
import pytest
from dask.distributed import Client, LocalCluster

from engine_support import COUNT, IN_FLIGHT, ROWS, Gateway, by_id, kill, run_documented
from rerank_integrations import RerankBatch


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture() -> Iterator[Client]:
    """Two workers, each a process."""
    dask.config.set({"dataframe.convert-string": False})
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"
    )
    with cluster, Client(cluster) as client:
        yield client


def test_a_bag(gateway: Gateway, cluster: Client) -> None:
    """The rows of a bag are ranked as by a plain client, each once."""
    plain = gateway.plainly()
    batch = RerankBatch(**gateway.settings())
    bag = dask.bag.from_sequence(ROWS, npartitions=6)
    found = bag.map_partitions(lambda part: list(batch.rows(part))).compute()

    assert by_id(found) == plain
    assert gateway.requests == COUNT


def test_a_frame(gateway: Gateway, cluster: Client) -> None:
    """The same for a frame, whose columns are known beforehand."""
    plain = gateway.plainly()
    batch = RerankBatch(**gateway.settings())
    frame = dask.dataframe.from_pandas(pd.DataFrame(ROWS), npartitions=6)
    ranked = frame.map_partitions(batch, meta=batch(frame._meta))
    found = ranked.compute()

    assert by_id(found.to_dict("records")) == plain
    assert gateway.requests == COUNT
    assert list(found.dtypes) == list(ranked.dtypes)


def test_lists_that_became_text_are_refused(gateway: Gateway, cluster: Client) -> None:
    """Nothing is sent for a frame whose lists Dask has made text of."""
    batch = RerankBatch(**gateway.settings())
    with dask.config.set({"dataframe.convert-string": True}):
        frame = dask.dataframe.from_pandas(pd.DataFrame(ROWS[:4]), npartitions=1)
        found = frame.map_partitions(batch, meta=batch(frame._meta)).compute()

    assert all("convert-string" in error for error in found["error"])
    assert gateway.requests == 0


def test_a_killed_worker(gateway: Gateway, cluster: Client, tmp_path: Path) -> None:
    """With a checkpoint, what a killed worker had finished is neither lost nor paid again."""
    plain = gateway.plainly()
    batch = RerankBatch(**gateway.settings(checkpoint=tmp_path / "run.sqlite"))
    victim = next(iter(cluster.run(os.getpid).values()))
    gateway.kill = lambda: kill(victim)
    bag = dask.bag.from_sequence(ROWS, npartitions=6)
    found = bag.map_partitions(lambda part: list(batch.rows(part))).compute()

    assert victim not in cluster.run(os.getpid).values()
    assert by_id(found) == plain
    print("asked again:", gateway.requests - COUNT)
    assert gateway.requests - COUNT <= IN_FLIGHT


def test_the_documented_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The block of docs/engines.md runs, and prints what it says."""
    run_documented("dask", capsys)
