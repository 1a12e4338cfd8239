"""The live chart in a real browser: new points, zoom, traffic and memory."""

import json

import pytest
from playwright.sync_api import expect

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

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

POLL_MS = 500  # of the chart


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
def feeder(app, held_job):
    return Feeder(app.store, held_job)


def live_url(app, job):
    return f"{app.address}/live?study={app.store.runs.read(job.run_id).study_id}"


@pytest.fixture
def live(app, page, held_job):
    """The Live page of a run that makes no progress, with its 16 points drawn."""
    page.goto(live_url(app, held_job))
    wait_for(lambda: drawn_points(page) == 16)
    return page


def test_a_zoom_survives_updates_and_a_double_click_ends_it(live, feeder):
    full_range = shown_range(live)
    zoomed = drag_zoom(live)
    assert zoomed != full_range

    for expected in (19, 22, 25):
        feeder.feed(3)
        wait_for(lambda expected=expected: drawn_points(live) == expected)
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


def next_answer(page):
    """Waits for the next answer to a request of points."""
    with page.expect_response(lambda response: "/curve" in response.url) as received:
        pass
    return received.value


def test_only_new_points_are_sent_and_drawn_without_a_reload(app, page, held_job, feeder):
    feeder.feed(1984)
    frames = []
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda data: frames.append(data)),
    )
    page.goto(live_url(app, held_job))
    wait_for(lambda: drawn_points(page) == 2000)
    page.evaluate("window.isTheSamePage = true")
    wait_for(lambda: next_answer(page).status == 204)
    frames.clear()

    answers = [next_answer(page) for _ in range(4)]

    assert {answer.status for answer in answers} == {204}
    # Streamlit sends the cards every second, without the 2,000 points.
    assert frames
    assert max(map(len, frames)) < 8000

    with page.expect_response(lambda answer: answer.status == 200) as received:
        feeder.feed()
    wait_for(lambda: drawn_points(page) == 2001)
    assert len(received.value.body()) < 100
    assert page.evaluate("window.isTheSamePage")


def test_the_status_line_shows_that_the_chart_is_live_paused_unreachable_or_over(
    app, live, held_job, feeder
):
    state = live.locator(".live-state")
    expect(state).to_contain_text("Live, updated")
    requests = []
    live.on(
        "request", lambda request: requests.append(request) if "/curve" in request.url else None
    )

    live.get_by_text("Pause", exact=True).click()
    expect(state).to_have_text("Paused. Runs continue.")
    requests.clear()
    feeder.feed(5)
    live.wait_for_timeout(3 * POLL_MS)  # for a request that must not come
    assert requests == []

    live.get_by_text("Pause", exact=True).click()
    wait_for(lambda: drawn_points(live) == 21)
    expect(live).to_have_title("29% · a study · Live")
    live.route("**/curve?**", lambda route: route.abort())
    expect(state).to_contain_text("The server cannot be reached")
    live.unroute("**/curve?**")
    expect(state).to_contain_text("Live, updated")

    app.store.jobs.finish(held_job, RunState.STOPPED, None, NOW)
    for run_id in (held_job.run_id + 1, held_job.run_id + 2):
        app.store.jobs.request_run_stop(run_id, NOW)
    expect(state).to_have_text("All runs have ended")
    expect(live).to_have_title("ended · a study")


def test_a_restarted_run_is_drawn_from_its_first_step(app, live, held_job):
    store = app.store
    store.jobs.finish(held_job, RunState.FAILED, "x", NOW)
    store.runs.restart(held_job.run_id)
    store.jobs.move_to_front(held_job.run_id)
    new_job = store.jobs.claim(NOW)
    assert new_job.run_id == held_job.run_id

    Feeder(store, new_job, step=0).feed(5)

    wait_for(lambda: drawn_points(live) == 5)


def test_two_sessions_show_the_same_chart_and_leave_the_runs_alone(app, live, chromium, feeder):
    live.get_by_text("log", exact=True).click()
    live.get_by_text("epoch", exact=True).click()
    wait_for_url(live, "scale=log")
    wait_for_url(live, "axis=epoch")
    feeder.feed(4)
    before = [(run.state, run.step) for run in app.store.runs.read_all()]

    other = open_tab(chromium)
    other.goto(live.url)
    for tab in (live, other):
        wait_for(lambda tab=tab: drawn_points(tab) == 20)

    assert live.evaluate(DRAWN) == other.evaluate(DRAWN)
    assert '["log","epoch"' in live.evaluate(DRAWN)
    live.close()
    other.close()
    assert [(run.state, run.step) for run in app.store.runs.read_all()] == before


