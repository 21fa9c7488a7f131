"""The cassettes of the notebooks: what a kernel is answered, and what it complains of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from cases import cases

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
CASSETTES = sorted((NOTEBOOKS / "cassettes").iterdir())
ONE = NOTEBOOKS / "cassettes" / "02_langchain_rag.yaml"
KEY = "key-of-nobody"

# what a kernel does: the extension first, then cells that know nothing of it
KERNEL = """
import recorded
recorded.load_ipython_extension(None)

import asyncio
from rerank_integrations import RerankClient

documents = [f"{city} is the capital of {country}." for city, country in
    {"Paris": "France", "Berlin": "Germany", "Madrid": "Spain"}.items()]
client = RerankClient("openrouter:cohere/rerank-v3.5", top_n=1, max_retries=0)
"""
SYNC = 'print(client.rerank("What is the capital of France?", documents)[0].document)'
ASYNC = (
    'print(asyncio.run(client.arerank("What is the capital of France?", documents))[0].document)'
)
OTHER = 'client.rerank("Where is Paris?", documents)'

each = cases("path", CASSETTES, ids=lambda path: path.stem)


def kernel(folder: Path, cells: str, cassette: Path = ONE) -> tuple[str, str, str]:
    """What a kernel prints, what it fails with, and what it says at its end."""
    said = folder / "said"
    environment = {
        **{name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")},
        "PYTHONPATH": os.pathsep.join(map(str, (NOTEBOOKS, ROOT))),
        "OPENROUTER_API_KEY": KEY,
        "NOTEBOOK_CASSETTE": str(cassette),
        "NOTEBOOK_SAID": str(said),
    }
    ran = subprocess.run(
        [sys.executable, "-c", KERNEL + cells],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ran.stdout.strip(), ran.stderr, said.read_text(encoding="utf-8")


@cases("cells", [SYNC, ASYNC], ids=["sync", "async"])
def test_a_cell_is_answered_from_the_cassette(tmp_path: Path, cells: str) -> None:
    """The client that a cell makes, by name and key alone, has its answer from the cassette."""
    printed, failed, said = kernel(tmp_path, cells)
    assert (printed, failed, said) == ("Paris is the capital of France.", "", "")


def test_another_request_is_not_sent(tmp_path: Path) -> None:
    """What is not in the cassette fails, and goes nowhere."""
    _, failed, _ = kernel(tmp_path, OTHER)
    assert "CannotOverwriteExistingCassetteException" in failed
    assert "no recorded interaction matches it" in failed


def test_a_call_that_was_not_made_is_told(tmp_path: Path) -> None:
    """A kernel that leaves a recorded call unplayed says so at its end."""
    _, failed, said = kernel(tmp_path, "")
    assert failed == ""
    assert said == "0 of 1 recorded calls were made"


@each
def test_it_is_of_a_notebook(path: Path) -> None:
    """A cassette has the name of a notebook; any other would never be played."""
    assert (NOTEBOOKS / f"{path.stem}.ipynb").exists()
    assert path.suffix == ".yaml"


@each
def test_it_says_where_it_is_from(path: Path) -> None:
    """Its head names whose file each answer is from, and that no live service gave it."""
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("#")]
    head = " ".join(line.lstrip("# ") for line in lines)
    calls = yaml.safe_load(text)["interactions"]
    vendors = {"openrouter.ai": "OpenRouter's", "together.ai": "Together's", "portkey.ai": "Port"}
    asked = {whose for host, whose in vendors.items() for c in calls if host in c["request"]["uri"]}
    assert asked
    assert all(f"a mock of {whose}" in head for whose in asked)
    assert head.count("not from the live service") == len(asked)


@each
def test_it_holds_no_key(path: Path) -> None:
    """What says who asks is hidden, the key of nobody too."""
    text = path.read_text(encoding="utf-8")
    assert KEY not in text
    for call in yaml.safe_load(text)["interactions"]:
        headers = call["request"]["headers"]
        keys = {
            name: v for name, v in headers.items() if name in ("authorization", "x-portkey-api-key")
        }
        assert set(keys.values()) == {"(hidden)"}
