"""The retry policy: what is sent again, how often, and after which waits."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from langchain_core.load import dumps

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from langchain_support import loaded
from loopback import Fault, Reply, Server, ranking
from rerank_integrations import ConfigurationError, RerankClient, RerankError, Retry
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

NEVER: dict[str, dict[str, Any]] = {
    "no retries": {"max_retries": 0},
    "not this status": {"on_statuses": [503]},
    "not after so long": {"max_elapsed": 0.001},
}


def sent(call: Calls, server: Server, step: Any, **options: Any) -> int:
    """How many requests a call makes to a server that always does the same."""
    server.plays(step)
    with client_of(server, **options) as client, pytest.raises(RerankError):
        call(client)
    return len(server.received)


@cases(
    ("policy", "step", "requests"),
    [
        ({}, Reply(status=500), 3),
        ({"max_retries": 4}, Reply(status=500), 5),
        ({"max_retries": 0}, Reply(status=500), 1),
        ({"max_elapsed": 0.001}, Reply(status=500), 1),
        ({"on_statuses": [503]}, Reply(status=500), 1),
        ({"on_statuses": range(500, 600)}, Reply(status=500), 3),
        ({"on_statuses": {404}}, Reply(status=404), 3),
        ({"on_statuses": ()}, Reply(status=429), 1),
        ({"on_statuses": ()}, Fault.DROP, 3),
        ({}, Fault.DROP, 3),
        ({"on_connection_error": False}, Fault.DROP, 1),
        ({"on_connection_error": False}, Reply(status=500), 3),
        ({"on_timeout": False}, Fault.DROP, 3),
    ],
)
def test_what_is_sent_again(
    *,
    call: Calls,
    server: Server,
    pauses: list[float],
    policy: dict[str, Any],
    step: Any,
    requests: int,
) -> None:
    """A policy says what is sent again and how often; what it forbids is never sent again."""
    assert sent(call, server, step, retry=Retry(**policy)) == requests
    assert len(pauses) == requests - 1


def test_a_timeout_that_is_not_to_be_retried(call: Calls, server: Server) -> None:
    """on_timeout=False: a request whose response does not come in time is sent once."""
    given = {"timeout": 0.05, "retry": Retry(on_timeout=False)}
    assert sent(call, server, Fault.STALL, **given) == 1


@cases(
    ("policy", "longest"),
    [
        ({}, [0.5, 1, 2, 4, 8, 8]),
        ({"initial_delay": 0}, [0, 0, 0, 0, 0, 0]),
        ({"exponent": 1}, [0.5] * 6),
        ({"exponent": 10, "max_delay": 30}, [0.5, 5, 30, 30, 30, 30]),
        ({"initial_delay": 20, "max_delay": 3}, [3] * 6),
        ({"exponent": 1e300, "max_delay": 1}, [0.5, 1, 1, 1, 1, 1]),
    ],
)
def test_the_waits_of_a_policy(
    server: Server, pauses: list[float], policy: dict[str, Any], longest: list[float]
) -> None:
    """A wait grows by the exponent up to max_delay, less up to a half by jitter."""
    retry = Retry(max_retries=6, **policy)
    server.plays(Reply(status=500))
    with client_of(server, retry=retry, deadline=None) as client, pytest.raises(RerankError):
        client.rerank(QUERY, TEXTS)
    assert all(most / 2 <= wait <= most for wait, most in zip(pauses, longest, strict=False))
    assert len(pauses) == sum(most > 0 for most in longest)


def test_long_waits_of_a_policy(server: Server, pauses: list[float]) -> None:
    """A wait that the policy sets may be longer than one that a server may ask for."""
    retry = Retry(max_retries=1, initial_delay=300, max_delay=300)
    server.plays(Reply(status=503), ranking(1, 2, 3))
    with client_of(server, retry=retry, deadline=None) as client:
        client.rerank(QUERY, TEXTS)
    assert [150 <= wait <= 300 for wait in pauses] == [True]


@cases(
    ("own", "given", "requests"),
    [
        ({"retry": Retry(max_retries=4)}, {}, 5),
        ({"retry": Retry(max_retries=4)}, {"max_retries": 1}, 2),
        ({"retry": Retry(max_retries=4, on_statuses=[503])}, {"max_retries": 1}, 1),
        ({"retry": Retry(max_retries=4)}, {"retry": None}, 3),
        ({"max_retries": 4}, {"retry": Retry(max_retries=1)}, 2),
        ({"max_retries": 4}, {"retry": None}, 5),
    ],
)
@pytest.mark.usefixtures("pauses")
def test_a_call_overrides_the_policy(
    *, call: Calls, server: Server, own: dict[str, Any], given: dict[str, Any], requests: int
) -> None:
    """For one call a policy replaces the client's, and a short form changes a part of it."""
    server.plays(Reply(status=500))
    with client_of(server, **own) as client:
        with pytest.raises(RerankError):
            call(client, **given)
        with pytest.raises(RerankError):
            call(client.with_options(**given))
        with pytest.raises(RerankError):
            RerankCompressor(client=client).rerank(list(TEXTS), QUERY, **given)
        with pytest.raises(RerankError):
            RerankCompressor(client=client.with_options(max_retries=9), **own).rerank(
                list(TEXTS), QUERY, **given
            )
    assert len(server.received) == 4 * requests


