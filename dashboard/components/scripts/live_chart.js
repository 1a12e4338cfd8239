// A line chart that keeps its zoom while points arrive.
//
// Python says which lines there are and how to draw them: {url, plotly, stream, series, view, live,
// over, title}. The points this file fetches by itself, each run from its own cursor, and keeps as
// stretches of equal length: so the page's memory ends where a run's last stretch does, and a chart
// that has been open for hours is the same as one that was opened now. Streamlit calls the function
// at the bottom at every message and theme change.

const POLL_MS = 500
const HIDDEN_POLL_MS = 5000
const TROUBLE_MS = 2000
const STALE_MS = 4000
const MOST_STRETCHES = 2000 // of a line, in the page's memory
const MARKS = {
  diverged: { symbol: "x", colour: "#d62728" },
  saturated: { symbol: "triangle-up", colour: "#e69f00" },
  plateau: { symbol: "diamond", colour: "#64748b" },
}

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

// ---- What is known of a line: stretches, in order -------------------------------------------

class Line {
  constructor() {
    this.clear()
  }

  clear() {
    this.cursor = 0
    this.stride = 1
    this.count = 0
    this.stretches = []
  }

  replace({ stride, stretches }) {
    this.clear()
    this.stride = stride
    for (const [part, n, step, at, mean, low, high, last, cursor] of stretches) {
      this.stretches.push({ part, n, step, at, mean, low, high, last })
      this.count += n
      this.cursor = Math.max(this.cursor, cursor)
    }
  }

  // Twice as many steps to a stretch, once there are more than are worth drawing.
  halve() {
    const kept = []
    for (const it of this.stretches) {
      const part = Math.floor(it.part / 2)
      const end = kept[kept.length - 1]
      if (end?.part === part) join(end, it)
      else kept.push({ ...it, part })
    }
    this.stride *= 2
    this.stretches = kept
  }

  // False where the point lies before the last one: the run began again.
  add(cursor, step, at, value) {
    const end = this.stretches[this.stretches.length - 1]
    if (end && step <= end.last) return false
    this.cursor = cursor
    const part = Math.floor((step - 1) / this.stride)
    const n = value === null ? 0 : 1
    const point = { part, n, step, at, mean: value, low: value, high: value, last: step }
    this.count += n
    if (end?.part === part) join(end, point)
    else this.stretches.push(point)
    if (this.stretches.length > MOST_STRETCHES) this.halve()
    return true
  }
}

// What comes next in the same stretch; a point without a value only moves its end.
function join(end, next) {
  end.last = next.last
  if (!next.n) return
  const n = end.n + next.n
  const share = next.n / n
  const mix = (one, other) => (one === null || other === null ? other : one + (other - one) * share)
  end.step = mix(end.step, next.step)
  end.at = mix(end.at, next.at)
  end.mean = end.n ? mix(end.mean, next.mean) : next.mean
  end.low = end.n ? Math.min(end.low, next.low) : next.low
  end.high = end.n ? Math.max(end.high, next.high) : next.high
  end.n = n
}

// ---- Where a stretch lies on the horizontal axis --------------------------------------------

// Seconds at work before a moment: what lies between attempts does not count.
function worked(attempts, at) {
  let before = 0
  for (const [start, end] of attempts) {
    if (end === null || at <= end) return before + Math.max(0, at - start)
    before += end - start
  }
  return before
}

function place(stretch, series, axis) {
  if (axis === "step") return stretch.step
  if (axis === "epoch") return series.perEpoch ? stretch.step / series.perEpoch : null
  if (stretch.at === null) return null
  if (axis === "clock") return new Date(stretch.at * 1000)
  return worked(series.attempts, stretch.at) / 60
}

// An exponential moving average without the pull towards its first value (Adam's correction).
function smooth(values, weight) {
  let average = 0
  let trust = 0
  return values.map((value) => {
    if (value === null) return null
    average = weight * average + (1 - weight) * value
    trust = weight * trust + (1 - weight)
    return average / trust
  })
}

// ---- Drawing --------------------------------------------------------------------------------

