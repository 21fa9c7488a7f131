"""Fallbacks of copies, pickles and closed clients; and what is no fallback."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from fakes import attempts_of, chain, ended
from loopback import Reply, Server, running
from rerank_integrations import ConfigurationError, Local, RerankClient

Copy = Callable[[RerankClient], RerankClient]
COPIES: dict[str, Copy] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda client: pickle.loads(pickle.dumps(client)),  # noqa: S301
    "with_options": lambda client: client.with_options(top_n=3),
}
of_any_kind = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
on_its_own = pytest.mark.parametrize("name", ["copy", "deepcopy", "pickle"])
FELL_BACK = [("openrouter", "ServiceUnavailableError"), ("together", "")]


@pytest.fixture(autouse=True)
def _busy(server: Server) -> None:
    server.plays(Reply(status=503))


@of_any_kind
@pytest.mark.parametrize("as_client", [False, True], ids=["string", "object"])
def test_copies_keep_fallbacks(
    call: Calls, server: Server, second: Server, copied: Copy, *, as_client: bool
) -> None:
    """A copy of any kind has the fallbacks too, with their keys and settings."""
    own = {"extra_headers": {"X-A": "own"}}
    other = client_of(second, "together", **own) if as_client else "together:m"
    copy_of_it = copied(chain(server, other))
    assert attempts_of(call(copy_of_it)) == FELL_BACK
    call.close(copy_of_it)
    (received,) = second.received
    key = "the-key" if as_client else "the-second-key"
    assert received.headers["authorization"] == f"Bearer {key}"
    assert received.headers.get("x-a") == ("own" if as_client else None)


@of_any_kind
def test_copies_of_used_clients_keep_fallbacks(
    call: Calls, server: Server, second: Server, copied: Copy
) -> None:
    """A copy of a client whose fallback has answered already has it too."""
    with chain(server, "together:m") as client:
        call(client)
        copy_of_it = copied(client)
        assert attempts_of(call(copy_of_it)) == FELL_BACK
    call.close(copy_of_it)


@on_its_own
def test_closing_a_copy_leaves_the_original(
    call: Calls, server: Server, second: Server, name: str
) -> None:
    """A copy with connections of its own can be closed, and the original's fallbacks answer on."""
    with chain(server, "together:m") as client:
        copy_of_it = COPIES[name](client)
        call.close(copy_of_it)
        assert attempts_of(ended(call, client)) == FELL_BACK


@on_its_own
def test_closing_the_original_leaves_a_copy(
    call: Calls, server: Server, second: Server, name: str
) -> None:
    """A copy with connections of its own answers on, fallbacks and all, without the original."""
    client = chain(server, "together:m")
    copy_of_it = COPIES[name](client)
    call.close(client)
    assert attempts_of(ended(call, copy_of_it)) == FELL_BACK
    call.close(copy_of_it)


def test_a_pickled_fallback_belongs_to_the_client(
    call: Calls, server: Server, second: Server
) -> None:
    """After a pickle all fallbacks are the client's own, and close with it."""
    client = COPIES["pickle"](chain(server, client_of(second, "together")))
    call(client)
    call.close(client)
    for fallback in client._fallbacks:
        assert fallback.transport is not None
        with pytest.raises(ConfigurationError, match="closed"):
            fallback.transport.check_open()


def test_a_pickle_has_no_break(call: Calls, server: Server, second: Server) -> None:
    """An unpickled client knows nothing of failures before, and asks its provider."""
    with chain(server, "together:m") as client:
        for _ in range(6):
            call(client)
        other = COPIES["pickle"](client)
    assert attempts_of(call(other)) == FELL_BACK
    call.close(other)


def test_closing_closes_what_was_made_for_strings(
    call: Calls, server: Server, second: Server
) -> None:
    """Fallbacks given by name use the client's connections, which closing it closes."""
    client = chain(server, "together:m")
    call(client)
    assert client._fallbacks[0].transport is None
    call.close(client)
    with pytest.raises(ConfigurationError, match="closed"):
        call(client)


