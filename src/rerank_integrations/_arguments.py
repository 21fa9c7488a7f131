"""Unknown keyword arguments, refused with the name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from rerank_integrations.errors import ConfigurationError


def refuse_unknown(owner: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise ConfigurationError for the first of `given` that is not among `known`."""
    for name in given:
        if name not in known:
            # a vendor's SDK may spell a name with a prefix: x_open_router_title
            meant = get_close_matches(name, known, n=1) or [k for k in known if name.endswith(k)]
            hint = f"did you mean {meant[0]!r}? " if meant else ""
            raise ConfigurationError(
                f"{owner} has no argument {name!r}; {hint}it takes {', '.join(known)}"
            )
