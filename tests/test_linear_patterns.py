"""Regular expressions take steps in proportion to the text, whatever the text is."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import string
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import rerank_integrations
from cases import cases
from rerank_integrations import RerankDocument, RerankResponse, RerankResult
from support import failed, http_response, parsed, part

SOURCE = Path(rerank_integrations.__file__).parent
MEGABYTE = 2**20
PARSER = importlib.import_module("re._parser")
CONSTANTS: Any = importlib.import_module("re._constants")
ONE = {"LITERAL", "NOT_LITERAL", "IN", "ANY", "CATEGORY", "RANGE"}
CLASSES = {"DIGIT": str.isdigit, "WORD": lambda c: c.isalnum() or c == "_", "SPACE": str.isspace}


class Counter:
    """Matches a pattern by backtracking, as `re` does, and counts the steps."""

    def __init__(self, nodes: Sequence[Any], text: str) -> None:
        self.steps = 0
        self._text = text
        self._nodes = nodes
        self._fitting: dict[tuple[int, str], bool] = {}  # by the node's id and the character

    def all(self) -> int:
        """The steps to find all matches."""
        place = 0
        while place <= len(self._text):
            place = max(place + 1, next(self._ends(self._nodes, place), 0))
        return self.steps

    def _ends(self, nodes: Sequence[Any], place: int) -> Iterator[int]:
        self.steps += 1
        at = 0
        while at < len(nodes) and nodes[at][0].name in ONE:
            if place == len(self._text) or not self._fits(nodes[at], self._text[place]):
                return
            self.steps += 1
            place += 1
            at += 1
        if at == len(nodes):
            yield place
            return
        (op, given), rest = nodes[at], nodes[at + 1 :]
        name = op.name
        if name == "AT":  # a boundary: as if it always held
            yield from self._ends(rest, place)
        elif name in ("ASSERT", "ASSERT_NOT"):  # so is a look around of a fixed width
            assert len(set(given[1].getwidth())) == 1, name
            yield from self._ends(rest, place)
        elif name == "SUBPATTERN":
            for end in self._ends(list(given[-1]), place):
                yield from self._ends(rest, end)
        elif name == "BRANCH":
            for way in given[1]:
                yield from self._ends([*way, *rest], place)
        else:
            yield from self._repeated(name, given, rest, place)

    def _fits(self, node: Any, char: str) -> bool:
        key = id(node), char
        if key not in self._fitting:
            self._fitting[key] = fits(node[0].name, node[1], char)
        return self._fitting[key]

    def _repeated(self, name: str, given: Any, rest: Sequence[Any], place: int) -> Iterator[int]:
        assert name in ("MAX_REPEAT", "MIN_REPEAT"), name
        least, most, inner = given
        ends = [place]
        while len(ends) <= most:
            end = next(self._ends(list(inner), ends[-1]), None)
            if end is None or end == ends[-1]:
                break
            ends.append(end)
        ends = ends[least:]
        for end in ends if name == "MIN_REPEAT" else reversed(ends):
            yield from self._ends(rest, end)


def fits(name: str, given: Any, char: str) -> bool:
    """Whether a node that stands for one character stands for this one."""
    if name == "LITERAL":
        return chr(given).lower() == char.lower()
    if name == "NOT_LITERAL":
        return chr(given) != char
    if name == "RANGE":
        return any(given[0] <= ord(c) <= given[1] for c in (char, char.lower(), char.upper()))
    if name == "CATEGORY":
        *_, kind = str(given).split("_")
        return CLASSES[kind](char) is ("NOT" not in str(given))
    if name == "IN":
        negated = str(given[0][0]) == "NEGATE"
        return any(fits(str(op), value, char) for op, value in given[negated:]) is not negated
    return char != "\n"  # ANY


# a character of each kind that a pattern may ask for, and of each script
TRIED = (
    "x1 ,-_.;\x7f\u0e01\ud800\u3042\u4e2d\uac00\u0430\u0627\u03b1\u0905\u0b85\u0531"
    + string.ascii_lowercase
)


def fragments(nodes: Sequence[Any]) -> Iterator[str]:
    """Texts that each part of a pattern matches, in order."""
    literal = ""
    for op, given in nodes:
        name = str(op)
        if name == "LITERAL":
            literal += chr(given)
            continue
        if literal:
            yield literal
        literal = ""
        if name in ONE:
            yield next(c for c in TRIED if fits(name, given, c))
        elif name == "BRANCH":
            for way in given[1]:
                yield from fragments(way)
        elif name in ("SUBPATTERN", "MAX_REPEAT", "MIN_REPEAT"):
            yield from fragments(given[-1])
    if literal:
        yield literal


def ways(pattern: re.Pattern[str]) -> list[Sequence[Any]]:
    """The alternatives of a pattern: it is linear if each of them is."""
    nodes = list(PARSER.parse(pattern.pattern, pattern.flags))
    if len(nodes) == 1 and str(nodes[0][0]) == "BRANCH":
        return [list(way) for way in nodes[0][1][1]]
    return [nodes]


def attacks(nodes: Sequence[Any], length: int) -> Iterator[str]:
    """Texts of a length that make a pattern begin often and fail late."""
    found = list(dict.fromkeys(fragments(nodes)))
    for one in found:
        yield f"{one * (length // len(one))}\n"
    for one, other in pairwise(found):
        yield (one + other) * (length // len(one + other))
        yield one * (length // 2 // len(one)) + other * (length // 2 // len(other))


def worst(nodes: Sequence[Any], length: int) -> int:
    """The most steps that an attack of a length costs."""
    return max((Counter(nodes, text).all() for text in attacks(nodes, length)), default=0)


def grows(pattern: re.Pattern[str]) -> bool:
    """Whether a text of twice the length takes more than about twice the steps."""
    return any(worst(nodes, 400) > 2.5 * worst(nodes, 200) for nodes in ways(pattern))


def patterns() -> dict[str, re.Pattern[str]]:
    """The patterns of the package, which are all made in its modules."""
    found = {}
    for module in pkgutil.walk_packages([str(SOURCE)], "rerank_integrations."):
        for name, value in vars(importlib.import_module(module.name)).items():
            for key, one in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(one, re.Pattern):
                    found[f"{module.name}.{name} {key}"] = one
    return found


def test_every_pattern_is_linear() -> None:
    """Twice the text takes about twice the steps, for every pattern of the package."""
    found = patterns()
    assert len(found) >= 15
    assert [name for name, pattern in found.items() if grows(pattern)] == []
    # what this test must find
    assert grows(re.compile(r"data:[^\s\"'<>]*;base64,[\w+/=-]*"))
    assert grows(re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL))
    # no function holds a pattern, so each is seen here
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "re":
                assert node.attr in ("compile", "Match", "Pattern") or node.attr.isupper(), path


ATTACKS = {
    "data URIs that never end": "data:" * (MEGABYTE // 5) + " ;base64,",
    "data URIs with one mark": "data:" * (MEGABYTE // 5) + ";base64,",
    "many marks": "data:" + ";base64," * (MEGABYTE // 8),
    "many data URIs": "data:a;base64,AAAA " * (MEGABYTE // 19),
    "titles": "<html>" + "<title" * (MEGABYTE // 6),
    "titles that never end": "<html>" + "<title>" * (MEGABYTE // 7),
    "words of what is too large": "exceed 1 tokens " * (MEGABYTE // 16),
    "spaces": " " * MEGABYTE,
}


@cases("text", ATTACKS.values(), ids=ATTACKS)
def test_a_megabyte_of_foreign_text_is_read(text: str) -> None:
    """Errors, warnings, traces and tables of a megabyte that attacks a pattern come to an end."""
    bodies: list[Any] = [text.encode(), {"error": {"message": text, "code": text}}]
    for body in bodies:
        error = failed(body, 500, {"retry-after": text[:1000]})
        assert len(str(error)) < 3000
    ranked = {"results": [], "meta": {"warnings": [text]}, "model": text, "id": text}
    assert parsed(part("a"), http_response(ranked)).warnings
    document = RerankDocument(text=text)
    response = RerankResponse((RerankResult(0, 1.0, document),), model="m", provider="p")
    assert response.to_json()
    assert len(response._repr_html_()) < 5000
