import subprocess
import sys

_HANGING = """
import asyncio, time
from bintally.serving.fetching import network

async def ask():
    network._addresses_of = lambda host: time.sleep(60)
    real = network.RealNetwork()
    asked = [asyncio.wait_for(real.resolve("camera.example"), 0.2) for _ in range(20)]
    print({type(told).__name__ for told in await asyncio.gather(*asked, return_exceptions=True)})

asyncio.run(ask())
"""

_WORKING = """
import asyncio
from bintally.serving.fetching import network

async def ask():
    real = network.RealNetwork()
    found = await asyncio.gather(*(real.resolve("127.0.0.1") for _ in range(40)))
    try:
        await real.resolve("x" * 64 + ".example")
    except OSError:
        print({str(address) for each in found for address in each})

asyncio.run(ask())
"""


def said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True).stdout


def test_a_name_server_that_hangs_holds_up_neither_callers_nor_the_end_of_the_process() -> None:
    assert said(_HANGING) == "{'TimeoutError'}\n"


def test_more_names_than_are_looked_up_at_once_are_all_found() -> None:
    assert said(_WORKING) == "{'127.0.0.1'}\n"
