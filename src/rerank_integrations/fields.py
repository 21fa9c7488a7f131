"""Documents as named fields, and the text of the fields that are ranked."""

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
_DEEPEST = 50  # levels of nested values; a value may contain itself
_MOST_BITS = 10_000  # of an int; str() refuses one of more than 4,300 digits
_WORDS = 200  # characters of a foreign error that a message repeats
_LISTED = 20  # names of fields that a message lists
# a text is truncated within a word if no space is among this many characters before the limit
_LONGEST_WORD = 50
_SCALARS = (str, bool, int, float, type(None))
_MISSING = object()
_NO_VALUES = ("NAType", "NaTType")  # types of pandas, by name: pandas need not be imported


def fields_of(document: object) -> Mapping[str, Any]:
    """Return the fields of a document by name, including its image.

    Raises:
        UnsupportedDocumentError: the value is not a document.
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
                f"not {type(document).__name__}{_conversion(document)}"
            )


def _conversion(document: object) -> str:
    """Return a hint how to convert an object to a document."""
    if hasattr(document, "page_content"):
        return "; for LangChain documents use RerankCompressor"
    if hasattr(document, "get_content"):
        return "; for nodes of LlamaIndex use RerankPostprocessor"
    if is_dataclass(document) and not isinstance(document, type):
        return "; pass dataclasses.asdict(document)"
    ways = (("model_dump", "model_dump()"), ("_asdict", "_asdict()"), ("to_dict", "to_dict()"))
    return next((f"; pass document.{way}" for name, way in ways if hasattr(document, name)), "")


def ranked_values(whole: Mapping[str, Any], rank_fields: Sequence[str] | None) -> dict[str, Any]:
    """Return the fields to rank by, as JSON values.

    Without `rank_fields` these are all fields, in the document's own order. Fields that are
    missing or blank are left out, so the result is empty for a document without text.

    Raises:
        UnsupportedDocumentError: a field cannot be converted to text.
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
    """Return whether a document has one of the fields, blank or not."""
    return any(
        name != IMAGE and (name in whole or _nested(whole, name) is not _MISSING)
        for name in rank_fields
    )


def image_of(document: object, whole: Mapping[str, Any]) -> Any:
    """Return the image of a document; None for a missing value, as in a row of pandas."""
    image = whole.get(IMAGE)
    if isinstance(document, RerankDocument):
        return image
    is_nan = isinstance(image, float) and math.isnan(image)
    return None if is_nan or type(image).__name__ in _NO_VALUES else image


def shown_query(query: object) -> str:
    """Return a query as text, with a word in place of an image."""
    if isinstance(query, str):
        return query
    try:
        whole = fields_of(query)
        text = rendered(ranked_values(whole, (TEXT,)))
    except UnsupportedDocumentError:  # it is refused
        return f"<{type(query).__name__}>"
    return text if image_of(query, whole) is None else f"{text} [image]".lstrip()


def is_blank(whole: Mapping[str, Any]) -> bool:
    """Return whether all fields of a document are blank."""
    return all(
        value is None or (type(value) is str and _is_blank(value)) for value in whole.values()
    )


def absent_fields(rank_fields: Sequence[str], documents: Iterable[object]) -> str | None:
    """Return a warning about fields that no document has; None if each is in some document.

    Raises:
        UnsupportedDocumentError: no document has any of the fields, but some have other texts.
    """
    wholes = []
    for document in documents:
        with suppress(UnsupportedDocumentError):  # raised later, with the document's index
            wholes.append(fields_of(document))
        if len(wholes) == 1 and all(has_any(wholes[0], [name]) for name in rank_fields):
            return None  # the most common case
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
        return (
            f"no document has the field {names} of rank_fields; {hint}the fields of the documents "
            f"are: {listed}"
        )
    if all(is_blank({k: v for k, v in whole.items() if k != IMAGE}) for whole in wholes):
        return None  # all documents are blank, or images without text
    raise UnsupportedDocumentError(
        f"no document has a field of rank_fields={list(rank_fields)}; {hint}"
        f"the fields of the documents are: {listed}"
    )


def rendered(fields: Mapping[str, Any]) -> str:
    """Return fields as one text, a line `name: value` for each; a single field as its value."""
    if len(fields) == 1:
        return _text_of(next(iter(fields.values())))
    return "\n".join(
        [
            f"{name}: {value if type(value) is str else _text_of(value)}"
            for name, value in fields.items()
        ]
    )


