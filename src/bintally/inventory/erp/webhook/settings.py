"""Settings of a webhook."""

from ipaddress import ip_address
from pathlib import Path
from typing import Self

import httpx2
from pydantic import Field, field_validator, model_validator

from bintally.config import Config


class WebhookSettings(Config):
    """Where events go. What they are signed with is the connection's secret."""

    url: str
    """Of the receiver, such as https://example.com/stock."""

    timeout_s: float = Field(default=20.0, ge=1, le=60)
    """How long the receiver may take to answer one event."""

    ping: bool = True
    """Whether the receiver is told an event `bintally.ping.v1` before postings, and after one that failed."""

    allow_private: bool = False
    """Whether the receiver may have an address of a private network, such as 10.1.2.3."""

    allow_http: bool = False
    """Whether events may go over plain HTTP to another machine, where everybody on the way can read them."""

    ca_file: Path | None = None
    """PEM file of the authorities that vouch for the receiver; None: those that are known to everybody."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            parsed = httpx2.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.fragment:
            raise ValueError("no address of a receiver, such as https://example.com/stock, without user and password")
        return url

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        url = httpx2.URL(self.url)
        if url.scheme == "http" and not (self.allow_http or is_loopback(url.host)):
            raise ValueError("'url' is plain HTTP, which everybody on the way can read: use https, or allow_http=true")
        return self


def is_loopback(host: str) -> bool:
    """Whether a host is by its very name this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
