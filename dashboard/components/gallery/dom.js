// What grid and large view share: which picture stands where, and how it is painted.

import { cutInto, differenceInto, load, sayInto } from "./image_strips.js"

// The strip of a column at an epoch, or the latest before it.
export function latest(column, epoch) {
  let found = null
  for (const strip of column.strips) if (strip[0] <= epoch) found = strip
  return found
}

export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made[name] = value
    else if (value === true) made.setAttribute(name, "")
    else if (value !== false && value !== null) made.setAttribute(name, value)
  }
  made.append(...children.filter((it) => it !== null))
  return made
}

export async function paint(gallery, canvas, column, row, look) {
  const strip = latest(column, gallery.epoch)
  const wanted = `${strip?.[1]} ${row} ${look}`
  if (canvas.dataset.wanted === wanted) return
  canvas.dataset.wanted = wanted
  const target = gallery.data.columns.find((it) => it.key === "target")
  try {
    if (!strip) throw new Error("not yet")
    const image = await load(strip[1])
    const other = look === "difference" && column.isRun ? await load(latest(target, gallery.epoch)[1]) : null
    if (canvas.dataset.wanted !== wanted) return
    if (other) differenceInto(canvas, image, other, row)
    else cutInto(canvas, image, row)
  } catch (error) {
    if (canvas.dataset.wanted !== wanted) return
    delete canvas.dataset.wanted // it is tried again when it is painted next
    sayInto(canvas, error.message)
  }
}

export function orderedRows(gallery) {
  const rows = gallery.data.rows.map((row, index) => ({ ...row, index }))
  const isPinned = (row) => gallery.pinned.includes(row.key)
  return [...rows.filter(isPinned), ...rows.filter((row) => !isPinned(row))]
}

export function describe(gallery, column, row) {
  const strip = latest(column, gallery.epoch)
  const epoch = column.isRun && strip && gallery.data.epochs.length ? `, epoch ${strip[0]}` : ""
  const caption = row.captions?.[column.key]
  return `${column.label} of ${row.label}${epoch}${caption ? `, ${caption}` : ""}`
}
