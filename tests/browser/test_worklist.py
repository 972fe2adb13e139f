"""The worklist as a radiologist has it open all day, in a real browser, on the whole service."""

from __future__ import annotations

import signal

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from ich_triage.domain.states import StudyState
from tests.browser.conftest import READER, SECOND, Open, Site, is_open
from tests.chromium import Watch
from tests.heads import tiny_head
from tests.listed import put_on_list

pytestmark = pytest.mark.peer

_SET_PATIENCE = "words => document.querySelector('#filters').setAttribute('hx-request', words)"
#: programs, to a page that does not escape them; a word longer than any column; right to left
HOSTILE = (
    "<script>ran()</script>",
    '"><img src=x onerror="ran()">',
    "{{ 7 * 7 }} javascript:ran()",
    "Very" * 80,
    "\u202eمريض",
)


def row(page: Page, uid: str) -> Locator:
    """A study's row."""
    return page.locator(f'.row[data-uid="{uid}"]')


def order(page: Page) -> list[str]:
    """UIDs of the rows from the top."""
    found: list[str] = page.locator(".row").evaluate_all("rows => rows.map(row => row.dataset.uid)")
    return found


def chosen(page: Page) -> Locator:
    """The row that keys act on."""
    return page.locator(".row.chosen")


def count(page: Page, kind: str) -> Locator:
    """The number on a chip."""
    return page.locator(f"#count-{kind}")


def a_minute_later(page: Page) -> bool:
    """Put its clock forward until it has looked again."""
    with page.expect_response("**/rows") as answer:
        page.clock.fast_forward(61_000)
    return answer.value.ok


def answers(site: Site, uid: str) -> dict[str, bool]:
    """Reader to answer, as the database counts them."""
    return {each["reader"]: each["agrees"] for each in site.study(uid)["feedback"]}


@pytest.fixture
def clocked(page: Page) -> Page:
    """The worklist with a clock that a test can put forward."""
    page.clock.install()
    page.reload()
    return page


def test_a_study_appears_and_rises_without_reload(site: Site, page: Page) -> None:
    """From the scanner's C-STORE to its place on top, on the page that was open all the while."""
    page.evaluate("window.stayed = true")
    quiet = site.send(tiny_head(name="Phantom^Quiet"))
    expect(row(page, quiet)).to_contain_text("Not flagged")
    site.hold.touch()
    bleed = site.send(tiny_head(name="Phantom^Bleed", clot=True))
    expect(row(page, bleed)).to_contain_text("In progress")
    site.hold.unlink()
    expect(row(page, bleed)).to_contain_text("Flagged")
    expect(row(page, bleed)).to_contain_text("IPH left")
    expect(page.locator(".row").first).to_have_attribute("data-uid", bleed)
    assert order(page) == [bleed, quiet]
    assert page.evaluate("window.stayed")


def test_states_are_told_apart_by_word_and_by_mark(site: Site, page: Page) -> None:
    """Colour is not needed: each state has its word, each kind its shape. Chips count them."""
    site.hold.touch()
    waits = site.send(tiny_head(name="Phantom^Waits"))
    for state in set(StudyState) - {StudyState.IN_PROGRESS}:
        put_on_list(site.database, f"Phantom^{state}", state)
    expect(page.locator(".row")).to_have_count(6)
    expect(row(page, waits)).to_contain_text("In progress")
    words = page.locator(".row .state").all_inner_texts()
    assert [each.strip().lower() for each in words[:1] + words[-1:]] == ["flagged", "not flagged"]
    assert len(set(words)) == 6
    marks = page.locator(".row .mark").evaluate_all(
        "all => all.map(e => getComputedStyle(e, '::before').content)"
    )
    assert len(set(marks)) == 5  # receiving and in progress are the same kind of waiting
    told = {
        kind: count(page, kind).inner_text() for kind in ("flagged", "not_analysed", "open", "not_flagged")
    }
    assert told == {"flagged": "1", "not_analysed": "1", "open": "3", "not_flagged": "1"}
    expect(page.locator(".row.not_analysed")).to_contain_text("contrast agent was given")
    heights = page.locator(".row").evaluate_all("rows => rows.map(row => row.offsetHeight)")
    assert len(set(heights)) == 1  # no row moves another one when its state changes


