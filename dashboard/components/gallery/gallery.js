// Shows pictures side by side: one row per picture, one column for the source, the target and each
// run.
//
// Python passes {columns, rows, epochs, epoch, pinned, compact, view, animation}. A column has the
// URLs of its strips; a strip is one file with all pictures of the column at one epoch. This file
// cuts pictures out of strips, so that a move of the epoch slider downloads only strips that the
// browser does not have yet. The state values `epoch`, `pinned` and `view` are sent to Python.

import { createElement, describe, latestStrip, orderedRows, paint } from "./dom.js"
import { loadStrip } from "./image_strips.js"
import { buildLightbox, drawLightbox, openLightbox } from "./lightbox.js"

const SEND_DELAY_MS = 400
const PLAY_INTERVAL_MS = 500

const galleries = new WeakMap() // parent element -> gallery

// ---- Streamlit ------------------------------------------------------------------------------

// Streamlit calls this function after every change of the data or the theme.
export default function (component) {
  const { data, parentElement, setStateValue } = component
  if (!data || !parentElement.querySelector(".gallery")) return

  const isNew = !galleries.has(parentElement)
  if (isNew) galleries.set(parentElement, mount(parentElement))
  const gallery = galleries.get(parentElement)
  gallery.setStateValue = setStateValue
  const oldData = gallery.data
  gallery.data = data
  if (isNew) restoreState(gallery)
  else followNewestEpoch(gallery, oldData)
  gallery.bar.hidden = Boolean(data.compact)
  gallery.epochControls.hidden = data.epochs.length < 2
  gallery.root.classList.toggle("compact", Boolean(data.compact))
  if (isNew || JSON.stringify(oldData) !== JSON.stringify(data)) {
    buildGrid(gallery)
    showEpoch(gallery, gallery.epoch)
  }

  return () => {
    clearInterval(gallery.playTimer)
    galleries.delete(parentElement)
  }
}

function mount(parentElement) {
  const root = parentElement.querySelector(".gallery")
  const gallery = {
    root,
    bar: root.querySelector(".bar"),
    failureLine: root.querySelector(".failure"),
    grid: root.querySelector(".grid"),
    dialog: root.querySelector("dialog"),
    sendTimers: {},
  }
  gallery.moveEpoch = (by) => moveEpoch(gallery, by)
  buildBar(gallery)
  buildLightbox(gallery)
  root.onkeydown = (event) => {
    if (gallery.dialog.open || event.target.matches("input")) return
    if (event.key === "ArrowLeft" && moveEpoch(gallery, -1)) event.preventDefault()
    if (event.key === "ArrowRight" && moveEpoch(gallery, 1)) event.preventDefault()
  }
  return gallery
}

// Sets pinned rows, epoch and view to the values from Python, which usually come from the URL.
function restoreState(gallery) {
  const { data } = gallery
  gallery.pinned = data.pinned ?? []
  gallery.epoch = data.epochs.includes(data.epoch) ? data.epoch : newestEpoch(data)
  gallery.view = data.view ?? "pictures"
  markView(gallery)
}

// Selects the newest epoch if the gallery showed the previous newest epoch, or an epoch that does not
// exist any more.
function followNewestEpoch(gallery, oldData) {
  const showedNewest = gallery.epoch === newestEpoch(oldData)
  if (showedNewest || !gallery.data.epochs.includes(gallery.epoch)) {
    gallery.epoch = newestEpoch(gallery.data)
  }
}

const newestEpoch = (data) => data.epochs.at(-1) ?? 0

// Sends a state value to Python after a delay, so that a moving slider does not rerun the page at
// every position.
function send(gallery, name, value) {
  clearTimeout(gallery.sendTimers[name])
  gallery.sendTimers[name] = setTimeout(() => gallery.setStateValue(name, value), SEND_DELAY_MS)
}

// ---- The grid -------------------------------------------------------------------------------

