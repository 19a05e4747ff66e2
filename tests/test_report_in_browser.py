"""The report as a browser shows it: nothing is fetched, nothing complains, sliders move the stop, keys reach it."""

from __future__ import annotations

import numpy as np
import pytest
from browser import browser, chromium

import goldpeak

pytestmark = pytest.mark.skipif(chromium() is None, reason="needs Chromium (Debian: apt-get install chromium)")
EVIL = "<script>document.title = 'pwned'</script>"


@pytest.fixture(scope="module")
def found():
    runs = goldpeak.datasets.lab("rl")
    some = goldpeak.select(runs, np.isin(np.arange(40), (0, 1, 20, 21, 38)))
    named = some.assign_coords(run=[EVIL, '" autofocus onfocus="document.title=1', "a", "b", "c"])
    return goldpeak.report(goldpeak.fit(named, "rl_paper", draws=250, seed=1), title="Safe & sound")


@pytest.fixture(scope="module")
def shown(found, tmp_path_factory):
    """The page in a desktop's window."""
    folder = tmp_path_factory.mktemp("browser")
    found.save(folder / "report.html")
    with browser(folder / "profile") as page:
        page.open(folder / "report.html", 1200, 900)
        yield page


STOP = "document.getElementById('stop').textContent"


def test_the_page_shows_the_numbers_of_the_report(shown, found):
    assert shown.run("document.title") == "Safe & sound"
    kl = found.items[found.shown].stops["regret"][2][0]
    words = "no reason to stop" if np.isinf(kl) else f"stop at KL {kl:.3g} nats"
    assert words in shown.run(STOP)
    assert found.items[found.shown].label in shown.run("document.getElementById('said').textContent")


def test_sliders_and_rule_move_the_stop(shown, found):
    def say(item, rule, level):
        shown.run(
            f"item.value = {item}; rule.value = '{rule}'; level.value = {level};"
            "item.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        return shown.run(STOP)

    for item in (0, len(found.items) // 2):
        for rule in ("chance", "regret", "expected"):
            for level in (0, 3):
                kl = found.items[item].stops[rule][level][0]
                assert (f"KL {kl:.3g}" if kl < 100 else f"KL {kl:.0f}") in say(item, rule, level)
    careful, bold = say(0, "chance", 0), say(0, "chance", 3)
    assert careful != bold


def test_the_keyboard_moves_the_slider_and_goes_through_the_points(shown):
    shown.run("rule.value = 'chance'; level.value = 2; item.value = 0; item.focus()")
    before = shown.run(STOP)
    shown.press("ArrowRight")
    assert shown.run("item.value") == "1"
    assert shown.run(STOP) != before
    shown.run("document.querySelector('svg.panel').focus()")
    tips = []
    for _ in range(2):
        shown.press("ArrowRight")
        tips.append(shown.run("document.getElementById('tip').textContent"))
    assert all(tip.startswith("KL ") and "gold" in tip for tip in tips)
    assert tips[0] != tips[1]
    shown.press("Escape")
    assert shown.run("document.getElementById('tip').textContent") == ""


def test_pointing_at_a_measurement_shows_it(shown):
    box = shown.run(
        "(() => { const c = document.querySelector('svg.panel circle:nth-of-type(5)');"
        "c.scrollIntoView({block: 'center'}); const b = c.getBoundingClientRect();"
        "return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })()"
    )
    shown.call("Input.dispatchMouseEvent", type="mouseMoved", x=box["x"], y=box["y"])
    assert shown.run("document.getElementById('tip').textContent").startswith("KL ")


def test_a_phone_needs_no_sideways_scrolling(shown):
    shown.call("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=1, mobile=True)
    assert shown.run("document.documentElement.scrollWidth") <= 375
    assert shown.run("getComputedStyle(document.getElementById('item')).width") != "0px"
    edges = shown.run("[...document.querySelectorAll('caption')].map((c) => c.getBoundingClientRect().right)")
    assert max(edges) <= 375
    heights = shown.run("[...document.querySelectorAll('#chart text')].map((t) => t.getBoundingClientRect().height)")
    assert min(h for h in heights if h) > 9
    overlapping = shown.run(
        "(() => { const b = [...document.querySelectorAll('#chart text')].filter((t) => t.id !== 'stoptext')"
        ".map((t) => t.getBoundingClientRect());"
        "return b.some((p, i) => b.slice(0, i).some((q) => p.left < q.right - 1 && q.left < p.right - 1"
        " && p.top < q.bottom - 3 && q.top < p.bottom - 3)); })()"
    )
    assert not overlapping
    assert shown.screenshot().startswith(b"\x89PNG")


def test_at_night_it_is_dark_and_on_paper_it_is_not(shown):
    ground = "getComputedStyle(document.body).backgroundColor"
    night = {"name": "prefers-color-scheme", "value": "dark"}
    shown.call("Emulation.setEmulatedMedia", features=[night])
    assert shown.run(ground) == "rgb(21, 24, 28)"
    assert shown.run("getComputedStyle(document.querySelector('img')).filter").startswith("invert(1)")
    shown.call("Emulation.setEmulatedMedia", media="print", features=[night])
    assert shown.run(ground) == "rgb(255, 255, 255)"
    shown.call("Emulation.setEmulatedMedia", media="", features=[])


def test_what_is_wider_than_the_page_can_be_moved_by_keys(shown):
    assert shown.run("[...document.querySelectorAll('.wide')].every((w) => w.tabIndex === 0)")


def test_printed_it_has_everything_but_the_controls(shown):
    shown.call("Emulation.setEmulatedMedia", media="print")
    assert shown.run("getComputedStyle(document.querySelector('.controls')).display") == "none"
    shown.run("window.dispatchEvent(new Event('beforeprint'))")
    assert shown.run("[...document.querySelectorAll('details')].every((d) => d.open)")
    assert shown.call("Page.printToPDF")["data"].startswith("JVBERi")
    shown.call("Emulation.setEmulatedMedia", media="")


def test_nothing_complained_nothing_was_fetched_and_nobody_was_let_in(shown):
    assert shown.complaints == []
    assert all(url.startswith(("file:", "data:", "about:")) for url in shown.fetched)
    assert shown.run("document.title") == "Safe & sound"
