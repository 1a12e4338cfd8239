// The enlarged view shows two pictures of a row with a movable edge. Buttons and keys change the
// row, and keys change the epoch.

import { createElement, describe, orderedRows, paint } from "./dom.js"

export function buildLightbox(gallery) {
  const { dialog } = gallery
  const redraw = () => drawLightbox(gallery)
  const turnBy = (rows) => () => turn(gallery, rows)
  gallery.left = createElement("select", { "aria-label": "Left picture", onchange: redraw })
  gallery.right = createElement("select", { "aria-label": "Right picture", onchange: redraw })
  buildStage(gallery)
  gallery.heading = createElement("strong")
  gallery.downloads = createElement("span", { class: "downloads" })
  dialog.replaceChildren(
    createElement(
      "div",
      { class: "top" },
      gallery.heading,
      createElement("button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "✕"),
    ),
    createElement("div", { class: "pair" }, gallery.left, createElement("span", {}, "swipe"), gallery.right),
    gallery.stage,
    gallery.swipe,
    createElement(
      "div",
      { class: "bottom" },
      createElement("button", { type: "button", onclick: turnBy(-1) }, "← Previous"),
      gallery.downloads,
      createElement("button", { type: "button", onclick: turnBy(1) }, "Next →"),
    ),
  )
  const actions = {
    ArrowLeft: turnBy(-1),
    ArrowRight: turnBy(1),
    ArrowUp: () => gallery.moveEpoch(1),
    ArrowDown: () => gallery.moveEpoch(-1),
  }
  dialog.onkeydown = (event) => {
    const hasOwnKeys = event.target.matches("select, input[type=range]")
    if (hasOwnKeys || !actions[event.key]) return
    event.preventDefault()
    actions[event.key]()
  }
}

// Builds the two pictures on top of each other and the slider that moves the edge between them.
function buildStage(gallery) {
  gallery.under = createElement("canvas", { role: "img" })
  gallery.over = createElement("canvas", { class: "over", role: "img" })
  gallery.swipe = createElement("input", {
    type: "range",
    min: "0",
    max: "100",
    value: "50",
    "aria-label": "Swipe between the two pictures",
    oninput: () => gallery.stage.style.setProperty("--swipe", `${gallery.swipe.value}%`),
  })
  const edge = createElement("span", { class: "edge" })
  gallery.stage = createElement("div", { class: "stage" }, gallery.under, gallery.over, edge)
  gallery.stage.onpointermove = (event) => {
    if (event.buttons !== 1 && event.pointerType !== "mouse") return
    const box = gallery.stage.getBoundingClientRect()
    gallery.swipe.value = String(Math.round(((event.clientX - box.left) / box.width) * 100))
    gallery.swipe.oninput()
  }
}

// Opens a row with the clicked column on the right, and the target or the source on the left.
export function openLightbox(gallery, rowIndex, columnKey) {
  gallery.rowIndex = rowIndex
  const { columns } = gallery.data
  const hasTarget = columns.some((column) => column.key === "target")
  const createOptions = () =>
    columns.map((column) => createElement("option", { value: column.key }, column.label))
  gallery.left.replaceChildren(...createOptions())
  gallery.right.replaceChildren(...createOptions())
  gallery.left.value = hasTarget && columnKey !== "target" ? "target" : columns[0].key
  gallery.right.value = columnKey
  if (!gallery.dialog.open) gallery.dialog.showModal()
  gallery.swipe.value = "50"
  gallery.swipe.oninput()
  drawLightbox(gallery)
}

// Moves by a number of rows in the order of the grid; the first row follows the last row.
function turn(gallery, rows) {
  const order = orderedRows(gallery).map((row) => row.index)
  const position = (order.indexOf(gallery.rowIndex) + rows + order.length) % order.length
  gallery.rowIndex = order[position]
  drawLightbox(gallery)
}

export function drawLightbox(gallery) {
  const row = gallery.data.rows[gallery.rowIndex]
  if (!row) return gallery.dialog.close()
  const [left, right] = [gallery.left, gallery.right].map((select) =>
    gallery.data.columns.find((column) => column.key === select.value),
  )
  paint(gallery, gallery.under, right, gallery.rowIndex, gallery.view)
  paint(gallery, gallery.over, left, gallery.rowIndex, gallery.view)
  gallery.under.setAttribute("aria-label", describe(gallery, right, row))
  gallery.over.setAttribute("aria-label", describe(gallery, left, row))
  const epoch = gallery.data.epochs.length ? `, epoch ${gallery.epoch}` : ""
  const scores = [left, right].map((column) => row.captions?.[column.key]).filter(Boolean)
  gallery.heading.textContent = [`${row.label}${epoch}`, ...scores].join(" · ")
  gallery.downloads.replaceChildren(...animationLinks(gallery))
}

function animationLinks(gallery) {
  const { animation } = gallery.data
  if (!animation) return []
  return ["gif", "webp"].map((format) => {
    const path = `${animation}&row=${gallery.rowIndex}&format=${format}`
    const href = new URL(path, document.baseURI).href
    return createElement("a", { href, download: "" }, `Download ${format.toUpperCase()}`)
  })
}
