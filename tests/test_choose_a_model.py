"""The page that helps to choose a model."""

from __future__ import annotations

import re
from pathlib import Path

from choose_a_model import NOT_FOUND, PAGE, PUBLISHED, row

README = Path(__file__).parents[1] / "README.md"


def test_each_figure_has_a_source_and_a_date() -> None:
    """What is said of a vendor's model links to its page; the local engine's gain is README's."""
    text = PAGE.read_text(encoding="utf-8")
    for model in PUBLISHED:
        assert row(*model) in text
        for cell in model[1:]:
            sourced = re.search(r"\(\[(?:read )?\d{4}-\d\d-\d\d\]\(https://\S+\)\)", cell)
            assert sourced or cell in {NOT_FOUND, "none: open weights"}, cell
    (found,) = re.findall(
        r"`local:hybrid`.*nDCG@10 ([\d.]+), \+([\d.]+) \[([\d.]+), ([\d.]+)\]", text
    )
    after, gain, low, high = found
    said = README.read_text(encoding="utf-8")
    assert f"to {after}, by {gain} (95 % interval {low} to {high})" in said
