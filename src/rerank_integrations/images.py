"""Images as they go on the wire: an http(s) URL, or a data URI made from bytes."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from os import PathLike

from rerank_integrations.errors import UnsupportedDocumentError

FORMATS = "PNG, JPEG, WebP, GIF"
_DATA_URI = "data:image/"
_BASE64 = ";base64,"
_BEGINNING = 64  # characters of base64 that show an image's format; a multiple of four


def wire_image(image: object) -> str:
    """The image as a string that a rerank endpoint understands.

    Args:
        image: an http(s) URL or a `data:image/...;base64,` URI, passed through as it stands; or
            bytes, whose format is told from their first bytes.

    Raises:
        UnsupportedDocumentError: anything else; nothing is read from disk or fetched.
    """
    match image:
        case str() if image[:8].lower().startswith(("http://", "https://")):
            return image
        case str() if image[: len(_DATA_URI)].lower() == _DATA_URI:
            return _checked_data_uri(image)
        case str() if image[:5].lower() == "data:":
            raise UnsupportedDocumentError(
                "the image is a data URI that is not an image: it must start with data:image/"
            )
        case str() | PathLike():
            raise UnsupportedDocumentError(
                "an image is an http(s) URL, a data:image/ URI or bytes; for a local file use "
                "RerankDocument.from_file(path)"
            )
        case bytes() | bytearray() | memoryview():
            content = bytes(image)
            encoded = base64.b64encode(content).decode("ascii")
            return f"{_DATA_URI}{_format_of(content)}{_BASE64}{encoded}"
        case _:
            raise UnsupportedDocumentError(
                "an image is an http(s) URL, a data:image/ URI or bytes, "
                f"not {type(image).__name__}"
            )


def data_uri(encoded: str | bytes) -> str:
    """A data URI of an image that is base64 text; what it holds is told from its beginning.

    Raises:
        UnsupportedDocumentError: not base64, or not an image that an endpoint takes.
    """
    try:
        text = encoded.decode("ascii") if isinstance(encoded, bytes) else encoded
        text = "".join(text.split())  # MIME breaks its lines
        beginning = binascii.a2b_base64(text[:_BEGINNING], strict_mode=True)
        if beginning.lower().startswith(_DATA_URI.encode()):  # LlamaIndex encodes data URIs too
            return binascii.a2b_base64(text, strict_mode=True).decode("ascii")
    except ValueError as cause:
        raise UnsupportedDocumentError("the image is not valid base64") from cause
    return f"{_DATA_URI}{_format_of(beginning)}{_BASE64}{text}"


def _format_of(content: bytes) -> str:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    raise UnsupportedDocumentError(
        f"the bytes are no image that a rerank endpoint takes; it takes {FORMATS}"
        if content
        else "the image has no bytes"
    )


def _checked_data_uri(uri: str) -> str:
    _, marker, payload = uri.partition(_BASE64)
    if not marker or not payload:
        raise UnsupportedDocumentError(
            "an image's data URI has the form data:image/png;base64,iVBORw0..."
        )
    with suppress(ValueError):  # binascii.Error, or a character that is not ASCII
        binascii.a2b_base64(payload, strict_mode=True)
        return uri
    raise UnsupportedDocumentError("the image's data URI is not valid base64")
