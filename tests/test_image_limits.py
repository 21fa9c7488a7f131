"""Tests of what images may be: their forms, their sizes, their addresses, and who refuses them.

Pictures are drawn here, and whatever is sent is decoded again.
"""

from __future__ import annotations

import base64
import math
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings, strategies as st
from PIL import Image

from calls import Calls, client_of
from cases import cases
from loopback import Reply, Server, ranking
from rerank_integrations import (
    BadRequestError,
    ConfigurationError,
    ImageError,
    Jina,
    Local,
    OpenRouter,
    RerankClient,
    RerankDocument,
    UnsupportedDocumentError,
)
from rerank_integrations.images import ImageLimits, wire_image
from support import body_of, call as prepared, openrouter, options

SIGNED = "https://bucket.example/Cat%20one.png?X-Sig=a%2Fb+c%3D&Expires=1#p=1"
MIB = 2**20
LONG = 24  # characters of base64 that no message has by chance
WATCHED = ("open", "socket.__new__", "socket.connect", "socket.getaddrinfo", "urllib.Request")
BLIND: dict[str, Any] = {"on_image": "text"}
PILLOW_MISSING = """
import sys
sys.modules["PIL"] = None
from rerank_integrations import ConfigurationError, Local, RerankClient
try:
    RerankClient("m", provider=Local(scorer=max), max_image_pixels=10)
except ConfigurationError as error:
    print(error)
"""

Image.init()  # loads Pillow's formats now, for it does so from files