function drawn(line, series, view) {
  const xs = line.stretches.map((it) => place(it, series, view.axis))
  const means = line.stretches.map((it) => it.mean)
  return { xs, means, soft: view.smoothing ? smooth(means, view.smoothing) : means }
}

function lineTraces(chart, view) {
  return chart.series.flatMap((series) => {
    const line = chart.lines.get(series.id)
    if (!line || !line.stretches.length) return [empty(series, series.name)]
    const { xs, soft } = drawn(line, series, view)
    const look = { color: series.colour, dash: series.dash, width: 2 }
    const few = line.stretches.length < 40
    const main = {
      type: "scatter",
      mode: few ? "lines+markers" : "lines",
      x: xs,
      y: soft,
      name: series.name,
      legendgroup: series.name,
      line: look,
      marker: { size: 6, color: series.colour },
      hovertemplate: `%{y:.5~g}<extra>${series.name}</extra>`,
    }
    const isThinned = line.stretches.some((it) => it.low !== it.high)
    if ((!view.smoothing && !isThinned) || line.stretches.length < 3) return [main]
    return [rawTrace(line, xs, series), main]
  })
}

// The raw line, faint: every stretch from its least to its greatest value.
function rawTrace(line, xs, series) {
  const x = []
  const y = []
  line.stretches.forEach((it, index) => {
    x.push(xs[index])
    y.push(it.low)
    if (it.high !== it.low) {
      x.push(xs[index])
      y.push(it.high)
    }
  })
  return {
    type: "scatter",
    mode: "lines",
    x,
    y,
    name: series.name,
    legendgroup: series.name,
    line: { color: series.colour, width: 1 },
    opacity: 0.22,
    showlegend: false,
    hoverinfo: "skip",
  }
}

// A band for each configuration: the mean over its seeds and its 95 % interval.
function bandTraces(chart, view) {
  const groups = new Map()
  for (const series of chart.series) {
    if (!groups.has(series.group)) groups.set(series.group, [])
    groups.get(series.group).push(series)
  }
  return [...groups].flatMap(([name, members]) => {
    const present = members.filter((it) => chart.lines.get(it.id)?.stretches.length)
    if (!present.length) return [empty(members[0], name)]
    const parts = new Map()
    for (const series of present) {
      const line = chart.lines.get(series.id)
      const { xs, soft } = drawn(line, series, view)
      line.stretches.forEach((it, index) => {
        if (soft[index] === null || xs[index] === null) return
        if (!parts.has(it.part)) parts.set(it.part, { x: [], y: [] })
        parts.get(it.part).x.push(Number(xs[index]))
        parts.get(it.part).y.push(soft[index])
      })
    }
    const rows = [...parts].sort((a, b) => a[0] - b[0]).map(([, it]) => it)
    return [...bandOf(rows, members[0], view), meanOf(rows, members[0], name, view)]
  })
}

const mean = (values) => values.reduce((sum, it) => sum + it, 0) / values.length
const asX = (value, view) => (view.axis === "clock" ? new Date(value) : value)

function meanOf(rows, series, name, view) {
  const seeds = Math.max(0, ...rows.map((it) => it.y.length))
  return {
    type: "scatter",
    mode: rows.length < 40 ? "lines+markers" : "lines",
    x: rows.map((it) => asX(mean(it.x), view)),
    y: rows.map((it) => mean(it.y)),
    name: seeds > 1 ? `${name}, ${seeds} seeds` : name,
    legendgroup: name,
    line: { color: series.colour, width: 2 },
    marker: { size: 6, color: series.colour },
    hovertemplate: `%{y:.5~g}<extra>${name}</extra>`,
  }
}

