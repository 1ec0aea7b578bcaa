"""Whoever looks after what others left behind goes on looking, whatever fails."""

import asyncio
from pathlib import Path

import pytest

from bintally.serving.mqtt.connection import Connection
from bintally.serving.mqtt.inheritance import inherit
from bintally.serving.mqtt.slots import own_slot


def test_a_failure_does_not_end_the_looking(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with own_slot(tmp_path):
        pass  # a process that is gone
    tried: list[str] = []

    def connect(name: str) -> Connection:
        tried.append(name)
        raise OSError("Too many open files")

    async def look() -> None:
        looking = asyncio.create_task(inherit(tmp_path, connect, tried.clear, every_s=0.01))  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            while len(tried) < 3:
                await asyncio.sleep(0.01)
                assert not looking.done(), looking.exception()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    asyncio.run(look())
    assert "Too many open files" in caplog.text
