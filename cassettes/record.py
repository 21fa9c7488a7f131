"""Record every cassette again: from the live services where there are keys, else from Prism.

make record
python -m cassettes.record cohere tei/strings   # only those of a provider, or only one

A provider's key is taken from its environment variable. Calls that the live service cannot be made
to answer for nothing stay with Prism, or with the answer in the table. A recording from a live
service is never replaced by one that is not; delete the file to go back.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from cassettes import prism
from cassettes.case import (
    GATEWAYS,
    KEY,
    KEY_VARIABLES,
    Case,
    Failed,
    Prism,
    Ranked,
    Script,
    outcome,
)
from cassettes.cases import CASES, unnamed
from cassettes.readable import Readable
from cassettes.replay import recording
from rerank_integrations import RerankError

Answerer = Callable[[httpx.Request], httpx.Response]
LIVE = re.compile(r"^# Recorded from the live service on (\d{4}-\d\d-\d\d)\.$", re.MULTILINE)
_TIMEOUT = 30.0  # seconds


class NotRecordedError(Exception):
    """Something else came than the table says, so nothing was written."""


def record(
    case: Case,
    path: Path,
    head: Sequence[str],
    answerer: Answerer | None = None,
    key: str = KEY,
    *,
    is_strict: bool = True,
) -> Ranked | Failed:
    """Make a call with the default client and store it.

    With an `answerer`, the client has an HTTP client whose transport is the answerer.

    Raises:
        NotRecordedError: the outcome is not the one in the table, or, if that is not asked for,
            not even of its kind.
    """
    http: dict[str, Any] = {}
    if answerer is not None:
        http["http_client"] = partial(httpx.Client, transport=httpx.MockTransport(answerer))
    secrets = {key, KEY, *case.provider(key).secrets()}
    with TemporaryDirectory() as folder, case.client(key, **http) as client:
        stored = Path(folder) / "cassette.yaml"
        with recording(stored, Readable(head, secrets)):
            found = _made(case, client)
        if found != case.wants and (is_strict or not _alike(found, case.wants)):
            raise NotRecordedError(f"{case}: not what the table says, but {found}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(stored.read_text(encoding="utf-8"), encoding="utf-8")
    return found


def head_of(case: Case) -> list[str]:
    """The lines above a recording that is not of the live service."""
    if isinstance(case.answers, Script):
        return [case.shows, f"Not recorded from any service: {case.answers.source}"]
    origin = f"Recorded from {prism.described(case.gateway)}; not from the live service."
    how = "Prism answers with the examples in the file, whatever is asked"
    told = f"; it was told to give its answer {case.answers.status}." if _fails(case) else "."
    return [case.shows, origin, how + told, *([case.answers.note] if case.answers.note else [])]


def live_head_of(case: Case) -> list[str]:
    """The lines above a recording of the live service."""
    today = datetime.now(UTC).date().isoformat()
    return [case.shows, f"Recorded from the live service on {today}."]


def is_live(path: Path) -> bool:
    """Whether a cassette is a recording of the live service."""
    return path.is_file() and bool(LIVE.search(path.read_text(encoding="utf-8")))


def answerer_of(case: Case, prism_of: Callable[[str], str]) -> Answerer:
    """Who answers a case where there is no key; `prism_of` gives Prism's address."""
    if isinstance(case.answers, Script):
        return _scripted(case.answers)
    return _through(prism_of(case.gateway), case.answers)


@contextmanager
def prisms() -> Iterator[Callable[[str], str]]:
    """Gives the address of Prism for a gateway; starts it when first asked."""
    with ExitStack() as stack:
        yield cache(lambda gateway: stack.enter_context(prism.served(gateway)))


def main(cases: Sequence[Case] = CASES, environment: Mapping[str, str] = os.environ) -> int:
    """Record, and tell; the exit code says whether all is as the table has it."""
    keys = {name: environment.get(variable) for name, variable in KEY_VARIABLES.items()}
    problems: list[str] = []
    with prisms() as prism_of:
        for case in cases:
            problem = _recorded(case, keys.get(case.gateway), prism_of)
            print(f"{'FAILED' if problem else 'ok':6}  {case}")  # noqa: T201
            problems += [problem] if problem else []
    problems += [f"{path.name}: no case names it; delete it" for path in unnamed()]
    print("", *dict.fromkeys(problems), sep="\n")  # noqa: T201
    return bool(problems)


def chosen(names: Sequence[str], cases: Sequence[Case] = CASES) -> list[Case]:
    """The cases of the providers, or with the names, that are given; all for none.

    Raises:
        SystemExit: no case has such a name.
    """
    known = {*GATEWAYS, *map(str, cases)}
    for name in names:
        if name not in known:
            raise SystemExit(f"no provider and no case is called {name!r}")
    return [case for case in cases if not names or {case.gateway, str(case)} & {*names}]


def _recorded(case: Case, key: str | None, prism_of: Callable[[str], str]) -> str:
    """Record a case as well as can be done here; what is wrong, if anything is."""
    address = case.provider().address(case.model)
    if address != case.default_url:
        variable = case.provider().base_url_env
        cure = f"unset {variable}: " if variable else f"{case} goes to {address}: "
        return f"{cure}cassettes are of the vendor's own address"
    try:
        if key and case.is_live:
            found = record(case, case.path, live_head_of(case), key=key, is_strict=False)
            return "" if found == case.wants else f"{case}: the table must say wants={found}"
        if is_live(case.path):
            return ""
        lacks = prism.missing() if isinstance(case.answers, Prism) else ""
        if lacks:
            return f"no key in {KEY_VARIABLES[case.gateway]}, and no Prism: {lacks}"
        record(case, case.path, head_of(case), answerer_of(case, prism_of))
    except (NotRecordedError, ValueError) as error:
        return str(error)
    return ""


def _fails(case: Case) -> bool:
    return isinstance(case.wants, Failed)


def _made(case: Case, client: Any) -> Ranked | Failed:
    try:
        return outcome(client.rerank(case.query, case.documents, **case.options))
    except RerankError as error:
        return outcome(error)


def _alike(found: Ranked | Failed, wants: Ranked | Failed) -> bool:
    """Whether both are answers, or errors of one class."""
    if isinstance(found, Failed) and isinstance(wants, Failed):
        return found.kind is wants.kind
    return isinstance(found, Ranked) and isinstance(wants, Ranked)


def _scripted(script: Script) -> Answerer:
    is_text = isinstance(script.body, str)
    content = script.body if is_text else json.dumps(script.body, ensure_ascii=False)
    headers = {"content-type": "application/json", **script.headers}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(script.status, headers=headers, content=content.encode())

    return answer


def _through(url: str, asked: Prism) -> Answerer:
    """Sends what is meant for the vendor to Prism, and says which example is wanted."""

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {**request.headers, **asked.adds, "prefer": f"code={asked.status}"}
        del headers["host"]
        with httpx.Client(timeout=_TIMEOUT) as loopback:
            got = loopback.post(url, headers=headers, content=request.content)
        return httpx.Response(got.status_code, headers=got.headers, content=got.content)

    return answer


if __name__ == "__main__":
    sys.exit(main(chosen(sys.argv[1:])))
