// From the lines of a chart and the reader's view of them to plotly's traces and layout.

import { place, smooth } from "./series.js"

const MARKS = {
  diverged: "x",
  saturated: "triangle-up",
  plateau: "diamond",
}

function drawn(line, series, view) {
  const xs = line.stretches.map((it) => place(it, series, view.axis))
  const means = line.stretches.map((it) => it.mean)
  return { xs, means, soft: view.smoothing ? smooth(means, view.smoothing) : means }
}

export function lineTraces(chart, view) {
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
export function bandTraces(chart, view) {
  const groups = new Map()
  for (const series of chart.series) {
    if (!groups.has(series.group)) groups.set(series.group, [])
    groups.get(series.group).push(series)
  }
  return [...groups].flatMap(([name, members]) => {
    const present = members.filter((it) => chart.lines.get(it.id)?.stretches.length)
    if (!present.length) return [empty(members[0], name)]
    // Lines of different strides meet at the coarsest; each run has one value in a part.
    const coarsest = Math.max(...present.map((it) => chart.lines.get(it.id).stride))
    const parts = new Map()
    for (const series of present) {
      const line = chart.lines.get(series.id)
      const { xs, soft } = drawn(line, series, view)
      const mine = new Map()
      line.stretches.forEach((it, index) => {
        if (soft[index] === null || xs[index] === null) return
        const part = Math.floor((it.part * line.stride) / coarsest)
        if (!mine.has(part)) mine.set(part, { x: [], y: [] })
        mine.get(part).x.push(xs[index])
        mine.get(part).y.push(soft[index])
      })
      for (const [part, { x, y }] of mine) {
        if (!parts.has(part)) parts.set(part, { x: [], y: [] })
        parts.get(part).x.push(mean(x))
        parts.get(part).y.push(mean(y))
      }
    }
    const rows = [...parts].sort((a, b) => a[0] - b[0]).map(([, it]) => it)
    return [...bandOf(rows, members[0], view), meanOf(rows, members[0], name)]
  })
}

const mean = (values) => values.reduce((sum, it) => sum + it, 0) / values.length

function meanOf(rows, series, name) {
  const seeds = Math.max(0, ...rows.map((it) => it.y.length))
  return {
    type: "scatter",
    mode: rows.length < 40 ? "lines+markers" : "lines",
    x: rows.map((it) => mean(it.x)),
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
  const x = several.map((it) => mean(it.x))
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
    name: `${name} (nothing yet)`,
    legendgroup: name,
    line: { color: series.colour, dash: series.dash },
    hoverinfo: "skip",
  }
}

// What somebody should look at, on the line where it happened.
export function markTraces(chart, view) {
  const found = []
  for (const series of chart.series) {
    const line = chart.lines.get(series.id)
    if (!line || !line.stretches.length || !series.marks.length) continue
    const { xs, soft } = drawn(line, series, view)
    for (const [step, kind, text] of series.marks) {
      let index = line.stretches.findIndex((it) => it.last >= step)
      if (index < 0) index = line.stretches.length - 1
      while (index > 0 && soft[index] === null) index -= 1
      const symbol = MARKS[kind]
      const { colour } = series
      found.push({ x: xs[index], y: soft[index], text: `${series.name}: ${text}`, symbol, colour })
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
        line: { width: 2, color: "#e5484d" },
      },
      hovertemplate: "%{text}<extra></extra>",
    },
  ]
}

export function layout(view, node) {
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

export function describe(chart, view) {
  const last = chart.series.map((series) => {
    const end = chart.lines.get(series.id)?.stretches.at(-1)
    return end?.mean == null ? `${series.name}: nothing yet` : `${series.name}: ${end.mean.toPrecision(4)}`
  })
  return `${view.label}, newest values. ${last.join("; ")}.`
}