@cases("short", [{"max_retries": 2}, {"retry_on_timeout": True}])
def test_a_policy_and_a_short_form(short: dict[str, Any]) -> None:
    """retry= together with a short form is an error that says what to write."""
    given: dict[str, Any] = {"retry": Retry(), **short}
    client = RerankClient("local:bm25")
    for make in (
        lambda: RerankClient("local:bm25", **given),
        lambda: client.with_options(**given),
        lambda: client.rerank(QUERY, TEXTS, **given),
        lambda: RerankCompressor("local:bm25", **given),
        lambda: RerankPostprocessor("local:bm25", **given),
        lambda: RerankCompressor("local:bm25").with_options(**given),
    ):
        with pytest.raises(ValueError, match=r"leave out .*Retry\(max_retries"):
            make()


@cases(
    ("name", "value"),
    [
        *(("max_retries", value) for value in (-1, 1.5, True, "2", None)),
        *(("initial_delay", value) for value in (-1, "1", float("nan"), 10**400, True)),
        *(("max_delay", value) for value in (-1, float("inf"), 1e300)),
        *(("exponent", value) for value in (0, 0.9, "2", float("nan"))),
        *(("max_elapsed", value) for value in (0, -1, "60")),
        *(("on_connection_error", value) for value in (None, 1)),
        *(("on_timeout", value) for value in (None, "yes")),
        *(("on_statuses", value) for value in ("5XX", ["5XX"], 503, [99], [600], [5.5], [True])),
    ],
)
def test_a_policy_out_of_range(name: str, value: Any) -> None:
    """A value that a policy cannot have is refused by its name."""
    with pytest.raises(ConfigurationError, match=rf"^Retry: {name} must be"):
        Retry(**{name: value})


@cases("wrong", [3, {"max_retries": 3}, True, Retry])
def test_what_is_no_policy(wrong: Any) -> None:
    """Something else than a policy is refused with the name of the class."""
    with pytest.raises(ConfigurationError, match=r"Retry\(\.\.\.\)"):
        RerankClient("local:bm25", retry=wrong)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_a_policy_is_kept() -> None:
    """Copies, pickles and dumps keep a policy."""
    policy = Retry(max_retries=7, on_statuses=[503, 429, 503])
    assert policy.on_statuses == (429, 503)
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == policy  # noqa: S301
    reranker = RerankCompressor("local:bm25", retry=policy)
    assert loaded(dumps(reranker)).retry == policy
    postprocessor = RerankPostprocessor("local:bm25", retry=policy)
    assert RerankPostprocessor.from_json(postprocessor.to_json()).retry == policy
