"""The live chart in a real browser: latency, zoom, traffic and memory."""

import json
import statistics
import time

import pytest
from playwright.sync_api import expect

from engine.jobs import spawn
from engine.metrics.intervals import mean_interval
from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from tests.dashboard.browser.driver import (
    drag_zoom,
    drawn_points,
    open_tab,
    shown_range,
    wait_for_url,
)
from tests.support.runs import NOW, tiny_config, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow]

UPDATES = 20
MAX_LATENCY_S = 1.5
UPDATES_PER_HALF_HOUR = 1800  # a worker writes once a second
MAX_GROWTH_MB = 20


class Feeder:
    """A worker that records steps only when the test calls it."""

    def __init__(self, store, job, step=16):
        self.store, self.job, self.step = store, job, step

    def feed(self, count=1):
        """Records the next steps of the L1 curve."""
        points = [
            MetricPoint(self.job.run_id, self.step + number, 3, "l1", 1 / (self.step + number))
            for number in range(1, count + 1)
        ]
        self.step += count
        self.store.curves.add_points(self.job, 2, self.step, points, NOW)


@pytest.fixture
def live(dashboard, page, held_job):
    """The Live page of a run that makes no progress, with its 16 points drawn."""
    _, address, _ = dashboard()
    page.goto(f"{address}/live?study=1")
    wait_for(lambda: drawn_points(page) == 16)
    return page


def test_a_zoom_survives_twenty_updates_and_a_double_click_ends_it(live, store, held_job):
    feeder, full_range = Feeder(store, held_job), shown_range(live)
    zoomed = drag_zoom(live)
    assert zoomed != full_range

    for update in range(1, UPDATES + 1):
        feeder.feed(3)
        wait_for(lambda expected=16 + 3 * update: drawn_points(live) == expected)
        assert shown_range(live) == zoomed

    live.locator(".live-chart .nsewdrag").first.dblclick()
    wait_for(lambda: shown_range(live) != zoomed)


def test_a_zoom_survives_a_change_of_smoothing_but_not_of_the_axis(live):
    zoomed = drag_zoom(live)

    slider = live.get_by_role("slider", name="Smoothing")
    slider.focus()
    slider.press("ArrowRight")
    wait_for_url(live, "smoothing=0.61")
    assert shown_range(live) == zoomed

    live.get_by_text("epoch", exact=True).click()
    wait_for(lambda: shown_range(live) != zoomed)


def test_a_point_is_drawn_soon_after_it_is_written(live, store, held_job):
    feeder, latencies = Feeder(store, held_job), []
    for update in range(1, 8):
        time.sleep(0.13 * update)  # at different times between two polls
        feeder.feed()
        start = time.monotonic()
        live.wait_for_function(
            "count => document.querySelector('.live-chart').dataset.points === String(count)",
            arg=16 + update,
            polling=20,
        )
        latencies.append(time.monotonic() - start)

    assert statistics.median(latencies) < MAX_LATENCY_S


def test_no_points_are_sent_when_there_are_no_new_ones(live, store, held_job):
    responses, frames = [], []
    live.on(
        "response",
        lambda response: responses.append(response) if "/curve" in response.url else None,
    )
    live.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda data: frames.append(len(data))),
    )
    live.reload()
    wait_for(lambda: drawn_points(live) == 16)
    live.wait_for_timeout(2000)
    responses.clear()
    frames.clear()

    live.wait_for_timeout(4000)

    assert len(responses) >= 4
    assert {response.status for response in responses} == {204}
    # Streamlit sends only the cards every second, which have no points.
    assert sum(frames) / 4 < 40_000

    Feeder(store, held_job).feed()
    wait_for(lambda: drawn_points(live) == 17)
    (with_points,) = [response for response in responses if response.status == 200]
    assert len(with_points.body()) < 100


def test_the_status_line_shows_that_the_chart_is_live_or_paused(live, store, held_job):
    state = live.locator(".live-state")
    expect(state).to_have_text("Live, updated 0 s ago")

    live.get_by_text("Pause", exact=True).click()
    expect(state).to_have_text("Paused. Runs continue.")
    live.wait_for_timeout(1000)  # so that pending requests are finished
    Feeder(store, held_job).feed(5)
    live.wait_for_timeout(2500)
    assert drawn_points(live) == 16

    live.get_by_text("Pause", exact=True).click()
    wait_for(lambda: drawn_points(live) == 21)
    expect(live).to_have_title("29% · a study · Live")
    store.jobs.finish(held_job, RunState.STOPPED, None, NOW)
    for run_id in (2, 3):
        store.jobs.request_run_stop(run_id, NOW)
    expect(state).to_have_text("All runs have ended")
    expect(live).to_have_title("ended · a study")


def test_an_unreachable_server_is_shown(live, dashboard):
    live.route("**/curve?**", lambda route: route.abort())

    expect(live.locator(".live-state")).to_contain_text("The server cannot be reached")

    live.unroute("**/curve?**")
    expect(live.locator(".live-state")).to_contain_text("Live, updated")


def test_a_restarted_run_is_drawn_from_its_first_step(live, store, held_job):
    store.jobs.finish(held_job, RunState.FAILED, "x", NOW)
    store.runs.restart(1)
    new_job = store.jobs.claim(NOW)
    assert new_job.run_id in (1, 2)
    while new_job.run_id != 1:
        new_job = store.jobs.claim(NOW)

    Feeder(store, new_job, step=0).feed(5)

    wait_for(lambda: drawn_points(live) == 5)


