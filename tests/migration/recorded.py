"""What earlier releases have left in their databases, as `record.py` wrote it down."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory

Json = dict[str, Any]
REPOSITORY = Path(__file__).parents[2]
ROWS = Path(__file__).with_name("rows")


def revisions() -> list[str]:
    """Every version of the schema, oldest first."""
    scripts = ScriptDirectory(str(REPOSITORY / "alembic"))
    return [script.revision for script in scripts.walk_revisions()][::-1]


@cache
def recorded(revision: str) -> Json:
    """`tables` and `studies` of the release with this schema.

    No release had some of them, where several migrations came in one: then those of the next one that was
    recorded, whose tables and columns are more. The newest schema may have none yet: those of the one before.
    """
    paths = sorted(ROWS.glob("*.json"))
    path = next((path for path in paths if path.stem >= revision), paths[-1])
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found
