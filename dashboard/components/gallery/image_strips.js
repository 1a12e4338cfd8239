// Downloads each strip of pictures once, cuts pictures out of strips and draws the differences
// between fakes and targets.

import { request } from "../js_component/requests.js"

const GUTTER_PX = 4 // between the pictures of a strip
const MAX_CACHED_STRIPS = 400
const BRIGHTEST_DIFFERENCE = 128 // mean difference per channel (0 to 255) with the brightest colour
const HEAT_COLOURS = [
  [0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99],
  [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164],
]
const MESSAGE_SIDE_PX = 128
const MESSAGE_COLOUR = "#808a9b"

const cachedStrips = new Map() // URL -> promise of an image, most recently used last

export function loadStrip(path) {
  const url = new URL(path, document.baseURI).href
  const loading = cachedStrips.get(url) ?? startLoading(url)
  cachedStrips.delete(url)
  cachedStrips.set(url, loading)
  if (cachedStrips.size > MAX_CACHED_STRIPS) cachedStrips.delete(cachedStrips.keys().next().value)
  return loading
}

function startLoading(url) {
  const image = new Image()
  image.decoding = "async"
  const loading = new Promise((resolve, reject) => {
    image.onload = () => resolve(image)
    image.onerror = async () => {
      cachedStrips.delete(url)
      reject(new Error(await describeFailure(url)))
    }
  })
  image.src = url
  return loading
}

// Requests a strip again, because a failed image does not tell its reason.
async function describeFailure(url) {
  try {
    await request(url, { cache: "no-store" })
    return "The file of the pictures cannot be decoded"
  } catch (error) {
    return error.message
  }
}

// Draws one picture of a strip; returns the context of the canvas.
export function drawPicture(canvas, strip, row) {
  const side = strip.naturalWidth
  canvas.width = side
  canvas.height = side
  const context = canvas.getContext("2d", { willReadFrequently: true })
  context.drawImage(strip, 0, row * (side + GUTTER_PX), side, side, 0, 0, side, side)
  return context
}

const targetCanvas = document.createElement("canvas")

// Draws how far each pixel of a fake is from the target, as a heat map.
export function drawDifference(canvas, fakeStrip, targetStrip, row) {
  const context = drawPicture(canvas, fakeStrip, row)
  const side = canvas.width
  const pixels = context.getImageData(0, 0, side, side)
  const fake = pixels.data
  const target = drawPicture(targetCanvas, targetStrip, row).getImageData(0, 0, side, side).data
  for (let start = 0; start < fake.length; start += 4) {
    let difference = 0
    for (let i = start; i < start + 3; i += 1) difference += Math.abs(fake[i] - target[i])
    const colour = heatColour(difference / 3 / BRIGHTEST_DIFFERENCE)
    for (let channel = 0; channel < 3; channel += 1) fake[start + channel] = colour[channel]
  }
  context.putImageData(pixels, 0, 0)
}

// Interpolates between the heat colours; `share` is between 0 (black) and 1 (brightest).
function heatColour(share) {
  const position = Math.min(1, share) * (HEAT_COLOURS.length - 1)
  const below = Math.min(HEAT_COLOURS.length - 2, Math.floor(position))
  return HEAT_COLOURS[below].map(
    (low, channel) => low + (HEAT_COLOURS[below + 1][channel] - low) * (position - below),
  )
}

// Draws a message in place of a picture.
export function drawMessage(canvas, message) {
  canvas.width = canvas.height = MESSAGE_SIDE_PX
  const context = canvas.getContext("2d")
  context.fillStyle = MESSAGE_COLOUR
  context.font = "13px sans-serif"
  context.textAlign = "center"
  context.fillText(message, MESSAGE_SIDE_PX / 2, MESSAGE_SIDE_PX / 2 + 4)
}
