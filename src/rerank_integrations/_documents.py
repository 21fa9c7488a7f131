"""A call's documents as they go on the wire: what is sent of each, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from rerank_integrations._options import Options
from rerank_integrations.errors import InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.fields import (
    IMAGE,
    TEXT,
    Parts,
    has_image,
    parts_of,
    rendered,
    texts_of,
)
from rerank_integrations.images import WireImage


class Pictured(NamedTuple):
    """A document with an image, and its text, which may be empty."""

    text: str
    image: WireImage


class Ready(NamedTuple):
    """What is sent.

    `wire` has a str, an object of fields or a `Pictured` for each document that is sent, and
    `sent` its index among the caller's. `rank_fields` is None where the endpoint ranks texts.
    """

    wire: Sequence[Any]
    sent: Sequence[int]
    rank_fields: Sequence[str] | None = None
    warnings: tuple[str, ...] = ()
    has_images: bool = False


def on_the_wire(options: Options, documents: Sequence[Any]) -> Ready:
    """Take the documents apart, and leave the blank ones out.

    Raises:
        InvalidRequestError: a document that cannot be sent.
    """
    rank_fields, kinds = options.rank_fields, set(map(type, documents))
    as_objects = options.provider.ranks_fields(options.model)
    if kinds == {str} and (rank_fields is None or (TEXT in rank_fields and not as_objects)):
        return _texts(documents)
    if kinds == {dict} and not as_objects and all(one.get(IMAGE) is None for one in documents):
        with suppress(InvalidRequestError):  # which is raised below, with the document's index
            return _texts([rendered(texts_of(one, rank_fields)) for one in documents])
    return _taken_apart(options, documents)


def _texts(documents: Sequence[str]) -> Ready:
    if "" not in documents and not any(map(str.isspace, documents)):
        return Ready(documents, range(len(documents)))
    sent = [i for i, text in enumerate(documents) if text and not text.isspace()]
    return Ready([documents[index] for index in sent], sent)


def _taken_apart(options: Options, documents: Sequence[Any]) -> Ready:
    limits = options.image_limits()
    sent: list[int] = []
    parts: list[Parts] = []
    blind: list[int] = []
    for index, document in enumerate(documents):
        try:
            if limits is None and has_image(document):
                _check_blind(options, "takes text only")
                blind.append(index)
            part = parts_of(document, options.rank_fields, limits)
            if part.image and part.fields and not options.provider.takes_text_with_image:
                _check_blind(options, "takes a text or an image, not the two together")
                blind.append(index)
                part = Parts(part.fields)
        except InvalidRequestError as error:
            error.args = (f"document {index}: {error}",)
            raise
        if part.fields or part.image:
            sent.append(index)
            parts.append(part)
    provider, rank_fields = options.provider, options.rank_fields
    warnings = _warnings(provider.name, blind)
    as_objects = provider.ranks_fields(options.model) and (
        rank_fields is not None or any(type(documents[index]) is not str for index in sent)
    )
    if not as_objects:
        seen = any(part.image for part in parts)
        return Ready([_text_of(part) for part in parts], sent, None, warnings, seen)
    names = rank_fields or tuple(dict.fromkeys(name for part in parts for name in part.fields))
    wire = [provider.document(part.fields, rendered(part.fields)) for part in parts]
    return Ready(wire, sent, names, warnings)


def _check_blind(options: Options, why: str) -> None:
    if options.on_image == "raise":
        raise UnsupportedDocumentError(
            f"it has an image, and {options.provider.name} {why} (model {options.model}); choose "
            "one that does, or set on_image='text' to rank by the text alone"
        )


def _text_of(part: Parts) -> str | Pictured:
    text = rendered(part.fields)
    return text if part.image is None else Pictured(text, part.image)


def _warnings(provider: str, blind: Sequence[int]) -> tuple[str, ...]:
    if not blind:
        return ()
    indexes = ", ".join(map(str, blind))
    return (f"the images of documents {indexes} were left out: {provider} takes no such images",)
