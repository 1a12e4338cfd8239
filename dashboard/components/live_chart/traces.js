// Builds Plotly's traces and layout from the lines of a chart and the user's view.

import { horizontalPosition, smooth } from "./series.js"

const MAX_POINTS_WITH_MARKERS = 40
const MIN_BUCKETS_WITH_RAW_LINE = 3
const RAW_OPACITY = 0.22
const BAND_OPACITY = "2b" // hexadecimal, appended to the colour
const MARK_SYMBOLS = {
  diverged: "x",
  saturated: "triangle-up",
  plateau: "diamond",
}
const MARK_BORDER = "#e5484d"

// Returns the positions of a line's buckets, and their means after smoothing.
function coordinates(line, series, view) {
  const xs = line.buckets.map((bucket) => horizontalPosition(bucket, series, view.axis))
  const means = line.buckets.map((bucket) => bucket.mean)
  return { xs, ys: view.smoothing ? smooth(means, view.smoothing) : means }
}

const mode = (nPoints) => (nPoints < MAX_POINTS_WITH_MARKERS ? "lines+markers" : "lines")
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length

// ---- One line per run -----------------------------------------------------------------------

export function lineTraces(chart, view) {
  return chart.series.flatMap((series) => {
    const line = chart.lines.get(series.id)
    if (!line || !line.buckets.length) return [emptyTrace(series, series.name)]
    const { xs, ys } = coordinates(line, series, view)
    const mainTrace = {
      type: "scatter",
      mode: mode(line.buckets.length),
      x: xs,
      y: ys,
      name: series.name,
      legendgroup: series.name,
      line: { color: series.colour, dash: series.dash, width: 2 },
      marker: { size: 6, color: series.colour },
      hovertemplate: `%{y:.5~g}<extra>${series.name}</extra>`,
    }
    const hasRange = line.buckets.some((bucket) => bucket.low !== bucket.high)
    const showsRawLine = (view.smoothing || hasRange) && line.buckets.length >= MIN_BUCKETS_WITH_RAW_LINE
    return showsRawLine ? [rawTrace(line, xs, series), mainTrace] : [mainTrace]
  })
}

