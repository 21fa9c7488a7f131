"""Documents as named fields: what a caller's object holds, and the text that is ranked of it."""

from __future__ import annotations

import json
import math
from array import array
from collections import UserString, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet, ValuesView
from contextlib import suppress
from dataclasses import fields as dataclass_fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from rerank_integrations.errors import UnsupportedDocumentError
from rerank_integrations.models import RerankDocument

TEXT = "text"
IMAGE = "image"
_DEEPEST = 50  # levels of nested values; a value may hold itself
_MOST_BITS = 10_000  # of an int; str() refuses one of more than 4,300 digits
_WORDS = 200  # characters of another's error that a message repeats
_LISTED = 20  # names of fields that a message lists
# where a text of this many characters before the limit has no space, it is cut in a word
_LONGEST_WORD = 50
_SCALARS = (str, bool, int, float, type(None))
_MISSING = object()
_NO_VALUES = ("NAType", "NaTType")  # of pandas, which need not be loaded


def fields_of(document: object) -> Mapping[str, Any]:
    """The fields of a document by name; the image is one of them.

    Raises:
        UnsupportedDocumentError: not a document.
    """
    match document:
        case str():
            return {TEXT: document}
        case RerankDocument():
            attributes = {TEXT: document.text, IMAGE: document.image}
            own = {name: value for name, value in attributes.items() if value is not None}
            return own | {k: v for k, v in (document.fields or {}).items() if k not in own}
        case Mapping():
            return document
        case _:
            raise UnsupportedDocumentError(
                "a document is a str, a mapping of fields or a RerankDocument, "
                f"not {type(document).__name__}{_way_out(document)}"
            )


def _way_out(document: object) -> str:
    """How to make a document of an object that is none."""
    if hasattr(document, "page_content"):
        return "; for LangChain documents use RerankCompressor"
    if hasattr(document, "get_content"):
        return "; for nodes of LlamaIndex use RerankPostprocessor"
    if is_dataclass(document) and not isinstance(document, type):
        return "; pass dataclasses.asdict(document)"
    ways = (("model_dump", "model_dump()"), ("_asdict", "_asdict()"), ("to_dict", "to_dict()"))
    return next((f"; pass document.{way}" for name, way in ways if hasattr(document, name)), "")


def ranked_values(whole: Mapping[str, Any], rank_fields: Sequence[str] | None) -> dict[str, Any]:
    """The fields that count for the ranking, as values that JSON can hold.

    Without `rank_fields` these are all fields, in the document's own order. Fields that are
    missing or blank are left out, so a document without text has none.

    Raises:
        UnsupportedDocumentError: a field that has no text form.
    """
    found = {}
    for name in whole if rank_fields is None else rank_fields:
        if name == IMAGE:
            continue
        value = whole[name] if name in whole else _nested(whole, name)
        if type(value) is str:
            if value and not value.isspace():
                found[_key(str(name), name)] = value
        elif value is not _MISSING:
            value = _json_value(str(name), value)
            if not _is_blank(value):
                found[_key(str(name), name)] = value
    return found


def has_any(whole: Mapping[str, Any], rank_fields: Sequence[str]) -> bool:
    """Whether a document has one of the fields, blank or not."""
    return any(
        name != IMAGE and (name in whole or _nested(whole, name) is not _MISSING)
        for name in rank_fields
    )


def image_of(document: object, whole: Mapping[str, Any]) -> Any:
    """The image of a document; None where a mapping's is missing, as in a row of pandas."""
    image = whole.get(IMAGE)
    if isinstance(document, RerankDocument):
        return image
    is_nan = isinstance(image, float) and math.isnan(image)
    return None if is_nan or type(image).__name__ in _NO_VALUES else image


def shown_query(query: Any) -> Any:
    """A query as text, with a word in place of its image; what is no query stays as it is."""
    if isinstance(query, str) or not isinstance(query, Mapping | RerankDocument):
        return query
    try:
        whole = fields_of(query)
        text = rendered(ranked_values(whole, (TEXT,)))
    except UnsupportedDocumentError:  # it is refused
        return f"<{type(query).__name__}>"
    return text if image_of(query, whole) is None else f"{text} [image]".lstrip()


