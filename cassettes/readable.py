"""Cassettes as people read them: bodies as YAML, and above them where they are from."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's takes a tenth of the time
_WIDTH = 98
_BREAKS = frozenset("\r\x85\u2028\u2029\ufeff")


class Readable:
    """How VCR writes and reads a cassette.

    A request's body is stored only if the very bytes can be made of the YAML again, so that a
    replay compares bytes.

    Args:
        head: the lines above the recording, as comments.
        secrets: what must not be stored, wherever it may stand.
    """

    def __init__(self, head: Sequence[str] = (), secrets: Iterable[str] = ()) -> None:
        self._head = head
        self._secrets = tuple(secrets)

    def serialize(self, cassette: dict[str, Any]) -> str:
        """The text of a cassette.

        Raises:
            ValueError: a secret would be stored, or a body cannot be shown as YAML.
        """
        pairs = [
            {"request": _shown_request(one["request"]), "response": _shown_answer(one["response"])}
            for one in cassette["interactions"]
        ]
        document = {"version": cassette["version"], "interactions": pairs}
        body = yaml.dump(
            document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH
        )
        if loaded(body) != document:
            raise ValueError("the recording reads differently as YAML")
        text: str = "".join(f"# {line}\n" for line in _wrapped(self._head)) + body
        if any(secret in text for secret in self._secrets):
            raise ValueError("a secret would be stored; name its header or its key in scrub.py")
        return text

    def deserialize(self, text: str) -> dict[str, Any]:
        """What VCR makes requests and answers of."""
        found = loaded(text)
        pairs = [
            {"request": _request(one["request"]), "response": _answer(one["response"])}
            for one in found["interactions"]
        ]
        return {"version": found["version"], "interactions": pairs}


def loaded(text: str) -> Any:
    """The value of a YAML text."""
    return yaml.load(text, Loader=_LOADER)  # noqa: S506  # a safe one


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Text of several lines as such, and everything in full where it stands."""

    def ignore_aliases(self, _data: object) -> bool:
        """Whether to repeat what was written before."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    if _BREAKS & set(text):
        style = '"'  # PyYAML would write them as they are, and read them as ends of lines
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [
        part
        for line in lines
        for part in textwrap.wrap(
            line, _WIDTH, break_long_words=False, break_on_hyphens=False, subsequent_indent="  "
        )
    ]


def _shown_request(request: dict[str, Any]) -> dict[str, Any]:
    parsed = json.loads(request["body"])
    if _compact(parsed) != request["body"]:
        raise ValueError("the request's body cannot be shown as YAML without a change")
    return {
        "method": request["method"],
        "uri": request["uri"],
        "headers": {name: value for name, [value] in request["headers"].items()},
        "json": parsed,
    }


def _shown_answer(answer: dict[str, Any]) -> dict[str, Any]:
    headers = {name: value for name, [value] in answer["headers"].items()}
    shown = {"status": answer["status"]["code"], "headers": headers}
    text = answer["body"]["string"]
    if not isinstance(text, str):
        raise ValueError("the answer's body is no text")  # noqa: TRY004  # as VCR has left it
    try:
        return {**shown, "json": json.loads(text)}
    except ValueError:
        return {**shown, "text": text}


def _request(shown: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": shown["method"],
        "uri": shown["uri"],
        "headers": {name: [value] for name, value in shown["headers"].items()},
        "body": _compact(shown["json"]),
    }


def _answer(shown: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": {"code": shown["status"], "message": None},
        "headers": {name: [value] for name, value in shown["headers"].items()},
        "body": {"string": _compact(shown["json"]) if "json" in shown else shown["text"]},
    }


def _compact(value: object) -> str:
    """JSON as the client writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
