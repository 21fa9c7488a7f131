"""Every feature and every error that the gateways document, replayed from its cassette."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cassettes.case import HERE, Case, Ranked, outcome
from cassettes.cases import CASES
from cassettes.replay import UnplayedError, replaying
from vcr.errors import CannotOverwriteExistingCassetteException

from calls import Calls
from cases import cases
from rerank_integrations import RerankError

pytestmark = pytest.mark.block_network


@pytest.fixture(scope="module")
def vcr_cassette_dir() -> str:
    """The folder of cassettes."""
    return str(HERE)


BY_NAME = {str(case): case for case in CASES}
STRINGS = BY_NAME["openrouter/strings"]


def made(call: Calls, case: Case, **changes: Any) -> Any:
    """What comes out of a case's call, with the changes that are made to it."""
    arguments = {"query": case.query, "documents": case.documents, **case.options, **changes}
    client = case.client()
    try:
        return call(client, **arguments)
    except RerankError as error:
        return error
    finally:
        call.close(client)


def made_with(path: Path, call: Calls, case: Case, **changes: Any) -> Any:
    """What comes out of a call that leaves a cassette unplayed."""
    came = []
    with suppress(UnplayedError), replaying(path):
        came.append(made(call, case, **changes))
    return came[0]


@cases("case", CASES, ids=str)
def test_each_case_comes_out_as_the_table_says(call: Calls, case: Case) -> None:
    """From one recording, sync and async send its very bytes and headers, and give the same."""
    with replaying(case.path) as cassette:
        result = made(call, case)
    assert outcome(result) == case.wants
    assert len(cassette) == 1
    if isinstance(case.wants, Ranked):  # the caller's own objects, whatever was echoed
        assert all(one.document is case.documents[one.index] for one in result)


@cases(
    "changes",
    [
        {"documents": [*STRINGS.documents[:-1], "another text"]},
        {"documents": list(reversed(STRINGS.documents))},
        {"query": "another query"},
        {"top_n": 2},
        {"model": "another/model"},
        {"extra_body": {"user": "u"}},
        {"extra_headers": {"x-another": "header"}},
        {"extra_headers": {"accept": "text/plain"}},
    ],
    ids=str,
)
def test_a_request_that_was_not_recorded_is_not_answered(
    call: Calls, changes: dict[str, Any]
) -> None:
    """A call that differs in a byte of its body or in a header finds no answer."""
    with pytest.raises(CannotOverwriteExistingCassetteException):
        made_with(STRINGS.path, call, STRINGS, **changes)


def test_another_address_is_not_answered(call: Calls) -> None:
    """A call to another address finds no answer."""
    own = {**vars(STRINGS), "arguments": {"base_url": "https://gateway.example/v1"}}
    with pytest.raises(CannotOverwriteExistingCassetteException):
        made_with(STRINGS.path, call, Case(**own))


def test_another_key_is_answered(call: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording is no matter of whose key it was."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "another-key")
    own = {**vars(STRINGS), "arguments": {"api_key": None}}
    with replaying(STRINGS.path):
        assert outcome(made(call, Case(**own))) == STRINGS.wants


def test_a_recording_answers_once(call: Calls) -> None:
    """The same call a second time finds no answer."""
    with replaying(STRINGS.path) as cassette:
        made(call, STRINGS)
        with pytest.raises(CannotOverwriteExistingCassetteException):
            made(call, STRINGS)
        assert cassette.play_count == 1


def test_a_call_that_was_not_made_is_an_error() -> None:
    """A recorded call that nobody makes is no success."""
    with pytest.raises(UnplayedError, match="0 of 1"), replaying(STRINGS.path):
        pass


def test_an_error_comes_before_what_was_not_played() -> None:
    """An exception while a cassette is played is raised as it is."""
    with pytest.raises(KeyError), replaying(STRINGS.path):
        raise KeyError


def test_a_cassette_that_is_missing_is_an_error() -> None:
    """A wrong path is said at once."""
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"), replaying(HERE / "nothing.yaml"):
        pass


def test_the_example_in_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README of the cassettes plays one, and prints what it promises."""
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(HERE.parent)
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102
    assert re.findall(r"print\(.*\) +# (.*)", example) == capsys.readouterr().out.splitlines()
