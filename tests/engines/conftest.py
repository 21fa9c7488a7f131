"""A gateway on loopback for engines, whose workers are processes of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine_support import Gateway


@pytest.fixture(name="gateway")
def gateway_fixture() -> Iterator[Gateway]:
    """A gateway that ranks, counts, and can kill a worker."""
    with Gateway() as gateway:
        yield gateway
