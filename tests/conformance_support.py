"""What the tests of both conformance suites share: a suite for a class, and what it finds."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import SkipTest

SECRET = "sk-0123456789"
RULES = "rules"  # what the thread is called in which `check_bug` runs them


def score_of(query: str, text: str) -> float:
    """The share of the query's words that a text has."""
    asked = set(query.split())
    return len(asked & set(text.split())) / len(asked)


def rules_of(conformance: type) -> set[str]:
    """The names of a suite's rules."""
    return {name for name in dir(conformance) if name.startswith("test_")}


def suite_of(conformance: type, build: Callable[..., Any], **settings: Any) -> Any:
    """The conformance test for what `build` makes."""

    def make(self: object, **arguments: Any) -> Any:
        return build(**arguments)

    return type("Suite", (conformance,), {"make": make, **settings})()


def broken(suite: Any) -> dict[str, Exception]:
    """The errors by the rules that raised them."""
    found: dict[str, Exception] = {}
    for rule in sorted(rules_of(type(suite))):
        try:
            getattr(suite, rule)()
        except SkipTest:
            continue
        except Exception as error:  # noqa: BLE001  # a wrong one raises what it likes
            found[rule.removeprefix("test_")] = error
    return found


def check_bug(suite: Any, rules: tuple[str, ...]) -> None:
    """A suite finds these rules broken and no other, and says of the first what cures it."""
    # in the main thread each `asyncio.run` of a rule would set a handler of signals, which is slow
    with ThreadPoolExecutor(1, RULES) as pool:
        errors = pool.submit(broken, suite).result()

    assert errors.keys() == set(rules)
    first = errors[rules[0]]
    assert isinstance(first, AssertionError)
    assert re.search(r": .+", str(first)), "the message says what is wrong, and after it the cure"
    assert SECRET not in str(first)
