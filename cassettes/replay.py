"""Play a cassette in place of a gateway: for tests, for notebooks, for yours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vcr import VCR
from vcr.cassette import Cassette
from vcr.persisters.filesystem import CassetteNotFoundError
from vcr.serialize import deserialize, serialize

from cassettes.readable import Readable
from cassettes.scrub import scrubbed_answer, scrubbed_request

_LOOPBACK = "127.0.0.1"


class UnplayedError(Exception):
    """A call that was recorded was not made."""


@contextmanager
def replaying(path: str | Path) -> Iterator[Cassette]:
    """Answer every httpx request from a cassette, and let none through to the network.

    The default client sends its requests with httpx:

        with replaying("cassettes/openrouter/strings.yaml"):
            RerankClient("openrouter:cohere/rerank-v3.5").rerank(...)

    Raises:
        FileNotFoundError: there is no such cassette.
        UnplayedError: not every recorded call was made.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no cassette at {path}")
    with prepared(VCR(record_mode="none")).use_cassette(str(path)) as cassette:
        yield cassette
    if not cassette.all_played:
        raise UnplayedError(f"{cassette.play_count} of {len(cassette)} recorded calls were made")


@contextmanager
def recording(path: Path, written: Readable) -> Iterator[Cassette]:
    """Store every httpx request and its response, except requests to 127.0.0.1.

    Prism is there. `localhost`, which is the default host of several servers, is recorded.

    Raises:
        ValueError: it cannot be stored; see `Readable`.
    """
    recorder = prepared(VCR(record_mode="all", ignore_hosts=[_LOOPBACK]), written)
    held = _Held()
    recorder.register_persister(held)
    with recorder.use_cassette(str(path), record_on_exception=False) as cassette:
        yield cassette
    _Utf8.save_cassette(str(path), held.cassette, written)


def prepared(vcr: VCR, written: Readable | None = None) -> VCR:
    """The same VCR, which now knows how cassettes here are written, matched and scrubbed."""
    vcr.register_serializer("yaml", written or Readable())
    vcr.register_persister(_Utf8)
    vcr.match_on = ("method", "uri", "headers", "raw_body")  # its default leaves out the body
    vcr.before_record_request = scrubbed_request
    vcr.before_record_response = scrubbed_answer
    vcr.decode_compressed_response = True
    return vcr


class _Held:
    """Keeps a recording: VCR takes its patches away only where saving has not failed."""

    def __init__(self) -> None:
        self.cassette: dict[str, Any] = {"requests": [], "responses": []}

    def load_cassette(self, path: str, serializer: Any) -> Any:  # noqa: ARG002  # VCR's
        """Nothing: every recording begins anew."""
        raise CassetteNotFoundError

    def save_cassette(self, path: str, cassette: dict[str, Any], serializer: Any) -> None:  # noqa: ARG002
        """Hold it."""
        self.cassette = cassette


class _Utf8:
    """Files in UTF-8 wherever they are read."""

    @staticmethod
    def load_cassette(path: str, serializer: Any) -> Any:
        """The requests and answers in a file."""
        if not Path(path).is_file():
            raise CassetteNotFoundError
        return deserialize(Path(path).read_text(encoding="utf-8"), serializer)

    @staticmethod
    def save_cassette(path: str, cassette: dict[str, Any], serializer: Any) -> None:
        """Write a file."""
        text = serialize(cassette, serializer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
