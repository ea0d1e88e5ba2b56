"""The page in a real browser: it is quiet, asks nobody, and does what its controls say."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from results.content import Claim, content_of
from results.frontier import frontiers
from results.page import page
from results.record import AnyBudget, InputDependence, Latency

pytest.importorskip("selenium")
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

PHONE_WIDTH = 360
HOSTILE = "</script><b>&\"'\u2028<img src=x onerror=alert(1)>"
HOW = "apt-get install chromium chromium-driver"


def _paths() -> tuple[str, str]:
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if found[0] and found[1]:
        return found[0], found[1]
    if os.environ.get("HARNESS_REQUIRE_BROWSER") == "1" or os.environ.get("CI") == "true":
        pytest.fail(f"a browser is required: {HOW}")
    pytest.skip(f"no chromium with its driver: {HOW}")


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    browser, its_driver = _paths()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    # root, as in containers, has no sandbox; their /dev/shm is small
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(its_driver))
    yield driver
    driver.quit()


class Page:
    """The page as someone sees and uses it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def choose(self, label: str, option: str) -> None:
        control = self.driver.find_element(By.XPATH, f"//label[starts-with(.,'{label}')]/select")
        Select(control).select_by_visible_text(option)

    def tick(self, label: str) -> None:
        self.driver.find_element(By.XPATH, f"//label[normalize-space()='{label}']/input").click()

    def cells(self) -> int:
        return len(self.all("#panels path.cell"))

    def width(self, pixels: int) -> None:
        metrics = {"width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name: str) -> None:
        # a page that scrolls softly would still be under way when the test clicks
        wanted = {"prefers-color-scheme": name, "prefers-reduced-motion": "reduce"}
        features = [{"name": key, "value": value} for key, value in wanted.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def paper(self) -> int:
        """How bright the page is, 0 to 255."""
        colour = self.run("return getComputedStyle(document.body).backgroundColor")
        return int(colour.split("(")[1].split(",")[0])

    def tip(self) -> str:
        return "\n".join(element.text for element in self.all(".tip") if element.text)

    def requests(self) -> list[str]:
        """Addresses asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def log(self, kind: str) -> list[Any]:
        return list(self.driver.get_log(kind))


@pytest.fixture
def records(make_record):
    routes = {"backbone.conv1": {"frames": 0.5, "channels": 1.0}}
    records = []
    for recognizer, bonus in (("TSM", 0.0), ("R(2+1)D", 0.05)):
        for seed in range(3):
            own = dict(recognizer=recognizer, seed=seed)
            wobble = bonus + 0.01 * seed
            records += [
                make_record(
                    "dense", name="dense", budget=None, top1=0.9 + wobble, share=1.0, **own
                ),
                make_record(budget=0.8, top1=0.85 + wobble, share=0.79, routes=routes, **own),
                make_record(budget=0.6, top1=0.7 + wobble, share=0.59, routes=routes, **own),
                make_record("slice", name="slice", budget=0.8, top1=0.6 + wobble, share=0.8, **own),
            ]
    return records


@pytest.fixture
def opened(driver, tmp_path):
    def opened(records, width=1200, claims=(), clips=None):
        path: Path = tmp_path / "report.html"
        content = content_of(records, "A sweep", claims=claims).with_clips(clips or {})
        path.write_text(page(content), encoding="utf-8")
        shown = Page(driver)
        shown.width(width)
        shown.scheme("light")
        shown.log("browser"), shown.log("performance")
        driver.get(path.as_uri())
        return shown

    return opened


def test_it_is_quiet_and_asks_nobody(opened, records):
    shown = opened(records)
    shown.choose("Across", "latency, ms a clip")
    shown.tick("single seeds")
    assert shown.log("browser") == []
    (own,) = [url for url in shown.requests() if not url.startswith("data:")]
    assert own.startswith("file:") and own.endswith("/report.html")


def test_it_must_not_ask_anybody_even_if_it_wanted_to(opened, records):
    shown = opened(records)
    shown.run("new Image().src = 'http://127.0.0.1:9/x.png'")
    assert "Content Security Policy" in " ".join(e["message"] for e in shown.log("browser"))


def test_filters_leave_what_is_chosen(opened, records):
    shown = opened(records)
    assert shown.cells() == 8
    shown.choose("Recognizer", "TSM")
    assert (shown.cells(), len(shown.all("#panels figure"))) == (4, 1)
    shown.tick("slice")
    assert shown.cells() == 3
    shown.tick("0.6")
    assert shown.cells() == 2
    shown.tick("none")
    assert shown.cells() == 1
    assert len(shown.all("#panels circle.seed")) == 3
    shown.tick("1")
    assert len(shown.all("#panels circle.seed")) == 2
    shown.tick("0.8")
    assert "Nothing of it is left" in shown.all("#panels")[0].text


def test_dominated_points_go_and_come(opened, records):
    shown = opened(records)
    shown.tick("dominated points")
    assert shown.cells() == 6
    shown.tick("dominated points")
    assert shown.cells() == 8


def test_axes_switch(opened, records):
    shown = opened(records)
    for axis, figure in (("executed, % of dense", "59.0"), ("latency, ms a clip", "80.00"),
                         ("training time, s", "60")):  # fmt: skip
        shown.choose("Across", axis)
        plot = shown.all("#panels svg")[0]
        plot.send_keys(Keys.ARROW_RIGHT)
        assert axis in plot.text
        assert f"{axis}: {figure}" in shown.tip()


def test_the_frontier_follows_the_axes(opened, records):
    slow = Latency(
        dense_ms_p50=100, dense_ms_p95=110, ms_p50=300, ms_p95=310, num_repeats=5, num_threads=1
    )
    records = [
        r.model_copy(update={"latency": slow}) if r.budget == 0.6 else r
        for r in records
        if r.recognizer == "TSM"
    ]
    shown = opened(records)
    shown.tick("dominated points")
    assert shown.cells() == 3
    shown.choose("Across", "latency, ms a clip")
    assert shown.cells() == 1


def test_a_cell_tells_what_the_tables_say(opened, records):
    (frontier, _) = frontiers(records)
    cell = frontier.cells[2]
    shown = opened(records)
    shown.all("#panels svg")[0].send_keys(Keys.ARROW_RIGHT)
    low, mean, high = (
        f"{100 * v:.1f}" for v in (cell.accuracy.low, cell.accuracy.mean, cell.accuracy.high)
    )
    assert f"top-1 %: {mean} ({low} to {high}), n = 3" in shown.tip()
    assert "VA-RED², budget 0.6, on the frontier" in shown.tip()
    assert all(run.key in shown.tip() for run in cell.runs)


def test_a_seed_under_the_pointer_is_named(opened, records):
    shown = opened(records)
    shown.choose("Recognizer", "TSM")
    dot = shown.all("#panels circle.seed")[0]
    shown.run("document.querySelector('#panels').scrollIntoView({behavior: 'instant'})")
    x, y = shown.driver.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.x + 2, b.y + 2]", dot
    )
    moved = {"type": "mouseMoved", "x": x, "y": y}
    shown.driver.execute_cdp_cmd("Input.dispatchMouseEvent", moved)
    assert any(record.key in shown.tip() for record in records)


def test_everything_can_be_reached_by_keyboard_and_shows_it(opened, records):
    shown = opened(records)
    shown.run(
        "window.reached = new Map(); document.addEventListener('focusin', (event) => {"
        "reached.set(event.target, getComputedStyle(event.target).outlineStyle) })"
    )
    shown.all("body")[0].send_keys(Keys.TAB * 50)
    reached = shown.run("return [...reached].map(([e, style]) => [e.tagName.toLowerCase(), style])")
    tags = [tag for tag, _ in reached]
    assert tags.count("select") == len(shown.all("select"))
    assert tags.count("input") == len(shown.all("input"))
    assert tags.count("svg") >= 2
    assert all(style != "none" for _, style in reached)


def test_every_control_has_a_label(opened, records):
    shown = opened(records)
    controls = shown.all("select, input, button")
    assert controls
    assert all(control.accessible_name.strip() for control in controls)


def test_light_and_dark_by_system_and_by_choice(opened, records):
    shown = opened(records)
    assert shown.paper() > 200
    shown.scheme("dark")
    assert shown.paper() < 60
    shown.choose("Colours", "light")
    assert shown.paper() > 200
    shown.scheme("light")
    shown.choose("Colours", "dark")
    assert shown.paper() < 60


@pytest.mark.parametrize("width", [PHONE_WIDTH, 768, 1400])
def test_the_page_never_scrolls_sideways(opened, records, width):
    long = [
        r.model_copy(update={"dataset": "D" * 60, "recognizer": "x" * 60}) for r in records[:12]
    ]
    shown = opened(long, width)
    assert shown.run("return document.documentElement.scrollWidth") <= width


def test_hostile_labels_are_shown_as_they_are(opened, make_record):
    labels = dict(dataset=HOSTILE, recognizer=HOSTILE)
    routes = {HOSTILE: {"frames": 0.5, "channels": 0.5}}
    records = [
        make_record(HOSTILE, seed=0, routes=routes, warnings=(HOSTILE,), **labels),
        make_record(HOSTILE, seed=1, failed=True, **labels),
    ]
    shown = opened(records, claims=[Claim(HOSTILE, HOSTILE, HOSTILE)])
    shown.all("#panels svg")[0].send_keys(Keys.ARROW_RIGHT)
    assert "</script><b>" in shown.tip()
    assert shown.all("b, img") == []
    assert shown.log("browser") == []


def test_learning_curves_follow_the_quantity_and_the_filters(opened, records):
    shown = opened(records)
    assert len(shown.all("#curve path.curve")) == 4
    shown.choose("Quantity", "validation top-1")
    assert "validation top-1" in shown.all("#curve svg")[0].text
    shown.tick("VA-RED²")
    assert len(shown.all("#curve path.curve")) == 2
    shown.choose("Chart", "R(2+1)D on UCF-101")
    assert "R(2+1)D" in shown.all("#curve figcaption")[0].text


def test_clips_are_told_one_by_one_and_by_class(opened, make_record, make_clips):
    depends = InputDependence(num_clips=6, num_routes=2, rank_correlation=1, low=1, high=1)
    records = [make_record(budget=b, input_dependence=depends) for b in (0.8, 0.6)]
    clips = {record.key: make_clips(record.key, num_clips=6) for record in records}
    shown = opened(records, clips=clips)
    chart = shown.all("#cloud svg")[0]
    assert len(shown.all("#cloud path.clip")) == 6
    chart.send_keys(Keys.ARROW_RIGHT)
    assert shown.tip().splitlines() == [
        "val/0", "class 0, predicted right", "executed: 50.0 % of dense",
        "motion: 1.0 grey levels a frame",
    ]  # fmt: skip
    shown.choose("Class", "class 1")
    assert len(shown.all("#cloud path.faint")) == 3
    shown.choose("Trial", "VA-RED² 0.6, TSM on UCF-101, seed 0")
    assert "0.6" in shown.all("#cloud figcaption")[0].text
    assert shown.all("#cloud path.faint") == []
    assert shown.log("browser") == []


def test_shifted_gates_are_dashed_and_go_and_come(opened, make_record):
    shifted = (
        AnyBudget(budget=0.9, share=0.88, top1=0.6),
        AnyBudget(budget=0.5, share=0.5, top1=0.3),
    )
    records = [make_record(seed=seed, any_budget=shifted) for seed in range(2)]
    shown = opened(records)
    assert (len(shown.all("path.trace")), len(shown.all("circle.stop"))) == (1, 2)
    shown.choose("Across", "executed, % of dense")
    assert len(shown.all("path.trace")) == 1
    shown.choose("Across", "latency, ms a clip")
    assert shown.all("path.trace") == []
    shown.choose("Across", "executed, % of dense")
    shown.tick("shifted gates")
    assert shown.all("path.trace, circle.stop") == []
    assert shown.log("browser") == []


def test_it_prints_without_its_controls(opened, records):
    shown = opened(records)
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        assert not any(element.is_displayed() for element in shown.all("select, input, nav"))
        assert shown.paper() == 255
    finally:
        shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_many_panels_are_shown_a_dozen_at_a_time(opened, make_record):
    records = [make_record(recognizer=f"net {i}", dataset=f"set {d}")
               for d in range(2) for i in range(14)]  # fmt: skip
    shown = opened(records)
    assert len(shown.all("#panels figure")) == 12
    assert "12 of 14 charts are shown" in shown.all("#panels-note")[0].text
    shown.choose("Recognizer", "net 13")
    assert len(shown.all("#panels figure")) == 1
