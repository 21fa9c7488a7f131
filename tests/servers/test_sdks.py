"""Tests that a vendor's own SDK and its provider here send the same for the same call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import sdks

from loopback import Server
from neighbours import ENDPOINTS, THE_KEY, ranked
from servers_support import sdk_python

SCORES = {"apple pie": 0.125, "a red bicycle": 0.875, "a blue car": 0.5}
# the arguments that say the same as those of the SDK's call
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "cohere": {"max_tokens_per_doc": 512, "priority": 3},
    "isaacus": {
        "is_iql": False,
        "scoring_method": "auto",
        "chunking_options": {"size": 512, "overlap_ratio": 0.1},
    },
    "mixedbread": {"rewrite_query": True},
    "openrouter": {
        "provider_preferences": {"order": ["Cohere"], "allow_fallbacks": False},
        "session_id": "s",
        "user": "u",
        "http_referer": "https://app.example",
        "title": "App",
    },
    "portkey": {},
    "together": {"return_documents": False},
    "voyage": {"truncation": False},
    "zeroentropy": {"latency": "fast"},
}
# keys of the body that differ on purpose
DIFFERENT = {
    ("mixedbread", "return_input"): "no echo is what Mixedbread gives without it",
}
# headers that say something to the vendor; others describe the SDK and its HTTP library
HEADERS = ("authorization", "api-key", "x-portkey-api-key", "x-portkey-provider", "http-referer")
TITLES = ("x-openrouter-title", "x-openrouter-categories")


@pytest.mark.parametrize("name", sorted(sdks.SDKS))
def test_the_sdk_and_we_send_the_same(name: str, server: Server) -> None:
    """Body, path and headers are the same, but for differences with a reason; so are results."""
    package = sdks.SDKS[name][1]
    if not sdk_python().exists():
        pytest.skip(f"{package} is not installed; make test-servers does it")
    endpoint = ENDPOINTS[name]
    server.plays(endpoint.answers(SCORES))
    command = [str(sdk_python()), sdks.__file__, name, server.url, THE_KEY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == sdks.ABSENT:
        pytest.skip(f"{package} is not installed: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    print(said["version"])

    provider = endpoint.made(base_url=server.url, **ARGUMENTS[name])
    response = ranked(server, provider, "m", sdks.QUERY, sdks.TEXTS, top_n=2)
    theirs, ours, _ = server.received
    assert ours.path == theirs.path
    for header in (*HEADERS, *TITLES):
        assert ours.headers.get(header) == theirs.headers.get(header), header
    body, wanted = ours.body, theirs.body
    keys = {key for key in {*body, *wanted} if body.get(key) != wanted.get(key)}
    assert {(name, key) for key in keys} == {one for one in DIFFERENT if one[0] == name}
    assert said["pairs"] == [[one.index, one.relevance_score] for one in response]
