"""What every connector must do, as tests: give them a stock system to play with, and run pytest.

```python
class TestAcme(ConnectorConformance):
    @pytest.fixture
    def erp(self) -> Bench:
        return AcmeBench()
```

Each test takes bins of its own, so that one stock system can serve them all. What a connector can't do by design
(`About.reads`, `Bench.keeps_drafts`) is skipped, and said so. For answers in detail when one fails, put
`pytest.register_assert_rewrite("bintally.inventory.erp.conformance")` into your conftest.py.
"""

from importlib.util import find_spec

from bintally.errors import MissingExtraError

if find_spec("pytest") is None:
    raise MissingExtraError("The tests of connectors need pytest.", hint="Install it: pip install pytest")

from bintally.inventory.erp.conformance.bench import Bench
from bintally.inventory.erp.conformance.suite import ConnectorConformance

__all__ = ["Bench", "ConnectorConformance"]