def test_filters_leave_what_is_asked_for(site: Site, page: Page) -> None:
    """A chip shows its kind alone while the others still count; without feedback hides what was answered."""
    bleed = put_on_list(site.database, "Phantom^Bleed")
    quiet = put_on_list(site.database, "Phantom^Quiet", StudyState.NOT_FLAGGED)
    expect(page.locator(".row")).to_have_count(2)
    page.get_by_label("Not flagged").check()
    expect(page.locator(".row")).to_have_count(1)
    assert order(page) == [quiet]
    expect(count(page, "flagged")).to_have_text("1")
    page.get_by_label("Not flagged").uncheck()
    page.get_by_label("Without feedback").check()
    row(page, bleed).click(position={"x": 5, "y": 5})
    page.keyboard.press("a")
    expect(page.locator(".row")).to_have_count(1)
    page.reload()
    expect(page.get_by_label("Without feedback")).to_be_checked()
    expect(page.locator(".row")).to_have_count(1)


def test_what_is_searched_for_is_in_no_address(site: Site, page: Page) -> None:
    """Names travel in the body of a request alone, and never stand in the browser's history."""
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    found = put_on_list(site.database, "Abernathy^Phantom")
    put_on_list(site.database, "Other^Phantom")
    expect(page.locator(".row")).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("abernathy")
    expect(page.locator(".row")).to_have_count(1)
    assert order(page) == [found]
    site.until(
        lambda: page.evaluate("1") and any("abernathy" in (each.post_data or "") for each in asked),
        what="the whole word",  # who types slowly is answered letter by letter
    )
    assert not any("abernathy" in each.url for each in asked)
    assert "abernathy" not in page.url
    page.keyboard.type(" nobody")
    expect(page.locator(".none")).to_have_text("No study with news in the last 72 hours matches.")


def test_the_list_is_turned_page_by_page(site: Site, page: Page) -> None:
    """What does not fit stands on later pages; a filter goes back to the first."""
    for number in range(25):
        put_on_list(site.database, f"Phantom^{number:02d}", minutes=100 - number)
    expect(page.locator(".pager")).to_contain_text("25 studies of the last 72 hours, page 1 of 2")
    expect(page.locator(".row")).to_have_count(20)
    page.get_by_role("button", name="Later in the list").click()
    expect(page.locator(".row")).to_have_count(5)
    expect(page.locator(".row").last).to_contain_text("Phantom, 24")
    page.locator("#search").fill("24")
    expect(page.locator(".pager")).to_contain_text("1 study of the last 72 hours, page 1 of 1")


def test_an_answer_on_its_way_does_not_turn_the_list_back(site: Site, page: Page) -> None:
    """Who turns the page while the list is being fetched gets the page they asked for."""
    for number in range(25):
        put_on_list(site.database, f"Phantom^{number:02d}", minutes=100 - number)
    expect(page.locator(".pager")).to_contain_text("page 1 of 2")
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        held.append(route)
        if len(held) > 1:
            route.continue_()

    page.route("**/rows", hold_first)
    with page.expect_request("**/rows"):
        page.evaluate("htmx.trigger('#filters', 'again')")
    site.until(lambda: page.evaluate("1") and held, what="the list being fetched")
    page.get_by_role("button", name="Later in the list").click()
    held[0].continue_()
    expect(page.locator(".row").last).to_contain_text("Phantom, 24")
    expect(page.locator(".row")).to_have_count(5)


def test_a_page_that_is_no_more_becomes_the_last_there_is(site: Site, page: Page) -> None:
    """Who looks at the end of a list that becomes shorter asks for its new end from then on."""
    put_on_list(site.database, "Phantom^Only")
    page.evaluate("document.querySelector('[name=page]').value = 9; htmx.trigger('#filters', 'again')")
    expect(page.locator("[name=page]")).to_have_value("1")
    expect(page.locator(".row")).to_have_count(1)


def test_keys_reach_everything(site: Site, page: Page) -> None:
    """j and k choose, Enter opens, / searches, ? helps, Escape leads back."""
    first, second = (put_on_list(site.database, f"Phantom^{n}", minutes=9 - n) for n in (1, 2))
    expect(page.locator(".row")).to_have_count(2)
    for key, uid in (("j", first), ("j", second), ("j", second), ("k", first)):
        page.keyboard.press(key)
        expect(chosen(page)).to_have_attribute("data-uid", uid)
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    expect(chosen(page)).to_have_attribute("data-uid", first)
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/studies/{second}")
    page.keyboard.press("Escape")
    page.wait_for_url("**/")


