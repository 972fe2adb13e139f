"""How requests are refused."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from ich_triage.store.database import Database


def test_without_a_database_pages_and_programs_hear_what_is_the_matter(
    reader: TestClient, sqlite: Database
) -> None:
    """503 in words, with when to come again; then the page is there as if nothing had been."""
    file = Path(str(sqlite.url.database))
    sqlite.close()
    hidden = file.rename(file.with_suffix(".away"))
    file.mkdir()
    page = reader.get("/")
    program = reader.get("/api/v1/worklist", headers={"accept": "application/json"})
    file.rmdir()
    hidden.rename(file)
    assert (page.status_code, program.status_code) == (503, 503)
    assert "The database does not answer" in page.text
    assert program.json()["detail"].startswith("The database does not answer")
    assert page.headers["retry-after"] == "5"
    assert reader.get("/").status_code == 200