// Draws a faint line through the lowest and the highest value of every bucket.
function rawTrace(line, xs, series) {
  const x = []
  const y = []
  line.buckets.forEach((bucket, index) => {
    x.push(xs[index])
    y.push(bucket.low)
    if (bucket.high !== bucket.low) {
      x.push(xs[index])
      y.push(bucket.high)
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
    opacity: RAW_OPACITY,
    showlegend: false,
    hoverinfo: "skip",
  }
}

// Builds a trace without points, so that the legend lists the line.
function emptyTrace(series, name) {
  return {
    type: "scatter",
    mode: "lines",
    x: [null],
    y: [null],
    name: `${name} (no data yet)`,
    legendgroup: name,
    line: { color: series.colour, dash: series.dash },
    hoverinfo: "skip",
  }
}

// ---- One band per configuration -------------------------------------------------------------

// Draws the mean over the seeds of each configuration and its 95 % interval.
export function bandTraces(chart, view) {
  const groups = new Map()
  for (const series of chart.series) {
    if (!groups.has(series.group)) groups.set(series.group, [])
    groups.get(series.group).push(series)
  }
  return [...groups].flatMap(([name, members]) => {
    const withPoints = members.filter((series) => chart.lines.get(series.id)?.buckets.length)
    if (!withPoints.length) return [emptyTrace(members[0], name)]
    const parts = alignSeeds(chart, withPoints, view)
    return [...bandEdges(parts, members[0], view), meanTrace(parts, members[0], name)]
  })
}

// Aligns runs at the parts of the coarsest stride. Between two parts with a value, a run is
// interpolated linearly, because runs may record their points at different steps. Returns the parts
// in order; each part is {x: [], y: []} with one position and one value per run that reaches it.
function alignSeeds(chart, members, view) {
  const coarsest = Math.max(...members.map((series) => chart.lines.get(series.id).stride))
  const lines = members.map((series) => coarseParts(chart.lines.get(series.id), series, view, coarsest))
  const numbers = [...new Set(lines.flat().map(({ part }) => part))].sort((one, other) => one - other)
  const parts = numbers.map(() => ({ x: [], y: [] }))
  for (const line of lines) {
    let next = 0
    numbers.forEach((number, index) => {
      while (next < line.length && line[next].part < number) next += 1
      const after = line[next]
      const before = after?.part === number ? after : line[next - 1]
      if (!after || !before) return
      const share = after.part === before.part ? 0 : (number - before.part) / (after.part - before.part)
      parts[index].x.push(before.x + (after.x - before.x) * share)
      parts[index].y.push(before.y + (after.y - before.y) * share)
    })
  }
  return parts
}

// Returns {part, x, y} of the buckets of one run, with means over the parts of a coarser stride.
function coarseParts(line, series, view, stride) {
  const { xs, ys } = coordinates(line, series, view)
  const parts = new Map()
  line.buckets.forEach((bucket, index) => {
    if (ys[index] === null || xs[index] === null) return
    const part = Math.floor((bucket.part * line.stride) / stride)
    if (!parts.has(part)) parts.set(part, { x: [], y: [] })
    parts.get(part).x.push(xs[index])
    parts.get(part).y.push(ys[index])
  })
  return [...parts].map(([part, { x, y }]) => ({ part, x: mean(x), y: mean(y) }))
}

function meanTrace(parts, series, name) {
  const nSeeds = Math.max(0, ...parts.map((part) => part.y.length))
  return {
    type: "scatter",
    mode: mode(parts.length),
    x: parts.map((part) => mean(part.x)),
    y: parts.map((part) => mean(part.y)),
    name: nSeeds > 1 ? `${name}, ${nSeeds} seeds` : name,
    legendgroup: name,
    line: { color: series.colour, width: 2 },
    marker: { size: 6, color: series.colour },
    hovertemplate: `%{y:.5~g}<extra>${name}</extra>`,
  }
}

// Draws the lower and the upper edge of the interval; parts with one seed have no interval.
function bandEdges(parts, series, view) {
  const withSeveral = parts.filter((part) => part.y.length > 1)
  if (!withSeveral.length) return []
  const x = withSeveral.map((part) => mean(part.x))
  const intervals = withSeveral.map((part) => confidenceInterval(part.y, view.quantiles))
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
  return [
    edge(intervals.map(({ low }) => low), {}),
    edge(intervals.map(({ high }) => high), {
      fill: "tonexty",
      fillcolor: `${series.colour}${BAND_OPACITY}`,
    }),
  ]
}

// Computes the 95 % interval of a mean; quantiles[n] is Student's t quantile for n values.
function confidenceInterval(values, quantiles) {
  const n = values.length
  const middle = mean(values)
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (n - 1))
  const quantile = quantiles[Math.min(n, quantiles.length - 1)]
  const half = (quantile * deviation) / Math.sqrt(n)
  return { low: middle - half, high: middle + half }
}

// ---- Alerts, layout and description ---------------------------------------------------------

// Draws each alert on the line of its run, at the step of the alert.
export function markTraces(chart, view) {
  const marks = chart.series.flatMap((series) => marksOf(series, chart.lines.get(series.id), view))
  if (!marks.length) return []
  return [
    {
      type: "scatter",
      mode: "markers",
      x: marks.map((mark) => mark.x),
      y: marks.map((mark) => mark.y),
      text: marks.map((mark) => breakLines(mark.text)),
      name: "alerts",
      showlegend: false,
      marker: {
        size: 13,
        symbol: marks.map((mark) => mark.symbol),
        color: marks.map((mark) => mark.colour),
        line: { width: 2, color: MARK_BORDER },
      },
      hovertemplate: "%{text}<extra></extra>",
    },
  ]
}

function marksOf(series, line, view) {
  if (!line || !line.buckets.length || !series.marks.length) return []
  const { xs, ys } = coordinates(line, series, view)
  return series.marks.map(([step, kind, text]) => {
    let index = line.buckets.findIndex((bucket) => bucket.last >= step)
    if (index < 0) index = line.buckets.length - 1
    while (index > 0 && ys[index] === null) index -= 1
    return {
      x: xs[index],
      y: ys[index],
      text: `${series.name}: ${text}`,
      symbol: MARK_SYMBOLS[kind],
      colour: series.colour,
    }
  })
}

// Breaks a tooltip after about 48 characters, because Plotly does not wrap text.
const breakLines = (text) => text.replace(/(.{48}\S*)\s/g, "$1<br>")

export function layout(view, node) {
  const style = getComputedStyle(node)
  const themeColour = (name, fallback) => style.getPropertyValue(name).trim() || fallback
  return {
    ...view.layout,
    uirevision: view.revision,
    height: view.height,
    hovermode: "x unified",
    font: { ...view.layout.font, color: themeColour("--st-text-color", "#64748b") },
    hoverlabel: {
      bgcolor: themeColour("--st-background-color", "white"),
      bordercolor: themeColour("--st-border-color", "#ccc"),
      font: { color: themeColour("--st-text-color", "black") },
    },
    xaxis: { ...view.layout.xaxis, ticksuffix: view.axis === "elapsed" ? " min" : "" },
    yaxis: { ...view.layout.yaxis, type: view.log ? "log" : "linear" },
  }
}

// Describes the newest values for screen readers.
export function describe(chart, view) {
  const newest = chart.series.map((series) => {
    const value = chart.lines.get(series.id)?.buckets.at(-1)?.mean
    return `${series.name}: ${value == null ? "no data yet" : value.toPrecision(4)}`
  })
  return `${view.label}, newest values. ${newest.join("; ")}.`
}
