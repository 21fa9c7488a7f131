"""Recording: what is stored of a call, and when nothing is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cassettes import prism, record as recorder
from cassettes.case import GATEWAYS, KEY, Case, Failed, Prism, Ranked, Script
from cassettes.cases import CASES
from cassettes.readable import Readable
from cassettes.record import (
    NotRecordedError,
    answerer_of,
    chosen,
    head_of,
    is_live,
    live_head_of,
    main,
    prisms,
    record,
)
from cassettes.scrub import HIDDEN
from hypothesis import given, strategies as st

from cases import cases
from rerank_integrations import Portkey, RerankError

BY_NAME = {str(case): case for case in CASES}
STRINGS = BY_NAME["openrouter/strings"]
CONFIG = BY_NAME["portkey/config-object"]
SECRET = "a-secret-that-is-known"
ANSWER: dict[str, Any] = {
    "id": "gen-rerank-1234567890-abc",
    "model": "cohere/rerank-v3.5",
    "results": [{"index": 0, "relevance_score": 0.98}],
    "usage": {"search_units": 1, "total_tokens": 150},
}


def answering(
    body: object = ANSWER, status: int = 200, headers: dict[str, str] | None = None
) -> Callable[[httpx.Request], httpx.Response]:
    """Answers every request like this."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: httpx.Response(status, headers=headers or {}, content=content)


def nobody(gateway: str) -> str:
    """Prism, where none must be started."""
    raise AssertionError(gateway)


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of cassettes in place of the real one."""
    monkeypatch.setattr("cassettes.case.HERE", tmp_path)
    monkeypatch.setattr("cassettes.cases.HERE", tmp_path)
    return tmp_path


def test_known_keys_are_not_stored(tmp_path: Path) -> None:
    """No key is stored, in whatever place it was given, and no cookie; names of headers are."""
    given_keys = {
        "virtual_key": f"{SECRET}-1",
        "provider": "cohere",
        "authorization": f"{SECRET}-2",
        "config": {"provider": "cohere", "api_key": f"{SECRET}-3"},
        "custom_host": f"https://{SECRET}.example/v1",
    }
    headers = {"x-api-key": f"{SECRET}-4", "Cookie": f"session={SECRET}-5"}
    case = replace(CONFIG, arguments=given_keys, options={"extra_headers": headers})
    cookies = {"Set-Cookie": f"session={SECRET}-6", "x-amz-id": SECRET, "x-portkey-trace-id": "t"}
    body = {**ANSWER, "user_id": f"user-{SECRET}"}
    stored = tmp_path / "stored.yaml"
    record(case, stored, [], answering(body, headers=cookies), f"{SECRET}-0", is_strict=False)

    text = stored.read_text(encoding="utf-8")
    assert SECRET not in text
    [call] = yaml.safe_load(text)["interactions"]
    hidden = {name for name, value in call["request"]["headers"].items() if value == HIDDEN}
    assert hidden == {
        "authorization",
        "cookie",
        "x-api-key",
        "x-portkey-api-key",
        "x-portkey-config",
        "x-portkey-custom-host",
        "x-portkey-virtual-key",
    }
    assert call["response"]["headers"] == {"x-portkey-trace-id": "t"}
    assert call["response"]["json"]["user_id"] == HIDDEN


@cases("gateway", GATEWAYS)
def test_a_key_that_an_answer_repeats_is_not_stored(tmp_path: Path, gateway: str) -> None:
    """Where a secret would be stored all the same, nothing is."""
    case = next(case for case in CASES if case.gateway == gateway and not case.takes_wrong_key)
    echo = answering({"error": {"message": f"wrong key {SECRET}", "code": "401"}}, 401)
    failed = replace(case, wants=Failed(kind=RerankError, message=""))
    stored = tmp_path / "stored.yaml"
    with pytest.raises(ValueError, match="a secret would be stored"):
        record(failed, stored, [], echo, SECRET)
    assert list(tmp_path.iterdir()) == []


@cases("is_strict", [True, False])
def test_what_the_table_does_not_say_is_not_stored(tmp_path: Path, *, is_strict: bool) -> None:
    """An error in place of an answer is not stored."""
    stored = tmp_path / "stored.yaml"
    busy = answering({"error": {"message": "busy"}}, 503)
    with pytest.raises(NotRecordedError, match="ServiceUnavailableError"):
        record(STRINGS, stored, [], busy, is_strict=is_strict)
    assert not stored.exists()


def test_other_scores_are_stored_only_of_the_live_service(tmp_path: Path) -> None:
    """A live answer may have other scores, which the table must then say; a mock's may not."""
    stored = tmp_path / "stored.yaml"
    other = answering({**ANSWER, "results": [{"index": 1, "relevance_score": 0.5}]})
    with pytest.raises(NotRecordedError):
        record(STRINGS, stored, [], other)
    found = record(STRINGS, stored, [], other, is_strict=False)
    assert isinstance(found, Ranked)
    assert (found.order, found.scores) == ((1,), (0.5,))
    assert stored.exists()


