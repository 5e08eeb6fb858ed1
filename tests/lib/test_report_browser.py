"""The report in a real browser: what scripts do, what the policy forbids, phone, dark and print."""

import re

import pytest
from made_run import small_run

from bench.browser import browser, chromium
from stages import evaluate

pytestmark = pytest.mark.skipif(chromium() is None, reason="needs Chromium on PATH")

PARAMS = evaluate.Params(
    bootstrap_draws=200,
    confidence=0.95,
    ece_bins=10,
    seed=0,
    top_k=2,
    max_answered_error=0.02,
    min_slice_size=5,
)
PAINT = "new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))"
HOSTILE = '"><script>document.title = "taken"</script><img src=x onerror="document.title=1">'
SHOW = "document.querySelector('{}').scrollIntoView({{behavior: 'instant', block: 'center'}})"


def made_page(tmp_path, **how):
    made = small_run(tmp_path / "made", **how)
    evaluate.run(PARAMS, **made.folders(), out=tmp_path / "out")
    return tmp_path / "out" / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return made_page(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def window():
    with browser() as found:
        yield found


@pytest.fixture
def shown(window, page):
    window.size(1280, 900)
    window.media()
    window.open(page)
    return window


def column(window, place):
    """Return the texts of a column of the table of results, without the small print."""
    cells = f"document.querySelectorAll('[aria-label=\"Table of results\"] tbody tr > :nth-child({place})')"
    return window.run(f"[...{cells}].map(cell => cell.firstChild.textContent.trim())")


def heading(window, place):
    return f"document.querySelector('[aria-label=\"Table of results\"] thead th:nth-child({place})')"


def scroll_through(window):
    script = "(async () => { for (let y = 0; y < document.body.scrollHeight; y += 600) {"
    script += f" scrollTo({{top: y, behavior: 'instant'}}); await {PAINT}; }} }})()"
    window.run(script)


def plot_range(window):
    """Return (low, high) of the x axis of the first plot as it tells them; None where it shows everything."""
    window.run(PAINT)
    told = window.run("document.querySelector('.plot .readout').textContent")
    assert window.run("document.querySelector('.plot').classList.contains('zoomed')") == bool(told)
    return tuple(map(float, re.findall(r"[\d.]+", told))) or None


def test_the_page_asks_for_nothing_and_the_console_stays_empty(shown, page):
    scroll_through(shown)
    assert shown.requests() == [page.resolve().as_uri()]
    assert shown.complaints() == []
    assert shown.run("document.querySelectorAll('.plot').length") >= 10
    assert shown.run("document.querySelectorAll('svg[data-chart]:not(.printed)').length") == 0


def test_a_column_of_numbers_sorts_by_value_and_comes_back(shown):
    before = column(shown, 5)
    button = f"{heading(shown, 5)}.querySelector('button')"
    shown.run(f"{button}.click()")
    values = [float(text) for text in column(shown, 5)]
    assert values == sorted(values, reverse=True)
    assert shown.run(f"{heading(shown, 5)}.ariaSort") == "descending"
    shown.run(f"{button}.click()")
    assert [float(text) for text in column(shown, 5)] == sorted(values)
    shown.run(f"{button}.click()")
    assert column(shown, 5) == before
    assert shown.run(f"{heading(shown, 5)}.ariaSort") is None


def test_the_keyboard_sorts_text_and_equal_rows_keep_their_order(shown):
    before = list(zip(column(shown, 1), column(shown, 7), strict=True))
    shown.run(f"{heading(shown, 7)}.querySelector('button').focus()")
    shown.key("Enter", "\r")
    assert shown.run(f"{heading(shown, 7)}.ariaSort") == "descending"
    assert list(zip(column(shown, 1), column(shown, 7), strict=True)) == before  # all have the same n
    shown.run(f"{heading(shown, 1)}.querySelector('button').focus()")
    shown.key(" ", " ")
    names = column(shown, 1)
    assert names == sorted(names)
    assert shown.run(f"{heading(shown, 7)}.ariaSort") is None


def test_rows_of_different_questions_never_mix(shown):
    table = "document.querySelector('[aria-label=\"Table of comparisons\"] table')"
    read = f"[...{table}.tBodies].map(body => [...body.rows].map(row => row.cells[0].textContent.trim()))"
    before = shown.run(read)
    shown.run(f"{table}.querySelectorAll('th button')[1].click()")
    after = shown.run(read)
    assert after != before
    assert [set(body) for body in after] == [set(body) for body in before]
    assert [body[0] for body in after] == [body[0] for body in before]


def test_a_plot_zooms_by_mouse_and_a_double_click_brings_it_back(shown):
    shown.run(SHOW.format("svg[data-chart]"))
    shown.run(PAINT)
    assert plot_range(shown) is None
    x, y, width, height = shown.run(
        "(box => [box.x, box.y, box.width, box.height])"
        "(document.querySelector('.plot .u-over').getBoundingClientRect())"
    )
    shown.drag((x + 0.25 * width, y + 0.3 * height), (x + 0.75 * width, y + 0.32 * height))
    shown.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    low, high = plot_range(shown)
    left, right = frame(shown)
    assert (low - left, high - left) == pytest.approx(
        (0.25 * (right - left), 0.75 * (right - left)), abs=0.01
    )
    shown.run("document.querySelector('.plot .u-over').dispatchEvent(new MouseEvent('dblclick'))")
    assert plot_range(shown) is None
    assert shown.complaints() == []


def frame(window):
    """Return the whole range of the x axis of the first plot."""
    return window.run("JSON.parse(document.querySelector('svg[data-chart]').dataset.chart).frame.slice(0, 2)")


def test_a_plot_zooms_and_moves_by_key_and_by_button(shown):
    shown.run(SHOW.format("svg[data-chart]"))
    shown.run(PAINT)
    left, right = frame(shown)
    quarter = (right - left) / 4
    shown.run("document.querySelector('.plot').focus()")
    for key, low in (("+", left + quarter), ("ArrowLeft", left), ("ArrowRight", left + quarter)):
        shown.key(key, key if len(key) == 1 else "")
        assert plot_range(shown) == pytest.approx((low, low + 2 * quarter), abs=1e-3)
    shown.key("-", "-")
    assert plot_range(shown) is None
    buttons = "document.querySelectorAll('.plot:first-of-type .zoom button')"
    for place, middle in ((0, 2), (3, 3)):  # zoom in, then right
        shown.run(f"{buttons}[{place}].click()")
        low, high = plot_range(shown)
        assert (low + high) / 2 == pytest.approx(left + middle * quarter, abs=1e-3)
    shown.run(f"{buttons}[4].focus()")
    shown.key("Enter", "\r")
    assert plot_range(shown) is None
    assert shown.run("document.activeElement.ariaLabel") == "Zoom in"


def test_the_keyboard_reaches_every_plot_and_its_words_are_kept(shown):
    scroll_through(shown)
    told = shown.run("[...document.querySelectorAll('.plot')].map(p => [p.tabIndex, p.role, p.ariaLabel])")
    words = shown.run("[...document.querySelectorAll('svg[data-chart]')].map(svg => svg.ariaLabel)")
    assert len(told) == len(words)
    for (index, role, label), word in zip(told, words, strict=True):
        assert (index, role) == (0, "group")
        assert label.startswith(word)


def test_a_phone_never_scrolls_sideways(window, page):
    window.size(390, 844, phone=True)
    window.media()
    window.open(page)
    scroll_through(window)
    assert window.run("document.documentElement.scrollWidth") <= 390
    assert window.run("document.querySelectorAll('.plot').length") >= 10


def test_dark_ink_is_light_and_paper_is_dark(window, page):
    window.size(1280, 900)
    window.media(scheme="dark")
    window.open(page)
    paper, ink = window.run(
        "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
    )
    assert max(map(int, re.findall(r"\d+", paper))) < 60
    assert min(map(int, re.findall(r"\d+", ink))) > 200


def test_print_shows_the_drawings_and_none_of_what_is_pressed(window, page):
    window.size(794, 1123)
    window.media()
    window.open(page)
    scroll_through(window)
    window.media("print")
    visible = "[...document.querySelectorAll('{}')].filter(one => one.checkVisibility()).length"
    assert window.run(visible.format("svg[data-chart]")) >= 10
    assert window.run(visible.format(".plot, nav")) == 0
    assert window.pdf().startswith(b"%PDF")
    wide = "[...document.querySelectorAll('table')].filter(t => t.offsetWidth > innerWidth).length"
    assert window.run(wide) == 0


def test_without_its_scripts_the_page_is_whole(window, page):
    window.size(1280, 900)
    window.media()
    window.call("Emulation.setScriptExecutionDisabled", value=True)
    window.load(page)
    window.call("Emulation.setScriptExecutionDisabled", value=False)
    assert window.run("document.querySelectorAll('.plot, th button').length") == 0
    assert window.run("[...document.querySelectorAll('svg')].every(one => one.checkVisibility())")


def test_hostile_names_run_nothing_in_a_browser(window, tmp_path):
    page = made_page(tmp_path, classes=(HOSTILE, f"{HOSTILE} two", "owl"), word=HOSTILE)
    window.size(1280, 900)
    window.media()
    window.open(page)
    scroll_through(window)
    assert "taken" not in window.run("document.title")
    assert window.run("document.scripts.length") == 3
    assert window.complaints() == []


def test_the_policy_stops_a_script_that_is_not_the_pages_own(window, page, tmp_path):
    spoiled = tmp_path / "spoiled.html"
    spoiled.write_text(
        page.read_text().replace("</main>", "<script>document.title = 'taken'</script></main>")
    )
    window.open(spoiled)
    assert window.run("document.title") != "taken"
    assert any("Content Security Policy" in told for told in window.complaints())
