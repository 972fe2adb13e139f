"""Every page and state by axe-core: dark and light, 1280 pixels and a phone; nothing moves by itself."""

from __future__ import annotations

import re
from itertools import product

import pytest
from playwright.sync_api import Page, Route, expect

from ich_triage.domain.states import StudyState
from tests.browser.conftest import ADMIN, Open, Site
from tests.chromium import accessibility
from tests.heads import tiny_head
from tests.listed import put_on_list

pytestmark = pytest.mark.peer

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
#: where everything that must not move is
BOXES = """() => [...document.querySelectorAll('.bar, .filters, .filters *, .list th, .list td, .pager')].map(
  each => { const {x, y, width, height} = each.getBoundingClientRect(); return [x, y, width, height]; })"""
#: sums up what the Layout Instability API reports of the page, from its beginning on
COUNT_SHIFTS = """() => {
  window.shifts = 0;
  new PerformanceObserver(list => { for (const each of list.getEntries()) window.shifts += each.value; })
    .observe({ type: 'layout-shift', buffered: true });
}"""
#: states that stand for all of a study page's
SHOWN = (StudyState.FLAGGED, StudyState.NOT_FLAGGED, StudyState.NOT_ANALYSED, StudyState.RECEIVING)


def judge(page: Page) -> None:
    """No violation and nothing to scroll to at the side, whatever it is looked at with."""
    for scheme, size in product(("light", "dark"), (PHONE, WIDE)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        assert accessibility(page) == [], (scheme, size)
        wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1], (scheme, size)


def full(site: Site) -> dict[StudyState, str]:
    """A study in each state, one of them answered, one with names that fit nowhere."""
    found = {state: put_on_list(site.database, f"Phantom^{state}", state) for state in StudyState}
    put_on_list(site.database, "Very" * 30, stat=True, patient_id="9" * 64, study_description="head " * 30)
    put_on_list(site.database, "Phantom^Waits", StudyState.NOT_FLAGGED, minutes=300)
    return found


@pytest.fixture(scope="module")
def sent(whole_site: Site) -> str:
    """A study with a clot, sent by DICOM."""
    uid = whole_site.send(tiny_head(name="Phantom^Bleed", clot=True))
    whole_site.until_final(uid)
    return uid


def test_the_worklist_is_accessible_in_every_state(site: Site, page: Page) -> None:
    """Empty, full, with a chosen row, answered, filtered to nothing, with help open, out of date."""
    judge(page)
    full(site)
    expect(page.locator(".row")).to_have_count(8)
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator(".mark-of")).to_have_count(1)
    page.wait_for_function("() => !document.getAnimations().length")
    judge(page)
    page.evaluate("document.getElementById('lost').hidden = false")
    page.keyboard.press("?")
    judge(page)
    page.keyboard.press("Escape")
    page.locator("#search").fill("nobody at all")
    expect(page.locator(".none")).to_be_visible()
    judge(page)


def test_a_study_page_is_accessible_in_every_state(site: Site, page: Page) -> None:
    """With and without a result; the pictures of these are gone, which is a state, too."""
    uids = full(site)
    for state in SHOWN:
        page.goto(f"/studies/{uids[state]}")
        expect(page.locator("#trouble")).to_be_visible()
        judge(page)
    page.goto(f"/studies/{uids[StudyState.FLAGGED]}/report")
    judge(page)


def test_a_study_with_pictures_and_its_report_are_accessible(page: Page, sent: str) -> None:
    """Slices, outlines, strip, findings, an answer; and the report as text."""
    page.goto(f"/studies/{sent}")
    expect(page.locator("#where")).not_to_be_empty()
    page.keyboard.press("a")
    expect(page.locator("#kept")).not_to_be_empty()
    judge(page)
    page.goto(f"/studies/{sent}/report")
    expect(page.locator(".report")).to_be_visible()
    judge(page)


def test_the_quality_page_is_accessible(site: Site, page: Page) -> None:
    """Figures of a package, week by week."""
    full(site)
    page.goto("/quality")
    expect(page.locator(".quality")).not_to_have_count(0)
    judge(page)


def test_pages_of_accounts_are_accessible(person: Open) -> None:
    """One's own, everybody's, one of them, and a new token, which is shown once."""
    page = person(ADMIN)
    for path in ("/account", "/users", "/users/1"):
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        judge(page)
    page.goto("/users")
    page.get_by_label("Name of the program").fill("ward screen")
    page.get_by_role("button", name="Make token").click()
    expect(page.locator(".token code")).to_be_visible()
    judge(page)


def test_a_refusal_is_accessible(page: Page) -> None:
    """In words, with a way back."""
    page.goto("/studies/1.2.3")
    judge(page)


def test_the_log_in_is_accessible(visitor: Open) -> None:
    """As it comes, and with an error."""
    page = visitor()
    page.goto("/login")
    judge(page)
    page.get_by_label("Name").fill("nobody at all")
    page.get_by_label("Password").fill("not a password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    judge(page)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_what_is_wrong_moves_no_row(site: Site, person: Open, size: dict[str, int]) -> None:
    """Who reaches for a study hits it though the connection is lost in that moment, and sees the words
    wherever the list is scrolled to; the foot of the page can be read beside them.
    """
    page = person(viewport=size)
    full(site)
    expect(page.locator(".row")).to_have_count(8)
    page.route("**/rows", lambda route: route.fulfill(status=204))  # renewed rows take the words away
    page.reload()
    before = page.evaluate(BOXES)
    page.evaluate("for (const id of ['lost', 'said']) document.getElementById(id).hidden = false")
    page.evaluate("document.getElementById('said').className = 'banner bad'")
    assert page.evaluate(BOXES) == before
    lost = page.locator("#lost")
    expect(lost).to_be_in_viewport(ratio=1)
    page.locator(".honest").scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    expect(lost).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_moves_when_nothing_has_changed(site: Site, person: Open, size: dict[str, int]) -> None:
    """Over a refresh each row and the header keep their boxes, and the browser counts no layout shift."""
    page = person(viewport=size)
    uids = full(site)
    expect(page.locator(".row")).to_have_count(8)
    page.reload()
    page.evaluate(COUNT_SHIFTS)
    before = page.evaluate(BOXES)
    page.evaluate("document.querySelector('.row').dataset.old = 'yes'")
    site.touch(uids[StudyState.RECEIVING])
    page.wait_for_function("() => !document.querySelector('.row').dataset.old")
    assert page.evaluate(BOXES) == before
    assert page.evaluate("window.shifts") == 0


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_moves_when_the_scripts_come_late(site: Site, person: Open, size: dict[str, int]) -> None:
    """What the service writes is what the page goes on with: waiting times, too, are in the same words."""
    page = person(viewport=size)
    full(site)
    for minutes in (0.2, 1.2, 118, 1450):
        put_on_list(site.database, f"Phantom^{minutes}", minutes=minutes)
    expect(page.locator(".row")).to_have_count(12)
    held: list[Route] = []
    page.route("**/list.js*", lambda route: held.append(route))
    page.reload(wait_until="commit")
    expect(page.locator(".row")).to_have_count(12)
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
    page.evaluate(COUNT_SHIFTS)
    before = _waiting(page)
    held[0].continue_()
    page.wait_for_load_state()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("window.shifts") == 0
    assert _waiting(page) == before


def _waiting(page: Page) -> list[str]:
    """The words of each waiting time; seconds, which run on, without their number."""
    return [re.sub(r"^\d+ s$", "s", each) for each in page.locator("[data-waiting]").all_inner_texts()]
