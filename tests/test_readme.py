"""The README's examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_example_runs_and_shows_what_it_says(
    block: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every Python block of the README runs, and prints what its comments promise."""
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102

    promised = re.findall(r"print\(error\) +# (.*)", block)
    assert promised == capsys.readouterr().out.splitlines()[: len(promised)]
