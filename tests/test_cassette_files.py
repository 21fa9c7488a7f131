"""The cassettes as they are stored: none too many, none too few, nothing secret, nothing stale."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cassettes import prism
from cassettes.case import GATEWAYS, HERE, KEY, Case, Failed, Prism, Ranked, Script
from cassettes.cases import CASES, unnamed
from cassettes.readable import Readable, loaded
from cassettes.record import LIVE, head_of, is_live
from cassettes.scrub import HIDDEN, KEPT, LEFT_OUT, SHOWN

from cases import cases

FILES = sorted(path for gateway in GATEWAYS for path in (HERE / gateway).glob("*.yaml"))
LARGEST = 8_000  # bytes; what a person reads

each = cases("case", CASES, ids=str)
needs_specs = pytest.mark.skipif(bool(prism.missing()), reason=prism.missing())


def interactions_of(path: Path) -> list[dict[str, Any]]:
    """The calls in a cassette, as they are written."""
    found: list[dict[str, Any]] = loaded(path.read_text(encoding="utf-8"))["interactions"]
    return found


def comments_of(path: Path) -> str:
    """The head of a cassette as one text."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return " ".join(head)


def test_each_file_is_named_by_a_case() -> None:
    """A cassette that no case plays is stale."""
    assert unnamed() == []


def test_each_case_has_a_file_of_its_own() -> None:
    """No case is without a cassette, and no two share one."""
    assert sorted(case.path for case in CASES) == FILES


def test_a_file_too_many_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of any kind that lies among the cassettes is found."""
    monkeypatch.setattr("cassettes.cases.HERE", tmp_path)
    (tmp_path / "together").mkdir()
    stale = tmp_path / "together" / "old.yml"
    stale.touch()
    assert unnamed() == [stale]


@each
def test_each_cassette_says_where_it_is_from(case: Case) -> None:
    """The head says what was recorded, and only a dated recording claims to be live."""
    head = comments_of(case.path)
    assert head.startswith(case.shows)
    if is_live(case.path):
        assert re.search(r"Recorded from the live service on \d{4}-\d\d-\d\d\.$", head)
    elif isinstance(case.answers, Script):
        assert f"Not recorded from any service: {case.answers.source}" in head
    else:
        assert re.search(r"Recorded from Prism [\d.]+, a mock of \w+'s OpenAPI file", head)
        assert "not from the live service." in head
        assert case.answers.note in head


def test_what_is_live_is_dated() -> None:
    """Only the dated line makes a cassette a live one."""
    assert LIVE.search("# x\n# Recorded from the live service on 2026-11-24.\nversion: 1\n")
    assert not LIVE.search("# x\n# Recorded from Prism; not from the live service.\n")
    assert not LIVE.search("text: '# Recorded from the live service on 2026-11-24.'\n")


@each
def test_each_cassette_is_of_the_vendors_own_address(case: Case) -> None:
    """A cassette has one call, posted to the address that the client has by default."""
    [call] = interactions_of(case.path)
    assert call["request"]["method"] == "POST"
    assert call["request"]["uri"] == case.default_url


@each
def test_each_cassette_is_readable(case: Case) -> None:
    """Bodies are YAML of a few lines: no JSON in a string, no base64 but of a tiny image."""
    [call] = interactions_of(case.path)
    text = case.path.read_text(encoding="utf-8")
    assert isinstance(call["request"]["json"], dict)
    is_text = isinstance(case.answers, Script) and isinstance(case.answers.body, str)
    assert ("text" if is_text else "json") in call["response"]
    assert "!!" not in text
    assert len(text) < LARGEST


@each
def test_no_header_is_stored_that_is_not_named(case: Case) -> None:
    """Values of headers are hidden unless their names are known to be harmless."""
    [call] = interactions_of(case.path)
    headers = call["request"]["headers"]
    assert {name for name, value in headers.items() if value != HIDDEN} <= SHOWN
    assert not headers.keys() & LEFT_OUT
    assert headers.keys() & {"authorization", "x-portkey-api-key", "api-key"}
    assert call["response"]["headers"].keys() <= KEPT


@each
def test_no_key_is_stored(case: Case) -> None:
    """No key of the call and nothing that looks like one is in the file, comments included."""
    text = case.path.read_text(encoding="utf-8")
    assert [secret for secret in (KEY, *case.provider().secrets()) if secret in text] == []
    assert (
        re.findall(r"(?i)bearer \S+|\bsk-[\w-]+|\bpk-[\w-]+|\btgp_\w+|user_id: (?!.hidden)", text)
        == []
    )


@each
def test_each_cassette_is_written_as_it_would_be_now(case: Case) -> None:
    """Reading a cassette and writing it again changes nothing below its head."""
    text = case.path.read_text(encoding="utf-8")
    head, _, _ = text.partition("version:")
    read = Readable().deserialize(text)
    assert head + Readable().serialize(read) == text


@needs_specs
@pytest.mark.parametrize("gateway", prism.VENDORS)
def test_each_documented_status_has_a_case(gateway: str) -> None:
    """Every error status in the vendor's OpenAPI file has a cassette."""
    spec = yaml.safe_load(prism.spec_of(gateway).read_text(encoding="utf-8"))
    documented = {int(status) for status in spec["paths"]["/rerank"]["post"]["responses"]}
    wants = (case.wants for case in CASES if case.gateway == gateway)
    failed = {one.status for one in wants if isinstance(one, Failed)}
    assert documented - failed == {200}


