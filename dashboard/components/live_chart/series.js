// Merges the points of one line into buckets, and computes positions and smoothed values.
//
// A bucket merges the points of `stride` consecutive steps: {part, n, step, at, mean, low, high,
// last}. `part` numbers the buckets of a run, `n` counts the points with a value, `step` and `at`
// (seconds since 1970) are means over the points, and `last` is the last step of the bucket.

const MAX_BUCKETS = 2000 // per line

export class Line {
  constructor() {
    this.clear()
  }

  clear() {
    this.cursor = 0
    this.stride = 1
    this.nPoints = 0
    this.buckets = []
  }

  // Replaces all buckets of a run by the buckets that the server has sent.
  replace({ stride, buckets }) {
    this.clear()
    this.stride = stride
    for (const [part, n, step, at, mean, low, high, last, cursor] of buckets) {
      this.buckets.push({ part, n, step, at, mean, low, high, last })
      this.nPoints += n
      this.cursor = Math.max(this.cursor, cursor)
    }
  }

  // Adds a point. Returns false if the step of the point is not after the last step, because the
  // run was restarted.
  add(cursor, step, at, value) {
    const lastBucket = this.buckets.at(-1)
    if (lastBucket && step <= lastBucket.last) return false
    this.cursor = cursor
    const part = Math.floor((step - 1) / this.stride)
    const n = value === null ? 0 : 1
    const point = { part, n, step, at, mean: value, low: value, high: value, last: step }
    this.nPoints += n
    if (lastBucket?.part === part) merge(lastBucket, point)
    else this.buckets.push(point)
    if (this.buckets.length > MAX_BUCKETS) this.doubleStride()
    return true
  }

  // Merges each pair of neighbouring buckets.
  doubleStride() {
    const merged = []
    for (const bucket of this.buckets) {
      const part = Math.floor(bucket.part / 2)
      const previous = merged.at(-1)
      if (previous?.part === part) merge(previous, bucket)
      else merged.push({ ...bucket, part })
    }
    this.stride *= 2
    this.buckets = merged
  }
}

// Merges the next bucket of the same part into a bucket. A next bucket without a value changes only
// the last step.
function merge(bucket, next) {
  bucket.last = next.last
  if (!next.n) return
  const n = bucket.n + next.n
  const share = next.n / n
  const mix = (old, added) => (old === null || added === null ? added : old + (added - old) * share)
  bucket.step = mix(bucket.step, next.step)
  bucket.at = mix(bucket.at, next.at)
  bucket.mean = bucket.n ? mix(bucket.mean, next.mean) : next.mean
  bucket.low = bucket.n ? Math.min(bucket.low, next.low) : next.low
  bucket.high = bucket.n ? Math.max(bucket.high, next.high) : next.high
  bucket.n = n
}

// Returns the position of a bucket on the horizontal axis; null if the position is not known.
export function horizontalPosition(bucket, series, axis) {
  if (axis === "step") return bucket.step
  if (axis === "epoch") return series.perEpoch ? bucket.step / series.perEpoch : null
  if (bucket.at === null) return null
  if (axis === "clock") return new Date(bucket.at * 1000)
  return runSeconds(series.attempts, bucket.at) / 60
}

// Returns the run time in seconds until the time `at`, without the pauses between attempts.
function runSeconds(attempts, at) {
  let seconds = 0
  for (const [start, end] of attempts) {
    if (end === null || at <= end) return seconds + Math.max(0, at - start)
    seconds += end - start
  }
  return seconds
}

// Computes an exponential moving average without bias towards its start (Adam's correction).
export function smooth(values, weight) {
  let average = 0
  let totalWeight = 0
  return values.map((value) => {
    if (value === null) return null
    average = weight * average + (1 - weight) * value
    totalWeight = weight * totalWeight + (1 - weight)
    return average / totalWeight
  })
}
