"""A real Tryton: `trytond` as a process, on a SQLite file that was initialised once and is copied for each use."""

import base64
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from bintally.inventory.erp.conformance import Bench
from bintally.inventory.erp.tryton import TrytonConnector, TrytonSettings

USER, PASSWORD = "bintally", "correct-horse-battery"
BINS = 150
_ADMIN = "staple-and-horse"
_DATABASE = "depot"
_PATIENCE_S = 120.0


class Tryton:
    """The server, and its admin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx2.Client(timeout=60)
        self._session: dict[str, str] = {}
        self.url = ""

    def start(self) -> None:
        """Starts it on a free port, and waits for it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        config = self.folder / "trytond.conf"
        config.write_text(f"[database]\nuri = sqlite://\npath = {self.folder}\n[web]\nlisten = 127.0.0.1:{port}\n")
        command = [sys.executable, "-W", "ignore", "-m", "trytond.cli", "-c", str(config), "-d", _DATABASE]
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        give_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                self._http.post(f"{self.url}/rpc/", json={"id": 0, "method": "common.server.version", "params": []})
            except httpx2.TransportError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError((self.folder / "log.txt").read_text()[-2000:])

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._session = {}

    def close(self) -> None:
        self.kill()
        self._http.close()

    def call(self, model: str, method: str, *arguments: Any, **context: Any) -> Any:
        """As the admin, of the only company."""
        return self._rpc(f"model.{model}.{method}", *arguments, {"company": 1, "companies": [1], **context})

    def settings(self, **changed: Any) -> TrytonSettings:
        values = {"url": self.url, "database": _DATABASE, "user": USER, "location": "WH"}
        return TrytonSettings.of(values | changed)

    def connector(self, *, password: str = PASSWORD, **changed: Any) -> TrytonConnector:
        return TrytonConnector(self.settings(**changed), password)

    def put(self, code: str, sku: str, quantity: float) -> None:
        """Somebody else counts so much of a product in a bin."""
        line = {"product": self.id("product.product", code=sku), "quantity": quantity}
        made = self.call(
            "stock.inventory",
            "create",
            [{"location": self.id("stock.location", code=code), "lines": [["create", [line]]]}],
        )
        self.call("stock.inventory", "confirm", made)

    def receive(self, code: str, sku: str, quantity: float, **values: Any) -> None:
        """Moves stock into a bin; `values`: its lot."""
        product = self.id("product.product", code=sku)
        (unit,) = self.call("product.product", "read", [product], ["default_uom"])
        move = {
            "product": product,
            "quantity": quantity,
            "unit": unit["default_uom"],
            "from_location": self.id("stock.location", type="lost_found"),
            "to_location": self.id("stock.location", code=code),
            "company": 1,
        }
        self.call("stock.move", "do", self.call("stock.move", "create", [move | values]))

    def held(self, code: str) -> dict[str, float]:
        """What the moves in its database say is in a bin."""
        query = """
            SELECT product.code, SUM(CASE WHEN bin.id = to_location THEN 1 ELSE -1 END * internal_quantity)
            FROM stock_move AS move
            JOIN product_product AS product ON product.id = move.product
            JOIN stock_location AS bin ON bin.id IN (from_location, to_location)
            WHERE bin.code = ? AND move.state = 'done' GROUP BY product.id
        """
        return {sku: quantity for sku, quantity in self.select(query, code) if quantity}

    def posted(self) -> list[tuple[str, str, float]]:
        """All that our user's inventories have moved, in order: (bin, SKU, change)."""
        query = """
            SELECT bin.code, product.code, CASE WHEN bin.id = to_location THEN 1 ELSE -1 END * internal_quantity
            FROM stock_move AS move
            JOIN product_product AS product ON product.id = move.product
            JOIN stock_location AS bin ON bin.id IN (from_location, to_location) AND bin.type = 'storage'
            JOIN res_user ON res_user.id = move.create_uid
            WHERE res_user.login = ? AND move.state = 'done' ORDER BY move.id
        """
        return self.select(query, USER)

    def select(self, query: str, *values: str | int) -> list[Any]:
        """Rows of its database, without it."""
        with closing(sqlite3.connect(self.folder / f"{_DATABASE}.sqlite", timeout=30)) as database:
            return database.execute(query, values).fetchall()

    def forget_sessions(self) -> None:
        """As if our user had been idle for too long."""
        with closing(sqlite3.connect(self.folder / f"{_DATABASE}.sqlite", timeout=30)) as database, database:
            database.execute("DELETE FROM ir_session WHERE create_uid = ?", (self.id("res.user", login=USER),))

    def id(self, model: str, **named: Any) -> int:
        """Of the first record of those values."""
        where = " AND ".join(f"{name} = ?" for name in named)
        query = f"SELECT id FROM {model.replace('.', '_')} WHERE {where} ORDER BY id"
        return int(self.select(query, *named.values())[0][0])

    def product(self, sku: str, *, unit: str = "u", **values: Any) -> int:
        """A new product of goods."""
        template = {"name": sku.title(), "type": "goods", "default_uom": self.id("product.uom", symbol=unit)} | values
        template["products"] = [["create", [{"suffix_code": sku}]]]
        (made,) = self.call("product.template", "create", [template])
        return int(made)

    def location(self, *codes: str, under: str = "STO") -> list[int]:
        """New bins."""
        parent = self.id("stock.location", code=under)
        made = [{"name": f"Bin {code}", "code": code, "type": "storage", "parent": parent} for code in codes]
        ids: list[int] = self.call("stock.location", "create", made)
        return ids

    def furnish(self) -> None:
        """A company, two products, bins, and a user who may work with stock."""
        currency, party = (
            self.call("currency.currency", "create", [{"name": "Euro", "code": "EUR", "symbol": "€"}])[0],
            self.call("party.party", "create", [{"name": "Depot"}])[0],
        )
        self.call("company.company", "create", [{"party": party, "currency": currency}])
        company = {"company": 1, "companies": [["add", [1]]]}
        self.call("res.user", "write", [1], company)
        user = {"name": "Bintally", "login": USER, "password": PASSWORD} | company
        user |= {"groups": [["add", [self.id("res.group", name="Stock")]]]}
        self.call("res.user", "create", [user])
        for sku in Bench.products:
            self.product(sku)
        self.location(*(f"C-{number:03}" for number in range(BINS)))

    def _rpc(self, method: str, *parameters: Any) -> Any:
        if not self._session:
            id_, token, *_ = self._post("common.db.login", "admin", {"password": _ADMIN})
            self._session = {"Authorization": f"Session {base64.b64encode(f'admin:{id_}:{token}'.encode()).decode()}"}
        return self._post(method, *parameters)

    def _post(self, method: str, *parameters: Any) -> Any:
        body = {"id": 0, "method": method, "params": parameters}
        response = self._http.post(f"{self.url}/{_DATABASE}/rpc/", json=body, headers=self._session)
        assert response.is_success, response.text
        told = response.json()
        assert "error" not in told, told
        return told["result"]

    @classmethod
    def initialised(cls, folder: Path) -> Self:
        """A furnished database in a folder; takes some 12 s of a CPU."""
        (folder / f"{_DATABASE}.sqlite").touch()
        (folder / "password.txt").write_text(_ADMIN)
        config = folder / "init.conf"
        config.write_text(f"[database]\nuri = sqlite://\npath = {folder}\n")
        command = [sys.executable, "-W", "ignore", "-m", "trytond.cli.admin", "-c", str(config), "-d", _DATABASE]
        modules = ["--all", "-u", "stock", "stock_lot", "--activate-dependencies", "--email", "admin@example.com"]
        done = subprocess.run(
            [*command, *modules],
            env={**os.environ, "TRYTONPASSFILE": str(folder / "password.txt")},
            capture_output=True,
            timeout=_PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        made = cls(folder)
        made.start()
        made.furnish()
        made.close()
        return made


@contextmanager
def running(initialised: Path, folder: Path) -> Iterator[Tryton]:
    """A Tryton of its own, on a copy of the initialised database."""
    name = f"{_DATABASE}.sqlite"
    with closing(sqlite3.connect(initialised / name)) as source, closing(sqlite3.connect(folder / name)) as copy:
        source.backup(copy)  # with what is in its log still
    server = Tryton(folder)
    server.start()
    try:
        yield server
    finally:
        server.close()


class TrytonBench(Bench):
    """The bins C-000 to C-149 of a running Tryton."""

    def __init__(self, server: Tryton) -> None:
        self._server, self._used = server, 0

    def connect(self) -> TrytonConnector:
        return self._server.connector()

    def new_bin(self) -> str:
        self._used += 1
        return f"C-{self._used - 1:03}"

    def put(self, code: str, product: str, quantity: int) -> None:
        self._server.put(code, product, quantity)

    def held(self, code: str) -> dict[str, int]:
        return {sku: int(quantity) for sku, quantity in self._server.held(code).items()}

    def unreachable(self) -> TrytonConnector:
        return self._server.connector(url="http://127.0.0.1:9")

    def locked_out(self) -> TrytonConnector:
        return self._server.connector(user="stranger")  # a wrong password of ours would lock us out for a while
