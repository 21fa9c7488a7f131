"""Pixels, through Pillow: a picture object as bytes, and a large image made smaller."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

from rerank_integrations.errors import ConfigurationError, UnsupportedDocumentError

try:
    from PIL import Image
except ImportError as cause:
    raise ConfigurationError(
        "max_image_pixels needs the extra 'images': pip install 'rerank-integrations[images]'"
    ) from cause

_KEPT = {"JPEG", "WEBP"}  # what was lossy stays so, and small; all else becomes PNG
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
_SEE_THROUGH = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_QUALITY = 90  # small letters on a page are still sharp


def encoded(picture: Image.Image) -> bytes:
    """The picture as JPEG or WebP if it was one, else as PNG; its EXIF data stays with it.

    Raises:
        UnsupportedDocumentError: Pillow cannot write it.
    """
    kind = picture.format if picture.format in _KEPT else "PNG"
    options: dict[str, Any] = {"quality": _QUALITY} if kind in _KEPT else {}
    if picture.info.get("exif"):
        options["exif"] = picture.info["exif"]
    held = BytesIO()
    try:
        picture = _shallow(picture)
        if picture.mode in _SEE_THROUGH:
            picture = picture.convert(_SEE_THROUGH[picture.mode])
        plain = picture if picture.mode in _MODES else picture.convert("RGB")
        if kind == "JPEG" and plain.mode not in {"L", "RGB"}:
            plain = plain.convert("RGB")
        plain.save(held, kind, **options)
    except Exception as cause:
        raise _unreadable(cause) from cause
    return held.getvalue()


def downsized(content: bytes, max_pixels: int) -> bytes:
    """The image with at most so many pixels, in its proportions; itself where it has no more.

    Raises:
        UnsupportedDocumentError: Pillow cannot read it.
    """
    try:
        with Image.open(BytesIO(content)) as opened:
            width, height = opened.size
            if width * height <= max_pixels:
                return content
            scale = math.sqrt(max_pixels / (width * height))
            across = min(max(1, int(width * scale)), max_pixels)
            size = across, min(max(1, int(height * scale)), max_pixels // across)
            opened.draft("RGB", size)  # a JPEG is decoded no larger than needed
            colours = opened.convert("RGBA") if opened.mode in {"1", "P"} else _shallow(opened)
            smaller = colours.resize(size, Image.Resampling.LANCZOS)
            smaller.format = opened.format
            smaller.info = {"exif": opened.info.get("exif")}
    except Exception as cause:
        raise _unreadable(cause) from cause
    return encoded(smaller)


def _unreadable(cause: Exception) -> UnsupportedDocumentError:
    return UnsupportedDocumentError(f"Pillow cannot use the image: {type(cause).__name__}: {cause}")


def _shallow(picture: Image.Image) -> Image.Image:
    """The picture with 8 bits a channel; Pillow cuts off what is brighter."""
    if not picture.mode.startswith("I"):
        return picture
    if picture.mode == "I" and picture.getextrema()[1] <= 255:  # type: ignore[operator]
        return picture.convert("L")
    return picture.convert("I").point(lambda value: value / 257 + 0.5).convert("L")
