"""One customer whose files go the whole way to claims, and lines to write such files of. Not here: any test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import configure_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import get_upload, send_file
from upstream_pipelines.settings import Settings

HEADER = "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome,billed_amount,allowed_amount"


@dataclass
class Ingest:
    """Sends text as a file of one customer and takes it through to claims."""

    conn: Connection
    settings: Settings
    folder: Path
    slug: str = "acme"
    sent: int = 0

    @property
    def customer(self) -> Customer:
        return get_customer(self.conn, self.slug)

    def configure(self, content: dict[str, Any]) -> None:
        configure_customer(self.conn, self.customer, parse_configuration(content, "test"))

    def send(self, text: str | bytes) -> UUID:
        self.sent += 1
        path = self.folder / f"file{self.sent}.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return send_file(self.conn, self.settings, self.customer, path)

    def run(self) -> None:
        stage_waiting(self.conn, self.settings, self.customer, source="csv", run_id=f"run{self.sent}")
        merge_staged(self.conn, self.settings, self.customer, f"run{self.sent}")

    def load(self, text: str | bytes) -> dict[str, Any]:
        upload_id = self.send(text)
        self.run()
        return get_upload(self.conn, self.customer.customer_id, upload_id)

    def claims(self, columns: str = "claim_id, outcome") -> list[tuple[Any, ...]]:
        return self.conn.execute(f"SELECT {columns} FROM claims ORDER BY claim_id, line_number").fetchall()


def row(
    claim: str, outcome: str = "PAID", decided: str = "2026-02-01", line: str = "1", allowed: str = "80"
) -> str:
    return f"{claim},{line},Aetna,99213,2026-01-05,{decided},{outcome},100,{allowed}"


def file_of(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"
