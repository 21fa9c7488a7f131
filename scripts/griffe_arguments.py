"""A griffe extension that completes the lists of arguments in the reference.

Settings are described once, in the docstring of `RerankClient`. The docstring of a function that
also takes them says "The other arguments are ...". This extension adds the descriptions to it, so
that its page lists all arguments with type, default and meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import griffe

_PACKAGE = "rerank_integrations"
# where settings are described; the first that names an argument counts
_SOURCES = ("client.RerankClient", "client.RerankClient.rerank_many", "langchain.RerankCompressor")
_REFERS = "other arguments are"
# the start of an async function's docstring: its arguments are those of its sync function
_TWIN = ("Async version of ", "The same as ", "The same, ")
_log = griffe.get_logger("griffe_arguments")


class SharedArguments(griffe.Extension):
    """Adds the descriptions of arguments that another docstring has."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Complete the docstrings of the loaded package."""
        if pkg.path != _PACKAGE:
            return
        known: dict[str, str] = {}
        for name in _SOURCES:
            for one in _described(pkg[name]):
                known.setdefault(one.name, one.description)
        for documented, function in _documented(pkg):
            twin = _twin(function)
            own = {one.name: one.description for one in _described(twin)} if twin else {}
            if own or _says(documented, _REFERS):
                _complete(documented, function, known | own)


def _documented(module: Any) -> Iterator[tuple[griffe.Object, griffe.Function]]:
    """Yield each object whose docstring refers to another one, with the function it describes."""
    for one in module.members.values():
        if one.is_alias or one.name.startswith("_"):
            continue
        if one.is_class and _says(one, _REFERS):
            init = one.members.get("__init__")
            if isinstance(init, griffe.Function):
                yield one, init
        elif isinstance(one, griffe.Function) and _says(one, _REFERS, *_TWIN):
            yield one, one
        if one.is_module or one.is_class:
            yield from _documented(one)


def _twin(function: griffe.Function) -> griffe.Object | None:
    """Return the sync function of an async one."""
    name = function.name.removesuffix("_async")
    name = name if name != function.name else function.name.removeprefix("a")
    found = function.parent.members.get(name) if function.parent else None
    return found if found is not function and isinstance(found, griffe.Function) else None


def _says(one: griffe.Object | griffe.Alias, *words: str) -> bool:
    text = "" if one.docstring is None else " ".join(one.docstring.value.split())
    return any(each in text for each in words)


def _described(one: Any) -> list[griffe.DocstringParameter]:
    for section in one.docstring.parsed:
        if isinstance(section, griffe.DocstringSectionParameters):
            return section.value
    return []


def _complete(documented: griffe.Object, function: griffe.Function, known: dict[str, str]) -> None:
    """Add a description of each argument of a function, in the order of its signature."""
    docstring = documented.docstring
    assert docstring is not None  # noqa: S101  # checked by the caller
    own = {one.name: one for one in _described(documented)}
    every = []
    for parameter in function.parameters:
        if parameter.name in ("self", "cls", "_"):  # "_" is ignored
            continue
        found = own.get(parameter.name)
        if found is None:
            if parameter.name not in known:
                _log.warning("%s: nothing describes %s", documented.path, parameter.name)
            found = griffe.DocstringParameter(
                parameter.name,
                description=known.get(parameter.name, ""),
                annotation=parameter.annotation,
                value=str(parameter.default) if parameter.default is not None else None,
            )
        every.append(found)
    for section in docstring.parsed:
        if isinstance(section, griffe.DocstringSectionParameters):
            section.value = every
            return
    docstring.parsed.insert(1, griffe.DocstringSectionParameters(every))