function buildGrid(gallery) {
  const { data, grid } = gallery
  grid.style.setProperty("--columns", data.columns.length)
  const focusedCell = grid.contains(document.activeElement) ? document.activeElement.dataset.cell : null
  const heads = data.columns.map((column) => columnHead(gallery, column))
  grid.replaceChildren(createElement("div", { class: "corner" }), ...heads)
  gallery.tiles = []
  for (const row of orderedRows(gallery)) {
    grid.append(rowHead(gallery, row))
    for (const column of data.columns) {
      const tile = createTile(gallery, row, column)
      grid.append(tile.button)
      gallery.tiles.push(tile)
    }
  }
  paintGrid(gallery)
  if (focusedCell) {
    [...grid.querySelectorAll("[data-cell]")].find((element) => element.dataset.cell === focusedCell)?.focus()
  }
}

function columnHead(gallery, column) {
  const strip = latestStrip(column, gallery.epoch)
  const hasEpochs = column.isRun && gallery.data.epochs.length > 0
  let detail = column.detail ?? ""
  if (hasEpochs) detail = strip ? `epoch ${strip[0]}` : "not yet"
  if (column.seed) detail = `${column.seed} · ${detail}`
  const dot = column.colour
    ? createElement("span", { class: "dot", style: `background:${column.colour}` })
    : null
  const isBehind = hasEpochs && strip && strip[0] !== gallery.epoch
  return createElement(
    "div",
    { class: "head" },
    createElement("div", { class: "name" }, dot, column.name ?? column.label),
    createElement("div", { class: isBehind ? "detail behind" : "detail" }, detail),
  )
}

function rowHead(gallery, row) {
  const isPinned = gallery.pinned.includes(row.key)
  const label = isPinned ? "Unpin" : "Pin to top"
  const pin = createElement(
    "button",
    {
      class: "pin",
      type: "button",
      "data-cell": `pin ${row.key}`,
      title: label,
      "aria-label": `${label}: ${row.label}`,
      "aria-pressed": String(isPinned),
      onclick: () => togglePin(gallery, row.key),
    },
    isPinned ? "★" : "☆",
  )
  return createElement("div", { class: "row-head" }, pin, createElement("span", { title: row.label }, row.label))
}

function createTile(gallery, row, column) {
  const canvas = createElement("canvas", { "aria-hidden": "true" })
  const caption = row.captions?.[column.key]
  const button = createElement(
    "button",
    {
      class: "tile",
      type: "button",
      "data-cell": `${row.key} ${column.key}`,
      onclick: () => openLightbox(gallery, row.index, column.key),
    },
    canvas,
    caption ? createElement("span", { class: "caption" }, caption) : null,
  )
  return { button, canvas, column, row }
}

async function paintGrid(gallery) {
  const heads = gallery.grid.querySelectorAll(".head")
  gallery.data.columns.forEach((column, index) => heads[index]?.replaceWith(columnHead(gallery, column)))
  const painting = gallery.tiles.map(({ button, canvas, column, row }) => {
    button.setAttribute("aria-label", `${describe(gallery, column, row)}. Enlarge.`)
    return paint(gallery, canvas, column, row.index, gallery.view)
  })
  preloadNeighbours(gallery)
  gallery.painting = painting
  const failures = (await Promise.all(painting)).filter(Boolean)
  if (gallery.painting === painting) showFailure(gallery, failures[0])
}

// Shows why pictures are missing, or hides the line if all pictures are drawn.
function showFailure(gallery, failure) {
  gallery.failureLine.hidden = !failure
  gallery.failureLine.textContent = failure ? `Some pictures cannot be shown. ${failure}.` : ""
}

// Downloads the strips of the next and the previous epoch before the slider selects them.
function preloadNeighbours(gallery) {
  const { epochs, columns } = gallery.data
  const position = epochs.indexOf(gallery.epoch)
  for (const epoch of [epochs[position + 1], epochs[position - 1]]) {
    if (epoch === undefined) continue
    for (const column of columns) {
      const strip = latestStrip(column, epoch)
      if (strip) loadStrip(strip[1]).catch(() => {})
    }
  }
}

