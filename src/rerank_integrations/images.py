"""Converts images to what is sent: an http(s) URL, or a data URI of the image's bytes."""

from __future__ import annotations

import binascii
import ipaddress
import math
import re
import sys
from contextlib import suppress
from io import BytesIO
from os import PathLike
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from rerank_integrations.errors import ConfigurationError, UnsupportedDocumentError

FORMATS = "PNG, JPEG, WebP, GIF"
# NVIDIA's rerank service accepts at most 14,598,366 characters for an image
# (https://docs.api.nvidia.com/nim/reference); 10 MiB are a little less than that in base64
MAX_IMAGE_BYTES = 10 * 2**20

ImageUrls: TypeAlias = Literal["any", "public", "none"]

_DATA_URI = "data:image/"
_BASE64 = ";base64,"
_PLAIN = re.compile(r"data:image/[\w.+;=-]*", re.IGNORECASE | re.ASCII)
_BEGINNING = 64  # characters of base64 that show an image's format; a multiple of four
# https://www.rfc-editor.org/rfc/rfc6762#appendix-G, and .svc of Kubernetes
_PRIVATE_NAMES = (
    "localhost", ".localhost", ".localdomain", ".local", ".internal", ".lan", ".home.arpa",
    ".home", ".corp", ".intranet", ".private", ".svc",
)  # fmt: skip
# IPv6 networks whose last 32 bits are an IPv4 address: compatible, translated, NAT64
_OF_IPV4 = [
    ipaddress.IPv6Network(network) for network in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
]
_ISATAP = (0x00005EFE, 0x02005EFE)  # the 32 bits before the IPv4 address
# private networks that `is_global` of Python 3.11 does not know: local-use NAT64, site-local,
# documentation, SRv6
_PRIVATE_NETWORKS = [
    ipaddress.IPv6Network(network)
    for network in ("64:ff9b:1::/48", "fec0::/10", "3fff::/20", "5f00::/16")
]

_LOSSY = {"JPEG", "WEBP"}  # lossy formats are kept, since they are small; others become PNG
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
_ALPHA_MODES = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_QUALITY = 90  # small print on a page is still sharp


class ImageLimits(NamedTuple):
    """Limits for images.

    Attributes:
        max_bytes: the size of the largest image, in bytes; larger ones are refused.
        max_pixels: the number of pixels above which an image is resized.
        urls: which image URLs are passed on; others are refused.
    """

    max_bytes: int | None = MAX_IMAGE_BYTES
    max_pixels: int | None = None
    urls: ImageUrls = "any"


class UnusableImage(NamedTuple):
    """A placeholder for an image that could not be read; sending it raises the reason."""

    reason: str


class WireImage(NamedTuple):
    """A validated image, as it is written into the JSON of a request.

    Attributes:
        head: text that is encoded as JSON.
        tail: what follows the head unchanged: ASCII text, from the index `start`, or the image's
            bytes. Bytes are encoded as base64 only when they are sent, so that an image is not
            held in memory twice.
        start: the index in a text tail from which it is sent.
    """

    head: str
    tail: str | bytes = ""
    start: int = 0

    @property
    def size(self) -> int:
        """The size of the tail in bytes, as it is sent."""
        if isinstance(self.tail, str):
            return len(self.tail) - self.start
        return 4 * math.ceil(len(self.tail) / 3)

    def encoded(self) -> bytes:
        """Return the tail as it is sent."""
        if isinstance(self.tail, str):
            return self.tail[self.start :].encode("ascii")
        return binascii.b2a_base64(self.tail, newline=False)

    def bare(self) -> WireImage:
        """Return the image as bare base64, without the prefix of a data URI; a URL is unchanged."""
        if isinstance(self.tail, bytes):
            return WireImage("", self.tail)
        if not self.tail:  # a URL
            return self
        return WireImage("", self.tail, self.tail.index(_BASE64) + len(_BASE64))

    def uri(self) -> str:
        """Return the URL or the data URI."""
        return self.head + self.encoded().decode("ascii")


