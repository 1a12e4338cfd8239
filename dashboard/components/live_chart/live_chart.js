// Draws a line chart and keeps its zoom when new points arrive.
//
// Python passes the runs to draw and the view: {url, plotly, stream, series, view, live, over, title}.
// This file fetches the points. The cursor of a run is the id of its last fetched point. Points are
// merged into buckets of equal length. The number of buckets is limited, so that memory does not grow
// while a chart is open.

import { request } from "../js_component/requests.js"
import { Line } from "./series.js"
import { bandTraces, describe, layout, lineTraces, markTraces } from "./traces.js"

const POLL_MS = 500
const HIDDEN_POLL_MS = 5000
const ERROR_POLL_MS = 2000
const NO_RESPONSE_MS = 4000
const STATUS_MS = 1000

const charts = new WeakMap() // parent element -> chart

// ---- Streamlit ------------------------------------------------------------------------------

// Streamlit calls this function after every change of the data or the theme.
export default function (component) {
  const { data, parentElement } = component
  if (!data || !parentElement.querySelector(".live-chart")) return

  if (!charts.has(parentElement)) charts.set(parentElement, mount(parentElement))
  const chart = charts.get(parentElement)
  const needsPoints = update(chart, data)
  if (needsPoints) poll(chart)
  draw(chart)
  showStatus(chart)

  return () => {
    charts.delete(parentElement)
    unmount(chart)
  }
}

function mount(parentElement) {
  const chart = {
    node: parentElement.querySelector(".live-chart"),
    statusLine: parentElement.querySelector(".live-state"),
    series: [],
    lines: new Map(), // run id -> Line
    mountedAt: Date.now(),
    nPolls: 0,
  }
  chart.statusTimer = setInterval(() => showStatus(chart), STATUS_MS)
  chart.onVisibilityChange = () => !document.hidden && chart.data.live && poll(chart)
  document.addEventListener("visibilitychange", chart.onVisibilityChange)
  return chart
}

// Stores new data from Python; returns whether the new data require a fetch of points.
function update(chart, data) {
  if (chart.stream !== data.stream) {
    chart.stream = data.stream
    chart.lines = new Map()
  }
  const wasLive = chart.data?.live
  const hasOtherRuns = runIds(chart.series) !== runIds(data.series)
  chart.data = data
  chart.series = data.series
  const hasStartedOrEnded = wasLive !== data.live && (data.live || data.over)
  return chart.lines.size === 0 || hasOtherRuns || hasStartedOrEnded
}

const runIds = (series) => series.map((run) => run.id).join()

function unmount(chart) {
  chart.isUnmounted = true
  clearTimeout(chart.pollTimer)
  clearInterval(chart.statusTimer)
  document.removeEventListener("visibilitychange", chart.onVisibilityChange)
  window.Plotly?.purge(chart.node)
}

// ---- Drawing --------------------------------------------------------------------------------

async function draw(chart) {
  const { node } = chart
  try {
    const Plotly = await loadPlotly(chart.data.plotly)
    if (chart.isUnmounted) return
    const { view } = chart.data
    // The mean of a band needs common positions. On the clock axis, seeds that were trained one after
    // another have none, so each run has its own line.
    const drawsBands = view.by === "configurations" && view.axis !== "clock"
    const traces = drawsBands ? bandTraces(chart, view) : lineTraces(chart, view)
    const config = {
      displaylogo: false,
      responsive: true,
      modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    }
    await Plotly.react(node, [...traces, ...markTraces(chart, view)], layout(view, node), config)
    let nPoints = 0
    for (const line of chart.lines.values()) nPoints += line.nPoints
    node.dataset.points = String(nPoints)
    node.setAttribute("aria-label", describe(chart, view))
    chart.drawError = null
  } catch (error) {
    chart.drawError = `The chart cannot be drawn: ${error.message}`
    showStatus(chart)
  }
}

function loadPlotly(url) {
  if (!window.chromabenchPlotly) {
    window.chromabenchPlotly = new Promise((resolve, reject) => {
      const script = document.createElement("script")
      script.src = new URL(url, document.baseURI).href
      script.onload = () => resolve(window.Plotly)
      script.onerror = () => {
        window.chromabenchPlotly = null
        reject(new Error("Plotly could not be loaded"))
      }
      document.head.appendChild(script)
    })
  }
  return window.chromabenchPlotly
}