def is_blank(whole: Mapping[str, Any]) -> bool:
    """Whether no field of a document holds anything."""
    return all(
        value is None or (type(value) is str and _is_blank(value)) for value in whole.values()
    )


def absent_fields(rank_fields: Sequence[str], documents: Iterable[object]) -> str | None:
    """Which of the fields no document has, as a warning; None where each is in some document.

    Raises:
        UnsupportedDocumentError: no document has any of them, and there are texts in others.
    """
    wholes = []
    for document in documents:
        with suppress(UnsupportedDocumentError):  # which is told later, with its index
            wholes.append(fields_of(document))
        if len(wholes) == 1 and all(has_any(wholes[0], [name]) for name in rank_fields):
            return None  # as usual
    absent = [one for one in rank_fields if not any(has_any(whole, [one]) for whole in wholes)]
    texts = [name for name in absent if name != IMAGE]
    if not absent or (len(absent) < len(rank_fields) and not texts):
        return None
    present = list(dict.fromkeys(name for whole in wholes for name in _names_in(whole)))
    close = [match for name in absent for match in get_close_matches(name, present, n=1)]
    hint = f"did you mean {close[0]!r}? " if close else ""
    listed = ", ".join(present[:_LISTED]) + (", ..." if len(present) > _LISTED else "")
    if len(absent) < len(rank_fields):
        names = ", ".join(map(repr, texts))
        return f"no document has the field {names} of rank_fields; {hint}they have: {listed}"
    if all(is_blank({k: v for k, v in whole.items() if k != IMAGE}) for whole in wholes):
        return None  # blank, or images alone
    raise UnsupportedDocumentError(
        f"no document has a field of rank_fields={list(rank_fields)}; {hint}"
        f"the fields of the documents are: {listed}"
    )


def rendered(fields: Mapping[str, Any]) -> str:
    """Fields as one text: `name: value` a line; a single field as its bare value."""
    if len(fields) == 1:
        return _text_of(next(iter(fields.values())))
    return "\n".join(
        [
            f"{name}: {value if type(value) is str else _text_of(value)}"
            for name, value in fields.items()
        ]
    )


def shortened(text: str, most: int) -> str:
    """The text cut to at most `most` characters, after a whole word where one ends nearby."""
    if len(text) > most and text[:most].isspace():
        text = text.lstrip()  # spaces alone would be a blank document
    if len(text) <= most:
        return text
    for end in range(most, max(most - _LONGEST_WORD, 0), -1):
        if text[end].isspace() and not text[:end].isspace():
            return text[:end].rstrip()
    return text[:most]


def shortened_fields(fields: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Fields of at most `most` characters together; what is beyond is cut or left out."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        text = _text_of(value)
        if len(text) <= most:
            kept[name] = value
        elif most and not isinstance(value, int | float):  # the half of a number is another one
            kept[name] = shortened(text, most)
        most = max(0, most - len(text))
    return kept


def _names_in(whole: Mapping[str, Any]) -> Iterator[str]:
    """The names of fields, those of nested ones too."""
    for name, value in whole.items():
        if name == IMAGE:
            continue
        yield str(name)
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)


def _nested(whole: Mapping[str, Any], name: str) -> object:
    """The value of a dotted name: `a.b` is key `b` of mapping `a`."""
    value: object = whole
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _is_blank(value: Any) -> bool:
    """Whether a value that JSON can hold has no text."""
    if type(value) is str:
        return not value or value.isspace()
    if isinstance(value, dict):
        return all(map(_is_blank, value.values()))
    return value is None or (isinstance(value, list) and all(map(_is_blank, value)))


def _text_of(value: Any) -> str:
    """The text of a value that JSON can hold."""
    if type(value) is list and all(type(item) is str for item in value):
        return ", ".join([item for item in value if item and not item.isspace()])
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list() if not any(isinstance(item, list | dict) for item in value):
            return ", ".join(_text_of(item) for item in value if not _is_blank(item))
        case _:
            return _json_text(value)


