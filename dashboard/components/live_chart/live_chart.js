// A line chart that keeps its zoom while points arrive.
//
// Python says which lines there are and how to draw them: {url, plotly, stream, series, view, live,
// over, title}. The points this file fetches by itself, each run from its own cursor, and keeps as
// stretches of equal length: so the page's memory ends where a run's last stretch does, and a chart
// that has been open for hours is the same as one that was opened now. Streamlit calls the function
// at the bottom at every message and theme change.

import { Line } from "./series.js"
import { bandTraces, describe, layout, lineTraces, markTraces } from "./traces.js"

const POLL_MS = 500
const HIDDEN_POLL_MS = 5000
const TROUBLE_MS = 2000
const STALE_MS = 4000

const charts = new WeakMap()

function loadPlotly(address) {
  if (!window.chromabenchPlotly) {
    window.chromabenchPlotly = new Promise((resolve, reject) => {
      const script = document.createElement("script")
      script.src = new URL(address, document.baseURI).href
      script.onload = () => resolve(window.Plotly)
      script.onerror = () => {
        window.chromabenchPlotly = null
        reject(new Error("plotly did not load"))
      }
      document.head.appendChild(script)
    })
  }
  return window.chromabenchPlotly
}

async function draw(chart) {
  const { node, data } = chart
  try {
    const Plotly = await loadPlotly(data.plotly)
    if (chart.gone) return
    const view = chart.data.view
    // Along the clock, seeds that ran one after another have no moment in common.
    const asBands = view.by === "configurations" && view.axis !== "clock"
    const traces = asBands ? bandTraces(chart, view) : lineTraces(chart, view)
    const config = {
      displaylogo: false,
      responsive: true,
      modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    }
    await Plotly.react(node, [...traces, ...markTraces(chart, view)], layout(view, node), config)
    let points = 0
    for (const line of chart.lines.values()) points += line.count
    node.dataset.points = String(points)
    node.setAttribute("aria-label", describe(chart, view))
    chart.undrawn = null
  } catch (error) {
    chart.undrawn = `The chart cannot be drawn: ${error.message}`
    tell(chart)
  }
}

// ---- Fetching -------------------------------------------------------------------------------

async function fetchNew(chart) {
  const asked = chart.stream
  const runs = chart.series.map((it) => `${it.id}:${chart.lines.get(it.id)?.cursor ?? 0}`)
  if (!runs.length) return
  const address = new URL(chart.data.url, document.baseURI)
  address.searchParams.set("metric", chart.data.view.metric)
  address.searchParams.set("runs", runs.join(","))
  const answer = await fetch(address, { cache: "no-store" })
  if (chart.gone || chart.stream !== asked) return
  if (answer.status === 403) throw new Error("The server was started anew: reload the page.")
  if (!answer.ok) throw new Error(`The server answered ${answer.status}`)
  chart.trouble = null
  chart.heardAt = Date.now()
  if (answer.status === 204) return chart.undrawn ? draw(chart) : undefined
  const found = await answer.json()
  if (chart.gone || chart.stream !== asked) return
  for (const [id, line] of Object.entries(found.lines)) lineOf(chart, Number(id)).replace(line)
  const again = new Set()
  for (const [id, cursor, step, at, value] of found.points) {
    const line = lineOf(chart, id)
    if (!again.has(id) && cursor > line.cursor && !line.add(cursor, step, at, value)) again.add(id)
  }
  for (const id of again) lineOf(chart, id).clear()
  await draw(chart)
  if (again.size) await fetchNew(chart)
}

function lineOf(chart, id) {
  if (!chart.lines.has(id)) chart.lines.set(id, new Line())
  return chart.lines.get(id)
}

async function poll(chart) {
  clearTimeout(chart.timer)
  if (chart.gone) return
  const turn = (chart.turn = (chart.turn ?? 0) + 1)
  let wait = document.hidden ? HIDDEN_POLL_MS : POLL_MS
  try {
    await fetchNew(chart)
  } catch (error) {
    chart.trouble = error.message === "Failed to fetch" ? "The server cannot be reached" : error.message
    wait = TROUBLE_MS
  }
  tell(chart)
  // Only the newest poll goes on: a view that changed meanwhile began one of its own.
  const goesOn = () => turn === chart.turn && !chart.gone && (chart.data.live || chart.trouble || chart.undrawn)
  if (goesOn()) chart.timer = setTimeout(() => goesOn() && poll(chart), wait)
}

// ---- What the reader is told ----------------------------------------------------------------

function tell(chart) {
  const { data, state } = chart
  const ago = Math.max(0, Math.round((Date.now() - (chart.heardAt ?? Date.now())) / 1000))
  let mood = "live"
  let text = `Live, updated ${ago} s ago`
  if (chart.undrawn) {
    mood = "lost"
    text = chart.undrawn
  } else if (chart.trouble) {
    mood = "lost"
    text = `${chart.trouble} (last updated ${ago} s ago)`
  } else if (data.over) {
    mood = "over"
    text = data.series.length > 1 ? "All runs have ended" : "The run has ended"
  } else if (!data.live) {
    mood = "paused"
    text = "Paused: the runs go on"
  } else if (!chart.heardAt) {
    text = "Loading"
  } else if (Date.now() - chart.heardAt > STALE_MS && !document.hidden) {
    mood = "lost"
    text = `No answer since ${ago} s`
  }
  if (state.dataset.mood !== mood) state.dataset.mood = mood
  if (state.textContent !== text) state.textContent = text
  if (document.title !== data.title) document.title = data.title
}

// ---- Streamlit ------------------------------------------------------------------------------

export default function (component) {
  const { data, parentElement } = component
  const node = parentElement.querySelector(".live-chart")
  if (!node || !data) return

  let chart = charts.get(parentElement)
  const isNew = !chart
  if (isNew) {
    const state = parentElement.querySelector(".live-state")
    chart = { node, state, lines: new Map() }
    chart.ticker = setInterval(() => tell(chart), 1000)
    chart.wake = () => !document.hidden && chart.data.live && poll(chart)
    document.addEventListener("visibilitychange", chart.wake)
    charts.set(parentElement, chart)
  }
  if (chart.stream !== data.stream) {
    chart.stream = data.stream
    chart.lines = new Map()
  }
  const wasLive = chart.data?.live
  const had = (chart.series ?? []).map((it) => it.id).join()
  chart.data = data
  chart.series = data.series
  const isAnother = had !== data.series.map((it) => it.id).join()
  const asksMore = isAnother || (wasLive !== data.live && (data.live || data.over))
  if (chart.lines.size === 0 || asksMore) poll(chart)
  draw(chart)
  tell(chart)

  return () => {
    chart.gone = true
    clearTimeout(chart.timer)
    clearInterval(chart.ticker)
    document.removeEventListener("visibilitychange", chart.wake)
    charts.delete(parentElement)
    window.Plotly?.purge(node)
  }
}
