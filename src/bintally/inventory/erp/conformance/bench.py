"""`Bench`: a stock system that the tests of a connector may play with."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from bintally.inventory.erp.protocol import Connector


class Bench(ABC):
    """A stock system in which the tests may do as they like."""

    products: ClassVar[tuple[str, str]] = ("BOLT", "NUT")
    """SKUs of two products that it knows, which are counted in whole items."""

    refused_product: ClassVar[str | None] = "NO-SUCH-PRODUCT"
    """A SKU whose correction it refuses; None: it takes all."""

    keeps_drafts: ClassVar[bool] = True
    """Whether drafts are kept over there, where they are found; False: whoever gets messages takes each key once."""

    @abstractmethod
    def connect(self) -> Connector:
        """A new connector, with nothing remembered. The tests close it."""

    @abstractmethod
    def new_bin(self) -> str:
        """A bin that it knows, that is empty and that nobody else uses. Up to 150 are asked for."""

    @abstractmethod
    def put(self, code: str, product: str, quantity: int) -> None:
        """Somebody sees to it that so many of a product are in a bin, without the connector."""

    @abstractmethod
    def held(self, code: str) -> Mapping[str, int]:
        """How many of each product it says are in a bin, without the connector; nothing or 0 of one that is not."""

    def unreachable(self) -> Connector | None:
        """A connector to an address where nobody answers; None: there is no such thing."""
        return None

    def locked_out(self) -> Connector | None:
        """A connector with a wrong secret; None: it needs none."""
        return None
