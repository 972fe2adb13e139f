"""Pictures for docs/worklist.md: every page and state, of phantoms that the shipped package has answered.

`make screenshots` draws them anew into docs/pictures/. The times that they show are set, so that pictures
change only when pages do.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from playwright.sync_api import Page
from sqlalchemy import update

from ich_triage.domain.roles import Role
from ich_triage.domain.states import DeliveryState, StudyState
from ich_triage.store import first_admin, migrate, studies, tokens
from ich_triage.store.account_tables import Account, ServiceToken
from ich_triage.store.database import Database
from ich_triage.store.tables import Study
from tests.browser.scene import (
    ADMIN,
    MORNING,
    PATIENTS,
    PICTURES,
    READER,
    Scene,
    answer,
    begin_work,
    changed,
    fill,
    minutes_ago,
    set_clock,
    settings_of,
    web,
)
from tests.chromium import chromium
from tests.listed import put_on_list
from tests.web import PASSWORD, add_account

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def main() -> None:
    """Draw all pictures."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = settings_of(folder)
        database = Database(settings.database.url)
        migrate.upgrade(database)
        add_account(database, READER, Role.RADIOLOGIST)
        uids = fill(database, settings)
        database.close()
        with chromium() as browser:
            page = browser.new_page(
                base_url=f"http://127.0.0.1:{settings.web.port}", viewport=WIDE, color_scheme="dark"
            )
            scene = Scene(folder, settings, page)
            with web(scene):
                set_clock(scene, uids, minutes_ago)
                _first_admin(scene)
                add_account(scene.database, ADMIN, Role.ADMIN)
                _outside(scene)
                _lists(scene, uids)
                _studies(scene, uids)
                _others(scene, uids)
                _people(scene)
            set_clock(scene, uids, minutes_ago)
            _lost(scene)


def _first_admin(scene: Scene) -> None:
    with scene.database.write() as session:
        secret = first_admin.renew(session, datetime.now(UTC))
    scene.go(f"/first-admin?secret={secret}")
    scene.shoot("first-admin")


def _outside(scene: Scene) -> None:
    scene.go("/login")
    scene.shoot("login")
    _type_in(scene.page, READER, "wrong")
    scene.page.wait_for_selector(".error")
    scene.shoot("login-refused")
    _type_in(scene.page, READER, PASSWORD)
    scene.page.wait_for_url("**/")
    scene.shoot("list-nobody-alive")


def _type_in(page: Page, name: str, password: str) -> None:
    page.fill("#name", name)
    page.fill("#password", password)
    page.keyboard.press("Enter")


def _lists(scene: Scene, uids: dict[str, str]) -> None:
    begin_work(scene.database)
    put_on_list(scene.database, "Phantom^Waiting", StudyState.NOT_FLAGGED, minutes=262)
    put_on_list(scene.database, "Phantom^Coming", StudyState.RECEIVING, minutes=0.2)
    answered = put_on_list(scene.database, "Phantom^Answered", minutes=47)
    answer(scene.database, answered, agrees=True)
    scene.go("/")
    scene.page.keyboard.press("j")
    scene.shoot("list", whole=True)
    scene.page.emulate_media(color_scheme="light")
    scene.shoot("list-light", whole=True)
    scene.page.emulate_media(color_scheme="dark")
    scene.page.set_viewport_size(PHONE)
    scene.shoot("list-phone")
    scene.page.set_viewport_size(WIDE)
    scene.page.keyboard.press("?")
    scene.shoot("list-keys")
    scene.page.keyboard.press("Escape")
    scene.page.get_by_label("Not analysed").check()
    scene.shoot("list-filtered")
    scene.page.get_by_label("Not analysed").uncheck()
    for words, name in (("subdural", "list-search"), ("nobody", "list-empty")):
        scene.page.fill("#search", words)
        scene.shoot(name)
    scene.page.fill("#search", "")


def _studies(scene: Scene, uids: dict[str, str]) -> None:
    set_clock(scene, uids, lambda patient: MORNING)
    page = scene.page
    scene.go(f"/studies/{uids['Phantom^Mixed']}")
    scene.shoot("study-flagged", whole=True)
    page.keyboard.press("o")
    scene.shoot("study-outlines-off")
    page.keyboard.press("o")
    page.keyboard.press("3")
    scene.shoot("study-bone")
    page.set_viewport_size(PHONE)
    page.keyboard.press("1")
    scene.shoot("study-phone", whole=True)
    page.set_viewport_size(WIDE)
    for name, patient in PATIENTS.items():
        if not patient.bleeds:
            scene.go(f"/studies/{uids[name]}")
            scene.shoot(f"study-{name.partition('^')[2].replace(' ', '-').lower()}")
    _changing(scene, uids)


