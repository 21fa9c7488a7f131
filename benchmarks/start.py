"""What an import costs, and what images cost in memory; each in a process of its own."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.measure import Ratio, ratios

IMPORTS = {
    "import httpx": "import httpx",
    "import rerank_integrations": "import rerank_integrations",
    "import rerank_integrations, and create a client": (
        "from rerank_integrations import RerankClient, OpenRouter; "
        "RerankClient('m', provider=OpenRouter(api_key='k'))"
    ),
    "import openrouter": "import openrouter",
    "import cohere": "import cohere",
    "import together": "import together",
    "import litellm": "import litellm",
}
_MEMORY = """
import sys, tracemalloc
from rerank_integrations import OpenRouter, RerankClient, RerankDocument
content = b"\\x89PNG\\r\\n\\x1a\\n" + bytes(2**20 - 8)
documents = [RerankDocument(image=bytes(bytearray(content))) for _ in range(200)]
client = RerankClient("m", provider=OpenRouter(api_key="k", base_url=sys.argv[1]))
client.rerank("q", ["a"] * 200)
tracemalloc.start()
client.rerank("q", documents, max_request_bytes=None, max_documents_per_request=None, deadline=None)
print(tracemalloc.get_traced_memory()[1] / (200 * (4 * -(-2**20 // 3))))
"""


def imports(rounds: int) -> dict[str, Ratio]:
    """Wall time of each import above that of an empty Python, as ratios to httpx's."""
    found = []
    for _ in range(rounds):
        empty = _seconds("pass")
        found.append({name: _seconds(code) - empty for name, code in IMPORTS.items()})
    return ratios(found, "import httpx")


def images_in_memory(url: str) -> float:
    """Peak memory above 200 documents with a 1 MB image each, in one body, against the body."""
    command = [sys.executable, "-c", _MEMORY, url]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _seconds(code: str) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
