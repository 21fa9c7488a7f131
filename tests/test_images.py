"""Tests of images: what may be sent, and in what form."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from cases import cases
from rerank_integrations.errors import UnsupportedDocumentError
from rerank_integrations.images import wire_image
from support import DATA_URI, PIXELS, PNG

JPEG = b"\xff\xd8\xff\xe0 rest"
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 "


@cases(
    "image",
    [
        "http://example.com/a.png",
        "https://example.com/a?signature=b",
        "HTTPS://example.com/a",
        DATA_URI,
        f"DATA:IMAGE/png;base64,{PIXELS}",
    ],
)
def test_address_passes(image: str) -> None:
    """An http(s) URL and an image's data URI go out as they stand."""
    assert wire_image(image).uri() == image


@cases(
    ("content", "kind"),
    [
        (PNG, "png"),
        (JPEG, "jpeg"),
        (WEBP, "webp"),
        (b"GIF87a rest", "gif"),
        (b"GIF89a rest", "gif"),
    ],
)
def test_bytes_become_a_data_uri(content: bytes, kind: str) -> None:
    """Bytes become a data URI whose type is told from their beginning."""
    encoded = base64.b64encode(content).decode()
    assert wire_image(content).uri() == f"data:image/{kind};base64,{encoded}"


@cases("view", [bytearray(PNG), memoryview(PNG)])
def test_other_bytes(view: object) -> None:
    """A bytearray and a memoryview are bytes too."""
    assert wire_image(view) == wire_image(PNG)


@cases("content", [b"BM bitmap", b"%PDF-1.7", b"RIFF\x24\x00\x00\x00WAVEfmt "])
def test_bytes_of_no_image(content: bytes) -> None:
    """Bytes that no endpoint takes are refused with the formats that it takes."""
    with pytest.raises(UnsupportedDocumentError, match="PNG, JPEG, WebP, GIF"):
        wire_image(content)


def test_no_bytes() -> None:
    """Empty bytes are refused as such."""
    with pytest.raises(UnsupportedDocumentError, match="no bytes"):
        wire_image(b"")


@cases("image", ["cat.png", "/etc/hostname", "", "file:///cat.png", Path("c.png")])
def test_local_file(image: object) -> None:
    """A path is never read by accident: the message names the way to read one."""
    with pytest.raises(UnsupportedDocumentError, match=r"RerankDocument\.from_file"):
        wire_image(image)


def test_data_uri_of_something_else() -> None:
    """A data URI that is no image is refused."""
    with pytest.raises(UnsupportedDocumentError, match="data:image/"):
        wire_image("data:text/plain;base64,YQ==")


@cases("uri", ["data:image/png;base64,", "data:image/png,abc", "data:image/png"])
def test_data_uri_without_base64(uri: str) -> None:
    """A data URI without a base64 content is refused with the form that it should have."""
    with pytest.raises(UnsupportedDocumentError, match="has the form"):
        wire_image(uri)


@cases("payload", ["iVBORw0", "iVBO Rw==", "iVBORw==\n", "*" * 4, "é" * 4])
def test_data_uri_with_broken_base64(payload: str) -> None:
    """A data URI whose base64 is broken is refused."""
    with pytest.raises(UnsupportedDocumentError, match="not valid base64"):
        wire_image(f"data:image/png;base64,{payload}")


def test_refusal_shows_no_image_data() -> None:
    """The message about a broken image does not repeat its data."""
    with pytest.raises(UnsupportedDocumentError) as caught:
        wire_image(f"{DATA_URI}?")
    assert PIXELS not in str(caught.value)


@cases("image", [5, {"url": "https://example.com/a.png"}, ["https://a.example"]])
def test_no_image(image: object) -> None:
    """What is no str and no bytes is refused with its type."""
    with pytest.raises(UnsupportedDocumentError, match=f"not {type(image).__name__}"):
        wire_image(image)
