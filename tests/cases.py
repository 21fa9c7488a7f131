"""Many cases of one rule in one test."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import pytest

_CLEARED = ("pauses", "heard", "caplog")
F = TypeVar("F", bound=Callable[..., Any])


class Case(NamedTuple):
    """The values of a case by argument name, and what a report calls it."""

    values: dict[str, Any]
    label: str


def cases(
    names: str | Sequence[str],
    values: Iterable[Any],
    ids: Callable[[Any], object] | Iterable[object] | None = None,
) -> Callable[[F], F]:
    """Like `pytest.mark.parametrize`, in one test: every case runs, and all that fail are reported.

    A failure says `case: ` and the label of its case: its id, else its values. With the environment
    variable `CASE` set, only the cases run whose label contains its value.

    Between two cases, fixtures start anew: what has `reset()` is reset, `pauses`, `heard`, `caplog`
    and `capsys` are cleared, and each case has a `monkeypatch` and a `tmp_path` of its own.
    """
    axis = list(_axis([names] if isinstance(names, str) else list(names), list(values), ids))
    if isinstance(names, str) and "," in names:
        raise ValueError("name the arguments in a tuple")

    def decorate(function: F) -> F:
        inner = getattr(function, "rule", function)
        return cast("F", _test(inner, [*getattr(function, "axes", []), axis]))

    return decorate


def _axis(names: list[str], values: list[Any], ids: Any) -> Iterator[Case]:
    labels = list(ids) if isinstance(ids, Iterable) else None
    for place, value in enumerate(values):
        given = value.values if hasattr(value, "marks") else [value] if len(names) == 1 else value
        label = labels[place] if labels else getattr(value, "id", None) or _shown(given)
        yield Case(dict(zip(names, given, strict=True)), str(label))


def _shown(values: Iterable[Any]) -> str:
    return ", ".join(f"{value!r:.60}" for value in values)


def _test(rule: Callable[..., Any], axes: list[list[Case]]) -> Any:
    """One test that runs a rule for each combination of cases."""
    every = [
        Case(
            {name: value for case in combined for name, value in case.values.items()},
            " | ".join(case.label for case in combined),
        )
        for combined in itertools.product(*reversed(axes))
    ]
    assert every, "a rule without a case"
    taken = every[0].values.keys()
    signature = inspect.signature(rule)
    fixtures = [one for one in signature.parameters.values() if one.name not in taken]

    if inspect.iscoroutinefunction(rule):

        @functools.wraps(rule)
        async def test(**given: Any) -> None:
            chosen = _chosen(every)
            report = _Report(len(chosen))
            for number, case in enumerate(chosen):
                with report.of(case), _fresh(given, number) as own:
                    await rule(**own, **case.values)
            report.close()

    else:

        @functools.wraps(rule)
        def test(**given: Any) -> None:
            chosen = _chosen(every)
            report = _Report(len(chosen))
            for number, case in enumerate(chosen):
                with report.of(case), _fresh(given, number) as own:
                    rule(**own, **case.values)
            report.close()

    marked: Any = test
    del marked.__wrapped__  # pytest would look for the fixtures of the rule
    marked.__signature__ = signature.replace(
        parameters=[one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in fixtures]
    )
    marked.rule, marked.axes = rule, axes
    return marked


def _chosen(every: list[Case]) -> list[Case]:
    """The cases to run: all, or those that the environment variable names."""
    wanted = os.environ.get("CASE", "")
    chosen = [case for case in every if wanted in case.label]
    if not chosen:
        pytest.skip(f"no case has {wanted!r} in its label")
    return chosen


class _fresh:  # noqa: N801  # a context manager
    """The fixtures of a case, as if it were a test of its own."""

    def __init__(self, given: dict[str, Any], number: int) -> None:
        self._given, self._number = given, number
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> dict[str, Any]:
        own = dict(self._given)
        for name, fixture in own.items():
            if name == "monkeypatch":
                own[name] = self._patch
            elif name == "tmp_path":
                own[name] = Path(fixture) / str(self._number)
                own[name].mkdir()
            elif self._number and hasattr(fixture, "reset"):
                fixture.reset()
            elif self._number and name == "capsys":
                fixture.readouterr()
            elif self._number and name in _CLEARED:
                fixture.clear()
        return own

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


class _Report:
    """What failed, by case."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._failed: list[Exception] = []
        self._skipped: list[BaseException] = []
        self._case: Case | None = None

    def of(self, case: Case) -> _Report:
        self._case = case
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        assert self._case is not None
        if isinstance(error, pytest.skip.Exception):
            self._skipped.append(error)
        elif isinstance(error, pytest.fail.Exception):
            self._failed.append(
                AssertionError(f"{self._case.label}: {error}").with_traceback(error.__traceback__)
            )
        elif isinstance(error, Exception):
            error.add_note(f"case: {self._case.label}")
            self._failed.append(error)
        else:
            return error is None
        return True

    def close(self) -> None:
        """Raise what failed."""
        if len(self._failed) == 1:
            raise self._failed[0]
        if self._failed:
            raise ExceptionGroup(f"{len(self._failed)} of {self._count} cases failed", self._failed)
        if len(self._skipped) == self._count:
            raise self._skipped[0]
