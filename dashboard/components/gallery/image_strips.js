// Strips of pictures: fetched once, cut, and held against the target.

const GUTTER = 4
const FULL_DIFFERENCE = 128 // of 255, from which on the heat map is at its brightest
const HEAT = [
  [0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99],
  [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164],
]

const files = new Map() // address -> promise of an image, the newest last
const MOST_FILES = 400

export function load(address) {
  const full = new URL(address, document.baseURI).href
  if (files.has(full)) {
    const kept = files.get(full)
    files.delete(full)
    files.set(full, kept)
    return kept
  }
  const image = new Image()
  image.decoding = "async"
  const promise = new Promise((resolve, reject) => {
    image.onload = () => resolve(image)
    image.onerror = () => {
      files.delete(full)
      reject(new Error("gone"))
    }
  })
  image.src = full
  files.set(full, promise)
  if (files.size > MOST_FILES) files.delete(files.keys().next().value)
  return promise
}

export function cutInto(canvas, image, row) {
  const side = image.naturalWidth
  canvas.width = side
  canvas.height = side
  const context = canvas.getContext("2d", { willReadFrequently: true })
  context.drawImage(image, 0, row * (side + GUTTER), side, side, 0, 0, side, side)
  return context
}

function heat(share) {
  const at = Math.min(1, share) * (HEAT.length - 1)
  const below = Math.min(HEAT.length - 2, Math.floor(at))
  return HEAT[below].map((low, index) => low + (HEAT[below + 1][index] - low) * (at - below))
}

const scratch = document.createElement("canvas")

export function differenceInto(canvas, image, target, row) {
  const context = cutInto(canvas, image, row)
  const side = canvas.width
  const mine = context.getImageData(0, 0, side, side)
  const theirs = cutInto(scratch, target, row).getImageData(0, 0, side, side).data
  for (let at = 0; at < mine.data.length; at += 4) {
    let far = 0
    for (let channel = 0; channel < 3; channel += 1) far += Math.abs(mine.data[at + channel] - theirs[at + channel])
    const colour = heat(far / 3 / FULL_DIFFERENCE)
    for (let channel = 0; channel < 3; channel += 1) mine.data[at + channel] = colour[channel]
  }
  context.putImageData(mine, 0, 0)
}

// In the place of a picture that is not there: why.
export function sayInto(canvas, words) {
  canvas.width = canvas.height = 128
  const context = canvas.getContext("2d")
  context.fillStyle = "#808a9b"
  context.font = "13px sans-serif"
  context.textAlign = "center"
  context.fillText(words, 64, 68)
}
