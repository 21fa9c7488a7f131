"""Breaks and deadlines of fallbacks: when a provider is left alone, and whose time it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from fakes import COOLDOWN, IN_A_ROW, Clock, attempts_of, chain, ended
from loopback import Fault, Received, Reply, Server, Step, ranking
from rerank_integrations import (
    RateLimitError,
    RerankClient,
    RerankDocument,
    RerankTimeoutError,
)
from rerank_integrations.providers.local import Local
from support import PNG

BUSY = Reply(status=503)
GOOD = ranking(0.9, 0.8, 0.7)
PASSED_OVER = [("openrouter", "not asked"), ("together", "")]
FELL_BACK = [("openrouter", "ServiceUnavailableError"), ("together", "")]


def out(call: Calls, client: RerankClient, times: int = IN_A_ROW) -> None:
    """Let a client's calls end as they may."""
    for _ in range(times):
        ended(call, client)


def retry_after(seconds: float) -> Reply:
    """A 429 that asks for so many seconds."""
    return Reply(status=429, headers={"Retry-After": str(seconds)})


@cases("step", [BUSY, Fault.DROP, *[Reply(status=n) for n in (408, 429, 500, 502, 504, 529)]], str)
def test_five_failures_in_a_row(
    call: Calls, clock: Clock, server: Server, second: Server, step: Step
) -> None:
    """After five failures in a row a provider is passed over, and the response says why."""
    server.plays(step)
    with chain(server, "together:n") as client:
        outcomes = [attempts_of(call(client)) for _ in range(IN_A_ROW + 2)]
        assert "in a row" in (call(client).attempts[0].error or "")
    assert outcomes[IN_A_ROW:] == [PASSED_OVER] * 2
    assert all(len(one) == 2 and one != PASSED_OVER for one in outcomes[:IN_A_ROW])
    assert len(server.received) == IN_A_ROW


def test_an_answer_ends_the_row(call: Calls, clock: Clock, server: Server, second: Server) -> None:
    """Failures with an answer between them are not in a row."""
    server.plays(*[BUSY] * (IN_A_ROW - 1), GOOD, BUSY)
    with chain(server, "together:n") as client:
        out(call, client, 2 * IN_A_ROW - 1)
        assert attempts_of(call(client)) == FELL_BACK
    assert len(server.received) == 2 * IN_A_ROW


