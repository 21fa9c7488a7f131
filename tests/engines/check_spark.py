"""Spark: `mapInPandas` and `mapInArrow`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if shutil.which("java") is None:
    pytest.skip("Spark needs Java 17", allow_module_level=True)
os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
os.environ["PYSPARK_PYTHON"] = sys.executable

from pyspark.sql import SparkSession

from engine_support import (
    COUNT,
    IN_FLIGHT,
    ROWS,
    Gateway,
    by_id,
    kill,
    parent_of,
    processes,
    run_documented,
)
from rerank_integrations import RerankBatch

CORES = 2  # as many workers rank at once
SCHEMA = (
    "id long, query string, documents array<string>, indices array<long>, scores array<double>, "
    "usage struct<search_units: double, total_tokens: double, prompt_tokens: double, "
    "completion_tokens: double, cost: double>, error string"
)


@pytest.fixture(name="spark", scope="module")
def spark_fixture() -> Iterator[SparkSession]:
    """A Spark of this machine alone."""
    session = (
        SparkSession.builder.master(f"local[{CORES},4]")  # a task may fail three times
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    yield session
    session.stop()


def ranked(spark: SparkSession, method: str, batch: RerankBatch) -> list[dict[str, Any]]:
    """The rows, ranked by Spark."""
    frame: Any = spark.createDataFrame(
        ROWS, "id long, query string, documents array<string>"
    ).repartition(4)
    found = getattr(frame, method)(lambda parts: map(batch, parts), SCHEMA).collect()
    return [row.asDict() for row in found]


@pytest.mark.parametrize("method", ["mapInPandas", "mapInArrow"])
def test_a_map(gateway: Gateway, spark: SparkSession, method: str) -> None:
    """The rows are ranked as by a plain client, each once."""
    plain = gateway.plainly()

    assert by_id(ranked(spark, method, RerankBatch(**gateway.settings()))) == plain
    assert gateway.requests == COUNT


def test_killed_workers(gateway: Gateway, spark: SparkSession, tmp_path: Path) -> None:
    """With a checkpoint, what killed workers had finished is neither lost nor paid again."""
    plain = gateway.plainly()
    batch = RerankBatch(**gateway.settings(checkpoint=tmp_path / "run.sqlite"))

    def kill_all() -> None:
        both = processes("pyspark.daemon")
        for worker in both:
            if parent_of(worker) in both:  # the daemon, which must live, has forked the workers
                kill(worker)

    gateway.kill = kill_all

    assert by_id(ranked(spark, "mapInArrow", batch)) == plain
    print("asked again:", gateway.requests - COUNT)
    assert 0 < gateway.requests - COUNT <= CORES * IN_FLIGHT


def test_the_documented_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The block of docs/engines.md runs, and prints what it says."""
    run_documented("pyspark", capsys)
