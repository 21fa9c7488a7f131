"""The notebooks as they are stored: run from top to bottom, and fit to be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 500_000  # bytes; more is no picture that a page needs

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_of(path: Path) -> list[dict[str, Any]]:
    """The cells of code."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def outputs_of(path: Path) -> list[dict[str, Any]]:
    """All outputs, in order."""
    return [output for cell in code_of(path) for output in cell["outputs"]]


def test_there_are_notebooks() -> None:
    """A notebook shows how pages are ranked as pictures."""
    assert "04_multimodal" in [path.stem for path in NOTEBOOKS]


@each
def test_it_ran_from_top_to_bottom(path: Path) -> None:
    """Every cell was executed, once and in order, and the notebook shows something."""
    counts = [cell["execution_count"] for cell in code_of(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert outputs_of(path)


@each
def test_it_shows_no_error_and_no_warning(path: Path) -> None:
    """No output is an error, or was written where warnings go."""
    assert [o for o in outputs_of(path) if o["output_type"] == "error"] == []
    assert [o for o in outputs_of(path) if o.get("name") == "stderr"] == []


@each
def test_it_is_the_same_after_each_run(path: Path) -> None:
    """No time, version or machine is stored, and no output has an address of memory."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert [cell["metadata"] for cell in notebook["cells"] if cell["metadata"]] == []
    texts = [o.get("text") or o["data"].get("text/plain", []) for o in outputs_of(path)]
    shown = "".join("".join(text) for text in texts)
    assert re.findall(r"0x[0-9a-f]{6,}|(?:/home|/root|/Users|/tmp|/var)/\w+", shown) == []


@each
def test_it_is_small(path: Path) -> None:
    """The file with its pictures is quickly loaded, and no output is a wall of text."""
    assert path.stat().st_size < LARGEST
    assert max(len(o.get("text", [])) for o in outputs_of(path)) <= 20