// ---- Fetching -------------------------------------------------------------------------------

// Fetches new points; repeats the fetch after a delay while the chart is live or has an error.
async function poll(chart) {
  clearTimeout(chart.pollTimer)
  if (chart.isUnmounted) return
  chart.nPolls += 1
  const pollNumber = chart.nPolls
  let delay = document.hidden ? HIDDEN_POLL_MS : POLL_MS
  try {
    await fetchPoints(chart)
  } catch (error) {
    chart.fetchError = error.message
    delay = ERROR_POLL_MS
  }
  showStatus(chart)
  // A change of the view starts another poll: then this poll does not continue.
  const continues = () =>
    pollNumber === chart.nPolls &&
    !chart.isUnmounted &&
    (chart.data.live || chart.fetchError || chart.drawError)
  if (continues()) chart.pollTimer = setTimeout(() => continues() && poll(chart), delay)
}

async function fetchPoints(chart) {
  if (!chart.series.length) return
  const { stream } = chart
  const isOutdated = () => chart.isUnmounted || chart.stream !== stream
  const response = await request(pointsUrl(chart), { cache: "no-store" })
  if (isOutdated()) return
  chart.fetchError = null
  chart.respondedAt = Date.now()
  if (response.status === 204) return chart.drawError ? draw(chart) : undefined
  const { lines, points } = await response.json()
  if (isOutdated()) return
  for (const [runId, line] of Object.entries(lines)) lineOf(chart, Number(runId)).replace(line)
  const restartedRuns = addPoints(chart, points)
  for (const runId of restartedRuns) lineOf(chart, runId).clear()
  await draw(chart)
  if (restartedRuns.size) await fetchPoints(chart)
}

function pointsUrl(chart) {
  const url = new URL(chart.data.url, document.baseURI)
  const cursors = chart.series.map((run) => `${run.id}:${chart.lines.get(run.id)?.cursor ?? 0}`)
  url.searchParams.set("metric", chart.data.view.metric)
  url.searchParams.set("runs", cursors.join(","))
  return url
}

// Adds points to their lines; returns the ids of runs that have started again from an earlier step.
function addPoints(chart, points) {
  const restartedRuns = new Set()
  for (const [runId, cursor, step, at, value] of points) {
    const line = lineOf(chart, runId)
    if (restartedRuns.has(runId) || cursor <= line.cursor) continue
    if (!line.add(cursor, step, at, value)) restartedRuns.add(runId)
  }
  return restartedRuns
}

function lineOf(chart, runId) {
  if (!chart.lines.has(runId)) chart.lines.set(runId, new Line())
  return chart.lines.get(runId)
}

// ---- The status line and the title of the tab -----------------------------------------------

function showStatus(chart) {
  const { data, statusLine } = chart
  const [status, text] = currentStatus(chart)
  // `showStatus` runs every second: write only values that have changed.
  if (statusLine.dataset.status !== status) statusLine.dataset.status = status
  if (statusLine.textContent !== text) statusLine.textContent = text
  if (document.title !== data.title) document.title = data.title
}

function currentStatus(chart) {
  const { data } = chart
  const silentMs = Date.now() - (chart.respondedAt ?? chart.mountedAt)
  const seconds = Math.max(0, Math.round(silentMs / 1000))
  if (chart.drawError) return ["error", chart.drawError]
  if (chart.fetchError) {
    const age = chart.respondedAt ? ` (last updated ${seconds} s ago)` : ""
    return ["error", `${chart.fetchError}${age}`]
  }
  if (data.over) return ["ended", data.series.length > 1 ? "All runs have ended" : "The run has ended"]
  if (!data.live) return ["paused", "Paused. Runs continue."]
  if (silentMs > NO_RESPONSE_MS && !document.hidden) return ["error", `No response for ${seconds} s`]
  if (!chart.respondedAt) return ["live", "Loading"]
  return ["live", `Live, updated ${seconds} s ago`]
}