def test_feedback_is_one_key_and_another_key_changes_it(site: Site, page: Page) -> None:
    """Stored under the reader's name and shown in the row; the study moves last, and stays the chosen one."""
    first, second = (put_on_list(site.database, f"Phantom^{n}", minutes=9 - n) for n in (1, 2))
    expect(page.locator(".row")).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(row(page, first)).to_contain_text("agrees")
    assert answers(site, first) == {READER: True}
    assert order(page) == [second, first]
    page.keyboard.press("d")
    expect(row(page, first)).to_contain_text("disagrees")
    assert answers(site, first) == {READER: False}
    page.keyboard.press("j")
    expect(chosen(page)).to_have_attribute("data-uid", second)
    assert answers(site, second) == {}


@pytest.mark.risk("R-027")
def test_of_two_quick_answers_the_later_is_kept(site: Site, page: Page) -> None:
    """The second one is not sent before the first one is kept, however long that takes."""
    uid = put_on_list(site.database, "Phantom^Quick")
    expect(page.locator(".row")).to_have_count(1)
    sent: list[Route] = []
    page.route("**/feedback", lambda route: sent.append(route))
    page.keyboard.press("j")
    page.keyboard.press("a")
    page.keyboard.press("d")
    assert page.evaluate(
        "() => fetch('/static/icon.svg').then(answer => answer.ok)"
    )  # asked for after both keys
    assert len(sent) == 1
    sent[0].continue_()
    site.until(lambda: page.evaluate("1") and len(sent) == 2, what="the second answer")
    sent[1].continue_()
    expect(row(page, uid)).to_contain_text("disagrees")
    assert answers(site, uid) == {READER: False}


def test_a_study_without_result_takes_no_feedback(site: Site, page: Page) -> None:
    """The key says why nothing was kept."""
    put_on_list(site.database, "Phantom^Contrast", StudyState.NOT_ANALYSED)
    expect(page.locator(".row")).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("has no result to agree or disagree with")


def test_the_chosen_study_stays_the_same_one(site: Site, page: Page) -> None:
    """Rows that come in above it change neither what keys act on nor where the focus is."""
    mine = put_on_list(site.database, "Phantom^Mine")
    expect(page.locator(".row")).to_have_count(1)
    page.keyboard.press("j")
    above = put_on_list(site.database, "Phantom^Above", stat=True)
    expect(page.locator(".row")).to_have_count(2)
    assert order(page) == [above, mine]
    expect(chosen(page)).to_have_attribute("data-uid", mine)
    expect(row(page, mine).get_by_role("link")).to_be_focused()


def test_who_reads_further_down_is_left_there(site: Site, page: Page) -> None:
    """A refresh does not scroll back to the chosen study."""
    for number in range(20):
        put_on_list(site.database, f"Phantom^{number:02d}", minutes=100 - number)
    expect(page.locator(".row")).to_have_count(20)
    page.keyboard.press("j")
    page.mouse.move(600, 400)
    page.mouse.wheel(0, 900)
    page.wait_for_function("() => window.scrollY > 300")
    before = page.evaluate("window.scrollY")
    put_on_list(site.database, "Phantom^New", StudyState.NOT_FLAGGED)
    expect(page.locator(".pager")).to_contain_text("21 studies")
    assert page.evaluate("window.scrollY") == before


@pytest.mark.risk("R-009")
def test_a_long_wait_is_told(site: Site, page: Page) -> None:
    """After [worklist] rise_after_s a study that was not flagged is read beside the unknown."""
    unknown = put_on_list(site.database, "Phantom^Unknown", StudyState.NOT_ANALYSED)
    waits = put_on_list(site.database, "Phantom^Waits", StudyState.NOT_FLAGGED, minutes=250)
    expect(page.locator(".row")).to_have_count(2)
    assert order(page) == [waits, unknown]
    expect(row(page, waits)).to_contain_text("waits long")
    expect(row(page, waits)).to_contain_text("4 h 10 min")