def drawn(mode: str, size: tuple[int, int] = (8, 6)) -> Image.Image:
    """A picture of a mode with a gradient, so that no two columns are alike."""
    width, height = size
    gray = Image.new("L", size)
    gray.putdata([255 * (i % width) // max(1, width - 1) for i in range(width * height)])
    if mode in ("LA", "RGBA"):
        picture = gray.convert(mode)
        picture.putalpha(gray.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        return picture
    if mode == "I;16":
        deep = Image.new(mode, size)
        deep.putdata([257 * value for value in gray.tobytes()])
        return deep
    return gray.convert("RGB").convert(mode) if mode == "CMYK" else gray.convert(mode)


def saved(picture: Image.Image, kind: str = "PNG", **given: Any) -> bytes:
    """The picture in a format."""
    held = BytesIO()
    picture.save(held, kind, **given)
    return held.getvalue()


def uri(content: bytes, kind: str = "png") -> str:
    """A data URI of bytes."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def decoded(sent: str) -> bytes:
    """The bytes of a data URI."""
    return base64.b64decode(sent.partition(";base64,")[2], validate=True)


def sent(image: object, **given: Any) -> str:
    """The image of a document as it stands in the body."""
    [document] = body_of(prepared(RerankDocument(image=image), **given))["documents"]
    found: str = document["image"]
    return found


def opened(image: object, **given: Any) -> Image.Image:
    """The picture that is sent for an image."""
    return Image.open(BytesIO(decoded(sent(image, **given))))


def refused(image: object, **given: Any) -> str:
    """What is said of an image that is not sent."""
    with pytest.raises(UnsupportedDocumentError) as caught:
        prepared("a text", RerankDocument(image=image), **given)
    return str(caught.value)


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of few bytes that says it has so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


PNG = saved(drawn("RGB"))
JPEG = saved(drawn("RGB"), "JPEG")
GIF = saved(drawn("P"), "GIF")
WEBP = saved(drawn("RGB"), "WEBP", lossless=True)
GOOD = {"png": PNG, "jpeg": JPEG, "gif": GIF, "webp": WEBP}
FORMS: list[Callable[[bytes], Any]] = [bytes, bytearray, memoryview]

_watch = threading.local()


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event in WATCHED and getattr(_watch, "heard", None) is not None:
        _watch.heard.append((event, arguments))


sys.addaudithook(_hear)


@contextmanager
def touching_nothing() -> Iterator[None]:
    """Fails if this thread opens a file or makes a socket."""
    heard: list[Any] = []
    _watch.heard = heard
    try:
        yield
    finally:
        _watch.heard = None
    assert heard == []


@cases(
    "address", [SIGNED, "http://[2001:db8::1]/é?a=1&a=2", "HTTP://Host:80/a.png?q=%E2%9C%93'\"\\"]
)
def test_url_byte_for_byte(call: Calls, server: Server, address: str) -> None:
    """A URL arrives as it was given, its signature untouched."""
    with client_of(server) as client:
        call(client, documents=[RerankDocument(image=address)], image_urls="any")
    assert server.received[0].body["documents"] == [{"image": address}]


@cases("kind", GOOD)
@cases("form", FORMS)
def test_bytes_arrive(
    call: Calls, server: Server, kind: str, form: Callable[[bytes], object]
) -> None:
    """Bytes of every kind and format arrive as a data URI of the same bytes."""
    with client_of(server) as client:
        call(client, documents=[RerankDocument(image=form(GOOD[kind]))])
    assert server.received[0].body["documents"] == [{"image": uri(GOOD[kind], kind)}]


@cases("kind", GOOD)
def test_data_uri_byte_for_byte(kind: str) -> None:
    """A data URI goes out as it was given."""
    given = uri(GOOD[kind], kind)
    assert sent(given) == given


def test_data_uri_with_parameters() -> None:
    """A data URI with parameters, quotes included, goes out as it was given."""
    given = uri(PNG).replace(";base64,", ';name="a\\b.png";base64,')
    assert sent(given) == given


@cases("kind", GOOD)
def test_from_file(tmp_path: Path, kind: str) -> None:
    """An image from a file goes out as the bytes of the file, told by what it holds."""
    path = tmp_path / "a.dat"
    path.write_bytes(GOOD[kind])
    [document] = body_of(prepared(RerankDocument.from_file(path, text="x")))["documents"]
    assert document == {"text": "x", "image": uri(GOOD[kind], kind)}


@cases("kind", GOOD)
@cases("encode", [base64.b64encode, base64.encodebytes])
def test_from_base64(kind: str, encode: Callable[[bytes], bytes]) -> None:
    """An image from base64 goes out as the bytes that it stands for, as bytes or text."""
    for encoded in (encode(GOOD[kind]), encode(GOOD[kind]).decode()):
        image = RerankDocument.from_base64(encoded).image
        assert sent(image) == uri(GOOD[kind], kind)


@cases("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_picture(mode: str) -> None:
    """A picture object is sent as a PNG with the same pixels."""
    picture = drawn(mode)
    found = opened(picture)
    assert found.format == "PNG"
    assert found.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()


@cases("mode", ["CMYK", "I;16", "F"])
def test_picture_of_another_mode(mode: str) -> None:
    """A picture of a mode that models do not know keeps its brightness."""
    found = opened(drawn(mode)).convert("L").tobytes()
    assert all(abs(a - b) <= 2 for a, b in zip(found, drawn("L").tobytes(), strict=True))


def test_deep_picture_made_smaller() -> None:
    """A PNG of 16 bits a pixel keeps its brightness when it is made smaller."""
    picture = Image.new("I;16", (100, 100), 257 * 100)
    found = opened(saved(picture), max_image_pixels=400).convert("L")
    assert abs(found.tobytes()[0] - 100) <= 2


@cases(
    ("kind", "expected"),
    [("JPEG", "JPEG"), ("WEBP", "WEBP"), ("PNG", "PNG"), ("GIF", "PNG"), ("BMP", "PNG")],
)
def test_format_of_a_picture(kind: str, expected: str) -> None:
    """A picture that was a JPEG or WebP stays so; any other becomes a PNG."""
    assert opened(Image.open(BytesIO(saved(drawn("RGB"), kind)))).format == expected


@cases("kind", ["JPEG", "PNG", "WEBP"])
@cases("max_image_pixels", [None, 12])
def test_exif(kind: str, max_image_pixels: int | None) -> None:
    """EXIF data, which says how a photograph is turned, stays byte for byte."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation
    picture = Image.open(BytesIO(saved(drawn("RGB"), kind, exif=exif.tobytes())))
    found = opened(picture, max_image_pixels=max_image_pixels)
    assert found.info["exif"] == picture.info["exif"]
    assert found.getexif()[0x0112] == 6


def test_picture_is_not_changed() -> None:
    """The caller's picture keeps its mode, size, format and pixels."""
    picture = Image.open(BytesIO(PNG))
    before = (picture.mode, picture.size, picture.format, picture.tobytes())
    sent(picture, max_image_pixels=4)
    assert (picture.mode, picture.size, picture.format, picture.tobytes()) == before


def test_closed_picture() -> None:
    """A picture whose file is closed is refused with its index."""
    picture = Image.open(BytesIO(PNG))
    picture.close()
    assert refused(picture).startswith("document 1: Pillow cannot use the image")


OTHERS = {
    "bmp": saved(drawn("RGB"), "BMP"),
    "tiff": saved(drawn("RGB"), "TIFF"),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='80' height='80'/>",
    "pdf": b"%PDF-1.7 a page of a document",
}


@cases("kind", OTHERS)
@cases("form", ["bytes", "uri", "base64", "file"])
def test_other_formats(tmp_path: Path, kind: str, form: str) -> None:
    """A format that no endpoint takes is refused with the list of those that are taken."""
    content, path = OTHERS[kind], tmp_path / f"a.{kind}"
    path.write_bytes(content)
    make: dict[str, Callable[[], RerankDocument]] = {
        "bytes": lambda: RerankDocument(image=content),
        "uri": lambda: RerankDocument(image=uri(content, kind)),
        "base64": lambda: RerankDocument.from_base64(base64.b64encode(content)),
        "file": lambda: RerankDocument.from_file(path),
    }
    with pytest.raises(UnsupportedDocumentError, match="PNG, JPEG, WebP, GIF"):
        prepared(make[form]())


@cases(
    "image",
    [
        b"",
        bytearray(),
        memoryview(b""),
        "",
        "data:",
        "data:,",
        "data:image/png",
        "data:image/png;base64,",
        "data:image/png;base64,====",
        "data:image/png;base64,iVBORw0KGgo",
        f"{uri(PNG)}!",
        f"{uri(PNG)}\n",
        f" {uri(PNG)}",
        uri(PNG).replace("data:image/png", "data:text/html"),
        uri(PNG).replace("data:image/png", "data:application/octet-stream"),
        "data:image/svg+xml,<svg/>",
    ],
)
def test_no_image(call: Calls, server: Server, image: object) -> None:
    """What is empty, broken or no image is refused with its index, and nothing is sent."""
    with (
        client_of(server) as client,
        pytest.raises(UnsupportedDocumentError, match=r"^document 1: "),
    ):
        call(client, documents=["a", RerankDocument(image=image)])
    assert server.received == []


@cases("encoded", ["", "iVBOR", "*" * 8, "é" * 8, b"\xff" * 8, "aGVsbG8="])
def test_from_base64_of_no_image(encoded: str | bytes) -> None:
    """Base64 that is broken, empty or no image is refused."""
    with pytest.raises(UnsupportedDocumentError):
        RerankDocument.from_base64(encoded)


@cases("encoded", [None, 5, ["iVBOR"], object()])
def test_from_base64_of_no_text(encoded: Any) -> None:
    """What is no text at all is refused as a document, not with an error of ours."""
    with pytest.raises(UnsupportedDocumentError):
        RerankDocument.from_base64(encoded)


PUBLIC = [
    SIGNED,
    "HTTPS://EXAMPLE.COM/A.PNG",
    "http://8.8.8.8/a.png",
    "http://8.8.8.8:8080/a.png",
    "http://user:word@example.com/a.png",
    "http://example.com./a.png",
    "https://[2606:4700:4700::1111]/a.png",
    "https://[64:ff9b::8.8.8.8]/a.png",
    "https://[::ffff:8.8.8.8]/a.png",
    "https://corp.example.com/",
    "https://example.com/127.0.0.1/?u=http://localhost/",
    "https://local.example.com/",
    "https://1.example.com/",
    "https://b\u00fccher.example/a.png",
]
PRIVATE = [
    "http://127.0.0.1/a.png",
    "http://127.0.0.1:8000/a.png",
    "HTTP://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0x7f000001/",
    "http://0X7F.0.0.1/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://255.255.255.255/",
    "http://127.0.0.1./",
    "http://[::1]/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fd00::1]/",
    "http://[FD00::1]:80/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::FFFF:7F00:1]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::ffff:0:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[0064:FF9B:0000:0000:0000:0000:A9FE:A9FE]/",
    "http://[64:ff9b:1::8.8.8.8]/",
    "http://[fec0::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2606:4700::5efe:10.0.0.1]/",
    "http://minio.storage.svc/",
    "http://minio.storage.svc.cluster.local/",
    "http://wiki.corp/",
    "http://router.home/",
    "http://wiki.intranet/",
    "http://wiki.private/",
    "http://nas.lan/",
    "http://localhost/",
    "http://LOCALHOST:80/",
    "http://localhost./",
    "http://a.localhost/",
    "http://printer.local/",
    "http://Printer.LOCAL./",
    "http://metadata.google.internal/",
    "http://nas/a.png",
    "http://nas./a.png",
    "http://public.example@127.0.0.1/",
    "http://public.example:80@127.0.0.1:80/",
    "http://public.example%40@localhost/",
    "http://a@b@127.0.0.1/",
    "http://public.example\\@127.0.0.1/",
    "http://127.0.0.1\t/",
    "http://[::1/",
    "http:///a.png",
    "http://",
    "https://:80/",
]
# what fetches the image may read these as 127.0.0.1 or a name of its network
DISGUISED = [
    "http://127.0.0.1\\@public.example/",
    "http://127.0.0.%31/",
    "http://127%2e0%2e0%2e1/",
    "http://\uff11\uff12\uff17.0.0.\uff11/",
    "http://127\u30020\u30020\u30021/",
    "http://127.0.0.\u00ad1/",
    "http://printer.\uff4cocal/",
    "http://printer.%6cocal/",
]


@cases("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    """image_urls='public' passes the URL of a public address as it was given."""
    assert sent(address, image_urls="public") == address


@cases("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    """image_urls='public' refuses the URL of a private address, in whatever way it is written."""
    assert "private address" in refused(address, image_urls="public")


@cases("address", DISGUISED)
def test_disguised_addresses(address: str) -> None:
    """image_urls='public' refuses a host that others read as a private one."""
    assert "private address" in refused(address, image_urls="public")


@cases("address", PRIVATE + DISGUISED)
def test_any_address(address: str) -> None:
    """By default a URL of any address passes as it was given."""
    assert sent(address) == address


@cases("address", PUBLIC + PRIVATE)
def test_no_addresses(address: str) -> None:
    """image_urls='none' refuses every URL; it may be the provider that takes none."""
    assert "which image_urls='none' or the provider refuses" in refused(address, image_urls="none")


@cases("image_urls", ["any", "public", "none"])
@cases("image", [PNG, uri(PNG), drawn("RGB")])
def test_image_urls_is_about_addresses(image: object, image_urls: str) -> None:
    """image_urls leaves bytes, data URIs and pictures alone."""
    assert sent(image, image_urls=image_urls).startswith("data:image/png;base64,")


@cases("image_urls", ["public", "none"])
def test_refused_address_is_not_sent(call: Calls, server: Server, image_urls: str) -> None:
    """Where one URL is refused nothing is sent, and the message has no signature."""
    address = "http://127.0.0.1/a.png?signature=secret"
    with client_of(server) as client, pytest.raises(UnsupportedDocumentError) as caught:
        call(client, documents=["a", {"image": address}], image_urls=image_urls)
    assert str(caught.value).startswith("document 1: ")
    assert ("secret" in str(caught.value), server.received) == (False, [])


@cases("make", [lambda content: content, uri])
def test_default_size(make: Callable[[bytes], object]) -> None:
    """By default an image of 10 MiB is sent, and one byte more is refused."""
    exact = PNG.ljust(10 * MIB, b"\0")
    wire_image(make(exact), options().image_limits())
    assert "10,485,761 bytes" in refused(make(exact + b"\0"))


@cases("make", [*FORMS, uri])
def test_exact_size(make: Callable[[bytes], object]) -> None:
    """An image of exactly max_image_bytes is sent, and a larger one is refused by its bytes."""
    assert decoded(sent(make(PNG), max_image_bytes=len(PNG))) == PNG
    said = refused(make(PNG), max_image_bytes=len(PNG) - 1)
    assert f"document 1: the image has {len(PNG)} bytes" in said
    assert f"max_image_bytes is {len(PNG) - 1}" in said


def test_size_of_a_picture() -> None:
    """A picture object counts with the bytes that it has as a PNG."""
    size = len(decoded(sent(drawn("RGB"))))
    sent(drawn("RGB"), max_image_bytes=size)
    assert f"{size} bytes" in refused(drawn("RGB"), max_image_bytes=size - 1)


@cases("make", [bytes, uri])
def test_no_size_limit(make: Callable[[bytes], object]) -> None:
    """max_image_bytes=None sends an image of any size."""
    large = PNG.ljust(10 * MIB + 1, b"\0")
    limits = options(max_image_bytes=None).image_limits()
    assert decoded(wire_image(make(large), limits).uri()) == large


def test_large_image_made_smaller() -> None:
    """An image of too many bytes is sent if max_image_pixels makes it small enough."""
    content = saved(Image.effect_noise((200, 200), 90))
    assert len(decoded(sent(content, max_image_bytes=5000, max_image_pixels=2000))) <= 5000


@cases("make", [bytes, bytearray, uri, lambda content: Image.open(BytesIO(content))])
@cases("size", [(100, 50), (50, 100), (73, 41), (99, 99)])
def test_proportions(make: Callable[[bytes], object], size: tuple[int, int]) -> None:
    """A large image is sent with no more pixels than allowed, nearly as many, in proportion."""
    width, height = opened(make(saved(drawn("RGB", size))), max_image_pixels=1000).size
    assert 850 <= width * height <= 1000
    assert abs(math.log(width / height) - math.log(size[0] / size[1])) < 0.06


@cases("size", [(1000, 1), (1, 1000), (3000, 2), (2, 3000), (500, 3)])
@cases("max_image_pixels", [1, 2, 7, 100, 400])
def test_extreme_proportions(size: tuple[int, int], max_image_pixels: int) -> None:
    """A very long image is sent with no more pixels than allowed, too."""
    width, height = opened(saved(drawn("L", size)), max_image_pixels=max_image_pixels).size
    assert 1 <= width * height <= max_image_pixels


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 5000))
def test_never_more_pixels(width: int, height: int, most: int) -> None:
    """No image is sent with more pixels than allowed, and one that has no more is left alone."""
    content = saved(Image.new("L", (width, height)))
    found = decoded(wire_image(content, ImageLimits(max_pixels=most)).uri())
    if width * height <= most:
        assert found == content
    else:
        small = Image.open(BytesIO(found)).size
        assert small[0] * small[1] <= most


@cases("kind", GOOD)
@cases("make", [lambda content, _: content, uri])
@cases("max_image_pixels", [48, 49, 10**9])
def test_smaller_image_untouched(
    kind: str, make: Callable[[bytes, str], object], max_image_pixels: int
) -> None:
    """An image of no more pixels than allowed goes out byte for byte."""
    found = sent(make(GOOD[kind], kind), max_image_pixels=max_image_pixels)
    assert found == uri(GOOD[kind], kind)


@cases(("kind", "expected"), [("JPEG", "JPEG"), ("WEBP", "WEBP"), ("PNG", "PNG"), ("GIF", "PNG")])
@cases("make", [bytes, uri])
def test_format_of_a_smaller_image(
    kind: str, expected: str, make: Callable[[bytes], object]
) -> None:
    """A JPEG or WebP made smaller stays so, and anything else becomes a PNG, as its URI says."""
    found = sent(make(saved(drawn("RGB", (60, 40)), kind)), max_image_pixels=600)
    assert Image.open(BytesIO(decoded(found))).format == expected
    assert found.startswith(f"data:image/{expected.lower()};base64,")


@cases("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_smaller_pixels(mode: str) -> None:
    """A gradient made smaller is still that gradient, in every mode, transparency included."""
    picture = drawn(mode, (64, 48))
    found = opened(saved(picture), max_image_pixels=192).convert("RGBA")
    expected = picture.convert("RGBA").resize(found.size, Image.Resampling.BOX)
    assert found.size == (16, 12)
    near = 40 if mode == "1" else 24  # the filters differ at the edges
    both = zip(found.tobytes(), expected.tobytes(), strict=True)
    assert sum(abs(a - b) for a, b in both) / len(found.tobytes()) < near


def test_transparent_palette() -> None:
    """A GIF with a transparent colour keeps it when it is made smaller."""
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(1, (0, 0, 20, 40))
    found = opened(saved(picture, "GIF", transparency=0), max_image_pixels=400).convert("RGBA")
    assert found.getpixel((2, 10)) == (0, 0, 255, 255)
    last: Any = found.getpixel((18, 10))
    assert last[3] == 0


def test_animation() -> None:
    """Of an animation that is too large the first picture is sent."""
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = opened(content, max_image_pixels=100).convert("RGB")
    assert (found.size, found.getpixel((5, 5))) == ((10, 10), (255, 0, 0))


BROKEN = {
    "truncated": saved(drawn("RGB", (200, 200)))[:200],
    "truncated JPEG": saved(Image.effect_noise((200, 200), 90), "JPEG")[:2000],
    "beginning": PNG[:8],
    "bomb": bomb(),
    "smaller bomb": bomb(10_000, 10_000),
}


@cases("content", BROKEN.values(), ids=BROKEN.keys())
@cases("form", ["bytes", "uri"])
def test_broken_image(call: Calls, server: Server, content: bytes, form: str) -> None:
    """A truncated image or a bomb that would be made smaller is refused, and nothing is sent."""
    given = uri(content) if form == "uri" else content
    with (
        client_of(server, max_image_pixels=100) as client,
        pytest.raises(UnsupportedDocumentError, match=r"^document 1: Pillow cannot use") as caught,
    ):
        call(client, documents=["a", {"image": given}])
    assert (uri(content)[30:60] in str(caught.value), server.received) == (False, [])


def test_truncated_picture() -> None:
    """A picture object whose file is truncated is refused."""
    picture = Image.open(BytesIO(BROKEN["truncated"]))
    assert "Pillow cannot use the image" in refused(picture, max_image_pixels=100)


def test_bomb_without_a_limit() -> None:
    """Without max_image_pixels bytes are not decoded, so that a bomb is only bytes."""
    assert decoded(sent(bomb())) == bomb()


def test_address_passes_the_limits() -> None:
    """A URL passes whatever the limits on bytes and pixels are."""
    assert sent(SIGNED, max_image_bytes=1, max_image_pixels=1) == SIGNED


def test_without_pillow() -> None:
    """Without Pillow, max_image_pixels names the extra that brings it."""
    command = [sys.executable, "-c", PILLOW_MISSING]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'rerank-integrations[images]'" in ran.stdout


@cases(
    ("name", "value"),
    [
        *((name, value) for name in ("max_image_bytes", "max_image_pixels")
          for value in (0, -1, 1.5, "10", True, "default", b"1")),
        *(("image_urls", value) for value in ("", "private", "ANY", None, True, ["any"])),
        *(("on_image", value) for value in ("", "ignore", "TEXT", None, False, {"a": 1})),
    ],
)  # fmt: skip
@cases("place", ["client", "copy", "call"])
def test_wrong_option(call: Calls, server: Server, name: str, value: Any, place: str) -> None:
    """A wrong value is a ConfigurationError that names the option, wherever it is given."""
    wrong: dict[str, Any] = {name: value}
    ways: dict[str, Callable[[], object]] = {
        "client": lambda: client_of(server, **wrong),
        "copy": lambda: client_of(server).with_options(**wrong),
        "call": lambda: call(client_of(server), **wrong),
    }
    with pytest.raises(ConfigurationError, match=f"^{name} must be"):
        ways[place]()
    assert server.received == []


def blind_client(name: str, server: Server, **given: Any) -> RerankClient:
    """A client of a model that takes text only."""
    if name == "local":
        return RerankClient("mine", provider=Local(scorer=_lengths), **given)
    if name == "jina":
        jina = Jina(api_key="the-key", base_url=server.url)
        return RerankClient("jina-reranker-v2-base-multilingual", provider=jina, **given)
    return client_of(server, name, **given)


def _lengths(query: str, texts: list[str]) -> list[float]:
    return [float(len(text)) for text in texts]


BLIND_ONES = ["together", "portkey", "local", "jina"]
IMAGES = [SIGNED, uri(PNG), PNG, drawn("RGB"), "cat.png", b"", 5]


@cases("name", BLIND_ONES)
@cases("image", IMAGES)
def test_blind_provider_raises(call: Calls, server: Server, name: str, image: object) -> None:
    """By default an image is refused where only text is taken, with its index and the option."""
    documents = ["a", RerankDocument(text="x", image=image)]
    with (
        blind_client(name, server) as client,
        pytest.raises(
            UnsupportedDocumentError, match=rf"^document 1: .*{name} .*text only.*on_image='text'"
        ) as caught,
    ):
        call(client, documents=documents)
    assert (uri(PNG)[40:60] in str(caught.value), server.received) == (False, [])


@cases("name", BLIND_ONES)
@cases("image", IMAGES)
def test_blind_provider_ranks_the_text(
    call: Calls, server: Server, name: str, image: object
) -> None:
    """on_image='text' ranks the text, keeps the caller's document, and says so in a warning."""
    documents = ["aa", RerankDocument(text="x", image=image), {"image": image, "text": "yyy"}, "b"]
    with blind_client(name, server, **BLIND) as client:
        response = call(client, documents=documents)
    assert {result.index for result in response} == {0, 1, 2, 3}
    assert all(result.document is documents[result.index] for result in response)
    assert response.skipped == ()
    [warning] = response.warnings
    assert f"the images of documents 1, 2 were left out: {name} " in warning
    for received in server.received:
        assert received.body["documents"] == ["aa", "x", "yyy", "b"]


@cases("name", BLIND_ONES)
def test_blind_provider_skips_an_image_without_text(call: Calls, server: Server, name: str) -> None:
    """on_image='text' skips a document that is an image alone, and the warning names it, too."""
    documents = ["aa", RerankDocument(image=PNG), "b", {"image": SIGNED, "text": " "}]
    with blind_client(name, server, **BLIND) as client:
        response = call(client, documents=documents)
    assert {result.index for result in response} == {0, 2}
    assert response.skipped == (1, 3)
    assert "documents 1, 3 " in response.warnings[0]


@cases("name", BLIND_ONES)
def test_nothing_left_to_send(call: Calls, server: Server, name: str) -> None:
    """on_image='text' sends nothing where all documents are images alone."""
    with blind_client(name, server, **BLIND) as client:
        response = call(client, documents=[RerankDocument(image=PNG)])
    assert (len(response), response.skipped, server.received) == (0, (0,), [])


def test_either_text_or_image() -> None:
    """Jina's model that sees is sent the text of a document with both, if on_image says so."""
    document, provider = RerankDocument(text="x", image=PNG), Jina(api_key="the-key")
    given: dict[str, Any] = {"provider": provider, "model": "jina-reranker-m0"}
    with pytest.raises(UnsupportedDocumentError, match=r"^document 1: .*not both"):
        prepared({"image": PNG}, document, **given)
    ready = prepared({"image": PNG}, document, on_image="text", **given)
    assert body_of(ready)["documents"] == [{"image": base64.b64encode(PNG).decode()}, "x"]
    assert "document 1 " in ready.warnings[0]


@cases("code", sorted(OpenRouter.image_codes))
@cases("status", [400, 413, 422])
def test_image_error(call: Calls, server: Server, code: str, status: int) -> None:
    """Each of OpenRouter's codes for images is an ImageError with that code, and is not retried."""
    error = {"code": status, "message": f"cannot use {uri(PNG)}", "metadata": {"error_type": code}}
    server.plays(Reply({"error": error}, status))
    with client_of(server) as client, pytest.raises(ImageError) as caught:
        call(client, documents=[RerankDocument(image=PNG)])
    assert isinstance(caught.value, BadRequestError)
    assert (caught.value.code, caught.value.status_code) == (code, status)
    assert uri(PNG)[40:60] not in str(caught.value)
    assert len(server.received) == 1


def test_no_image_error(call: Calls, server: Server) -> None:
    """Another code of a bad request is no ImageError."""
    error = {"code": 400, "message": "no", "metadata": {"error_type": "invalid_request"}}
    server.plays(Reply({"error": error}, 400))
    with client_of(server) as client, pytest.raises(BadRequestError) as caught:
        call(client, documents=[RerankDocument(image=PNG)])
    assert type(caught.value) is BadRequestError


@cases(
    ("image", "given"),
    [
        (uri(PNG) + "?", {}),
        (uri(PNG[8:] * 40), {}),
        (uri(PNG), {"max_image_bytes": 10}),
        (uri(BROKEN["truncated"]), {"max_image_pixels": 10}),
        (BROKEN["truncated"], {"max_image_pixels": 10}),
        (base64.b64encode(PNG).decode(), {}),
        (PNG[8:] * 40, {}),
    ],
)
def test_refusal_shows_no_image_data(image: Any, given: dict[str, Any]) -> None:
    """A refusal names the document's index, and repeats nothing of the image."""
    content = image if isinstance(image, str) else base64.b64encode(image).decode()
    said = refused(image, **given)
    assert said.startswith("document 1: ")
    starts = range(0, len(content) - LONG, LONG // 2)
    assert not any(content[start : start + LONG] in said for start in starts)
    assert "\\x" not in said


def _mutated(content: bytes, edits: list[tuple[int, int]], length: int) -> bytes:
    changed = bytearray(content)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed[: len(changed) - length % len(changed)])


MUTATED = st.builds(
    _mutated,
    st.sampled_from([*GOOD.values(), *OTHERS.values()]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    st.integers(0, 2000) | st.just(0),
)


@settings(max_examples=100, deadline=None)
@given(MUTATED | st.binary(max_size=64), st.sampled_from(FORMS))
def test_mutated_bytes(content: bytes, form: Callable[[bytes], object]) -> None:
    """Any bytes are refused or go out as the same bytes, and nothing is opened for it."""
    with touching_nothing():
        try:
            found = wire_image(form(content)).uri()
        except UnsupportedDocumentError:
            return
    assert decoded(found) == content


@settings(max_examples=100, deadline=None)
@given(MUTATED, st.sampled_from([bytes, uri]), st.integers(1, 60))
def test_mutated_pixels(content: bytes, make: Callable[[bytes], object], most: int) -> None:
    """Any bytes that are to be made smaller are refused, left alone, or a picture that small."""
    with touching_nothing():
        try:
            found = decoded(wire_image(make(content), ImageLimits(max_pixels=most)).uri())
        except UnsupportedDocumentError:
            return
    with Image.open(BytesIO(found)) as picture:
        assert picture.width * picture.height <= most


@settings(max_examples=100, deadline=None)
@given(MUTATED, st.integers(0, 200), st.text(st.characters(exclude_categories=["Cs"]), max_size=3))
def test_mutated_data_uri(content: bytes, place: int, inserted: str) -> None:
    """Any data URI is refused or goes out as it is, and is then an image."""
    given = uri(content)
    given = given[:place] + inserted + given[place:]
    with touching_nothing():
        try:
            [found] = body_of(prepared(RerankDocument(image=given)))["documents"]
        except UnsupportedDocumentError:
            return
    assert found == {"image": given}
    assert given.lower().startswith("data:image/")
    assert wire_image(decoded(given)).tail == decoded(given)


ANYTHING = st.recursive(
    st.integers() | st.floats() | st.booleans() | st.text() | st.binary() | st.builds(object)
    | st.builds(Path, st.sampled_from(["/etc/hostname", "a.png"])) | st.complex_numbers()
    | st.sampled_from([Image, Image.Image, uri, "/etc/hostname", "file:///etc/hostname"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(ANYTHING)
def test_anything_as_an_image(image: object) -> None:
    """Any object as an image is refused as a document, with its index, and nothing is opened.

    Bytes that begin as those of an image are one as far as can be seen here.
    """
    assume(not isinstance(image, bytes) or not image.startswith((b"GIF8", b"\x89PNG", b"\xff\xd8")))
    with touching_nothing():
        said = refused(image)
    assert said.startswith("document 1: ")


@cases("image", [SIGNED, uri(PNG), PNG, drawn("RGB"), drawn("CMYK")])
def test_nothing_is_opened(image: object) -> None:
    """An image is made ready without a file or a socket, a URL included."""
    openrouter()
    with touching_nothing():
        sent(image, image_urls="public")


def test_the_watch_sees() -> None:
    """The watch of these tests notices a file that is opened."""
    with pytest.raises(AssertionError), touching_nothing():
        Path(__file__).read_bytes()


def test_one_bad_image_of_many(call: Calls, server: Server) -> None:
    """One image that is refused stops the call before any of several requests is sent."""
    documents: list[Any] = [RerankDocument(image=PNG)] * 5 + [RerankDocument(image=b"BM")]
    with (
        client_of(server, max_documents_per_request=1) as client,
        pytest.raises(UnsupportedDocumentError, match=r"^document 5: "),
    ):
        call(client, documents=documents)
    assert server.received == []


def test_good_images_of_many(call: Calls, server: Server) -> None:
    """Images of every form in one call arrive each in its place."""
    server.plays(ranking(0.5, 0.4, 0.3, 0.2))
    documents = [RerankDocument(image=image) for image in (SIGNED, PNG, uri(JPEG, "jpeg"), GIF)]
    with client_of(server) as client:
        response = call(client, documents=documents)
    found = [document["image"] for document in server.received[0].body["documents"]]
    assert found == [SIGNED, uri(PNG), uri(JPEG, "jpeg"), uri(GIF, "gif")]
    assert [result.document for result in response] == documents


async def test_images_are_resized_off_the_event_loop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an event loop images are decoded and resized in a thread, so that other tasks go on."""
    threads: list[int] = []
    resize = Image.Image.resize

    def noted(*args: Any, **keywords: Any) -> Any:
        threads.append(threading.get_ident())
        return resize(*args, **keywords)

    monkeypatch.setattr(Image.Image, "resize", noted)
    photo = RerankDocument(image=saved(drawn("RGB", (40, 40))))
    async with client_of(server) as client:
        await client.arerank("query", [photo], max_image_pixels=100)
        await client.with_options(max_image_pixels=100).arerank("query", [photo])
        client.rerank("query", [photo], max_image_pixels=100)

    here = threading.get_ident()
    assert [thread == here for thread in threads] == [False, False, True]