def shortened(text: str, most: int) -> str:
    """Truncate a text to at most `most` characters, at a word boundary if one is near."""
    if len(text) > most and text[:most].isspace():
        text = text.lstrip()  # a text of spaces would be a blank document
    if len(text) <= most:
        return text
    for end in range(most, max(most - _LONGEST_WORD, 0), -1):
        if text[end].isspace() and not text[:end].isspace():
            return text[:end].rstrip()
    return text[:most]


def shortened_fields(fields: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Truncate fields to at most `most` characters in total; further fields are left out."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        text = _text_of(value)
        if len(text) <= most:
            kept[name] = value
        elif most and not isinstance(value, int | float):  # a truncated number is another number
            kept[name] = shortened(text, most)
        most = max(0, most - len(text))
    return kept


def _names_in(whole: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of fields, and the dotted names of nested ones."""
    for name, value in whole.items():
        if name == IMAGE:
            continue
        yield str(name)
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)


def _nested(whole: Mapping[str, Any], name: str) -> object:
    """Return the value of a dotted name: `a.b` is key `b` of mapping `a`."""
    value: object = whole
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _is_blank(value: Any) -> bool:
    """Return whether a JSON value has no text."""
    if type(value) is str:
        return not value or value.isspace()
    if isinstance(value, dict):
        return all(map(_is_blank, value.values()))
    return value is None or (isinstance(value, list) and all(map(_is_blank, value)))


def _text_of(value: Any) -> str:
    """Return the text of a JSON value."""
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
    except PydanticSerializationError:  # a lone surrogate, which is replaced later
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _json_value(name: str, value: Any, depth: int = 0) -> Any:
    """Convert a value to JSON values; a missing value becomes None.

    Raises:
        UnsupportedDocumentError: it cannot be converted to text.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int and value.bit_length() <= _MOST_BITS:  # most metadata has these types
        return value
    if kind is list and all(type(item) is str for item in value):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        raise UnsupportedDocumentError(
            f"field {name!r} holds bytes; decode them to str, or name the fields to rank by in "
            "rank_fields"
        )
    if depth == _DEEPEST:
        raise UnsupportedDocumentError(
            f"field {name!r} is nested too deeply, or contains itself; name the fields to rank by "
            "in rank_fields"
        )
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
            f"field {name!r} cannot be converted to text: {type(cause).__name__}: "
            f"{cause!s:.{_WORDS}}"
        ) from cause


def _plain(value: Any) -> Any:
    """Convert one level of a value: to a mapping, a list, a scalar, or the content of an object."""
    kind = type(value)
    if isinstance(value, Enum):
        return value.value
    if kind.__name__ in _NO_VALUES:
        return None
    if getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m"):  # dates of numpy
        return _numpy_dates(value)
    match value:
        case str() | UserString():  # a UserString is a sequence of UserStrings
            return str.__str__(value) if isinstance(value, str) else value.data
        case bool():
            return bool(value)
        case int():
            if value.bit_length() > _MOST_BITS:
                raise ValueError("the int has thousands of digits")
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
    """Return the content of an object of another class, or its text."""
    is_class = isinstance(value, type)
    if hasattr(value, "tolist") and not is_class:  # numpy, pandas or torch
        found = value.tolist()
        return found if type(found) is not type(value) else float(value)  # numpy.longdouble
    if hasattr(value, "model_dump") and not is_class:  # a pydantic model
        return value.model_dump()
    if is_dataclass(value) and not is_class:
        return {one.name: getattr(value, one.name) for one in dataclass_fields(value)}
    text = str(value)
    if text.startswith("<") and text.endswith(">") and " at 0x" in text:
        raise TypeError(f"str() of {type(value).__name__} is only a memory address")
    return text


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)  # JSON has no infinity


def _numpy_dates(value: Any) -> Any:
    """Convert dates and durations of numpy to text, because `tolist()` makes some integers."""
    if hasattr(value, "to_numpy"):  # a column of pandas
        value = value.to_numpy()
    if value.dtype.kind == "O":  # dates with a time zone
        return value.tolist()
    found = value.astype(str).tolist()
    if isinstance(found, list):
        return [None if item == "NaT" else item for item in found]
    return None if found == "NaT" else found


def _key(name: str, key: Any, depth: int = 0) -> str:
    """Convert a key of a mapping to text; most keys are text already."""
    return key if type(key) is str else _text_of(_json_value(name, key, depth + 1))


def _sorted(values: list[Any]) -> list[Any]:
    """Sort the values of a set, so that their order is always the same."""
    try:
        return sorted(values)
    except TypeError:  # values of several types
        return sorted(values, key=_text_of)
