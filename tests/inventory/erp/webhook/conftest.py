"""One receiver for all tests here."""

from collections.abc import Iterator

import pytest

from tests.inventory.erp.webhook.bench import WebhookBench, listening


@pytest.fixture(scope="session")
def receiver() -> Iterator[WebhookBench]:
    with listening() as port:
        bench = WebhookBench(port)
        yield bench
        bench.close()


@pytest.fixture
def hook(receiver: WebhookBench) -> Iterator[WebhookBench]:
    """The receiver, which answers as it should."""
    yield receiver
    receiver.faults()
