"""The connector of Odoo does what every connector must, in both of Odoo's APIs, against a server of its contract."""

from collections.abc import Iterator

import pytest

from bintally.inventory.erp.conformance import Bench, ConnectorConformance
from tests.inventory.erp.odoo.contract import OdooBench, OdooContract


class TestOdooOverJsonRpc(ConnectorConformance):
    @pytest.fixture
    def erp(self) -> Iterator[Bench]:
        with OdooContract("16.0").serving() as server:
            yield OdooBench(server)


class TestOdooOverJson2(ConnectorConformance):
    @pytest.fixture
    def erp(self) -> Iterator[Bench]:
        with OdooContract("19.0").serving() as server:
            yield OdooBench(server, api="json2")
