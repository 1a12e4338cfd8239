// Pictures side by side: a row for each, a column for source, target and every run.
//
// Python says where strips of pictures lie: {columns, rows, epochs, epoch, pinned, compact, look,
// animation}. A strip is one file with all rows of a column at one epoch; this file cuts it, so that
// scrubbing through the epochs asks the server for nothing but the next strip, and a browser keeps
// those it has. State that goes back: `epoch`, `pinned`, `look`.

import { buildDialog, drawLarge, open } from "./lightbox.js"
import { load } from "./image_strips.js"
import { describe, latest, make, orderedRows, paint } from "./dom.js"

const TELL_MS = 400
const PLAY_MS = 500

const galleries = new WeakMap()

// ---- The grid -------------------------------------------------------------------------------

function headOf(gallery, column) {
  const strip = latest(column, gallery.epoch)
  let detail = column.detail ?? ""
  if (column.isRun && gallery.data.epochs.length) detail = strip ? `epoch ${strip[0]}` : "not yet"
  if (column.seed) detail = `${column.seed} · ${detail}`
  const dot = column.colour ? make("span", { class: "dot", style: `background:${column.colour}` }) : null
  const isBehind = column.isRun && strip && gallery.data.epochs.length && strip[0] !== gallery.epoch
  return make(
    "div",
    { class: "head" },
    make("div", { class: "name" }, dot, column.name ?? column.label),
    make("div", { class: isBehind ? "detail behind" : "detail" }, detail),
  )
}

function buildGrid(gallery) {
  const { data, grid } = gallery
  grid.style.setProperty("--columns", data.columns.length)
  const focused = grid.contains(document.activeElement) ? document.activeElement.dataset.at : null
  grid.replaceChildren()
  grid.append(make("div", { class: "corner" }), ...data.columns.map((column) => headOf(gallery, column)))
  gallery.tiles = []
  for (const row of orderedRows(gallery)) {
    const isPinned = gallery.pinned.includes(row.key)
    const words = isPinned ? "Unpin" : "Pin to the top"
    grid.append(
      make(
        "div",
        { class: "row-head" },
        make(
          "button",
          {
            class: "pin",
            type: "button",
            "data-at": `pin ${row.key}`,
            title: words,
            "aria-label": `${words}: ${row.label}`,
            "aria-pressed": String(isPinned),
            onclick: () => pin(gallery, row.key),
          },
          isPinned ? "★" : "☆",
        ),
        make("span", { title: row.label }, row.short ?? row.label),
      ),
    )
    for (const column of data.columns) {
      const canvas = make("canvas", { "aria-hidden": "true" })
      const caption = row.captions?.[column.key]
      const tile = make(
        "button",
        {
          class: "tile",
          type: "button",
          "data-at": `${row.key} ${column.key}`,
          onclick: () => open(gallery, row.index, column.key),
        },
        canvas,
        caption ? make("span", { class: "caption" }, caption) : null,
      )
      grid.append(tile)
      gallery.tiles.push({ tile, canvas, column, row })
    }
  }
  paintGrid(gallery)
  if (focused) [...grid.querySelectorAll("[data-at]")].find((it) => it.dataset.at === focused)?.focus()
}

function paintGrid(gallery) {
  const heads = gallery.grid.querySelectorAll(".head")
  gallery.data.columns.forEach((column, index) => heads[index]?.replaceWith(headOf(gallery, column)))
  for (const { tile, canvas, column, row } of gallery.tiles) {
    tile.setAttribute("aria-label", `${describe(gallery, column, row)}. Show it large.`)
    paint(gallery, canvas, column, row.index, gallery.look)
  }
  // What the next move of the slider will ask for.
  const at = gallery.data.epochs.indexOf(gallery.epoch)
  for (const epoch of [gallery.data.epochs[at + 1], gallery.data.epochs[at - 1]]) {
    if (epoch === undefined) continue
    for (const column of gallery.data.columns) {
      const strip = latest(column, epoch)
      if (strip) load(strip[1]).catch(() => {})
    }
  }
}

function pin(gallery, key) {
  const is = gallery.pinned.includes(key)
  gallery.pinned = is ? gallery.pinned.filter((it) => it !== key) : [...gallery.pinned, key]
  buildGrid(gallery)
  gallery.tell("pinned", gallery.pinned)
}

// ---- Epochs ---------------------------------------------------------------------------------

function show(gallery, epoch) {
  gallery.epoch = epoch
  const { epochs } = gallery.data
  gallery.slider.max = String(Math.max(0, epochs.length - 1))
  gallery.slider.value = String(epochs.indexOf(epoch))
  gallery.slider.setAttribute("aria-valuetext", `epoch ${epoch}`)
  gallery.label.textContent = epochs.length ? `Epoch ${epoch} of ${epochs.at(-1)}` : ""
  paintGrid(gallery)
  if (gallery.dialog.open) drawLarge(gallery)
}

