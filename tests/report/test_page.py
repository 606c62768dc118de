"""The page in a real browser: it asks nobody anything, sorts, filters, and shows names as text."""

import base64
import json
import re
import shutil
import subprocess
from itertools import pairwise
from types import SimpleNamespace

import pytest

from benchmark.report.board import Charge
from benchmark.report.page import _cheapest, labelled, linked
from benchmark.report.sentences import headline
from benchmark.report.words import letter_ranges

from .conftest import ATTACK, FEW, write_all

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1300,900",
)  # fmt: skip

CONTRAST = """
const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const rgba = (text) => {
  const n = text.match(/[\\d.]+/g).map(Number);
  return [n.slice(0, 3), n[3] ?? 1];
};
const background = (e) => {
  for (; e; e = e.parentElement) {
    const [colour, alpha] = rgba(getComputedStyle(e).backgroundColor);
    if (alpha === 1) return colour;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
};
let worst = [99, ""], seen = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !e.checkVisibility()) continue;
  const pair = [luminance(rgba(getComputedStyle(e).color)[0]), luminance(background(e))];
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  seen += 1;
  if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
}
return [seen, ...worst];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    started = webdriver.Chrome(options=options, service=service)
    yield started
    started.quit()


def emulate(browser, width=1300, scheme="light", mobile=False):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": mobile},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {
            "features": [
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]
        },
    )


def show(browser, folder, made, **changed):
    """A report of other material than the usual one."""
    made = SimpleNamespace(**{**vars(made), **changed})
    write_all(folder, made)
    browser.get((folder / "report.html").as_uri())


@pytest.fixture
def page(browser, report):
    emulate(browser)
    browser.get((report.folder / "report.html").as_uri())
    return browser


def requests(browser):
    """Addresses that pages have asked for since the last call, but for the browser's own pages."""
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [a["request"]["url"] for a in asked if not a["documentURL"].startswith("chrome://")]


def all_of(browser, css):
    return browser.find_elements("css selector", css)


def first(browser, css):
    return browser.find_element("css selector", css)


def text_of(browser, css):
    """Text of what can be seen, in order."""
    return [e.text for e in all_of(browser, css) if e.is_displayed()]


def column(browser, name):
    return text_of(browser, f"section.board:first-of-type td[data-name={name}] > span:first-child")


def methods(browser):
    return text_of(browser, "section.board:first-of-type table.leaderboard tbody th")


def choose(browser, name, option):
    select = pytest.importorskip("selenium.webdriver.support.select").Select
    select(first(browser, f"select[name={name}]")).select_by_visible_text(option)


def head(browser, name):
    return first(browser, f"section.board:first-of-type th[data-name={name}]")


def test_no_error_and_no_request(browser, report):
    requests(browser), browser.get_log("browser")
    address = (report.folder / "report.html").as_uri()
    browser.get(address)
    browser.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    asked = requests(browser)
    assert address in asked
    assert [url[:80] for url in asked if url != address and not url.startswith("data:")] == []
    assert browser.get_log("browser") == []
    broken = "return [...document.images].filter((i) => !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    assert browser.execute_script("return document.images.length") == 13


def test_the_test_would_notice(browser, tmp_path):
    """A page that does wrong is seen to do so."""
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png"><script>undefinedName()</script>')
    requests(browser), browser.get_log("browser")
    browser.get(bad.as_uri())
    assert "http://127.0.0.1:9/x.png" in requests(browser)
    assert any("undefinedName" in e["message"] for e in browser.get_log("browser"))


def test_no_address_is_loaded_by_the_markup(report):
    text = (report.folder / "report.html").read_text()
    for found in re.findall(r'(?:src|srcset|poster|action|data)="([^"]*)"', text):
        assert found.startswith("data:"), found[:80]
    assert not re.search(r"@import|url\(", text)
    assert "default-src 'none'" in text


def test_names_are_shown_as_text(page, report):
    assert ATTACK in methods(page)
    assert ATTACK not in (report.folder / "report.html").read_text()
    assert page.execute_script("return document.scripts.length") == 1
    page.execute_script(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=bad=1>')"
    )
    assert page.execute_script("return typeof bad") == "undefined"  # the policy holds
    page.get_log("browser")


def test_sorting(page):
    assert methods(page)[0] != ""
    start = methods(page)
    accuracy = head(page, "accuracy")
    button = accuracy.find_element("tag name", "button")
    button.click()
    assert accuracy.get_attribute("aria-sort") == "descending"
    values = [float(t) for t in column(page, "accuracy")]
    assert values == sorted(values, reverse=True)
    button.click()
    assert accuracy.get_attribute("aria-sort") == "ascending"
    assert [float(t) for t in column(page, "accuracy")] == sorted(values)
    assert "Sorted by Accuracy, ascending" in first(page, "#status").text
    assert len(all_of(page, "section.board:first-of-type th[aria-sort]")) == 1

    head(page, "nll").find_element("tag name", "button").click()
    assert column(page, "nll")[-1] == "∞"
    head(page, "nll").find_element("tag name", "button").click()
    assert column(page, "nll")[0] == "∞"
    first(page, "section.board:first-of-type thead th:nth-child(2) button").click()
    assert methods(page) == start


