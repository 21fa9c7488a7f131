"""Six pages of a small report, drawn alike each time, and a scorer that looks at their pixels."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple

from PIL import Image, ImageColor, ImageDraw

from loopback import Received, Reply

SIZE = (120, 160)
ADDRESS = "https://report.example/"
COLOURS = ("red", "green", "blue")
_WORD = 0.02  # what a word of the query in a text counts; less than the smallest box
_NEAR = 60  # how far a channel may be from a colour's; a JPEG's is seldom the exact one


class Page(NamedTuple):
    """What stands on a page: a heading, and a box or bars of a colour, so many pixels high."""

    name: str
    heading: str
    colour: str
    height: int
    bars: bool = False


# no two have as much of any colour, so that a mix-up shows; all colours together rank them
# margin, outlook, contents, costs, sales, staff
PAGES = (
    Page("contents", "Contents", "blue", 22),
    Page("costs", "Costs by month", "red", 40, bars=True),
    Page("staff", "Staff", "green", 10),
    Page("margin", "Margin", "red", 60),
    Page("outlook", "Outlook", "green", 50, bars=True),
    Page("sales", "Sales", "red", 15),
)
NAMES = tuple(page.name for page in PAGES)


def picture(name: str) -> Image.Image:
    """The page of that name."""
    (page,) = (page for page in PAGES if page.name == name)
    drawn = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(drawn)
    pen.text((8, 6), page.heading, "black")
    for line in range(4):
        pen.line((8, 28 + 6 * line, 90 + 7 * (line % 3), 28 + 6 * line), "grey", 2)
    if page.bars:
        for bar in range(4):
            height = page.height // 2 + page.height * bar // 6
            pen.rectangle((12 + 26 * bar, 150 - height, 28 + 26 * bar, 150), page.colour)
    else:
        pen.rectangle((8, 150 - page.height, 112, 150), page.colour)
    return drawn


@cache
def encoded(name: str, kind: str = "PNG") -> bytes:
    """The page as a file."""
    held = BytesIO()
    picture(name).save(held, kind, quality=100, subsampling=0)
    return held.getvalue()


def data_uri(name: str) -> str:
    """The page as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(encoded(name)).decode()}"


def address(name: str) -> str:
    """Where the page could be had from; whoever scores it here knows it by heart."""
    return f"{ADDRESS}{name}.png?signature=A%2Fb"


def share(query: str, image: Image.Image) -> float:
    """How much of an image has a colour that the query names."""
    wanted = [ImageColor.getrgb(word) for word in query.split() if word in COLOURS]
    width, height = image.size
    counts: Any = image.convert("RGB").getcolors(width * height)
    found: int = sum(count for count, seen in counts if any(_near(seen, each) for each in wanted))
    return found / (width * height)


def score(query: str, document: Any) -> float:
    """What a model that sees makes of a document as it is on the wire."""
    if isinstance(document, str):
        return _WORD * sum(document.split().count(word) for word in query.split())
    seen = share(query, _opened(document["image"]))
    return seen + score(query, document.get("text", ""))


def scores(query: str, documents: Sequence[Any]) -> list[float]:
    """The same for `Local(scorer=scores, sees_images=True)`."""
    return [score(query, document) for document in documents]


@cache
def of_page(query: str, name: str, text: str = "") -> float:
    """The score of a page, with a text beside it."""
    return score(query, {"image": address(name), "text": text})


def sees(received: Received) -> Reply:
    """A server whose model sees; it echoes what it was sent, as OpenRouter does."""
    query, documents = received.body["query"], received.body["documents"]
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": value, "document": _echo(documents[index])}
        for index, value in enumerate(scores(query, documents))
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    return Reply({"results": results[: received.body.get("top_n")], "model": "m"})


def best(query: str, names: Sequence[str] = NAMES) -> list[str]:
    """The names of pages, best first; of equal ones the first stays first."""
    return sorted(names, key=lambda name: -of_page(query, name))


def _echo(document: Any) -> Mapping[str, Any]:
    return {"text": document} if isinstance(document, str) else document


def _opened(image: str) -> Image.Image:
    if image.startswith(ADDRESS):
        return picture(image.removeprefix(ADDRESS).partition(".")[0])
    return Image.open(BytesIO(base64.b64decode(image.partition(",")[2], validate=True)))


def _near(one: Sequence[int], other: Sequence[int]) -> bool:
    return all(abs(a - b) < _NEAR for a, b in zip(one, other, strict=False))