def test_closing_leaves_a_users_client_open(call: Calls, server: Server, second: Server) -> None:
    """A client that the user made answers on after the client that it was a fallback of."""
    with client_of(second, "together") as theirs:
        client = chain(server, theirs)
        call(client)
        call.close(client)
        assert call(theirs).provider == "together"
    assert second.connections == 1


def test_a_closed_client_asks_no_fallback(call: Calls, server: Server, second: Server) -> None:
    """A call after closing is a ConfigurationError, and no fallback is asked."""
    client = chain(server, client_of(second, "together"))
    call.close(client)
    with pytest.raises(ConfigurationError, match="closed"):
        call(client)
    assert not second.received


def test_a_closed_fallback_is_passed_over(call: Calls, server: Server, second: Server) -> None:
    """A fallback that was closed does not keep the one after it from answering."""
    shut = client_of(second, "together")
    call.close(shut)
    with chain(server, shut, "local:bm25") as client:
        response = call(client)
    assert response.provider == "local"
    assert "closed" in (response.attempts[1].error or "")


def test_a_fallbacks_own_fallbacks_are_not_lost(call: Calls, server: Server) -> None:
    """A fallback's own fallbacks answer in its place."""
    nested = chain(server, "local:bm25", gateway="together")
    with chain(server, nested) as client:
        assert attempts_of(ended(call, client))[-1] == ("local", "")


def test_another_provider_has_a_record_of_its_own(
    call: Calls, server: Server, second: Server
) -> None:
    """A copy with another provider is not left alone for the failures of the one before."""
    with chain(server, "local:bm25") as client:
        for _ in range(6):
            call(client)
        other = client.with_options(provider=client_of(second, "together").provider)
        assert attempts_of(call(other)) == [("together", "")]


@cases(
    ("given", "cure"),
    [
        ("local:bm25", "must be a list"),
        (None, "must be a list"),
        ({"local:bm25": 1}, "must be a list"),
        ({"local:bm25"}, "must be a list"),
        (iter(["local:bm25"]), "must be a list"),
        (1, "must be a list"),
        (RerankClient("local:bm25"), "must be a list"),
        ([None], "'provider:model'"),
        ([1], "'provider:model'"),
        ([["local:bm25"]], "'provider:model'"),
        ([RerankClient], "'provider:model'"),
        ([b"local:bm25"], "'provider:model'"),
        (["bm25"], "'provider:model'"),
        ([""], "'provider:model'"),
        (["local:"], "local:model"),
        (["nobody:m"], "openrouter"),
        (["local:other"], "local:bm25"),
        (["together:m"], "TOGETHER_API_KEY"),
    ],
)
def test_wrong_fallbacks_are_refused(server: Server, given: Any, cure: str) -> None:
    """What is no list of fallbacks is a ConfigurationError that says what to write."""
    with pytest.raises(ConfigurationError, match=cure):
        client_of(server, fallbacks=given)


def test_fallbacks_are_set_once(server: Server) -> None:
    """Fallbacks are no option of a call or a copy, and the error says what is."""
    client: Any = chain(server, "local:bm25")
    with pytest.raises(ConfigurationError, match="fallbacks"):
        client.rerank(QUERY, TEXTS, fallbacks=[])
    with pytest.raises(ConfigurationError, match="fallbacks"):
        client.with_options(fallbacks=[])


def test_an_empty_list_is_none(call: Calls, server: Server) -> None:
    """An empty list of fallbacks is a client without any."""
    with client_of(server, max_retries=0, fallbacks=[]) as client:
        assert attempts_of(ended(call, client)) == FELL_BACK[:1]


def test_two_servers_of_one_provider(call: Calls, server: Server) -> None:
    """A provider can stand in for itself: at another address, or an engine for a scorer."""
    with running() as elsewhere:
        with chain(server, client_of(elsewhere)) as client:
            assert attempts_of(call(client)) == [FELL_BACK[0], ("openrouter", "")]
        assert len(elsewhere.received) == 1
    fails = Local(scorer=lambda _, texts: [0.0] * (len(texts) + 1))
    with RerankClient("mine", provider=fails, fallbacks=["local:bm25"]) as client:
        assert attempts_of(call(client)) == [("local", "ScorerError"), ("local", "")]
