"""The receiver in docs/erp.md is started as it stands there, and takes what it is told, once."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bintally.errors import ErpRefusedError
from bintally.inventory.erp.conformance.steps import posted
from bintally.inventory.erp.webhook import WebhookConnector, WebhookSettings
from tests.conftest import ROOT
from tests.inventory.erp.folder.test_connector import posting
from tests.inventory.erp.webhook.bench import SECRET, secret_of


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Where the guide's receiver listens."""
    section = (ROOT / "docs" / "erp.md").read_text().split("\n## Webhook\n")[1].split("\n## ")[0]
    [program] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "receiver.py").write_text(program)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        command = [sys.executable, "-m", "uvicorn", "receiver:app", "--fd", str(number), "--log-level", "error"]
        environment = {**os.environ, "WEBHOOK_SECRET": SECRET}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, pass_fds=[number])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/stock"
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_the_receiver_of_the_guide_takes_each_event_once(url: str, tmp_path: Path) -> None:
    settings = WebhookSettings(url=url, timeout_s=60)
    with closing(WebhookConnector(settings, SECRET)) as connector:
        assert connector.about().product == "Webhook"
        assert posted(connector, posting()).outcome == "stale", "it has none"
        with closing(sqlite3.connect(tmp_path / "stock.sqlite")) as db, db:
            db.execute("INSERT INTO stock VALUES ('A-1', 'BOLT', 4)")
        for _ in range(2):
            answer = posted(connector, posting())
            assert (answer.outcome, answer.answer["body"]) == ("done", {"id": "bintally-1"})
    with (
        closing(WebhookConnector(settings, secret_of("x"))) as stranger,
        pytest.raises(ErpRefusedError, match="believe"),
    ):
        stranger.about()
    with closing(sqlite3.connect(tmp_path / "stock.sqlite")) as db:
        assert db.execute("SELECT * FROM stock").fetchall() == [("A-1", "BOLT", 3)]
