// What a chart knows of a line, and where its stretches lie.

const MOST_STRETCHES = 2000 // of a line, in the page's memory

// ---- What is known of a line: stretches, in order -------------------------------------------

export class Line {
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

export function place(stretch, series, axis) {
  if (axis === "step") return stretch.step
  if (axis === "epoch") return series.perEpoch ? stretch.step / series.perEpoch : null
  if (stretch.at === null) return null
  if (axis === "clock") return new Date(stretch.at * 1000)
  return worked(series.attempts, stretch.at) / 60
}

// An exponential moving average without the pull towards its first value (Adam's correction).
export function smooth(values, weight) {
  let average = 0
  let trust = 0
  return values.map((value) => {
    if (value === null) return null
    average = weight * average + (1 - weight) * value
    trust = weight * trust + (1 - weight)
    return average / trust
  })
}