def wire_image(image: Any, limits: ImageLimits = ImageLimits()) -> WireImage:  # noqa: B008
    """Validate an image and convert it to the form in which it is sent.

    Nothing is read from the disk or fetched.

    Args:
        image: an http(s) URL or a `data:image/...;base64,` URI, which are passed through
            unchanged; bytes, whose format is detected from the first ones; or a
            `PIL.Image.Image`.
        limits: what is refused, and what is resized.

    Raises:
        UnsupportedDocumentError: the image is none of these, or exceeds a limit.
        ConfigurationError: the image must be resized, and Pillow is not installed.
    """
    match image:
        case str() if image[:8].lower().startswith(("http://", "https://")):
            _check_characters(image)
            _check_url(image, limits.urls)
            return WireImage(image)
        case str() if image[: len(_DATA_URI)].lower() == _DATA_URI:
            return _from_data_uri(image, limits)
        case str() if image[:5].lower() == "data:":
            raise UnsupportedDocumentError(
                "the image is a data URI of another type: it must start with data:image/"
            )
        case str() | PathLike():
            raise UnsupportedDocumentError(
                "an image is an http(s) URL, a data:image/ URI or bytes; for a local file use "
                "RerankDocument.from_file(path), for base64 text RerankDocument.from_base64(text)"
            )
        case bytes() | bytearray() | memoryview():
            return _from_bytes(_held(image), limits)
        case _ if is_picture(image):
            return _from_bytes(_picture_bytes(image), limits)
        case UnusableImage():
            raise UnsupportedDocumentError(image.reason)
        case _:
            raise UnsupportedDocumentError(
                "an image is an http(s) URL, a data:image/ URI, bytes or a PIL image, "
                f"not {type(image).__name__}"
            )


def data_uri(encoded: str | bytes) -> str:
    """Return the data URI of an image in base64; the format is detected from its beginning.

    Raises:
        UnsupportedDocumentError: it is not base64, or not an image that an endpoint takes.
    """
    try:
        text = encoded.decode("ascii") if isinstance(encoded, bytes) else encoded
        text = "".join(text.split())  # MIME inserts line breaks
        beginning = binascii.a2b_base64(text[:_BEGINNING], strict_mode=True)
        if beginning.lower().startswith(_DATA_URI.encode()):  # LlamaIndex encodes data URIs again
            return binascii.a2b_base64(text, strict_mode=True).decode("ascii")
    except (AttributeError, TypeError, ValueError) as cause:
        raise UnsupportedDocumentError("the image is not valid base64") from cause
    return f"{_DATA_URI}{_format_of(beginning)}{_BASE64}{text}"


def bytes_to_data_uri(content: bytes | bytearray | memoryview) -> str:
    """Return the data URI of an image's bytes; other bytes get the type octet-stream."""
    content = bytes(content)
    kind = "application/octet-stream"
    with suppress(UnsupportedDocumentError):
        kind = f"image/{_format_of(content)}"
    encoded = binascii.b2a_base64(content, newline=False).decode("ascii")
    return f"data:{kind}{_BASE64}{encoded}"


def picture_to_data_uri(picture: Any) -> str:
    """Return the data URI of a `PIL.Image.Image`, as it would be sent."""
    return bytes_to_data_uri(_picture_bytes(picture))


def is_picture(image: Any) -> bool:
    """Return whether it is a `PIL.Image.Image`, without importing Pillow."""
    pillow: Any = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)


def _held(image: bytes | bytearray | memoryview) -> bytes:
    try:
        return bytes(image)
    except ValueError as cause:  # a view that has been released
        raise UnsupportedDocumentError(f"the image's bytes cannot be read: {cause}") from cause


def _from_bytes(content: bytes, limits: ImageLimits) -> WireImage:
    _format_of(content)
    if limits.max_pixels is not None:
        content = _downsized(content, limits.max_pixels)
    _check_size(len(content), limits.max_bytes)
    return WireImage(f"{_DATA_URI}{_format_of(content)}{_BASE64}", content)


def _from_data_uri(uri: str, limits: ImageLimits) -> WireImage:
    beginning, marker, payload = uri.partition(_BASE64)
    if not marker or not payload:
        raise UnsupportedDocumentError(
            "an image's data URI has the form data:image/png;base64,iVBORw0..."
        )
    content = b""
    with suppress(ValueError):  # binascii.Error, or a character that is not ASCII
        content = binascii.a2b_base64(payload, strict_mode=True)
    if not content:
        raise UnsupportedDocumentError("the image's data URI is not valid base64")
    _format_of(content)
    _check_characters(beginning)
    if limits.max_pixels is not None:
        smaller = _downsized(content, limits.max_pixels)
        if smaller is not content:
            return _from_bytes(smaller, limits._replace(max_pixels=None))
    _check_size(len(content), limits.max_bytes)
    if _PLAIN.fullmatch(beginning):  # no character needs a JSON escape
        return WireImage("", uri)
    return WireImage(beginning + _BASE64, uri, len(beginning) + len(_BASE64))


