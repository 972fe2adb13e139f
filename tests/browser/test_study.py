"""The page of one study in a real browser: pictures, findings, feedback, and what it says without them."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect
from sqlalchemy import select

from ich_triage.domain.input_spec import BONE, BRAIN, Window
from ich_triage.imaging import windows
from ich_triage.imaging.header import read_study
from ich_triage.imaging.stacks import split
from ich_triage.imaging.volume import assemble
from ich_triage.store.tables import Study
from tests.browser.conftest import BROKEN_HU, READER, Open, Site
from tests.heads import SLICES, tiny_head

pytestmark = pytest.mark.peer

STAGE = "#stage"
#: the canvas as a PNG, which loses nothing
PICTURE = "document.getElementById('picture').toDataURL('image/png')"
#: words that stand on more than one line
BROKEN = """table => [...table.querySelectorAll('th, td')].flatMap(cell => {
  const text = [...cell.childNodes].find(each => each.nodeType === Node.TEXT_NODE && each.data.trim());
  return !text ? [] : [...text.data.matchAll(/\\S+/g)].filter(word => {
    const range = document.createRange();
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    return range.getClientRects().length > 1;
  }).map(word => word[0]);
})"""
#: what a browser tells a page when another tab is brought before it
HIDE = """() => {
  Object.defineProperty(document, 'hidden', { value: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@dataclass(frozen=True, kw_only=True)
class Studies:
    """UIDs of what a site has."""

    #: with a clot
    flagged: str
    #: without
    quiet: str
    #: three slices
    not_analysed: str
    #: the analysis stopped with an error
    failed: str
    #: pixels that end too early
    unreadable: str


@pytest.fixture(scope="module")
def studies(whole_site: Site) -> Studies:
    """One study of each kind, sent by DICOM."""
    broken, cut = tiny_head(name="Phantom^Broken"), tiny_head(name="Phantom^Cut")
    for ds in broken:
        ds.PixelData = BROKEN_HU.to_bytes(2, "little", signed=True) + ds.PixelData[2:]
    for ds in cut:
        ds.PixelData = ds.PixelData[:100]
    found = Studies(
        flagged=whole_site.send(tiny_head(name="Phantom^Bleed", clot=True)),
        quiet=whole_site.send(tiny_head(name="Phantom^Quiet")),
        not_analysed=whole_site.send(tiny_head(name="Phantom^Short", last=3)),
        failed=whole_site.send(broken),
        unreadable=whole_site.send(cut),
    )
    whole_site.until_final(*vars(found).values())
    return found


@pytest.fixture
def flagged(page: Page, studies: Studies) -> Page:
    """The page of the study with a clot, its first picture drawn."""
    return opened(page, studies.flagged)


def opened(page: Page, uid: str) -> Page:
    """A study's page with a picture on it."""
    page.goto(f"/studies/{uid}")
    expect(page.locator("#where")).not_to_be_empty()
    return page


def at(page: Page, index: int) -> None:
    """The slice in view."""
    expect(page.locator(STAGE)).to_have_attribute("data-slice", str(index))


def drawn(page: Page) -> NDArray[np.int_]:
    """Grey values (Y, X) on the canvas."""
    png = b64decode(page.evaluate(PICTURE).partition(",")[2])
    return np.asarray(Image.open(BytesIO(png)).convert("L")).astype(int)


def demanded(site: Site, uid: str, index: int, window: Window) -> NDArray[np.int_]:
    """Grey values (Y, X) that the service's own pixel path gives for a slice in a window."""
    headers, _ = read_study(sorted((site.spool / "studies" / uid).glob("*.dcm")))
    (series,) = split(headers)
    return np.floor(windows.apply(assemble(series).hu[index], window) * 255).astype(int)


def test_slices_are_drawn_as_the_window_demands(site: Site, flagged: Page, studies: Studies) -> None:
    """Every pixel of the key slice, in two windows, is what `imaging` makes of the same file."""
    index = site.study(studies.flagged)["analysis"]["findings"][0]["key_slice"]["index"]
    at(flagged, index)
    for name, window in (("Brain", BRAIN), ("Bone", BONE)):
        flagged.get_by_role("button", name=name).click()
        expect(flagged.locator("#window")).to_have_text(f"L {window.level} W {window.width}")
        wanted = demanded(site, studies.flagged, index, window)
        assert wanted.max() > wanted.min()
        assert np.abs(drawn(flagged) - wanted).max() <= 1


def test_slices_scroll_by_wheel_keys_and_slider(flagged: Page) -> None:
    """Down is towards the feet whatever moves it, and the ends are ends."""
    scroll = flagged.locator("#scroll")
    scroll.evaluate("(range, value) => { range.value = value; range.dispatchEvent(new Event('input')); }", 5)
    at(flagged, 5)
    flagged.keyboard.press("ArrowUp")
    at(flagged, 6)
    flagged.keyboard.press("j")
    at(flagged, 5)
    flagged.locator(STAGE).hover()
    flagged.mouse.wheel(0, 100)
    at(flagged, 4)
    flagged.mouse.wheel(0, -100)
    at(flagged, 5)
    scroll.focus()
    flagged.keyboard.press("End")
    at(flagged, SLICES - 1)
    flagged.keyboard.press("ArrowUp")
    at(flagged, SLICES - 1)
    expect(flagged.locator("#where")).to_contain_text(f"{SLICES} / {SLICES}")


def test_windows_change_by_key_and_by_dragging(flagged: Page) -> None:
    """Each preset has its number; dragging to the side widens, dragging up brightens the level."""
    shown = flagged.locator("#window")
    for key, words in (("2", "L 80 W 200"), ("3", "L 600 W 2800"), ("4", "L 32 W 8"), ("1", "L 40 W 80")):
        flagged.keyboard.press(key)
        expect(shown).to_have_text(words)
    expect(flagged.get_by_role("button", name="Brain")).to_have_attribute("aria-pressed", "true")
    before = drawn(flagged)
    box = flagged.locator(STAGE).bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    flagged.mouse.move(x, y)
    flagged.mouse.down()
    flagged.mouse.move(x + 40, y - 30)
    flagged.mouse.up()
    expect(shown).to_have_text("L 70 W 160")
    assert (drawn(flagged) != before).any()
    expect(flagged.get_by_role("button", name="Brain")).to_have_attribute("aria-pressed", "false")


def test_outlines_are_lines_that_never_hide_the_picture(flagged: Page) -> None:
    """They come and go above the picture, are not filled, and change no pixel of it."""
    lines = flagged.locator("#lines polyline")
    expect(lines).not_to_have_count(0)
    assert set(lines.evaluate_all("all => all.map(line => getComputedStyle(line).fill)")) == {"none"}
    with_lines = drawn(flagged)
    flagged.keyboard.press("o")
    expect(lines).to_have_count(0)
    expect(flagged.locator("#outlines")).to_have_attribute("aria-pressed", "false")
    assert (drawn(flagged) == with_lines).all()
    flagged.get_by_role("button", name="Outlines").click()
    expect(lines).not_to_have_count(0)


def test_outlines_lie_around_what_was_found(site: Site, flagged: Page, studies: Studies) -> None:
    """In pixels of the picture, the outline of the clot encloses its dense voxels and little else."""
    index = site.study(studies.flagged)["analysis"]["findings"][0]["key_slice"]["index"]
    points = flagged.locator("#lines polyline").first.get_attribute("points")
    assert points
    x, y = np.array([float(each) for each in points.split()]).reshape(-1, 2).T
    rows, columns = np.nonzero(demanded(site, studies.flagged, index, Window(level=75, width=1)) == 127)
    assert (x.min(), y.min()) == pytest.approx((columns.min() - 0.5, rows.min() - 0.5))
    assert (x.max(), y.max()) == pytest.approx((columns.max() + 0.5, rows.max() + 0.5))


def test_no_word_of_the_findings_is_broken_on_a_phone(flagged: Page) -> None:
    """Each stands on one line."""
    flagged.set_viewport_size({"width": 390, "height": 844})
    lines = flagged.locator(".findings").evaluate(BROKEN)
    assert lines == []


def test_findings_and_strip_lead_to_their_slices(site: Site, flagged: Page, studies: Studies) -> None:
    """The key slice's button and a click on the probability strip show that slice."""
    key = site.study(studies.flagged)["analysis"]["findings"][0]["key_slice"]["index"]
    strip = flagged.locator("#strip")
    box = strip.bounding_box()
    assert box
    strip.click(position={"x": box["width"] * 2.5 / SLICES, "y": 20})
    at(flagged, 2)
    expect(flagged.locator("#where")).to_contain_text("any 90%")
    flagged.get_by_role("button", name=str(key + 1), exact=True).click()
    at(flagged, key)


def test_feedback_takes_subtype_and_note(site: Site, flagged: Page, studies: Studies) -> None:
    """One key answers; what is named and noted is kept with it, and stands there after a reload."""
    flagged.keyboard.press("a")
    expect(flagged.locator("#kept")).to_have_text("Kept: you agree.")
    flagged.get_by_label("IPH").check()
    flagged.get_by_label("Note").fill("a dense clot")
    flagged.get_by_label("Note").blur()
    site.until(lambda: _mine(site, studies.flagged).get("note"), what="the note")
    told = _mine(site, studies.flagged)
    assert (told["agrees"], told["subtypes"], told["note"]) == (True, ["intraparenchymal"], "a dense clot")
    assert told["weights_sha256"] == "cd" * 32
    flagged.reload()
    expect(flagged.get_by_label("IPH")).to_be_checked()
    expect(flagged.get_by_label("Note")).to_have_value("a dense clot")
    flagged.get_by_label("IPH").uncheck()
    flagged.get_by_role("button", name="Disagree").click()
    expect(flagged.locator("#kept")).to_have_text("Kept: you disagree.")
    assert _mine(site, studies.flagged)["agrees"] is False


def test_feedback_that_contradicts_itself_is_refused_in_words(
    site: Site, page: Page, studies: Studies
) -> None:
    """No bleed and yet a subtype: the page says so, and nothing is kept."""
    opened(page, studies.quiet)
    page.get_by_label("SAH").check()
    page.keyboard.press("a")
    expect(page.locator("#kept")).to_contain_text("name at least one where there is a bleed")
    assert not site.study(studies.quiet)["feedback"]


def test_the_report_can_be_read_as_text(flagged: Page) -> None:
    """What went to the PACS, item by item."""
    flagged.get_by_role("link", name="The report as text").click()
    expect(flagged.locator(".report li").first).to_be_visible()
    told = flagged.locator(".report").inner_text()
    assert "Intraparenchymal" in told
    assert "not flagged is not negative" in told


def test_the_sites_own_viewer_is_one_click_away(flagged: Page, studies: Studies) -> None:
    """The link follows the template of the configuration."""
    link = flagged.get_by_role("link", name="Open in viewer")
    wanted = f"https://viewer.example/open?study={studies.flagged}&accession=ACC9"
    expect(link).to_have_attribute("href", wanted)


@pytest.mark.risk("R-002")
def test_what_was_not_analysed_never_looks_negative(page: Page, studies: Studies) -> None:
    """It says so, and why; it has pictures, and nothing that could be taken for a result."""
    for uid, state in ((studies.not_analysed, "Not analysed"), (studies.failed, "Failed")):
        opened(page, uid)
        expect(page.locator("h1")).to_contain_text(state)
        expect(page.locator(".study-head .banner").first).not_to_be_empty()
        words = page.locator("main").inner_text()
        assert "No model has answered. This is not a negative result." in words
        assert "There is no result to agree with." in words
        assert "flagged" not in words.lower()
        expect(page.locator("#strip")).to_be_hidden()


def _reached(site: Site, uid: str) -> tuple[str, int] | None:
    """State and images of the study, once its first has arrived."""
    with site.database.read() as session:
        found = session.scalar(select(Study).where(Study.study_instance_uid == uid))
        return None if found is None else (found.state, found.instance_count)


def test_a_study_in_progress_says_so(site: Site, page: Page) -> None:
    """Its pictures can be read before any model has looked; once one has, the page says that it is old."""
    site.hold.touch()
    images = tiny_head(name="Phantom^Open")
    uid = site.send(images)
    whole = ("in_progress", len(images))
    site.until(lambda: _reached(site, uid) == whole, what="all slices, in progress")
    opened(page, uid)
    expect(page.locator("h1")).to_contain_text("In progress")
    assert drawn(page).max() > 0
    site.hold.unlink()
    expect(page.locator("#news")).to_contain_text("has changed since the page was loaded")
    expect(page.locator("h1")).to_contain_text("In progress")
    page.get_by_role("link", name="Load it again").click()
    expect(page.locator("h1")).to_contain_text("Not flagged")


def test_tabs_that_nobody_sees_hold_no_connection(page: Page, studies: Studies) -> None:
    """A browser has six to one address: with more studies open than that, the list still answers."""
    for _ in range(7):
        tab = page.context.new_page()
        opened(tab, studies.quiet)
        tab.evaluate(HIDE)
    page.reload()
    expect(page.locator(".list")).to_be_visible()


def test_pictures_that_cannot_be_read_give_words(page: Page, studies: Studies) -> None:
    """A black square would look like a picture."""
    page.goto(f"/studies/{studies.unreadable}")
    expect(page.locator("#trouble")).to_be_visible()
    expect(page.locator("#trouble")).to_contain_text("cannot be shown")
    expect(page.locator("h1")).to_contain_text("Not analysed")


def test_an_unknown_study_is_refused_in_words(page: Page) -> None:
    """With a way back."""
    page.goto("/studies/1.2.3.4")
    expect(page.get_by_role("heading", name="Not Found")).to_be_visible()
    page.get_by_role("link", name="Back to the worklist").click()
    page.wait_for_url("**/")


def test_another_readers_answer_stands_beside_ones_own(
    site: Site, page: Page, person: Open, studies: Studies
) -> None:
    """With the name; an admin reads it, too, and gives none."""
    opened(page, studies.quiet).keyboard.press("a")
    expect(page.locator("#kept")).to_have_text("Kept: you agree.")
    other = opened(person("dr second"), studies.quiet)
    expect(other.get_by_text(f"{READER} agrees")).to_be_visible()
    admin = opened(person("the admin"), studies.quiet)
    expect(admin.get_by_text("Radiologists answer.")).to_be_visible()
    admin.keyboard.press("a")
    expect(admin.get_by_role("button", name="Agree")).to_have_count(0)
    assert [each["reader"] for each in site.study(studies.quiet)["feedback"]] == [READER]


def _mine(site: Site, uid: str) -> dict[str, object]:
    return next((each for each in site.study(uid)["feedback"] if each["reader"] == READER), {})