def test_a_compressed_answer_is_stored_as_text(tmp_path: Path) -> None:
    """The encoding of an answer is taken off."""
    stored = tmp_path / "stored.yaml"
    packed = gzip.compress(json.dumps(ANSWER).encode())
    record(STRINGS, stored, [], answering(packed, headers={"content-encoding": "gzip"}))
    [call] = yaml.safe_load(stored.read_text(encoding="utf-8"))["interactions"]
    assert call["response"]["json"] == ANSWER


@cases("body", ['{"a": 1}', '{"a":1.50}', '{"a":1,"a":2}', '{"a":"\\u00f6"}'])
def test_a_body_that_yaml_would_change_is_refused(body: str) -> None:
    """A request is stored only where its bytes can be made again."""
    request = {"method": "POST", "uri": "https://h.example", "headers": {}, "body": body}
    answer = {"status": {"code": 200}, "headers": {}, "body": {"string": "{}"}}
    one = {"version": 1, "interactions": [{"request": request, "response": answer}]}
    with pytest.raises(ValueError, match="without a change"):
        Readable().serialize(one)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_bodies_come_back_as_they_were(value: object) -> None:
    """Any JSON comes back out of a cassette byte for byte."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    request = {"method": "POST", "uri": "https://h.example", "headers": {"a": ["b"]}, "body": body}
    answer = {"status": {"code": 200, "message": None}, "headers": {}, "body": {"string": body}}
    one = {"version": 1, "interactions": [{"request": request, "response": answer}]}
    assert Readable().deserialize(Readable(["a head"]).serialize(one)) == one


@cases("case", [case for case in CASES if isinstance(case.answers, Script)], ids=str)
def test_scripted_answers_are_those_in_the_table(tmp_path: Path, case: Case) -> None:
    """Recording a scripted answer again changes nothing."""
    if is_live(case.path):
        pytest.skip("recorded from the live service")
    stored = tmp_path / "stored.yaml"
    record(case, stored, head_of(case), answerer_of(case, nobody))
    assert stored.read_text(encoding="utf-8") == case.path.read_text(encoding="utf-8")


@pytest.fixture(name="prism_of", scope="module")
def prism_of_fixture() -> Iterator[Callable[[str], str]]:
    """Gives the address of Prism for a gateway."""
    with prisms() as prism_of:
        yield prism_of


@pytest.mark.skipif(bool(prism.missing()), reason=prism.missing())
@pytest.mark.xdist_group("together")  # as in test_specs: one worker starts it
@cases("case", [one for one in CASES if isinstance(one.answers, Prism)], ids=str)
def test_prism_still_answers_so(tmp_path: Path, prism_of: Callable[[str], str], case: Case) -> None:
    """Recording from Prism again changes nothing."""
    if is_live(case.path):
        pytest.skip("recorded from the live service")
    stored = tmp_path / "stored.yaml"
    record(case, stored, head_of(case), answerer_of(case, prism_of))
    assert stored.read_text(encoding="utf-8") == case.path.read_text(encoding="utf-8")


def test_without_keys_and_without_prism_it_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key and without the vendors' files nothing is recorded, and that is said."""
    monkeypatch.setattr("cassettes.prism.SHARED", folder / "nothing")
    assert main([STRINGS], {}) == 1
    said = capsys.readouterr().out
    assert "no key in OPENROUTER_API_KEY, and no Prism: prism is not there" in said
    assert not STRINGS.path.exists()


