"""Spark: `mapInPandas` and `mapInArrow`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest

if shutil.which("java") is None:
    pytest.skip("Spark needs Java 17", allow_module_level=True)
os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
os.environ["PYSPARK_PYTHON"] = sys.executable

from pyspark.sql import SparkSession

from engine_support import COUNT, ROWS, Gateway, by_id, run_documented
from rerank_integrations import RerankBatch

SCHEMA = (
    "id long, query string, documents array<string>, indices array<long>, scores array<double>, "
    "usage struct<search_units: double, total_tokens: double, prompt_tokens: double, "
    "completion_tokens: double, cost: double>, error string"
)


@pytest.fixture(name="spark", scope="module")
def spark_fixture() -> Iterator[SparkSession]:
    """A Spark of this machine alone."""
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.mark.parametrize("method", ["mapInPandas", "mapInArrow"])
def test_a_map(gateway: Gateway, spark: SparkSession, method: str) -> None:
    """The rows are ranked as by a plain client, each once."""
    plain = gateway.plainly()
    batch = RerankBatch(**gateway.settings())
    frame: Any = spark.createDataFrame(
        ROWS, "id long, query string, documents array<string>"
    ).repartition(4)
    found = getattr(frame, method)(lambda parts: map(batch, parts), SCHEMA).collect()

    assert by_id([row.asDict() for row in found]) == plain
    assert gateway.requests == COUNT


def test_the_documented_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The block of docs/engines.md runs, and prints what it says."""
    run_documented("pyspark", capsys)