def test_a_wrong_call_is_no_failure(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """Answers that blame the call do not count against a provider."""
    server.plays(*[Reply(status=400)] * (2 * IN_A_ROW), GOOD)
    with chain(server, "together:n") as client:
        out(call, client, 2 * IN_A_ROW)
        assert attempts_of(call(client)) == [("openrouter", "")]


@cases("status", [401, 402, 403, 404])
def test_a_refusal_is_no_failure(
    call: Calls, clock: Clock, server: Server, second: Server, status: int
) -> None:
    """A wrong key, an empty account or an unknown model does not open the breaker."""
    server.plays(*[Reply(status=status)] * (2 * IN_A_ROW), GOOD)
    with chain(server, "together:n") as client:
        for _ in range(2 * IN_A_ROW):
            assert attempts_of(call(client))[-1] == ("together", "")
        assert attempts_of(call(client)) == [("openrouter", "")]


@cases(
    ("changes", "is_passed_over"),
    [
        ({"model": "another"}, False),
        ({"extra_headers": {"Authorization": "Bearer tenant-b"}}, False),
        ({"extra_headers": {"X-Api-Key": "tenant-b"}}, False),
        ({"extra_headers": {"X-Trace": "1"}}, True),
        ({"top_n": 1}, True),
    ],
)
def test_a_breaker_is_for_one_key_and_model(
    call: Calls,
    clock: Clock,
    server: Server,
    second: Server,
    changes: dict[str, Any],
    *,
    is_passed_over: bool,
) -> None:
    """What one model failed to do for one key stops neither another model nor another key."""
    server.plays(*[BUSY] * IN_A_ROW, GOOD)
    with chain(server, "together:n") as client:
        out(call, client)
        outcome = attempts_of(call(client.with_options(**changes)))
    assert outcome == (PASSED_OVER if is_passed_over else [("openrouter", "")])


def test_retries_are_one_failure(call: Calls, clock: Clock, server: Server, second: Server) -> None:
    """A call that fails after its retries is one failure."""
    server.plays(BUSY)
    with chain(server, "together:n", max_retries=IN_A_ROW) as client:
        call(client)
        assert attempts_of(call(client))[0] == FELL_BACK[0]


def test_tried_again_after_the_break(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """When the break is over one call tries again, and a failure begins another break."""
    server.plays(BUSY)
    with chain(server, "together:n") as client:
        out(call, client)
        outcomes = []
        for passed in (COOLDOWN - 1, 1, COOLDOWN - 1, 1):
            clock.now += passed
            outcomes.append(attempts_of(call(client)))
    assert outcomes == [PASSED_OVER, FELL_BACK, PASSED_OVER, FELL_BACK]


def test_one_at_a_time_tries_again(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """While one call tries again, the others still pass the provider over."""
    others = []

    def meanwhile(received: Received) -> Reply:
        others.append(attempts_of(client.rerank(QUERY, TEXTS)))
        return GOOD

    server.plays(*[BUSY] * IN_A_ROW, meanwhile)
    with chain(server, "together:n") as client:
        out(call, client)
        clock.now += COOLDOWN
        assert attempts_of(call(client)) == [("openrouter", "")]
    assert others == [PASSED_OVER]


def test_an_answer_ends_the_break(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """A trial that is answered puts the provider back into its place, with a clean record."""
    server.plays(*[BUSY] * IN_A_ROW, GOOD, BUSY)
    with chain(server, "together:n") as client:
        out(call, client)
        clock.now += COOLDOWN
        assert [attempts_of(call(client)) for _ in range(3)] == [
            [("openrouter", "")],
            *[FELL_BACK] * 2,
        ]


@pytest.mark.parametrize("failing_copy", [False, True])
def test_copies_share_the_break(
    call: Calls, clock: Clock, server: Server, second: Server, *, failing_copy: bool
) -> None:
    """What a client has found of a provider its copies know, and the other way round."""
    server.plays(BUSY)
    with chain(server, "together:n") as client:
        copy = client.with_options(top_n=1)
        out(call, copy if failing_copy else client)
        assert attempts_of(call(client if failing_copy else copy)) == PASSED_OVER


def test_all_out_are_all_asked(call: Calls, clock: Clock, server: Server, second: Server) -> None:
    """Where everybody is out, everybody is asked in order."""
    server.plays(BUSY)
    second.plays(*[BUSY] * IN_A_ROW, GOOD)
    with chain(server, "together:n") as client:
        out(call, client)
        assert attempts_of(call(client)) == FELL_BACK


def test_nobody_is_out_without_a_stand_in(call: Calls, clock: Clock, server: Server) -> None:
    """A client without fallbacks asks its provider however often that has failed."""
    server.plays(BUSY)
    with client_of(server, max_retries=0) as client:
        out(call, client, 3 * IN_A_ROW)
    assert len(server.received) == 3 * IN_A_ROW


def test_a_trial_is_not_spent_by_who_does_not_need_it(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """A fallback whose break is over is asked by the first call that needs it."""
    server.plays(*[BUSY] * IN_A_ROW, GOOD, BUSY)
    second.plays(*[BUSY] * IN_A_ROW, GOOD)
    with chain(server, "together:n") as client:
        out(call, client)
        clock.now += COOLDOWN
        assert attempts_of(ended(call, client)) == [("openrouter", "")]
        assert attempts_of(ended(call, client)) == FELL_BACK


def test_one_that_cannot_take_the_call_does_not_end_it(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """Also while the provider is out, a fallback that cannot take the call is passed over."""
    server.plays(BUSY)
    sees = Local(scorer=lambda query, documents: [1.0] * len(documents), sees_images=True)
    with chain(server, "together:n", RerankClient("eyes", provider=sees)) as client:
        out(call, client)
        outcome = ended(call, client, QUERY, [RerankDocument("a", image=PNG)])
    assert [name for name, _ in attempts_of(outcome)] == ["openrouter", "together", "local"]


def test_a_call_that_only_the_one_that_is_out_can_take(
    call: Calls, clock: Clock, server: Server
) -> None:
    """A provider that is out is asked all the same where nobody else can take the call."""
    server.plays(*[BUSY] * IN_A_ROW, ranking(0.5))
    with chain(server, "local:bm25") as client:
        out(call, client)
        outcome = ended(call, client, QUERY, [RerankDocument("a", image=PNG)])
    assert ("openrouter", "") in attempts_of(outcome)


def test_the_own_pace_is_no_failure(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """A call that its own pace keeps back goes to the next, and does not count as a failure."""
    other = client_of(second, "together")
    with chain(server, other, requests_per_minute=1, deadline=1.0) as client:
        call(client)
        clock.now += 50
        out(call, client, 2 * IN_A_ROW)
        clock.now += 11
        assert attempts_of(call(client)) == [("openrouter", "")]
    assert len(second.received) == 2 * IN_A_ROW


@pytest.mark.parametrize(
    ("seconds", "fallbacks", "is_waited_for"),
    [(29, 1, True), (31, 1, False), (19, 2, True), (21, 2, False), (59, 0, True), (61, 0, False)],
)
def test_the_time_is_shared(
    call: Calls, clock: Clock, server: Server, *, seconds: int, fallbacks: int, is_waited_for: bool
) -> None:
    """With so many fallbacks a provider has its even share of the deadline, and no more."""
    server.plays(retry_after(seconds), GOOD)
    client = chain(server, *["local:bm25"] * fallbacks, max_retries=1, deadline=60.0)
    with client:
        ended(call, client)
    assert clock.slept == ([seconds] if is_waited_for else [])


@pytest.mark.parametrize(("seconds", "is_waited_for"), [(19, True), (21, False)])
def test_time_that_is_left_goes_to_the_others(
    call: Calls, clock: Clock, server: Server, second: Server, *, seconds: int, is_waited_for: bool
) -> None:
    """What the provider has used up is gone for those after it, who share the rest."""
    server.plays(retry_after(20), BUSY)
    second.plays(retry_after(seconds), GOOD)
    client = chain(server, "together:n", "local:bm25", max_retries=1, deadline=61.0)
    with client:
        response = call(client)
    assert clock.slept == [20.0, *([seconds] if is_waited_for else [])]
    assert response.provider == ("together" if is_waited_for else "local")


def test_time_is_not_kept_for_who_is_out(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """A fallback that is passed over has no share of the deadline."""
    server.plays(*[BUSY] * IN_A_ROW, GOOD, retry_after(40), GOOD)
    second.plays(BUSY)
    with chain(server, "together:n", deadline=60.0) as client:
        out(call, client, IN_A_ROW + 1)
        outcome = ended(call, client, max_retries=1)
    assert attempts_of(outcome) == [("openrouter", "RateLimitError"), ("openrouter", "")]


def test_no_deadline_is_shared_by_all(call: Calls, clock: Clock, server: Server) -> None:
    """Without a deadline nobody has one, also a fallback with one of its own."""
    server.plays(retry_after(60), GOOD)
    own = RerankClient("local:bm25", deadline=1.0)
    with chain(server, own, max_retries=1, deadline=None) as client:
        assert attempts_of(call(client)) == [("openrouter", "RateLimitError"), ("openrouter", "")]


def test_a_server_without_end_leaves_time(call: Calls, server: Server) -> None:
    """A provider that trickles its answer is left at its share of the deadline."""
    server.plays(Fault.TRICKLE)
    with chain(server, "local:bm25", deadline=0.6) as client:
        assert attempts_of(call(client)) == [("openrouter", "RerankTimeoutError"), ("local", "")]


def test_all_too_late(call: Calls, server: Server, second: Server) -> None:
    """Where nobody answers in time, the provider's timeout comes out with all attempts."""
    for each in (server, second):
        each.plays(Fault.STALL)
    client = chain(server, "together:n", deadline=0.1)
    with client, pytest.raises(RerankTimeoutError) as caught:
        call(client)
    assert [name for name, _ in attempts_of(caught.value)] == ["openrouter", "together"]


@pytest.mark.parametrize("step", [BUSY, Fault.STALL], ids=str)
async def test_a_cancelled_trial_is_no_answer(clock: Clock, server: Server, step: Any) -> None:
    """A trial that is cancelled leaves the break as it is, and another follows in time."""
    server.plays(*[BUSY] * IN_A_ROW, Fault.STALL, step)
    async with chain(server, "local:bm25") as client:
        for _ in range(IN_A_ROW):
            await client.arerank(QUERY, TEXTS)
        clock.now += COOLDOWN
        server.asked.clear()
        trial = asyncio.create_task(client.arerank(QUERY, TEXTS))
        await asyncio.to_thread(server.asked.wait, 10)
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        assert (await client.arerank(QUERY, TEXTS)).provider == "local"
        clock.now += COOLDOWN
        server.plays(GOOD)
        assert (await client.arerank(QUERY, TEXTS)).provider == "openrouter"


def test_threads_fail_together(clock: Clock, server: Server, second: Server) -> None:
    """Failures of many threads are counted together."""
    server.plays(retry_after(0))

    async def all_at_once(call: Callable[[], Any]) -> None:
        await asyncio.gather(*[asyncio.to_thread(call) for _ in range(IN_A_ROW)])

    with chain(server, "together:n") as client:
        asyncio.run(all_at_once(lambda: client.rerank(QUERY, TEXTS)))
        assert attempts_of(client.rerank(QUERY, TEXTS)) == PASSED_OVER


def test_the_error_of_who_is_asked(call: Calls, clock: Clock, server: Server) -> None:
    """Where the provider is out and all others fail, the error is one of a provider's own."""
    server.plays(retry_after(0))
    with chain(server, client_of(server, "portkey", max_retries=0)) as client:
        out(call, client)
        with pytest.raises(RateLimitError) as caught:
            call(client)
    assert len(caught.value.attempts) == 2