def test_sorting_by_keyboard(page):
    button = head(page, "ece").find_element("tag name", "button")
    page.execute_script("arguments[0].focus()", button)
    button.send_keys("\n")
    assert head(page, "ece").get_attribute("aria-sort") == "ascending"


def test_filtering(page):
    assert len(text_of(page, "section.board h3")) == 4
    choose(page, "dataset", "pneumoniamnist")
    shown = text_of(page, "section.board h3")
    assert len(shown) == 2
    assert all(t.startswith("pneumoniamnist") for t in shown)
    assert len(text_of(page, ".card")) == 1
    choose(page, "dataset", "All")

    first(page, "input[name=method]").send_keys("MHML")
    assert sorted(methods(page)) == ["mhml-2", "mhml-4"]
    assert first(page, "#status").text == "4 rows shown."
    first(page, "input[name=method]").clear()
    first(page, "input[name=method]").send_keys(" ")
    assert len(methods(page)) == len(FEW)

    assert column(page, "aurc") == []
    first(page, "input[value=aurc]").click()
    assert len(column(page, "aurc")) == len(FEW)
    first(page, "input[value=accuracy]").click()
    assert column(page, "accuracy") == []
    assert not head(page, "accuracy").is_displayed()


def test_pointing_at_a_method_fades_those_that_differ(page):
    rows = all_of(page, "section.board:first-of-type table.leaderboard tbody tr")
    letters = [
        [set(own.split()) for own in row.get_attribute("data-letters").split(",")] for row in rows
    ]
    assert {len(own) for own in letters} == {3}
    page.execute_script(
        "arguments[0].dispatchEvent(new Event('pointerover', {bubbles: true}))", rows[0]
    )
    faded = ["apart" in row.get_attribute("class") for row in rows]
    assert faded == [any(not a & b for a, b in zip(letters[0], own)) for own in letters]
    assert 0 < sum(faded) < len(faded)


def test_backbones_can_be_chosen(page):
    options = text_of(page, "select[name=backbone] option")
    assert options == ["All", "resnet18"]
    assert first(page, "select[name=backbone] option:last-child").get_dom_attribute("value") == (
        "resnet18"
    )


def test_definitions_are_one_click_away(page):
    first(page, "table.leaderboard a.method[href]").click()
    dialog = first(page, "dialog")
    assert dialog.is_displayed()
    assert "in one sentence" in dialog.text
    link = dialog.find_element("tag name", "a")
    assert link.get_attribute("href") == "https://arxiv.org/abs/2303.01099"
    dialog.find_element("css selector", "form button").click()
    assert not dialog.is_displayed()


def test_command_and_environment_are_there(page):
    assert first(page, "#command").text.startswith("python -m benchmark run")
    assert "Python 3.11.7" in first(page, "#made").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page, scheme):
    emulate(page, scheme=scheme)
    seen, worst, where = page.execute_script(CONTRAST)
    assert seen > 100
    assert worst >= 4.5, where


def test_differences_to_the_reference_and_to_the_best_can_be_unfolded(page):
    titles = text_of(page, "section.board:first-of-type details summary")
    assert titles == [
        "Differences to cross-entropy", "Differences to the best",
        "What could this table have seen?", "These trained networks",
        "These trained networks: differences to cross-entropy",
    ]  # fmt: skip


def test_letters_and_floors_stand_beside_the_values(page, few):
    board = few.boards[0]
    shown = text_of(page, "section.board:first-of-type td[data-name=ece]")
    for row, text in zip(board.rows, shown, strict=True):
        assert f"inside floor: {row.values['ece'].inside_floor:.0f} of 5" in text
        assert ("°" in text) == (row.values["ece"].inside_floor == 5)
        assert letter_ranges(row.places["ece"].group) in text
    bold = {
        row.find_element("css selector", "th a").text
        for row in all_of(page, "section.board:first-of-type table.leaderboard tbody tr")
        if row.find_elements("css selector", "td[data-name=nll] .best")
    }
    assert bold == {row.method for row in board.rows if row.places["nll"].best}


def test_the_card_says_what_the_tests_say(page, few):
    board = few.boards[0]
    card = " ".join(text_of(page, ".card")[0].split())
    for label, said in headline(board):
        assert f"{label} {''.join(said)}" in card
    links = first(page, ".card .facts a.method")
    assert links.get_attribute("href").partition("#")[2].startswith("method-")


def test_structure_for_those_who_do_not_see(page):
    outline = page.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((h) => +h.tagName[1])"
    )
    assert outline.count(1) == 1
    assert outline[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(outline))
    assert [len(all_of(page, t)) for t in ("header", "main", "nav")] == [1, 1, 1]
    for image in all_of(page, "img"):
        assert len(image.get_attribute("alt")) > 20
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('input, select')]"
        ".filter((e) => !e.labels.length).length"
    )
    assert unnamed == 0
    double = page.execute_script(
        "const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);"
        "return ids.length - new Set(ids).size"
    )
    assert double == 0
    dead = page.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')]"
        ".filter((a) => !document.getElementById(a.hash.slice(1))).length"
    )
    assert dead == 0


