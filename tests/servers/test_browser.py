"""The report of an evaluation in a real browser, where one is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from evaluation_support import dataset, model, right, wrong
from rerank_integrations.evaluation import evaluate

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BAD = "</script><script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"


def test_a_page_in_a_browser(tmp_path: Path) -> None:
    """Under its policy, with all network forbidden, the queries are listed and no text has run."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("there is no Chromium")
    queries = {f"q{number}": f"question {number} {BAD}" for number in range(24)}
    found = evaluate(dataset(24, queries=queries), {BAD: model(right), "B": model(wrong)})
    text = found.to_html()
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"),
            f"{path.as_uri()}#filter=losses&model=1&open=0",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "24 of 24 queries" in ran.stdout
    assert ran.stdout.count('<details class="query"') == 24
    assert "▼ 2" in ran.stdout
    assert "<title>ran" not in ran.stdout
