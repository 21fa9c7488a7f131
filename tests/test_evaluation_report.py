"""The report: one HTML file that asks no network and runs nothing of its texts; Markdown too."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import io
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cases import cases
from evaluation_support import dataset, folder, model, right, wrong
from rerank_integrations import Local, RerankClient, RerankDocument
from rerank_integrations.evaluation import Dataset, Evaluation, Problem, evaluate

BAD = "</script><script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self._now = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        self._now = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_data(self, data: str) -> None:
        """Note what is in a script or style."""
        if self._now in self.inside:
            self.inside[self._now][-1] += data

    def handle_endtag(self, tag: str) -> None:
        """Note its end."""
        self._now = ""

    @property
    def policy(self) -> str:
        """What the page may do."""
        found = [own for tag, own in self.elements if tag == "meta" and "http-equiv" in own]
        return found[0]["content"] or ""


def data_of(text: str) -> Any:
    """What the script of a page shows."""
    return json.loads(gzip.decompress(base64.b64decode(Page(text).inside["script"][0])))


def hostile() -> Dataset:
    """A dataset whose every text tries to run."""
    found = dataset(24, name=BAD)
    documents = {name: f"{BAD} =cmd {text}" for name, text in found.documents.items()}
    return dataclasses.replace(
        found,
        documents=documents,
        queries={name: f"{text} {BAD}" for name, text in found.queries.items()},
        problems=(Problem(BAD, 2, (BAD,)),),
    )


@cache
def report() -> tuple[Evaluation, str]:
    """An evaluation of it, by models with such names, and its page."""
    found = evaluate(hostile(), {f"A {BAD}": model(right), "B|": model(wrong)})
    return found, found.to_html()


@cases("half", ["\ud83d", "\udc00"])
def test_half_a_surrogate_pair_ends_nothing(half: str, tmp_path: Path) -> None:
    """What UTF-8 cannot hold is replaced when it is read or written, after the calls are paid."""
    data = dataset(2, name=half)
    data = dataclasses.replace(data, queries=dict.fromkeys(data.queries, half))
    found = evaluate(data, {"m": model(right)}, curve=False)
    for write, name in ((found.to_html, "h"), (found.to_markdown, "m"), (found.to_json, "j")):
        write(tmp_path / name)
        assert half not in (tmp_path / name).read_text(encoding="utf-8")
    assert Evaluation.from_json(tmp_path / "j") == found
    row = json.dumps({"_id": half, "text": half})
    files = {"corpus.jsonl": row, "queries.jsonl": row, "qrels/test.tsv": "\ufffd\t\ufffd\t1\n"}
    assert Dataset.read(folder(tmp_path, **files)).judgments == {"\ufffd": {"\ufffd": 1}}


def test_a_page_asks_no_network_and_runs_nothing_of_its_texts() -> None:
    """No element refers to anything outside; only our script and style may run, by their hash."""
    found, text = report()
    page = Page(text)

    for tag, own in page.elements:
        assert tag not in {"link", "img", "iframe", "base", "object", "form-data"}, (tag, own)
        assert not {"src", "href", "style", "action"}.intersection(own), (tag, own)
        assert not [name for name in own if name.startswith("on")], (tag, own)
    data, ours = page.inside["script"]
    assert len(page.inside["style"]) == 1
    assert "http" not in re.sub(r"http-equiv", "", text.replace(data, ""))
    for kind, content in (("script", ours), ("style", page.inside["style"][0])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; img-src data:;")
    shown = data_of(text)
    assert len(data) < len(json.dumps(shown)) / 3
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", data)
    assert shown["models"] == list(found.models)
    assert shown["queries"][0]["text"].endswith(BAD)


def test_a_page_shows_each_query_before_and_after() -> None:
    """Each text is there once; places tell how far a document has moved, grades what is right."""
    shown = data_of(report()[1])
    query = shown["queries"][0]
    names = [name for name, _ in shown["documents"]]

    assert (shown["k"], len(shown["queries"]), len(names)) == (10, 24, 120)
    assert len(set(names)) == len(names)
    assert query["values"] == [0.5, 1.0, pytest.approx(0.3869, abs=1e-4)]
    assert [names[number] for number in query["before"]] == [f"q0-{n}" for n in range(1, 6)]
    good = query["models"][0]
    assert [(names[number], place) for number, place in good["after"][:2]] == [
        ("q0-3", 3),
        ("q0-1", 1),
    ]
    assert good["to"] == [2, 3, 1, 4, 5]
    assert {names[int(number)]: grade for number, grade in query["grades"].items()} == {"q0-3": 1}
    assert (query["relevant"], query["found"]) == (1, 1)


def test_a_page_has_each_plot_wide_and_narrow_and_its_tables_as_cards() -> None:
    """On a phone plots are drawn anew, and each cell says its column."""
    found, text = report()
    page = Page(text)
    widths = [own["width"] for tag, own in page.elements if tag == "svg" and own["width"] != "12"]

    assert widths.count("560") == widths.count("350") == 6  # gains, time, two curves, two models
    labels = {own.get("data-label") for tag, own in page.elements if tag == "td"}
    assert {"gain", "95 % interval", "p (Holm)", "$ per 1,000", "judged@10"} < labels
    assert "prefers-color-scheme: dark" in page.inside["style"][0]
    assert found.verdict.text.count("gains 0.500 nDCG@10") == 1


def test_long_collections_have_short_snippets() -> None:
    """Texts are cut, and shorter where there are very many queries."""
    found = dataset(
        3, documents={f"q{n}-{p}": "word " * 200 for n in range(3) for p in range(1, 6)}
    )
    text = evaluate(found, [model(len)]).to_html()
    documents = data_of(text)["documents"]
    assert {len(text) for _, text in documents} == {320}


def test_images_are_shown_small() -> None:
    """An image becomes a small one inside of the page; an address is not fetched."""
    held = io.BytesIO()
    Image.effect_noise((800, 600), 50).save(held, "PNG")
    found = dataset(2)
    documents: dict[str, Any] = dict(found.documents)
    documents["q0-1"] = RerankDocument(text="a page", image=held.getvalue())
    documents["q0-2"] = RerankDocument(text="a link", image="https://example.org/page.png")
    found = dataclasses.replace(found, documents=documents)
    seeing = Local(scorer=lambda _, found: [1.0 for _ in found], sees_images=True)
    text = evaluate(found, [RerankClient("m", provider=seeing)], curve=False).to_html()
    shown = data_of(text)
    (number, uri), *others = shown["images"].items()
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))

    assert others == []
    assert shown["documents"][int(number)][0] == "q0-1"
    assert picture.width * picture.height <= 160 * 160


def test_markdown_is_a_table_and_no_html() -> None:
    """Names and texts are escaped, so that neither a cell nor the page is left."""
    found, _ = report()
    text = found.to_markdown()

    assert "<" not in text
    assert "B\\|" in text
    for heading in (
        "Compared with no reranking",
        "Models compared with each other",
        "Score threshold",
    ):
        assert f"\n## {heading}\n" in text
    rows = [line for line in text.splitlines() if line.startswith("| no reranking")]
    assert len(rows) == 3
    assert "not distinguishable" not in text
    assert "95 % interval" in found.table()