function bandOf(rows, series, view) {
  const several = rows.filter((it) => it.y.length > 1)
  if (!several.length) return []
  const half = several.map(({ y }) => {
    const middle = mean(y)
    const spread = Math.sqrt(y.reduce((sum, it) => sum + (it - middle) ** 2, 0) / (y.length - 1))
    const quantile = view.quantiles[Math.min(y.length, view.quantiles.length - 1)]
    return (quantile * spread) / Math.sqrt(y.length)
  })
  const x = several.map((it) => asX(mean(it.x), view))
  const at = several.map((it) => mean(it.y))
  const edge = (y, extra) => ({
    type: "scatter",
    mode: "lines",
    x,
    y,
    legendgroup: series.group,
    line: { width: 0, color: series.colour },
    showlegend: false,
    hoverinfo: "skip",
    ...extra,
  })
  const low = at.map((value, index) => value - half[index])
  const high = at.map((value, index) => value + half[index])
  return [edge(low, {}), edge(high, { fill: "tonexty", fillcolor: `${series.colour}2b` })]
}

function empty(series, name) {
  return {
    type: "scatter",
    mode: "lines",
    x: [null],
    y: [null],
    name,
    legendgroup: name,
    line: { color: series.colour, dash: series.dash },
    hoverinfo: "skip",
  }
}

// What somebody should look at, on the line where it happened.
function markTraces(chart, view) {
  const found = []
  for (const series of chart.series) {
    const line = chart.lines.get(series.id)
    if (!line || !line.stretches.length || !series.marks.length) continue
    const { xs, soft } = drawn(line, series, view)
    for (const [step, kind, text] of series.marks) {
      let index = line.stretches.findIndex((it) => it.last >= step)
      if (index < 0) index = line.stretches.length - 1
      while (index > 0 && soft[index] === null) index -= 1
      found.push({ x: xs[index], y: soft[index], text: `${series.name}: ${text}`, ...MARKS[kind] })
    }
  }
  if (!found.length) return []
  return [
    {
      type: "scatter",
      mode: "markers",
      x: found.map((it) => it.x),
      y: found.map((it) => it.y),
      text: found.map((it) => it.text.replace(/(.{48}\S*)\s/g, "$1<br>")),
      name: "alerts",
      showlegend: false,
      marker: {
        size: 13,
        symbol: found.map((it) => it.symbol),
        color: found.map((it) => it.colour),
        line: { width: 1, color: "white" },
      },
      hovertemplate: "%{text}<extra></extra>",
    },
  ]
}

function layout(view, node) {
  const style = getComputedStyle(node)
  const colour = (name, other) => style.getPropertyValue(name).trim() || other
  return {
    ...view.layout,
    uirevision: view.revision,
    height: view.height,
    hovermode: "x unified",
    font: { ...view.layout.font, color: colour("--st-text-color", "#64748b") },
    hoverlabel: {
      bgcolor: colour("--st-background-color", "white"),
      bordercolor: colour("--st-border-color", "#ccc"),
      font: { color: colour("--st-text-color", "black") },
    },
    xaxis: { ...view.layout.xaxis, ticksuffix: view.axis === "elapsed" ? " min" : "" },
    yaxis: { ...view.layout.yaxis, type: view.log ? "log" : "linear" },
  }
}

function describe(chart, view) {
  const last = chart.series.map((series) => {
    const end = chart.lines.get(series.id)?.stretches.at(-1)
    return end?.mean == null ? `${series.name}: nothing yet` : `${series.name}: ${end.mean.toPrecision(4)}`
  })
  return `${view.label}, newest values. ${last.join("; ")}.`
}

async function draw(chart) {
  const { node, data } = chart
  try {
    const Plotly = await loadPlotly(data.plotly)
    if (chart.gone) return
    const view = chart.data.view
    const traces = view.by === "configurations" ? bandTraces(chart, view) : lineTraces(chart, view)
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
  } catch (error) {
    chart.trouble = `The chart cannot be drawn: ${error.message}. Reload the page.`
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
  if (answer.status === 204) return
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
  const goesOn = () => turn === chart.turn && !chart.gone && (chart.data.live || chart.trouble)
  if (goesOn()) chart.timer = setTimeout(() => goesOn() && poll(chart), wait)
}

// ---- What the reader is told ----------------------------------------------------------------

function tell(chart) {
  const { data, state } = chart
  const ago = Math.max(0, Math.round((Date.now() - (chart.heardAt ?? Date.now())) / 1000))
  let mood = "live"
  let text = `Live, updated ${ago} s ago`
  if (chart.trouble) {
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
