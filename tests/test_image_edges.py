"""Tests of images at the edges: addresses inside addresses, rare modes, and limits of one call."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from calls import Calls, client_of
from cases import cases
from loopback import Reply, Server, ranks_all
from rerank_integrations import ImageError, OpenRouter, RerankDocument, UnsupportedDocumentError
from rerank_integrations.errors import InvalidRequestError
from rerank_integrations.images import ImageLimits, wire_image
from support import DATA_URI, PNG, call as prepared

PUBLIC = ImageLimits(urls="public")
TURNED = 6  # EXIF's word for a photograph that lies on its side
ORIENTATION = 0x0112


def saved(picture: Image.Image, kind: str = "PNG", **given: Any) -> bytes:
    """The picture in a format."""
    held = BytesIO()
    picture.save(held, kind, **given)
    return held.getvalue()


def sent(image: object, limits: ImageLimits = PUBLIC) -> Image.Image:
    """The picture that goes on the wire for an image."""
    content = wire_image(image, limits).tail
    assert isinstance(content, bytes)
    return Image.open(BytesIO(content))


def colours(picture: Image.Image) -> list[Any]:
    """The colour and the transparency of each pixel."""
    shown = picture.convert("RGBA")
    return [shown.getpixel((x, y)) for y in range(shown.height) for x in range(shown.width)]


@cases(
    "host",
    [
        "[::ffff:100.64.0.1]",  # the shared space of a provider, as an IPv4 address in IPv6
        "[::ffff:6464:64c8]",  # where one cloud has its metadata
        "[64:ff9b::127.0.0.1]",  # NAT64
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::7f00:1]",  # NAT64 of a network of one's own
        "[2002:7f00:1::]",  # 6to4
        "[2002:c0a8:101::1]",
        "[::127.0.0.1]",  # an IPv4 address in IPv6, as it was written before
    ],
)
def test_address_inside_an_address(host: str) -> None:
    """image_urls='public' refuses an IPv6 address that stands for a private IPv4 address."""
    with pytest.raises(UnsupportedDocumentError, match="private address"):
        wire_image(f"http://{host}/a.png", PUBLIC)


@cases("host", ["[::ffff:8.8.8.8]", "[2a00:1450:4001::64]", "[64:ff9b::808:808]"])
def test_public_address_inside_an_address(host: str) -> None:
    """image_urls='public' passes an IPv6 address that is, or stands for, a public one."""
    assert wire_image(f"http://{host}/a.png", PUBLIC).uri() == f"http://{host}/a.png"


@cases(
    "host",
    [
        "printer.local\u3002",  # these full stops are dots of a host name, too
        "office.printer\uff0elocal",
        "office.localhost\uff61",
        "printer.lo\u00adcal",  # a soft hyphen is left out
        "printer.\u24dbocal",  # a letter in a circle is that letter
        "localhost.localdomain",
        "public.example\x00.local",
    ],
)
def test_names_as_a_resolver_reads_them(host: str) -> None:
    """image_urls='public' judges a host name as it is looked up."""
    with pytest.raises(UnsupportedDocumentError, match="private address"):
        wire_image(f"http://{host}/a.png", PUBLIC)


@cases("mode", ["PA", "RGBa"])
def test_transparency_of_rare_modes(mode: str) -> None:
    """A picture keeps its transparency in the modes of Pillow that others do not know."""
    picture = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    picture.putpixel((0, 0), (0, 0, 0, 0))
    assert [alpha for *_, alpha in colours(sent(picture.convert(mode)))] == [0, 255]


@cases("mode", ["I", "I;16", "I;16B"])
def test_sixteen_bits(mode: str) -> None:
    """A picture of 16 bits a pixel, as scanners make them, is not bleached."""
    picture = Image.new("I", (3, 1))
    for column, value in enumerate([0, 128 * 257, 255 * 257]):
        picture.putpixel((column, 0), value)
    if mode != "I":
        content = saved(picture.convert("I;16"), "TIFF" if mode == "I;16B" else "PNG")
        picture = Image.open(BytesIO(content))
    shown = sent(picture)
    deep = shown.mode.startswith("I")
    values = [shown.getpixel((column, 0)) for column in range(3)]
    found = [value[0] if isinstance(value, tuple) else value for value in values]
    assert [round((value or 0) / (257 if deep else 1)) for value in found] == [0, 128, 255]


@cases("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@cases("max_pixels", [None, 50])
def test_turned_photograph(kind: str, max_pixels: int | None) -> None:
    """A photograph that lies on its side is sent so that it is shown the same way up."""
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    photograph = Image.new("RGB", (20, 10), "white")
    photograph.paste("black", (0, 0, 10, 10))
    content = saved(photograph, kind, exif=exif, **({} if kind == "TIFF" else {"quality": 95}))
    shown = sent(Image.open(BytesIO(content)), ImageLimits(max_pixels=max_pixels))
    if shown.getexif().get(ORIENTATION) == TURNED:
        shown = shown.transpose(Image.Transpose.ROTATE_270)
    assert shown.height == 2 * shown.width
    top, bottom = (colours(shown.convert("L"))[place][0] for place in (0, -1))
    assert (top < 64, bottom > 192) == (True, True)


def test_released_view() -> None:
    """A memoryview that was released is refused as a document, not with an error of Python's."""
    view = memoryview(PNG)
    view.release()
    with pytest.raises(UnsupportedDocumentError, match=r"^document 1: "):
        prepared("a", RerankDocument(image=view))


