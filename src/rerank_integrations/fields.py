"""Documents as named fields: what a caller's object holds, and the text that is ranked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set as AbstractSet
from datetime import date, time
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, to_json

from rerank_integrations.errors import InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.images import ImageLimits, WireImage, wire_image
from rerank_integrations.models import RerankDocument

TEXT = "text"
IMAGE = "image"


class Parts(NamedTuple):
    """One document taken apart: its text fields by name, in order, and its image for the wire."""

    fields: Mapping[str, str]
    image: WireImage | None = None


def parts_of(
    document: object,
    rank_fields: Sequence[str] | None,
    limits: ImageLimits | None = ImageLimits(),  # noqa: B008
) -> Parts:
    """The fields of a document that count for the ranking, as text, and its image.

    Without `rank_fields` these are all fields, in the document's own order. Fields that are
    missing, None or empty are left out, so a document without text has no fields. With `limits`
    of None the image is left out.

    Raises:
        UnsupportedDocumentError: not a document, or an image of a kind that cannot be sent.
        InvalidRequestError: a field that has no text form.
    """
    whole = _fields_of(document)
    fields = texts_of(whole, rank_fields)
    image = whole.get(IMAGE)
    if image is None or limits is None:
        return Parts(fields)
    return Parts(fields, wire_image(image, limits))


def texts_of(whole: Mapping[str, Any], rank_fields: Sequence[str] | None) -> dict[str, str]:
    """The fields that count for the ranking, as text; without those that have none.

    Raises:
        InvalidRequestError: a field that has no text form.
    """
    fields = {}
    for name in whole if rank_fields is None else rank_fields:
        if name == IMAGE:
            continue
        value = whole[name] if name in whole else _nested(whole, name)
        text = value if type(value) is str else _text_of(name, value)
        if text and not text.isspace():
            fields[name] = text
    return fields


def has_image(document: object) -> bool:
    """Whether an image was given, whatever becomes of it."""
    if isinstance(document, RerankDocument):
        return document.image is not None or (document.fields or {}).get(IMAGE) is not None
    return isinstance(document, Mapping) and document.get(IMAGE) is not None


def rendered(fields: Mapping[str, str]) -> str:
    """Fields as one text: `name: value` a line; a single field as its bare value."""
    if len(fields) == 1:
        return next(iter(fields.values()))
    return "\n".join([f"{name}: {value}" for name, value in fields.items()])


def _fields_of(document: object) -> Mapping[str, Any]:
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
                f"not {type(document).__name__}"
            )


def _nested(whole: Mapping[str, Any], name: str) -> object:
    """The value of a dotted name: `a.b` is key `b` of mapping `a`."""
    value: object = whole
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _text_of(name: str, value: object) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _as_str(name, value)
        case date() | time():  # a datetime is a date
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            raise InvalidRequestError(f"field {name!r} holds bytes; decode them to str first")
        case list() | tuple() if all(isinstance(item, str) for item in value):
            return ", ".join(value)
        case AbstractSet():  # a set has no order of its own
            return ", ".join(sorted(_as_str(name, item) for item in value))
        case Mapping() | list() | tuple():
            return _as_json(name, value)
        case _:
            return _as_str(name, value)


def _as_str(name: str, value: object) -> str:
    try:
        return str(value)
    except Exception as cause:  # whatever the value's own class raises; an int of 5,000 digits
        raise InvalidRequestError(f"field {name!r} cannot be written as text: {cause}") from cause


def _as_json(name: str, value: object) -> str:
    try:
        return to_json(value, fallback=str).decode()
    except PydanticSerializationError as cause:
        raise InvalidRequestError(f"field {name!r} cannot be written as text: {cause}") from cause
