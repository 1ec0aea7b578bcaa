"""The connector of ERPNext does what every connector must, against a server of its contract."""

from collections.abc import Iterator

import pytest

from bintally.inventory.erp.conformance import Bench, ConnectorConformance
from tests.inventory.erp.erpnext.contract import ErpNextBench, ErpNextContract


class TestErpNext(ConnectorConformance):
    @pytest.fixture
    def erp(self) -> Iterator[Bench]:
        with ErpNextContract().serving() as server:
            yield ErpNextBench(server)