def test_two_sessions_show_the_same_chart_and_leave_the_runs_alone(live, chromium, store, held_job):
    live.get_by_text("log", exact=True).click()
    live.get_by_text("epoch", exact=True).click()
    wait_for_url(live, "scale=log")
    wait_for_url(live, "axis=epoch")
    Feeder(store, held_job).feed(4)
    before = [(run.state, run.step) for run in store.runs.read_all()]

    other = open_tab(chromium)
    other.goto(live.url)
    for tab in (live, other):
        wait_for(lambda tab=tab: drawn_points(tab) == 20)

    assert live.evaluate(DRAWN) == other.evaluate(DRAWN)
    assert '["log","epoch"' in live.evaluate(DRAWN)
    live.context.close()
    other.context.close()
    assert [(run.state, run.step) for run in store.runs.read_all()] == before


DRAWN = """() => {
  const chart = document.querySelector(".live-chart")
  const lines = chart.data.map((line) => [line.name, line.x, line.y])
  return JSON.stringify([chart._fullLayout.yaxis.type, chart._fullLayout.xaxis.title.text, lines])
}"""
SIMULATION = """async ([updates, settings]) => {
  const chart = await import(settings.script)
  const frame = document.createElement("div")
  frame.innerHTML = '<p class="live-state"></p><div class="live-chart"></div>'
  document.body.replaceChildren(frame)
  const later = window.setTimeout
  window.setTimeout = (callback, delay, ...args) => later(callback, Math.min(delay, 1), ...args)
  let step = 0, id = 0, count = 0
  window.fetch = async () => {
    count += 1
    const points = []
    for (let i = 0; i < 5; i += 1) {
      step += 1
      for (const run of settings.runs) points.push([run, ++id, step, 1e9 + step, Math.random()])
    }
    return { status: 200, ok: true, json: async () => ({ lines: {}, points }) }
  }
  const data = { ...settings.data, live: true }
  const cleanUp = chart.default({ data, parentElement: frame })
  const until = async (goal) => {
    while (count < goal) await new Promise((resolve) => later(resolve, 20))
  }
  window.simulated = { until, cleanUp, node: frame.querySelector(".live-chart") }
  await until(updates)
}"""


def test_half_an_hour_of_updates_does_not_fill_the_memory(live, store):
    """Simulates the updates: each is drawn by the real code, but without the delay before it."""
    settings = live.evaluate(
        """() => ({
          script: performance.getEntriesByType("resource")
            .map((entry) => entry.name).find((name) => name.includes("live_chart.js")),
        })"""
    )
    series = [
        {
            **{"id": run, "name": f"run {run}", "group": "standard", "colour": "#0072B2"},
            **{"dash": "solid", "perEpoch": 100, "attempts": [], "marks": []},
        }
        for run in (1, 2)
    ]
    view = {
        **{"metric": "l1", "smoothing": 0.6, "axis": "step", "log": False, "by": "runs"},
        **{"height": 400, "label": "L1", "revision": "x", "quantiles": [0], "layout": {}},
    }
    plotly = live.evaluate("() => document.querySelector('script[src*=plotly]').src")
    data = {
        **{"url": "x", "plotly": plotly, "stream": "x", "series": series, "view": view},
        **{"over": False, "title": "x"},
    }
    # Another page of the same server, because the real chart would send requests too.
    live.goto(live.url.split("/live")[0] + "/_stcore/health")
    inspector = live.context.new_cdp_session(live)

    def used_mb():
        for _ in range(3):
            inspector.send("HeapProfiler.collectGarbage")
        return inspector.send("Runtime.getHeapUsage")["usedSize"] / 2**20

    live.set_default_timeout(600_000)
    live.evaluate(SIMULATION, [200, {**settings, "runs": [1, 2], "data": data}])
    before = used_mb()
    live.evaluate("goal => window.simulated.until(goal)", UPDATES_PER_HALF_HOUR)

    assert used_mb() - before < MAX_GROWTH_MB
    n_points = int(live.evaluate("() => window.simulated.node.dataset.points"))
    assert n_points > UPDATES_PER_HALF_HOUR * 9


def test_seeds_are_drawn_as_a_band(dashboard, page, app_settings, store, settings):
    configs = [tiny_config(seed=seed, epochs=3) for seed in range(3)]
    store.studies.add("key", "seeds", configs, NOW)
    values = {1: 0.2, 2: 0.3, 3: 0.7}
    with spawn.supervisor_lock(app_settings):
        for run_id, value in values.items():
            job = store.jobs.claim(NOW)
            store.runs.start(job, store.runs.read(run_id).config, 24, {}, NOW)
            points = [MetricPoint(run_id, step, 1, "l1", value) for step in (1, 2, 3)]
            store.curves.add_points(job, 1, 3, points, NOW)
            store.jobs.finish(job, RunState.STOPPED, None, NOW)
        _, address, _ = dashboard()
        page.goto(f"{address}/live?study=1&by=configuration")
        wait_for(lambda: drawn_points(page) == 9)
        lines = json.loads(page.evaluate(DRAWN))[2]

    low, high, middle = [(name, y) for name, _, y in lines]
    expected = mean_interval(list(values.values()))
    assert middle[0] == "standard, 3 seeds"
    assert middle[1] == pytest.approx([expected.mean] * 3)
    assert low[1] == pytest.approx([expected.low] * 3)
    assert high[1] == pytest.approx([expected.high] * 3)
