"""How much faster fetch is than a loop over boto3, side by side in one run.

    python benchmarks/fetch.py

1,000 objects (500 photos of 12 kB, 500 records of 2 kB) behind an S3 endpoint on localhost that waits 20 ms before each
answer, as a region away does. The endpoint is a few lines of asyncio in a process of its own, so that its own speed is
not what is measured (moto answers about 200 requests a second on a core; fetch asks faster). The loop is told the keys;
fetch has to list them. Both write the objects to files; fetch also hashes them and writes journal and manifest.
"""

import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config as BotoConfig

from bintally.data.fetch import fetch
from bintally.metadata import metadata_json
from bintally.records import BinRecord, Product

LATENCY_S = 0.020
PHOTOS = 500
PHOTO_BYTES = 12_000
NAME_CHARS = 1_700  # makes a record 2 kB long
GOAL = 10.0  # times as fast


def objects() -> dict[str, bytes]:
    """Keys and bytes of the bucket."""
    noise = random.Random(0)
    held = {}
    for number in range(PHOTOS):
        name = f"{number:05}"
        record = BinRecord(name, 1, (Product("B000000000", "x" * NAME_CHARS, 1),))
        held[f"bin-images/{name}.jpg"] = noise.randbytes(PHOTO_BYTES)
        held[f"metadata/{name}.json"] = metadata_json(record)
    return held


async def serve(held: dict[str, bytes]) -> None:
    """Answers GET of an object and of a listing, path-style, until it is stopped; prints its port first."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
                await asyncio.sleep(LATENCY_S)
                writer.write(answer(held, request))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def answer(held: dict[str, bytes], request: str) -> bytes:
    """The whole HTTP answer to a request for `/bins?list-type=2&prefix=` or `/bins/<key>`."""
    url = urlsplit(request)
    query = parse_qs(url.query)
    if "list-type" in query:
        keys = sorted(key for key in held if key.startswith(query["prefix"][0]))
        rows = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(held[key])}</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for key in keys
        )
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()
    else:
        found = held.get(url.path.removeprefix("/bins/"))
        if found is None:
            error = b"<Error><Code>NoSuchKey</Code></Error>"
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(error), error)
        body = found
    head = (
        f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nETag: "x"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT'
    )
    return head.encode() + b"\r\n\r\n" + body


@contextmanager
def endpoint() -> Iterator[str]:
    """The address of the slow bucket."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip() if process.stdout else ""
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def loop_seconds(address: str, keys: list[str], out: Path) -> float:
    """One object after the other, as the example code of every course does it."""
    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id="a",
        aws_secret_access_key="b",  # noqa: S106 - the endpoint looks at no key
        region_name="us-east-1",
        config=BotoConfig(s3={"addressing_style": "path"}),
    )
    started = time.perf_counter()
    for key in keys:
        path = out / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.get_object(Bucket="bins", Key=key)["Body"].read())
    seconds = time.perf_counter() - started
    client.close()
    return seconds


def fetch_seconds(address: str, out: Path) -> float:
    """The same objects through `fetch`, from the call to its return."""
    started = time.perf_counter()
    report = fetch(source="s3://bins", out=out, endpoint=address, anonymous=True)
    if report.photos != PHOTOS or report.without_metadata:
        raise SystemExit(f"fetch brought {report.photos} photos, {report.without_metadata} without metadata")
    return time.perf_counter() - started


def main() -> None:
    """Measures both and prints the ratio; fails when it is below the goal."""
    held = objects()
    with tempfile.TemporaryDirectory() as scratch, endpoint() as address:
        fetch_seconds(address, Path(scratch, "warm"))  # imports, thread pools: a process pays for them once
        runs = [fetch_seconds(address, Path(scratch, f"fetch{run}")) for run in range(3)]
        fast = sorted(runs)[1]
        slow = loop_seconds(address, list(held), Path(scratch, "loop"))
    print(f"{len(held)} objects, {LATENCY_S * 1000:.0f} ms latency, one process each")
    print(f"  boto3 loop  {slow:6.2f} s  {len(held) / slow:7.0f} objects/s")
    print(f"  fetch       {fast:6.2f} s  {len(held) / fast:7.0f} objects/s  (median of {len(runs)})")
    print(f"  ratio       {slow / fast:6.1f}x  (goal: at least {GOAL:.0f}x)")
    if slow / fast < GOAL:
        raise SystemExit(1)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(serve(objects()))
    else:
        main()