def test_scripted_answers_need_neither_a_key_nor_prism(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a provider, or one row, are recorded alone where no specification is."""
    monkeypatch.setattr("cassettes.prism.SHARED", folder / "nothing")
    picked = chosen(["novita", "tei/strings"])
    assert {str(case) for case in picked} == {
        *("novita/strings", "novita/401-unauthorized", "tei/strings")
    }
    assert main(picked, {}) == 0
    assert all(case.path.is_file() and case.path.is_relative_to(folder) for case in picked)
    assert chosen([]) == list(CASES)
    with pytest.raises(SystemExit, match="no provider and no case is called 'tei/string'"):
        chosen(["tei/string"])


def test_a_key_without_the_live_service_records_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is a key, the live service is asked, and nothing else takes its place."""
    asked: list[httpx.Request] = []

    def unreachable(_self: object, request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ConnectError("no network")

    monkeypatch.setattr("vcr.patch._HttpxHttpTransport_handle_request", unreachable)
    assert main([STRINGS], {"OPENROUTER_API_KEY": SECRET}) == 1
    [request] = asked
    assert str(request.url) == "https://openrouter.ai/api/v1/rerank"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert "TransportError" in capsys.readouterr().out
    assert not STRINGS.path.exists()


def test_a_live_recording_says_so_with_its_date(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the vendor's address answers to a key is stored as live, and without the key."""
    live = answering(headers={"content-type": "application/json", "set-cookie": SECRET})
    monkeypatch.setattr(
        "vcr.patch._HttpxHttpTransport_handle_request", lambda _self, request: live(request)
    )
    assert main([STRINGS], {"OPENROUTER_API_KEY": SECRET}) == 0
    assert is_live(STRINGS.path)
    text = STRINGS.path.read_text(encoding="utf-8")
    assert text.splitlines()[1] == f"# {live_head_of(STRINGS)[1]}"
    assert SECRET not in text


def test_a_live_recording_is_not_replaced_by_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key a live recording stays."""
    monkeypatch.setattr(recorder, "answerer_of", lambda *_: pytest.fail("it was recorded"))
    record(STRINGS, STRINGS.path, live_head_of(STRINGS), answering())
    before = STRINGS.path.read_text(encoding="utf-8")
    assert main([STRINGS], {}) == 0
    assert STRINGS.path.read_text(encoding="utf-8") == before


def test_another_address_is_not_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording is of the vendor's own address, whatever the environment says."""
    case = BY_NAME["together/strings"]
    monkeypatch.setenv("TOGETHER_BASE_URL", "https://gateway.example")
    assert main([case], {}) == 1
    assert "unset TOGETHER_BASE_URL" in capsys.readouterr().out
    assert not case.path.exists()


def test_a_stale_file_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recording tells of files that no case names."""
    (folder / "portkey").mkdir()
    (folder / "portkey" / "stale.yaml").touch()
    assert main([], {}) == 1
    assert "stale.yaml: no case names it" in capsys.readouterr().out


def test_a_wrong_key_is_wrong_live_too() -> None:
    """A case of a refused key never sends the real one."""
    wrong = [case for case in CASES if case.takes_wrong_key]
    assert {case.gateway for case in wrong} == {"openrouter", "together", "portkey"}
    assert all(SECRET not in str(case.provider(SECRET).secrets()) for case in wrong)
    assert all(KEY in case.provider(SECRET).secrets() for case in wrong)


def test_what_needs_more_than_a_key_is_not_called_live() -> None:
    """Cases with made-up credentials of others are never sent to the live service."""
    live = [case.provider() for case in CASES if case.is_live and case.gateway == "portkey"]
    assert live
    for provider in live:
        assert isinstance(provider, Portkey)
        assert (provider.virtual_key, provider.config, provider.authorization) == (None,) * 3