def _json_text(value: Any) -> str:
    try:
        return to_json(value).decode()
    except PydanticSerializationError:  # half of a surrogate pair, which is replaced later
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _json_value(name: str, value: Any, depth: int = 0) -> Any:
    """The value as JSON can hold it; None for one that is missing.

    Raises:
        UnsupportedDocumentError: it has no text form.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int and value.bit_length() <= _MOST_BITS:  # these three are most of metadata
        return value
    if kind is list and all(type(item) is str for item in value):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        raise UnsupportedDocumentError(
            f"field {name!r} holds bytes; decode them to str, or name the fields to rank by in "
            "rank_fields"
        )
    if depth == _DEEPEST:
        raise UnsupportedDocumentError(f"field {name!r} is nested too deeply, or holds itself")
    try:
        plain = _plain(value)
        if isinstance(plain, Mapping):
            return {
                _key(name, key, depth): _json_value(name, item, depth + 1)
                for key, item in plain.items()
            }
        if isinstance(plain, list):
            found = [_json_value(name, item, depth + 1) for item in plain]
            return _sorted(found) if isinstance(value, AbstractSet) else found
        if type(plain) is float:
            return _number(plain)
        return plain if type(plain) in _SCALARS else _json_value(name, plain, depth + 1)
    except UnsupportedDocumentError:
        raise
    except Exception as cause:  # whatever the value's own class raises
        raise UnsupportedDocumentError(
            f"field {name!r} cannot be written as text: {type(cause).__name__}: {cause!s:.{_WORDS}}"
        ) from cause


def _plain(value: Any) -> Any:
    """The value one step nearer to JSON: a mapping, a list, a scalar, or what an object holds."""
    kind = type(value)
    if isinstance(value, Enum):
        return value.value
    if kind.__name__ in _NO_VALUES:
        return None
    if getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m"):  # numpy's dates
        return _numpy_dates(value)
    match value:
        case str() | UserString():  # the latter is a sequence, of itself
            return str.__str__(value) if isinstance(value, str) else value.data
        case bool():
            return bool(value)
        case int():
            if value.bit_length() > _MOST_BITS:
                raise ValueError("an int of thousands of digits has no text")
            return int(value)
        case float():
            return float(value)
        case Decimal():
            return None if value.is_nan() else str(value)
        case date() | time():  # a datetime is a date
            return value.isoformat()
        case Mapping():
            return value
        case Sequence() | AbstractSet() | deque() | ValuesView() | array():
            return list(value)
    return _object(value)


def _object(value: Any) -> Any:
    """What an object of another class holds, or its text."""
    is_class = isinstance(value, type)
    if hasattr(value, "tolist") and not is_class:  # of numpy, pandas or torch
        found = value.tolist()
        return found if type(found) is not type(value) else float(value)  # numpy.longdouble
    if hasattr(value, "model_dump") and not is_class:  # a pydantic model
        return value.model_dump()
    if is_dataclass(value) and not is_class:
        return {one.name: getattr(value, one.name) for one in dataclass_fields(value)}
    text = str(value)
    if text.startswith("<") and text.endswith(">") and " at 0x" in text:
        raise TypeError(f"{type(value).__name__} has no text form, only an address in memory")
    return text


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)  # JSON has no infinity


def _numpy_dates(value: Any) -> Any:
    """Dates and durations of numpy as text: `tolist()` makes integers of some."""
    if hasattr(value, "to_numpy"):  # a column of pandas
        value = value.to_numpy()
    if value.dtype.kind == "O":  # of dates with a time zone
        return value.tolist()
    found = value.astype(str).tolist()
    if isinstance(found, list):
        return [None if item == "NaT" else item for item in found]
    return None if found == "NaT" else found


def _key(name: str, key: Any, depth: int = 0) -> str:
    """A key of a mapping as text; most are."""
    return key if type(key) is str else _text_of(_json_value(name, key, depth + 1))


def _sorted(values: list[Any]) -> list[Any]:
    """The values of a set, which has no order of its own."""
    try:
        return sorted(values)
    except TypeError:  # of several types
        return sorted(values, key=_text_of)