function move(gallery, by) {
  const { epochs } = gallery.data
  const at = Math.min(epochs.length - 1, Math.max(0, epochs.indexOf(gallery.epoch) + by))
  if (epochs[at] === undefined || epochs[at] === gallery.epoch) return false
  show(gallery, epochs[at])
  gallery.tell("epoch", gallery.epoch)
  return true
}

function play(gallery) {
  if (gallery.playing) {
    clearInterval(gallery.playing)
    gallery.playing = null
  } else {
    if (gallery.epoch === gallery.data.epochs.at(-1)) show(gallery, gallery.data.epochs[0])
    gallery.playing = setInterval(() => move(gallery, 1) || play(gallery), PLAY_MS)
  }
  gallery.player.textContent = gallery.playing ? "Pause" : "Play"
}

function buildBar(gallery) {
  const { bar } = gallery
  gallery.slider = make("input", {
    type: "range",
    min: "0",
    "aria-label": "Epoch",
    oninput: () => {
      show(gallery, gallery.data.epochs[Number(gallery.slider.value)])
      gallery.tell("epoch", gallery.epoch)
    },
  })
  gallery.label = make("span", { class: "epoch" })
  gallery.player = make("button", { type: "button", onclick: () => play(gallery) }, "Play")
  gallery.looks = [
    ["pictures", "Pictures"],
    ["difference", "Difference"],
  ].map(([look, label]) =>
    make("button", { type: "button", "data-look": look, onclick: () => chooseLook(gallery, look) }, label),
  )
  gallery.scrub = make("span", { class: "scrub" }, gallery.label, gallery.slider, gallery.player)
  gallery.legend = make(
    "span",
    { class: "legend" },
    "equal",
    make("span", { class: "scale" }),
    "far from the target",
  )
  bar.replaceChildren(
    gallery.scrub,
    make("span", { class: "looks", role: "group", "aria-label": "Show" }, ...gallery.looks),
    gallery.legend,
  )
}

function chooseLook(gallery, look) {
  gallery.look = look
  for (const it of gallery.looks) it.setAttribute("aria-pressed", String(it.dataset.look === look))
  gallery.legend.hidden = look !== "difference"
  paintGrid(gallery)
  if (gallery.dialog.open) drawLarge(gallery)
  gallery.tell("look", look)
}

// ---- Streamlit ------------------------------------------------------------------------------

function mount(parentElement) {
  const root = parentElement.querySelector(".gallery")
  const gallery = {
    root,
    bar: root.querySelector(".bar"),
    grid: root.querySelector(".grid"),
    dialog: root.querySelector("dialog"),
    told: {},
  }
  gallery.move = (by) => move(gallery, by)
  buildBar(gallery)
  buildDialog(gallery)
  root.onkeydown = (event) => {
    if (gallery.dialog.open || event.target.matches("input")) return
    if (event.key === "ArrowLeft" && move(gallery, -1)) event.preventDefault()
    if (event.key === "ArrowRight" && move(gallery, 1)) event.preventDefault()
  }
  return gallery
}

export default function (component) {
  const { data, parentElement, setStateValue } = component
  if (!data || !parentElement.querySelector(".gallery")) return

  let gallery = galleries.get(parentElement)
  const isNew = !gallery
  if (isNew) {
    gallery = mount(parentElement)
    galleries.set(parentElement, gallery)
  }
  // The server hears of a choice when the hand rests: the address follows it, the picture leads.
  gallery.tell = (name, value) => {
    clearTimeout(gallery.told[name])
    gallery.told[name] = setTimeout(() => setStateValue(name, value), TELL_MS)
  }
  const newest = data.epochs.at(-1) ?? 0
  const wasNewest = isNew || gallery.epoch === (gallery.data.epochs.at(-1) ?? 0)
  const before = isNew ? null : JSON.stringify(gallery.data)
  gallery.data = data
  if (isNew) {
    gallery.pinned = data.pinned ?? []
    gallery.epoch = data.epochs.includes(data.epoch) ? data.epoch : newest
    gallery.look = data.look ?? "pictures"
    for (const it of gallery.looks) it.setAttribute("aria-pressed", String(it.dataset.look === gallery.look))
    gallery.legend.hidden = gallery.look !== "difference"
  } else if (wasNewest || !data.epochs.includes(gallery.epoch)) {
    gallery.epoch = newest
  }
  gallery.bar.hidden = Boolean(data.compact)
  gallery.scrub.hidden = data.epochs.length < 2
  gallery.root.classList.toggle("compact", Boolean(data.compact))
  if (before !== JSON.stringify(data)) {
    buildGrid(gallery)
    show(gallery, gallery.epoch)
  }

  return () => {
    clearInterval(gallery.playing)
    galleries.delete(parentElement)
  }
}
