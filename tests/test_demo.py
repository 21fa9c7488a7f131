"""What the demo says of quality."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
CORPUS = {
    "wrong": "How do I do it in the way that it is?",
    "right": "A list is sorted.",
    "other": "Red bicycles.",
}
QUESTIONS = {"first": "How do I sort a list?", "second": "red"}
JUDGMENTS = [("first", "right", 2), ("second", "other", 1)]


def test_quality_is_measured_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's last line is nDCG@10 over all questions: of the first stage, and reranked."""
    for name, texts in (("corpus", CORPUS), ("queries", QUESTIONS)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "qrels").mkdir()
    rows = ["\t".join(map(str, row)) for row in JUDGMENTS]
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.syspath_prepend(EXAMPLES)
    import quality

    monkeypatch.setattr(quality, "COLLECTION", tmp_path)
    gain = quality.gain_of("local:hybrid")

    second_place = 1 / math.log2(3)
    assert gain.questions == 2
    assert gain.before == pytest.approx((second_place + 1) / 2)
    assert gain.after == pytest.approx(1)
    assert (gain.low, gain.high) == pytest.approx((0, 1 - second_place))