def test_a_phone_scrolls_tables_in_their_boxes(page):
    emulate(page, width=390, mobile=True)
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 390
    box = first(page, ".scroll")
    inside, outside = (page.execute_script(f"return arguments[0].{w}", box)
                       for w in ("scrollWidth", "clientWidth"))  # fmt: skip
    assert inside > outside


def test_a_phone_shows_a_metric_at_once_and_folds_the_choice_of_columns(page):
    folded = "#filters details:not([open])"
    assert not all_of(page, folded)
    emulate(page, width=390, mobile=True)
    page.refresh()
    assert all_of(page, folded)
    cell = first(page, "section.board:first-of-type td[data-name=accuracy]")
    right = "return arguments[0].getBoundingClientRect().right"
    assert page.execute_script(right, cell) <= page.execute_script(right, first(page, ".scroll"))


def test_columns_fit_a_usual_window_and_are_named_on_each_printed_page(browser, many, tmp_path):
    emulate(browser)
    show(browser, tmp_path, many)
    boxes = all_of(browser, "section.board > .scroll")
    assert len(boxes) == len(many.boards)
    for box in boxes:
        inside, outside = (browser.execute_script(f"return arguments[0].{w}", box)
                           for w in ("scrollWidth", "clientWidth"))  # fmt: skip
        assert inside <= outside
    _names_on_each_printed_page(browser, many, tmp_path / "page.pdf")


def _names_on_each_printed_page(browser, many, path):
    pdftotext = shutil.which("pdftotext") or pytest.skip("pdftotext is not installed")
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    path.write_bytes(base64.b64decode(pdf["data"]))
    said = subprocess.run([pdftotext, "-layout", path, "-"], capture_output=True, check=True)
    second_lines = [
        text for text in said.stdout.decode().split("\f")
        if re.search(r"%, ↑ better +%, ↓ better", text)
    ]  # fmt: skip
    assert len(second_lines) > len(many.boards)  # so that some table goes on on another page
    for text in second_lines:
        assert re.search(r"Method +Rank.* Accuracy +ECE", text)


def test_long_names_stay_on_the_page(browser, few, tmp_path):
    name = "convnext_tiny_in22k_ft_in1k_384_label_smoothing_0.1_run3" * 2
    emulate(browser, width=390, mobile=True)
    show(
        browser, tmp_path, few,
        methods=[{**few.methods[0], "summary": f"Predictions read from {name}.npz."}],
        provenance={**few.provenance, f"file {name}.npz": "SHA-256 0"},
    )  # fmt: skip
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    spilt = (
        "return [...document.querySelectorAll('#methods p, #made dt')]"
        ".filter((e) => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert browser.execute_script(spilt) == 0
    assert f"File {name}.npz" in first(browser, "#made").text


def test_print_fits_the_paper(page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not first(page, "#filters").is_displayed()
    assert not first(page, "nav").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    pdf = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(pdf["data"]).startswith(b"%PDF")


def test_file_names_are_shown_as_they_are():
    assert labelled("file cifar10_resnet110_NNcal.npz") == "File cifar10_resnet110_NNcal.npz"
    assert labelled("python_version") == "Python version"


def test_addresses_become_links_and_nothing_else():
    assert linked("See https://a.org/x?y=1&z=2, now.") == (
        'See <a href="https://a.org/x?y=1&amp;z=2" rel="noopener noreferrer">'
        "https://a.org/x?y=1&amp;z=2</a>, now."
    )
    assert linked("<b> javascript:alert(1)") == "&lt;b&gt; javascript:alert(1)"
    assert str(linked('https://a.org/"onclick=x')).endswith("</a>&#34;onclick=x")


def test_the_cheapest_has_the_least_time_and_is_not_called_cheaper_than_its_equals():
    key = ("train_seconds", "a machine")
    rows = [
        SimpleNamespace(method=name, costs={key: Charge(seconds, *ratio)})
        for name, seconds, *ratio in (
            ("best", 100.0, 1.0), ("second", 99.0, 0.99, 0.9, 1.1), ("third", 80.0, 0.8, 0.7, 0.9)
        )
    ]  # fmt: skip

    def cheapest(number, *answer):
        board = SimpleNamespace(
            rows=rows, cost_reference="cross-entropy", alike=rows[:number], cheapest=answer
        )
        return "".join(_cheapest(board).said)

    assert cheapest(2, "second", ("best",)) == (
        "second: 99.0 s to train (0.99× [0.90, 1.10] of cross-entropy); no difference in cost can "
        "be seen to best"
    )
    assert (
        cheapest(3, "third", ()) == "third: 80.0 s to train (0.80× [0.70, 0.90] of cross-entropy)"
    )
    assert cheapest(3, "second", ("best", "third")).endswith("to any of the others")
