"""The documents in files: text, JSONL, JSON, CSV, TSV and images."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from rerank_integrations.cli._command import in_options

KINDS = ("text", "jsonl", "json", "csv", "tsv")
_BY_ENDING = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv"}
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_DELIMITERS = {",": "comma", ";": "semicolon"}
_QUOTED = re.compile('"[^"]*"')
_URLS = ("http://", "https://", "data:")
_LARGEST_CELL = 2**31 - 1  # the csv module refuses more than 128 KiB otherwise


class Item(NamedTuple):
    """A document.

    Attributes:
        given: the document as it is in the file; the path of an image.
        source: the file and the line.
        document: the document that is ranked.
    """

    given: Any
    source: str
    document: Any


def read_documents(
    files: Sequence[str], *, kind: str | None, whole_files: bool, image_field: str | None
) -> list[Item]:
    """The documents of all files, in order; `-` is standard input.

    Raises:
        ClickException: a file that cannot be read, with the line.
        RerankError: an image that cannot be read.
    """
    return [
        item
        for name in files
        for item in _documents(name, kind, whole_files=whole_files, image_field=image_field)
    ]


def _documents(
    name: str, kind: str | None, *, whole_files: bool, image_field: str | None
) -> Iterator[Item]:
    ending = Path(name).suffix.lower()
    if kind is None and ending in _IMAGES:
        yield Item(name, name, {"image": image_of(name)})
        return
    text = _text(name)
    kind = kind or _BY_ENDING.get(ending, "text")
    if whole_files or kind == "text":
        whole = [(text, name)] if whole_files else _lines(name, text)
        yield from (Item(line, source, line) for line, source in whole if line.strip())
        return
    readers = {"jsonl": _jsonl, "json": _json, "csv": _csv, "tsv": _csv}
    folder = Path() if name == "-" else Path(name).parent
    for given, source in readers[kind](name, text, kind):
        document = given
        image = given.get(image_field) if image_field and isinstance(given, dict) else None
        if image:
            rest = {key: value for key, value in given.items() if key != image_field}
            try:
                document = {**rest, "image": image_of(str(image), folder)}
            except Exception as error:
                error.add_note(source)
                raise
        yield Item(given, source, document)


def image_of(name: str, folder: Path = Path()) -> Any:
    """The URL of an image, or the bytes of a file."""
    from rerank_integrations.models import RerankDocument

    return name if name.startswith(_URLS) else RerankDocument.from_file(folder / name).image


def _text(name: str) -> str:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as cause:
        raise click.ClickException(f"cannot read {name}: {cause.strerror}") from cause
    wrong = content.find(b"\0")  # as in UTF-16, an archive or an image
    if wrong < 0:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as cause:
            wrong = cause.start
    line = content.count(b"\n", 0, wrong) + 1
    raise click.ClickException(
        f"{name}, line {line}: not UTF-8 text; convert the file, for example with iconv"
    )


def _lines(name: str, text: str) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, with their places."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield line.removesuffix("\r"), f"{name}:{number}"


def _checked(given: Any, where: str) -> Any:
    if not isinstance(given, str | dict):
        said = f"{where}: a document must be a string or an object, not {type(given).__name__}"
        raise click.ClickException(in_options(said))
    return given


def _no_number(_: str) -> None:
    """Replaces NaN and Infinity, which JSON does not have, by null."""


def _jsonl(name: str, text: str, _: str) -> Iterator[tuple[Any, str]]:
    for line, source in _lines(name, text):
        where = f"{name}, line {source.rpartition(':')[2]}"
        try:
            given = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError) as cause:
            raise click.ClickException(f"{where}: not valid JSON: {cause}") from cause
        yield _checked(given, where), source


def _json(name: str, text: str, _: str) -> Iterator[tuple[Any, str]]:
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as cause:
        raise click.ClickException(f"{name}: not valid JSON: {cause}") from cause
    if not isinstance(found, list):
        raise click.ClickException(f"{name}: the JSON must be an array of documents")
    for number, given in enumerate(found):
        yield _checked(given, f"{name}, element {number}"), f"{name}:[{number}]"


def _delimiter(text: str) -> str:
    """The delimiter: a semicolon if the header has no comma, as in Excel, else a comma."""
    header = _QUOTED.sub("", next(filter(str.strip, text.split("\n")), ""))
    return ";" if ";" in header and "," not in header else ","


def _csv(name: str, text: str, kind: str) -> Iterator[tuple[Any, str]]:
    csv.field_size_limit(_LARGEST_CELL)
    # strict, since an unclosed quote would otherwise include all lines below it
    delimiter = "\t" if kind == "tsv" else _delimiter(text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins, header = 1, None
    try:
        for row in rows:
            begins = rows.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell or f"column {place}" for place, cell in enumerate(row, 1)]
                twice = next((one for one in header if header.count(one) > 1), None)
                if twice is not None:
                    raise click.ClickException(
                        f"{name}, line {rows.line_num}: the header has {twice!r} twice"
                    )
                continue
            if len(row) > len(header):
                raise click.ClickException(
                    f"{name}, line {rows.line_num}: {len(row)} cells, but the header has "
                    f"{len(header)}; quote cells that contain a {_DELIMITERS.get(delimiter, 'tab')}"
                )
            yield dict(zip(header, row, strict=False)), f"{name}:{rows.line_num}"
    except csv.Error as cause:
        raise click.ClickException(
            f"{name}, line {begins}: {cause}; a quote may be unclosed or not doubled"
        ) from cause