@needs_specs
@pytest.mark.parametrize("gateway", prism.VENDORS)
def test_each_documented_argument_has_a_case(gateway: str) -> None:
    """Every key of a body and every header in the vendor's OpenAPI file is in a cassette."""
    spec = yaml.safe_load(prism.spec_of(gateway).read_text(encoding="utf-8"))
    post = spec["paths"]["/rerank"]["post"]
    components = spec["components"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rpartition("/")[2]]
    headers = {one["name"] for one in components.get("parameters", {}).values()}
    schemes = components["securitySchemes"].values()
    headers |= {one.get("name", "authorization") for one in schemes}
    preferences = components["schemas"].get("ProviderPreferences", {}).get("properties", {})

    calls = [interactions_of(case.path)[0]["request"] for case in CASES if case.gateway == gateway]
    sent = {name for call in calls for name in call["json"]}
    preferred = {name for call in calls for name in call["json"].get("provider", {})}
    assert schema["properties"].keys() <= sent
    assert preferences.keys() <= preferred
    assert {name.lower() for name in headers} <= {n for call in calls for n in call["headers"]}


@cases("gateway", GATEWAYS)
def test_each_provider_has_strings_and_an_error(gateway: str) -> None:
    """The usual call of each provider on the network has a cassette, and so has an error of it."""
    wants = {case.name: case.wants for case in CASES if case.gateway == gateway}
    assert isinstance(wants["virtual-key" if gateway == "portkey" else "strings"], Ranked)
    assert any(isinstance(one, Failed) and one.status for one in wants.values())


@cases("gateway", [name for name in GATEWAYS if name not in prism.VENDORS])
def test_other_providers_are_never_asked(gateway: str) -> None:
    """Where there is no specification to serve, all answers stand in the table."""
    own = [case for case in CASES if case.gateway == gateway]
    assert all(isinstance(case.answers, Script) and not case.is_live for case in own)


def test_each_kind_of_error_has_a_case() -> None:
    """Every class of an error answer is in some cassette."""
    kinds = {case.wants.kind.__name__ for case in CASES if isinstance(case.wants, Failed)}
    assert kinds == {
        "AuthenticationError",
        "BadGatewayError",
        "BadRequestError",
        "ImageError",
        "NotFoundError",
        "OverloadedError",
        "PayloadTooLargeError",
        "PaymentRequiredError",
        "PermissionDeniedError",
        "ProviderTimeoutError",
        "RateLimitError",
        "ResponseError",
        "ServerError",
        "ServiceUnavailableError",
        "StatusError",
    }


@needs_specs
@cases("case", [one for one in CASES if isinstance(one.answers, Prism)], ids=str)
def test_each_head_names_the_file_that_is_there(case: Case) -> None:
    """A cassette from Prism names the Prism and the file that are there now."""
    if not is_live(case.path):
        assert " ".join(head_of(case)) == comments_of(case.path)
