"""Writes and reads the CSV table of documents to label, so that spreadsheets do not alter it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from os import PathLike, fspath
from pathlib import Path

from rerank_integrations.errors import ConfigurationError

COLUMNS = ("query_id", "query", "document_id", "document", "grade")
_SIGNS = "=+@\uff1d\uff0b\uff0d\uff20-"  # the full-width ones begin a formula in Japanese Excel
_FORMULA = tuple(f"{_SIGNS}\t\r\n'")  # a spreadsheet would run it, or hide the apostrophe
_SPLIT = ";'"  # where ";" separates, a spreadsheet begins a cell after it
_RISKY = re.compile(rf";( ?[{_SIGNS}])")
# what a spreadsheet leaves as it is: no number with zeros before it, no exponent, no "mar1"
_PLAIN = re.compile(r"[A-Za-z_][\w.:/]*|0|[1-9]\d{0,14}")
_DATE = re.compile(r"[A-Za-z]{3,9}[./]?\d{1,4}")


def write_labels(path: str | PathLike[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows with query id, query, document id, document and an empty grade."""
    # Excel takes it for UTF-8 by the mark at its beginning
    with Path(path).open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for query, text, document, content in rows:
            cells = [_id_cell(query), _cell(text), _id_cell(document), _cell(content), ""]
            writer.writerow(cells)


def read_csv_labels(
    path: str | PathLike[str], note: Callable[[str, object], None]
) -> dict[str, dict[str, int]]:
    """Read the grades by query id and document id, without rows that have no grade.

    Args:
        path: the file.
        note: is called with each problem and its place.

    Raises:
        ConfigurationError: the file has another format.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as cause:
        raise ConfigurationError(f"cannot read {fspath(path)!r}: {cause.strerror}") from cause
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # "Unicode text"
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:  # as older spreadsheets save it
        text = content.decode("cp1252", "replace")
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    missing = {"query_id", "document_id", "grade"} - set(reader.fieldnames or ())
    if missing:
        raise ConfigurationError(
            f"{fspath(path)!r} has no column {', '.join(sorted(missing))}; take a file that "
            "`sample` wrote"
        )
    found: dict[str, dict[str, int]] = {}
    for row in reader:
        given = (row["grade"] or "").strip()
        if not given:
            continue
        grade = grade_of(given)
        query, document = (_without_guard(row[key] or "") for key in ("query_id", "document_id"))
        if grade is None:
            note("grades are not whole numbers; left out", f"line {reader.line_num}: {given}")
        else:
            found.setdefault(query, {})[document] = grade
    return found


def grade_of(text: str) -> int | None:
    """Parse a grade; None if it is not a whole number."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _cell(text: str) -> str:
    text = _RISKY.sub(rf"{_SPLIT}\1", " ".join(text.split()))
    return f"'{text}" if text.startswith(_FORMULA) else text


def _id_cell(name: str) -> str:
    is_left_alone = _PLAIN.fullmatch(name) and not _DATE.fullmatch(name)
    return name if is_left_alone else f"'{name.replace(';', _SPLIT)}"


def _without_guard(cell: str) -> str:
    return cell[1:].replace(_SPLIT, ";") if cell.startswith("'") else cell