DRAWN = """() => {
  const chart = document.querySelector(".live-chart")
  const lines = chart.data.map((line) => [line.name, line.x, line.y])
  return JSON.stringify([chart._fullLayout.yaxis.type, chart._fullLayout.xaxis.title.text, lines])
}"""
SIMULATION = """async ({ script, data, steps }) => {
  const chart = await import(script)
  const frame = document.createElement("div")
  frame.innerHTML = '<p class="live-state"></p><div class="live-chart"></div>'
  document.body.replaceChildren(frame)
  const later = window.setTimeout
  window.setTimeout = (callback, delay, ...args) => later(callback, Math.min(delay, 1), ...args)
  const pause = () => new Promise((resolve) => later(resolve, 10))
  let step = 0, id = 0, count = 0
  window.goal = 0
  window.fetch = async () => {
    while (count === window.goal) await pause()
    count += 1
    const points = []
    for (let i = 0; i < steps; i += 1) {
      step += 1
      points.push([1, ++id, step, 1e9 + step, Math.random()])
    }
    return Response.json({ lines: {}, points })
  }
  chart.default({ data: { ...data, live: true }, parentElement: frame })
}"""
# A worker writes five steps a second: half an hour of them, in updates of 90 steps.
STEPS_PER_UPDATE = 90
N_WARM_UP, N_UPDATES = 25, 75
MAX_GROWTH_MB = 1.5


def test_the_points_of_half_an_hour_do_not_fill_the_memory(live):
    """Simulates the updates: each is drawn by the real code, but without the delay before it."""
    script = live.evaluate(
        """() => performance.getEntriesByType("resource")
          .map((entry) => entry.name).find((name) => name.includes("live_chart.js"))"""
    )
    plotly = live.evaluate("() => document.querySelector('script[src*=plotly]').src")
    series = {
        **{"id": 1, "name": "run 1", "group": "standard", "colour": "#0072B2"},
        **{"dash": "solid", "perEpoch": 100, "attempts": [], "marks": []},
    }
    view = {
        **{"metric": "l1", "smoothing": 0.6, "axis": "step", "log": False, "by": "runs"},
        **{"height": 400, "label": "L1", "revision": "x", "quantiles": [0], "layout": {}},
    }
    data = {
        **{"url": "x", "plotly": plotly, "stream": "x", "series": [series], "view": view},
        **{"over": False, "title": "x"},
    }
    # Another page of the same server, because the real chart would send requests too.
    live.goto(live.url.split("/live")[0] + "/_stcore/health")
    inspector = live.context.new_cdp_session(live)

    def used_mb_after(n_updates):
        live.evaluate("number => { window.goal = number }", n_updates)
        wait_for(lambda: drawn_points(live) == STEPS_PER_UPDATE * n_updates)
        for _ in range(3):
            inspector.send("HeapProfiler.collectGarbage")
        return inspector.send("Runtime.getHeapUsage")["usedSize"] / 2**20

    live.evaluate(SIMULATION, {"script": script, "data": data, "steps": STEPS_PER_UPDATE})
    before = used_mb_after(N_WARM_UP)

    assert used_mb_after(N_WARM_UP + N_UPDATES) - before < MAX_GROWTH_MB


def test_seeds_are_drawn_as_a_band(app, page):
    configs = [tiny_config(seed=seed, epochs=3) for seed in range(3)]
    store, values = app.store, (0.2, 0.3, 0.7)
    study, _ = store.studies.add("seeds", "seeds", configs, NOW)
    for value in values:
        job = store.jobs.claim(NOW)
        store.runs.start(job, store.runs.read(job.run_id).config, 24, {}, NOW)
        points = [MetricPoint(job.run_id, step, 1, "l1", value) for step in (1, 2, 3)]
        store.curves.add_points(job, 1, 3, points, NOW)
        store.jobs.finish(job, RunState.STOPPED, None, NOW)

    page.goto(f"{app.address}/live?study={study.id}&by=configuration")
    wait_for(lambda: drawn_points(page) == 9)
    lines = json.loads(page.evaluate(DRAWN))[2]

    low, high, middle = [(name, y) for name, _, y in lines]
    expected = mean_interval(list(values))
    assert middle[0] == "standard, 3 seeds"
    assert middle[1] == pytest.approx([expected.mean] * 3)
    assert low[1] == pytest.approx([expected.low] * 3)
    assert high[1] == pytest.approx([expected.high] * 3)


def test_seeds_that_record_different_steps_are_aligned_by_step(app, page):
    """Both seeds have the same value at each step, so the mean is this value everywhere."""
    configs = [tiny_config(seed=seed, epochs=3) for seed in range(2)]
    store, steps_of_seeds = app.store, (range(1, 13), (1, 6, 7, 12))
    study, _ = store.studies.add("strides", "strides", configs, NOW)
    for steps in steps_of_seeds:
        job = store.jobs.claim(NOW)
        store.runs.start(job, store.runs.read(job.run_id).config, 24, {}, NOW)
        points = [MetricPoint(job.run_id, step, 1, "l1", 10.0 * step) for step in steps]
        store.curves.add_points(job, 1, 12, points, NOW)
        store.jobs.finish(job, RunState.STOPPED, None, NOW)

    page.goto(f"{app.address}/live?study={study.id}&by=configuration&smoothing=0")
    wait_for(lambda: drawn_points(page) == 12 + 4)
    lines = json.loads(page.evaluate(DRAWN))[2]

    for _, x, y in lines:
        assert x == pytest.approx(range(1, 13))
        assert y == pytest.approx([10.0 * step for step in range(1, 13)])