def test_view_of_every_second_byte() -> None:
    """A memoryview with steps is sent as the bytes that it shows."""
    spread = bytes(byte for pair in zip(PNG, reversed(PNG), strict=True) for byte in pair)
    assert wire_image(memoryview(spread)[::2]) == wire_image(PNG)


@cases("image", ["https://example.com/\ud800", 'data:image/png;a="\udfff"'])
def test_half_a_surrogate(image: str) -> None:
    """An address with half a surrogate pair is refused as such, before anything is sent."""
    given = image if image.startswith("http") else image + DATA_URI[len("data:image/png") :]
    with pytest.raises(InvalidRequestError, match="lone surrogate"):
        prepared("a", RerankDocument(image=given))


@cases(
    ("of_client", "of_call"),
    [
        ({"image_urls": "none"}, {"image_urls": "any"}),
        ({"image_urls": "public"}, {"image_urls": "any"}),
        ({"max_image_bytes": 10}, {"max_image_bytes": None}),
        ({"max_image_bytes": 10}, {"max_image_bytes": len(PNG)}),
    ],
)
def test_limits_of_one_call(
    call: Calls, server: Server, of_client: dict[str, Any], of_call: dict[str, Any]
) -> None:
    """What one call allows is sent in that call, and refused by the next without it."""
    image = "http://127.0.0.1/a.png" if "image_urls" in of_client else PNG
    documents = [RerankDocument(image=image)]
    server.plays(ranks_all)
    with client_of(server, **of_client) as client:
        assert len(call(client, documents=documents, **of_call)) == 1
        with pytest.raises(UnsupportedDocumentError, match=r"^document 0: "):
            call(client, documents=documents)
    assert len(server.received) == 1


@cases("code", ["image_not_found", "image_download_failed"])
@cases("holder", ["metadata", "error"])
def test_image_that_the_far_side_cannot_fetch(
    call: Calls, server: Server, code: str, holder: str
) -> None:
    """An image that was not found is an ImageError, and no word about a wrong address of ours."""
    error: dict[str, Any] = {"code": 404, "message": "no such image"}
    error |= {"metadata": {"error_type": code}} if holder == "metadata" else {"error_type": code}
    server.plays(Reply({"error": error}, 404))
    with client_of(server) as client, pytest.raises(ImageError) as caught:
        call(client, documents=[RerankDocument(image="https://example.com/a.png")])
    assert (caught.value.code, caught.value.status_code) == (code, 404)
    assert server.url not in str(caught.value)


@cases("code", sorted(OpenRouter.image_codes))
def test_codes_are_openrouters_own(call: Calls, server: Server, code: str) -> None:
    """Where another provider uses such a word it is no ImageError."""
    server.plays(Reply({"error": {"message": "no", "type": code}}, 400))
    with client_of(server, "together") as client, pytest.raises(Exception, match=code) as caught:
        call(client)
    assert not isinstance(caught.value, ImageError)
