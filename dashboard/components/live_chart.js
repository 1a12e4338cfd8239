// A line chart that keeps its zoom while points arrive.
//
// Python sends {stream, from, to, points, series, view}: the rows after `from` up to `to`. A
// message that was replaced before the chart was mounted is noticed by its gap and asked for
// again through the state `ask`. Streamlit calls this function at every message and theme change.

const charts = new WeakMap()

function loadPlotly() {
  if (!window.chromabenchPlotly) {
    window.chromabenchPlotly = new Promise((resolve, reject) => {
      const script = document.createElement("script")
      script.src = new URL("app/static/plotly.min.js", document.baseURI).href
      script.onload = () => resolve(window.Plotly)
      script.onerror = () => reject(new Error("plotly.min.js did not load"))
      document.head.appendChild(script)
    })
  }
  return window.chromabenchPlotly
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

// At most `limit` points of a line: the lowest and highest of each stretch, in order.
function thin(points, limit) {
  if (points.length <= limit) return points
  const stride = Math.ceil((points.length * 2) / limit)
  const kept = []
  for (let start = 0; start < points.length; start += stride) {
    const part = points.slice(start, start + stride).filter((point) => point.y !== null)
    if (!part.length) continue
    const low = part.reduce((a, b) => (b.y < a.y ? b : a))
    const high = part.reduce((a, b) => (b.y > a.y ? b : a))
    kept.push(...(low.x <= high.x ? [low, high] : [high, low]))
  }
  return kept
}

function traces(chart, view) {
  return chart.series.flatMap((series) => {
    const points = chart.points.get(series.id) ?? []
    const at = view.axis === "epoch" ? 2 : 1
    const raw = points.map((point) => ({ x: point[at], y: point[3] }))
    const line = { color: series.color, dash: series.dash }
    const few = points.length < 40
    const draw = (data, extra) => ({
      type: "scatter",
      mode: few ? "lines+markers" : "lines",
      x: data.map((point) => point.x),
      y: data.map((point) => point.y),
      name: series.name,
      legendgroup: String(series.id),
      line,
      marker: { size: 6, color: series.color },
      hovertemplate: `%{y:.5~g}<extra>${series.name}</extra>`,
      ...extra,
    })
    if (!view.smoothing || points.length < 3) return [draw(thin(raw, 2000), {})]
    const values = smooth(raw.map((point) => point.y), view.smoothing)
    const soft = raw.map((point, index) => ({ x: point.x, y: values[index] }))
    const faint = { opacity: 0.22, showlegend: false, hoverinfo: "skip", hovertemplate: null }
    return [draw(thin(raw, 2000), faint), draw(thin(soft, 2000), {})]
  })
}

function layout(view, node) {
  const text = getComputedStyle(node).getPropertyValue("--st-text-color") || "#64748b"
  return {
    ...view.layout,
    uirevision: view.revision,
    height: view.height,
    hovermode: "x unified",
    font: { ...view.layout.font, color: text },
    hoverlabel: {
      bgcolor: getComputedStyle(node).getPropertyValue("--st-background-color") || "white",
    },
    yaxis: { ...view.layout.yaxis, type: view.log ? "log" : "linear" },
  }
}

export default function (component) {
  const { data, parentElement, setStateValue } = component
  const node = parentElement.querySelector(".live-chart")
  if (!node || !data) return

  let chart = charts.get(parentElement)
  if (!chart || chart.stream !== data.stream) {
    chart = { stream: data.stream, have: 0, points: new Map(), series: [] }
    charts.set(parentElement, chart)
  }
  chart.series = data.series

  if (data.from > chart.have) {
    setStateValue("ask", `${data.stream} ${chart.have} ${Date.now()}`)
  } else {
    // [id, step, epoch, value, series]
    for (const point of data.points) {
      if (point[0] <= chart.have) continue
      if (!chart.points.has(point[4])) chart.points.set(point[4], [])
      chart.points.get(point[4]).push(point)
    }
    chart.have = Math.max(chart.have, data.to)
  }
  const drawn = [...chart.points.values()].reduce((sum, points) => sum + points.length, 0)
  node.dataset.points = String(drawn)

  loadPlotly()
    .then((Plotly) => {
      const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] }
      return Plotly.react(node, traces(chart, data.view), layout(data.view, node), config)
    })
    .catch((error) => {
      node.textContent = `The chart cannot be drawn: ${error.message}. Reload the page.`
    })

  return () => {
    charts.delete(parentElement)
    window.Plotly?.purge(node)
  }
}
