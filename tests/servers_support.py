"""Fixtures that start real servers on loopback, once for all tests; each says why it is skipped."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from cassettes.prism import SHARED

from loopback import Server, running

INSTALLED = Path(__file__).parents[1] / ".venv" / "servers"  # by `make test-servers`
GATEWAY = Path(__file__).parent / "servers" / "gateway"
PATIENCE = 600  # seconds; the first start installs a server of more than 1 GB
INFINITY_KEY = "infinity-key-0123456789"
LITELLM_KEY = "sk-litellm-0123456789"
LITELLM_CONFIG = """
model_list:
  - {{model_name: real, litellm_params: {{model: infinity/tiny-cross-encoder,
      api_base: {infinity}, api_key: {key}}}}}
  - {{model_name: locked, litellm_params: {{model: infinity/tiny-cross-encoder,
      api_base: {infinity}, api_key: another-key}}}}
  - {{model_name: played, litellm_params: {{model: cohere/rerank-v3.5,
      api_base: {played}, api_key: upstream-key}}}}
general_settings: {{master_key: {master}}}
litellm_settings: {{telemetry: false, num_retries: 0}}
# else one error takes a model out of service for some seconds
router_settings: {{num_retries: 0, disable_cooldowns: true}}
"""


class Real(NamedTuple):
    """A real server.

    Attributes:
        url: its address without a path.
        upstream: a server that it may have to forward requests to.
    """

    url: str
    upstream: Server | None = None


def port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
    return number


def tool(name: str) -> Path:
    """The script that installs and starts a server; the test is skipped where there is none."""
    script = SHARED / "tools" / name
    if not script.exists():
        pytest.skip(f"{name} is not there; set RERANK_SHARED to the folder that has tools/{name}")
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    return script


@contextmanager
def started(command: Sequence[str], ready: str, log: Path) -> Iterator[None]:
    """A process that serves until the end; it is ready when the address answers.

    The test is skipped, with what the process said, where it ends before that.
    """
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        latest = time.monotonic() + PATIENCE
        while not answers(ready):
            if process.poll() is not None or time.monotonic() > latest:
                text = log.read_text(encoding="utf-8", errors="replace")[-500:]
                pytest.skip(f"{Path(command[0]).name} does not start here: {text}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(address: str) -> bool:
    """Whether a server answers there, with whatever status."""
    with suppress(OSError):
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310  # loopback
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return True
    return False


@pytest.fixture(name="infinity", scope="session")
def infinity_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """Infinity with a tiny cross-encoder, and a key."""
    script, number = tool("infinity"), port()
    url = f"http://127.0.0.1:{number}"
    log = tmp_path_factory.mktemp("infinity") / "log"
    command = [str(script), str(number), "--api-key", INFINITY_KEY]
    with started(command, f"{url}/health", log):
        yield Real(url)


@pytest.fixture(name="litellm", scope="session")
def litellm_fixture(infinity: Real, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """The LiteLLM proxy before Infinity, and before a server that a test plays."""
    script, number, folder = tool("litellm"), port(), tmp_path_factory.mktemp("litellm")
    url = f"http://127.0.0.1:{number}"
    with running() as played:
        config = folder / "config.yaml"
        config.write_text(
            LITELLM_CONFIG.format(
                infinity=f"{infinity.url}/v1",
                key=INFINITY_KEY,
                played=played.url,
                master=LITELLM_KEY,
            ),
            encoding="utf-8",
        )
        command = [str(script), str(config), str(number)]
        with started(command, f"{url}/health/liveliness", folder / "log"):
            yield Real(url, played)


@pytest.fixture(name="portkey", scope="session")
def portkey_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """Portkey's published gateway, on loopback alone."""
    start = INSTALLED / "gateway/node_modules/@portkey-ai/gateway/build/start-server.js"
    node = shutil.which("node")
    if node is None or not start.exists():
        pytest.skip(
            "Portkey's gateway is not installed: it needs node and npm, and make test-servers"
        )
    number = port()
    url = f"http://127.0.0.1:{number}"
    loopback = str(GATEWAY / "loopback.cjs")
    command = [node, "--require", loopback, str(start), f"--port={number}", "--headless"]
    log = tmp_path_factory.mktemp("portkey") / "log"
    with started(command, url, log), running() as played:
        if reached_from_outside(number):
            pytest.skip("Portkey's gateway listens on other interfaces than loopback here")
        yield Real(url, played)


def reached_from_outside(number: int) -> bool:
    """Whether the port is open on an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing, and chooses an interface
        address = probe.getsockname()[0]
        if not address.startswith("127."):
            with suppress(OSError), socket.create_connection((address, number), 1):
                return True
    return False


def sdk_python() -> Path:
    """The interpreter that has the vendors' SDKs."""
    folder = "Scripts" if sys.platform == "win32" else "bin"
    return INSTALLED / folder / "python"
