"""How benchmarks print."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

Rows = list[dict[str, Any]]


def show(title: str, rows: Rows) -> None:
    """One table, a column for each key of the first row."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=140).print(table)
