"""Make the collection in data/python-faq from the pages of Python's own FAQ.

python notebooks/python_faq.py <folder of the built pages, such as html/faq>
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PAGES = ("general", "programming", "design", "library", "extending", "windows", "gui", "installed")
ADDRESS = "https://docs.python.org/3.11/faq"
POINTER = "See the next question."
OWN, REFERRED = 2, 1
_ADDRESS_ALONE = re.compile(r"https?://\S+")
_BLOCKS = {"p", "pre", "li", "dt", "dd", "div", "section", "ul", "ol", "dl", "tr", "blockquote"}
_HEADING = re.compile(r"h[1-6]")
# the quotation marks that no reader types
_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


@dataclass
class Section:
    """A heading with what stands below it."""

    anchor: str
    heading: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The heading in one line."""
        return " ".join("".join(self.heading).translate(_PLAIN).split())

    @property
    def text(self) -> str:
        """The paragraphs and the code, without blank lines and lines that are only an address."""
        lines = [line.rstrip() for line in "".join(self.parts).translate(_PLAIN).splitlines()]
        return "\n".join(
            line for line in lines if line and not _ADDRESS_ALONE.fullmatch(line.strip())
        )


class Entry(NamedTuple):
    """A question, the part of the FAQ that it stands in, its answer, and where that leads to."""

    page: str
    anchor: str
    part: str
    question: str
    answer: str
    names: frozenset[str] = frozenset()  # page.html#name, all by which others link to it
    links: tuple[str, ...] = ()  # page.html#name

    @property
    def is_pointer(self) -> bool:
        """Whether it only says that the next one has the answer."""
        return self.answer == POINTER


class Reader(HTMLParser):
    """Takes a page as Sphinx writes it into its sections."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Section("")
        self._open = [self.top]
        self._in_heading = False
        self._in_code = False
        self._unread = 0  # how deep in a link that only the browser needs

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a section, a heading or a paragraph."""
        given = dict(attrs)
        if tag == "section":
            section = Section(given.get("id") or "")
            self._open[-1].sections.append(section)
            self._open.append(section)
        elif tag == "a" and (self._unread or given.get("class") == "headerlink"):
            self._unread += 1
        elif _HEADING.fullmatch(tag):
            self._in_heading = True
        elif tag == "pre":
            self._in_code = True
        if name := given.get("id"):
            self._open[-1].names.add(name)
        if tag == "a" and not self._in_heading:
            self._open[-1].links.append(given.get("href") or "")
        if tag in _BLOCKS or tag == "br":
            self._open[-1].parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened."""
        if tag in _BLOCKS:
            self._open[-1].parts.append("\n")
        if tag == "section":
            self._open.pop()
        elif tag == "a" and self._unread:
            self._unread -= 1
        elif _HEADING.fullmatch(tag):
            self._in_heading = False
        elif tag == "pre":
            self._in_code = False

    def handle_data(self, data: str) -> None:
        """Keep a text, on one line unless it is code."""
        if self._unread:
            return
        section = self._open[-1]
        into = section.heading if self._in_heading else section.parts
        into.append(data if self._in_code else re.sub(r"\s+", " ", data))


def entries(page: str, html: str) -> Iterator[Entry]:
    """The questions of a page: its sections without sections of their own, but with a text."""
    reader = Reader()
    reader.feed(html)
    whole = reader.top.sections[0]

    def below(section: Section, part: str) -> Iterator[Entry]:
        for one in section.sections:
            if one.sections:
                yield from below(one, f"{part}: {one.title}")
            elif one.text:
                names = frozenset(f"{page}.html#{name}" for name in one.names)
                links = tuple(f"{page}.html{to}" if to[:1] == "#" else to for to in one.links)
                yield Entry(page, one.anchor, part, one.title, one.text, names, links)

    return below(whole, whole.title)


def collection(found: Iterable[Entry]) -> tuple[list[Any], list[Any], list[tuple[str, str, int]]]:
    """The rows of corpus, queries and judgments.

    A question wants its own answer, and less so the answers that this one links to. Where the
    answer only points to the next one, that one is its own. A question that stands in the FAQ
    twice is asked once and wants both answers.
    """
    listed = list(found)
    numbers = {name: number for number, entry in enumerate(listed, 1) for name in entry.names}
    corpus = [
        {
            "_id": f"a{number}",
            "title": entry.part,
            "text": entry.answer,
            "metadata": {"url": f"{ADDRESS}/{entry.page}.html#{entry.anchor}"},
        }
        for number, entry in enumerate(listed, 1)
        if not entry.is_pointer
    ]
    queries: dict[str, str] = {}
    grades: dict[tuple[str, str], int] = {}
    for number, entry in enumerate(listed, 1):
        query = queries.setdefault(entry.question, f"q{number}")
        grades[query, f"a{number + entry.is_pointer}"] = OWN
        for other in (numbers[link] for link in entry.links if link in numbers):
            answer = other + listed[other - 1].is_pointer
            grades.setdefault((query, f"a{answer}"), REFERRED)
    return (
        corpus,
        [{"_id": key, "text": text} for text, key in queries.items()],
        [(query, answer, grade) for (query, answer), grade in grades.items()],
    )


def write(source: Path, target: Path) -> None:
    """Read the pages in one folder and write the collection into another."""
    found = [
        entry
        for page in PAGES
        for entry in entries(page, (source / f"{page}.html").read_text(encoding="utf-8"))
    ]
    corpus, queries, qrels = collection(found)
    (target / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (target / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    table = [("query-id", "corpus-id", "score"), *qrels]
    lines = "".join("\t".join(map(str, row)) + "\n" for row in table)
    (target / "qrels" / "test.tsv").write_text(lines, encoding="utf-8")
    print(f"{len(corpus)} answers, {len(queries)} questions")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]), HERE / "data" / "python-faq")
