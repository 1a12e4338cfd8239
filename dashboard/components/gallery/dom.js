// Finds, draws and describes the picture of a cell, for the grid and for the enlarged view.

import { drawDifference, drawMessage, drawPicture, loadStrip } from "./image_strips.js"

// Creates an element; attributes that start with "on" are event handlers.
export function createElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value
    else if (value === true) element.setAttribute(name, "")
    else if (value !== false && value !== null) element.setAttribute(name, value)
  }
  element.append(...children.filter((child) => child !== null))
  return element
}

// Returns [epoch, URL] of a column's strip at an epoch, or of the latest strip before it.
export function latestStrip(column, epoch) {
  let latest = null
  for (const strip of column.strips) if (strip[0] <= epoch) latest = strip
  return latest
}

// Draws the picture of a cell, or a message if there is no picture; returns a promise of the reason
// why the download failed, or of null. `canvas.dataset.content` identifies the newest request, so that
// a slow download never replaces a newer picture.
export function paint(gallery, canvas, column, row, view) {
  const strip = latestStrip(column, gallery.epoch)
  const content = `${strip?.[1]} ${row} ${view}`
  if (canvas.dataset.content !== content) {
    canvas.dataset.content = content
    canvas.painting = draw(gallery, canvas, { strip, column, row, view, content })
  }
  return canvas.painting
}

async function draw(gallery, canvas, { strip, column, row, view, content }) {
  if (!strip) {
    drawMessage(canvas, "not yet")
    return null
  }
  const isOutdated = () => canvas.dataset.content !== content
  try {
    const image = await loadStrip(strip[1])
    const target = view === "difference" && column.isRun ? await loadTarget(gallery) : null
    if (isOutdated()) return null
    if (target) drawDifference(canvas, image, target, row)
    else drawPicture(canvas, image, row)
    return null
  } catch (error) {
    if (isOutdated()) return null
    delete canvas.dataset.content // so that the next call tries again
    drawMessage(canvas, "not available")
    return error.message
  }
}

function loadTarget(gallery) {
  const target = gallery.data.columns.find((column) => column.key === "target")
  return loadStrip(latestStrip(target, gallery.epoch)[1])
}

// Returns the rows with their position in the strips, pinned rows first.
export function orderedRows(gallery) {
  const rows = gallery.data.rows.map((row, index) => ({ ...row, index }))
  const isPinned = (row) => gallery.pinned.includes(row.key)
  return [...rows.filter(isPinned), ...rows.filter((row) => !isPinned(row))]
}

// Describes the picture of a cell for screen readers.
export function describe(gallery, column, row) {
  const strip = latestStrip(column, gallery.epoch)
  const epoch = column.isRun && strip && gallery.data.epochs.length ? `, epoch ${strip[0]}` : ""
  const caption = row.captions?.[column.key]
  return `${column.label} of ${row.label}${epoch}${caption ? `, ${caption}` : ""}`
}