def _check_size(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise UnsupportedDocumentError(
            f"the image has {size:,} bytes, and max_image_bytes is {max_bytes:,}; set "
            "max_image_pixels to resize it, or raise the limit"
        )


def _check_characters(address: str) -> None:
    try:
        address.encode()
    except UnicodeEncodeError as cause:
        raise UnsupportedDocumentError(
            "the URL of the image has a lone surrogate, which cannot be encoded; correct the URL"
        ) from cause


def _check_url(url: str, allowed: ImageUrls) -> None:
    if allowed == "any":
        return
    if allowed == "none":
        raise UnsupportedDocumentError(
            "the image is a URL, which image_urls='none' or the provider refuses; pass the image's "
            "bytes"
        )
    host = ""
    with suppress(ValueError):
        host = _host_of(url)
    if not host or _is_private(host):
        raise UnsupportedDocumentError(
            "the image is a URL of a private address, which image_urls='public' refuses; pass the "
            "image's bytes"
        )


def _host_of(url: str) -> str:
    """Return the host, decoded to ASCII; "" if URL libraries disagree about it."""
    if "\\" in url:
        return ""
    host = unquote(urlsplit(url).hostname or "")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    return host.rstrip(".").lower()


def _is_private(host: str) -> bool:
    with suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        if any(address in network for network in _PRIVATE_NETWORKS):
            return True
        return not all(one.is_global and not one.is_multicast for one in _embedded_ipv4(address))
    # a name without a dot is local, and 127.1 and 0x7f000001 are addresses too
    numeric = host.rpartition(".")[2][:1].isdigit()
    return "." not in host or numeric or host.endswith(_PRIVATE_NAMES)


def _embedded_ipv4(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[Any]:
    """Return the IPv4 addresses that an IPv6 address embeds, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    teredo = address.teredo[1] if address.teredo else None
    others = [one for one in (address.ipv4_mapped, address.sixtofour, teredo) if one]
    is_isatap = int(address) >> 32 & 0xFFFFFFFF in _ISATAP
    if is_isatap or any(address in network for network in _OF_IPV4):
        others.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return others or [address]


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
        f"the image has a format that no rerank endpoint takes; convert it to one of {FORMATS}"
        if content
        else "the image has no bytes"
    )


def _pillow() -> Any:
    try:
        from PIL import Image  # noqa: PLC0415  # an extra
    except ImportError as cause:
        raise ConfigurationError(
            "max_image_pixels needs the extra 'images': pip install 'rerank-integrations[images]'"
        ) from cause
    return Image


def _picture_bytes(picture: Any) -> bytes:
    """Encode a picture as JPEG or WebP if it was one, else as PNG; EXIF data is kept.

    Raises:
        UnsupportedDocumentError: Pillow cannot encode it.
    """
    kind = picture.format if picture.format in _LOSSY else "PNG"
    options: dict[str, Any] = {"quality": _QUALITY} if kind in _LOSSY else {}
    if picture.info.get("exif"):
        options["exif"] = picture.info["exif"]
    held = BytesIO()
    try:
        picture = _to_8bit(picture)
        if picture.mode in _ALPHA_MODES:
            picture = picture.convert(_ALPHA_MODES[picture.mode])
        plain = picture if picture.mode in _MODES else picture.convert("RGB")
        if kind == "JPEG" and plain.mode not in {"L", "RGB"}:
            plain = plain.convert("RGB")
        plain.save(held, kind, **options)
    except Exception as cause:
        raise _unreadable(cause) from cause
    return held.getvalue()


def _downsized(content: bytes, max_pixels: int) -> bytes:
    """Resize an image to at most `max_pixels`, keeping its proportions; smaller ones are unchanged.

    Raises:
        UnsupportedDocumentError: Pillow cannot read it.
        ConfigurationError: Pillow is not installed.
    """
    image = _pillow()
    try:
        with image.open(BytesIO(content)) as opened:
            width, height = opened.size
            if width * height <= max_pixels:
                return content
            scale = math.sqrt(max_pixels / (width * height))
            across = min(max(1, int(width * scale)), max_pixels)
            size = across, min(max(1, int(height * scale)), max_pixels // across)
            opened.draft("RGB", size)  # a JPEG is decoded no larger than needed
            colours = opened.convert("RGBA") if opened.mode in {"1", "P"} else _to_8bit(opened)
            smaller = colours.resize(size, image.Resampling.LANCZOS)
            smaller.format = opened.format
            smaller.info = {"exif": opened.info.get("exif")}
    except Exception as cause:
        raise _unreadable(cause) from cause
    return _picture_bytes(smaller)


def _unreadable(cause: Exception) -> UnsupportedDocumentError:
    return UnsupportedDocumentError(f"Pillow cannot use the image: {type(cause).__name__}: {cause}")


def _to_8bit(picture: Any) -> Any:
    """Convert to 8 bits per channel by scaling, because Pillow clips values above 255."""
    if not picture.mode.startswith("I"):
        return picture
    if picture.mode == "I" and picture.getextrema()[1] <= 255:
        return picture.convert("L")
    return picture.convert("I").point(lambda value: value / 257 + 0.5).convert("L")