@pytest.mark.risk("R-107")
def test_names_are_text_whatever_they_hold(site: Site, page: Page) -> None:
    """DICOM names are hostile input: they are shown as they are, run nothing, and break no row."""
    ran: list[None] = []
    page.expose_function("ran", lambda: ran.append(None))
    page.reload()
    for text in HOSTILE:
        uid = put_on_list(site.database, text.replace("=", "-"), study_description=text, patient_id=text)
        expect(row(page, uid).locator(".line")).to_have_text(text)
        expect(row(page, uid).get_by_role("link")).to_have_text(text.replace("=", "-"))
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(fits)
    for uid in order(page):
        page.goto(f"/studies/{uid}")
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate(fits)
    assert page.locator("main script, main img").count() == 0
    assert not ran


def test_two_readers_see_each_other(site: Site, page: Page, person: Open) -> None:
    """An answer given in one browser stands in the other one, with the name, without a reload."""
    uid = put_on_list(site.database, "Phantom^Shared")
    other = person(SECOND)
    expect(row(page, uid)).to_be_visible()
    expect(row(other, uid)).to_be_visible()
    other.keyboard.press("j")
    other.keyboard.press("d")
    expect(row(page, uid)).to_contain_text(SECOND)
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(row(other, uid)).to_contain_text(READER)
    assert answers(site, uid) == {READER: True, SECOND: False}


@pytest.mark.risk("R-022")
def test_a_lost_connection_shows_and_mends_itself(site: Site, page: Page, watches: list[Watch]) -> None:
    """The web process is killed: the page says that it may be out of date, and catches up by itself."""
    put_on_list(site.database, "Phantom^Before")
    expect(page.locator(".row")).to_have_count(1)
    lost = page.get_by_text("No connection to the service: this list")
    expect(lost).to_be_hidden()
    site.web.kill()
    expect(lost).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("Not kept: no connection")
    uid = put_on_list(site.database, "Phantom^Meanwhile")
    site.web = site.start("web")
    site.until(lambda: is_open(site.web_port), what="web")
    expect(row(page, uid)).to_be_visible()
    expect(lost).to_be_hidden()
    watches[0].forget()


@pytest.mark.risk("R-022")
def test_a_dead_worker_shows_though_no_study_comes(site: Site, clocked: Page) -> None:
    """Nobody tells a page that a worker has died: it looks every minute."""
    told = clocked.get_by_text("No worker is alive")
    expect(told).to_be_hidden()
    site.worker.kill()
    site.until(lambda: a_minute_later(clocked) and told.is_visible(), what="words on the dead worker")
    site.start_worker()
    site.until(lambda: a_minute_later(clocked) and told.is_hidden(), what="words on the new worker to go")


@pytest.mark.risk("R-022")
def test_a_service_that_hangs_shows(site: Site, clocked: Page, watches: list[Watch]) -> None:
    """A connection that is open and says nothing is a lost one, too."""
    patience = clocked.locator("#filters").get_attribute("hx-request")
    clocked.evaluate(_SET_PATIENCE, '{"timeout": 300}')
    site.web.send(signal.SIGSTOP)
    try:
        clocked.clock.fast_forward(61_000)
        expect(clocked.locator("#lost")).to_be_visible()
    finally:
        site.web.send(signal.SIGCONT)
    clocked.evaluate(_SET_PATIENCE, patience)  # it may take longer than that on a busy machine
    clocked.clock.fast_forward(61_000)
    expect(clocked.locator("#lost")).to_be_hidden()
    watches[0].forget()


def test_a_session_that_has_ended_leads_to_the_log_in(site: Site, page: Page) -> None:
    """An open list never stays on screen for who is not logged in any more."""
    with page.expect_response("**/rows"):  # the stream's first word: it is open
        page.reload()
    page.context.clear_cookies()
    put_on_list(site.database, "Phantom^New")
    page.wait_for_url("**/login")


def test_a_stream_that_is_refused_leads_to_the_log_in(site: Site, page: Page, watches: list[Watch]) -> None:
    """The session ends while the connection is lost: no event ever comes that would show it."""
    with page.expect_response("**/rows"):  # else the stream's first word could end the session before that
        page.reload()
    page.context.clear_cookies()
    site.web.kill()
    site.web = site.start("web")
    site.until(lambda: is_open(site.web_port), what="web")
    page.wait_for_url("**/login")
    watches[0].forget()
