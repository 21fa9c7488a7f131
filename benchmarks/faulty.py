"""A rerank server on loopback that fails now and then, in every way that a network has.

Run as a module it serves until its standard input ends: `python -m benchmarks.faulty 1 0.01`
takes a seed and the share of each fault, and writes its port. `GET /` tells what it has done.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import zlib
from collections import Counter
from typing import Any

FAULTS = ("drop", "half", "stall", "slow", "429", "500", "503", "wrong")
STALL = 0.5  # seconds of silence, below every timeout of the soak
_PIECES = 8  # of a slow answer


def score(document: str) -> float:
    """The score of a document, which whoever asks can compute too."""
    return zlib.crc32(document.encode()) / 2**32


class Faulty:
    """Answers rightly, or as one of `FAULTS` says.

    Args:
        seed: of its choices.
        share: of the requests that each fault has, such as 0.01.
    """

    def __init__(self, seed: int, share: float) -> None:
        self._chance = random.Random(seed)  # noqa: S311  # no secret
        self._share = share
        self._done: Counter[str] = Counter()
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection until it ends."""
        self._open += 1
        try:
            while await self._answered(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            self._open -= 1
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, and say whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if head.startswith("get "):
            told = {"open": self._open - 1, "done": self._done}
            await _write(writer, 200, json.dumps(told).encode())
            return False
        (size,) = (line[15:] for line in head.split("\r\n") if line.startswith("content-length:"))
        body = json.loads(await reader.readexactly(int(size)))
        fault = self._fault()
        self._done[fault or "good"] += 1
        return await _played(fault, writer, _good(body))

    def _fault(self) -> str:
        place = int(self._chance.random() / self._share) if self._share else len(FAULTS)
        return FAULTS[place] if place < len(FAULTS) else ""


def _good(body: dict[str, Any]) -> bytes:
    results = [
        {"index": index, "relevance_score": score(document)}
        for index, document in enumerate(body["documents"])
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    return json.dumps({"results": results, "usage": {"search_units": 1}}).encode()


async def _played(fault: str, writer: asyncio.StreamWriter, good: bytes) -> bool:
    match fault:
        case "drop":
            return False
        case "half":
            await _write(writer, 200, good[: len(good) // 2], size=len(good))
            return False
        case "stall":
            await asyncio.sleep(STALL)
            await _write(writer, 200, good)
        case "slow":
            await _write(writer, 200, b"", size=len(good))
            step = len(good) // _PIECES + 1
            for start in range(0, len(good), step):
                await asyncio.sleep(STALL / _PIECES)
                writer.write(good[start : start + step])
                await writer.drain()
        case "429":
            await _write(writer, 429, b"{}", more="retry-after-ms: 5\r\n")
        case "500" | "503":
            await _write(writer, int(fault), b'{"error": {"message": "busy"}}')
        case "wrong":
            await _write(writer, 200, good[:-1] + b",")
        case _:
            await _write(writer, 200, good)
    return True


async def _write(
    writer: asyncio.StreamWriter,
    status: int,
    content: bytes,
    size: int | None = None,
    more: str = "",
) -> None:
    length = len(content) if size is None else size
    writer.write(f"HTTP/1.1 {status} Any\r\n{more}content-length: {length}\r\n\r\n".encode())
    writer.write(content)
    await writer.drain()


async def _main(seed: int, share: float) -> None:
    server = await asyncio.start_server(Faulty(seed, share).serve, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)  # ends with who started this process


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