def _changing(scene: Scene, uids: dict[str, str]) -> None:
    """An answer, news under the reader's eyes, images that are gone; afterwards all is as before."""
    page, mixed, waits = scene.page, uids["Phantom^Mixed"], uids["Phantom^Under way"]
    scene.go(f"/studies/{mixed}")
    page.get_by_label("IPH").check()
    page.get_by_label("IVH").check()
    page.keyboard.press("a")
    page.wait_for_selector("#kept:not(:empty)")
    scene.shoot("study-answered")
    page.keyboard.press("u")
    page.wait_for_selector("#back:disabled")
    scene.go(f"/studies/{waits}")
    with changed(scene, lambda session: studies.get(session, waits), state=StudyState.FLAGGED):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_selector("#news:not([hidden])")
        scene.shoot("study-news")
    gone = {"images_removed_at": MORNING + timedelta(days=90), "instance_count": 0}
    with changed(scene, lambda session: studies.get(session, mixed), **gone):
        page.goto(f"/studies/{mixed}")
        page.wait_for_selector("#trouble:not([hidden])")
        scene.shoot("study-removed")
    dead = {
        "state": DeliveryState.DEAD,
        "attempts": 19,
        "sent_at": None,
        "last_error": "no answer to C-STORE",
    }
    with changed(scene, lambda session: studies.get(session, mixed).revisions[-1].deliveries[0], **dead):
        scene.go(f"/studies/{mixed}")
        scene.shoot("study-dead-letter", whole=True)


def _others(scene: Scene, uids: dict[str, str]) -> None:
    scene.go(f"/studies/{uids['Phantom^Mixed']}/report")
    scene.shoot("report")
    scene.go("/studies/1.2.3")
    scene.shoot("refused")
    for day in range(28):
        for number in range(6):
            state = StudyState.FLAGGED if (day + number) % 4 == 0 else StudyState.NOT_FLAGGED
            uid = put_on_list(scene.database, "Phantom^Earlier", state, minutes=1440 * (4 + day))
            if number < 3:
                answer(scene.database, uid, agrees=(day + number) % 7 > 0)
    scene.go("/quality")
    scene.shoot("quality")
    with scene.database.write() as session:
        earlier = update(Study).where(Study.patient_name == "Phantom^Earlier")
        session.execute(earlier.values(changed_at=MORNING))


def _people(scene: Scene) -> None:
    """What a radiologist and an admin see of accounts; their times are set."""
    page = scene.page
    scene.go("/account")
    scene.shoot("account")
    page.get_by_role("button", name="Log out", exact=True).click()
    page.wait_for_url("**/login")
    _type_in(page, ADMIN, PASSWORD)
    page.wait_for_url("**/")
    with scene.database.write() as session:
        tokens.make(session, "dashboard", days=365, now=datetime.now(UTC))
        session.execute(update(Account).values(created_at=MORNING, last_login_at=MORNING))
        session.execute(update(ServiceToken).values(expires_at=MORNING + timedelta(days=3650)))
    for path, name in (("/users", "users"), ("/users/1", "user")):
        scene.go(path)
        scene.shoot(name, whole=True)
    scene.go("/users")
    page.fill("#token-name", "ward screen")
    page.get_by_role("button", name="Make token").click()
    page.wait_for_selector(".token code")
    page.evaluate("document.querySelector('.token code').textContent = 'ich_' + 'x'.repeat(43)")
    scene.shoot("token")
    page.get_by_role("button", name="Log out", exact=True).click()
    page.wait_for_url("**/login")
    _type_in(page, READER, PASSWORD)
    page.wait_for_url("**/")


def _lost(scene: Scene) -> None:
    with web(scene):
        scene.go("/")
        scene.page.wait_for_selector(".row")
    scene.page.wait_for_selector("#lost:not([hidden])")
    scene.shoot("list-lost")
    scene.database.close()


if __name__ == "__main__":
    main()