function togglePin(gallery, rowKey) {
  const others = gallery.pinned.filter((key) => key !== rowKey)
  gallery.pinned = others.length < gallery.pinned.length ? others : [...others, rowKey]
  buildGrid(gallery)
  send(gallery, "pinned", gallery.pinned)
}

// ---- The bar: epochs and view ---------------------------------------------------------------

function buildBar(gallery) {
  gallery.slider = createElement("input", {
    type: "range",
    min: "0",
    "aria-label": "Epoch",
    oninput: () => selectEpoch(gallery, gallery.data.epochs[Number(gallery.slider.value)]),
  })
  gallery.epochLabel = createElement("span", { class: "epoch" })
  gallery.playButton = createElement("button", { type: "button", onclick: () => togglePlay(gallery) }, "Play")
  gallery.epochControls = createElement(
    "span",
    { class: "epoch-controls" },
    gallery.epochLabel,
    gallery.slider,
    gallery.playButton,
  )
  gallery.viewButtons = ["pictures", "difference"].map((view) =>
    createElement(
      "button",
      { type: "button", "data-view": view, onclick: () => selectView(gallery, view) },
      view === "pictures" ? "Pictures" : "Difference",
    ),
  )
  gallery.legend = createElement(
    "span",
    { class: "legend" },
    "equal to the target",
    createElement("span", { class: "scale" }),
    "different",
  )
  gallery.bar.replaceChildren(
    gallery.epochControls,
    createElement("span", { class: "views", role: "group", "aria-label": "View" }, ...gallery.viewButtons),
    gallery.legend,
  )
}

function showEpoch(gallery, epoch) {
  gallery.epoch = epoch
  const { epochs } = gallery.data
  gallery.slider.max = String(Math.max(0, epochs.length - 1))
  gallery.slider.value = String(epochs.indexOf(epoch))
  gallery.slider.setAttribute("aria-valuetext", `epoch ${epoch}`)
  gallery.epochLabel.textContent = epochs.length ? `Epoch ${epoch} of ${epochs.at(-1)}` : ""
  paintGrid(gallery)
  if (gallery.dialog.open) drawLightbox(gallery)
}

function selectEpoch(gallery, epoch) {
  showEpoch(gallery, epoch)
  send(gallery, "epoch", epoch)
}

// Moves `by` positions in the list of epochs; returns false if the epoch does not change.
function moveEpoch(gallery, by) {
  const { epochs } = gallery.data
  const position = Math.min(epochs.length - 1, Math.max(0, epochs.indexOf(gallery.epoch) + by))
  if (epochs[position] === undefined || epochs[position] === gallery.epoch) return false
  selectEpoch(gallery, epochs[position])
  return true
}

function togglePlay(gallery) {
  if (gallery.playTimer) {
    clearInterval(gallery.playTimer)
    gallery.playTimer = null
  } else {
    if (gallery.epoch === newestEpoch(gallery.data)) showEpoch(gallery, gallery.data.epochs[0])
    gallery.playTimer = setInterval(() => moveEpoch(gallery, 1) || togglePlay(gallery), PLAY_INTERVAL_MS)
  }
  gallery.playButton.textContent = gallery.playTimer ? "Pause" : "Play"
}

function selectView(gallery, view) {
  gallery.view = view
  markView(gallery)
  paintGrid(gallery)
  if (gallery.dialog.open) drawLightbox(gallery)
  send(gallery, "view", view)
}

function markView(gallery) {
  for (const button of gallery.viewButtons) {
    button.setAttribute("aria-pressed", String(button.dataset.view === gallery.view))
  }
  gallery.legend.hidden = gallery.view !== "difference"
}
