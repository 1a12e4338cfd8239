// One picture, large: swiped between two columns, with its neighbours and its epochs.

import { describe, make, orderedRows, paint } from "./dom.js"

export function buildDialog(gallery) {
  const { dialog } = gallery
  const choice = (label) => make("select", { "aria-label": label, onchange: () => drawLarge(gallery) })
  gallery.left = choice("Left picture")
  gallery.right = choice("Right picture")
  gallery.under = make("canvas", { role: "img" })
  gallery.over = make("canvas", { class: "over", role: "img" })
  gallery.swipe = make("input", {
    type: "range",
    min: "0",
    max: "100",
    value: "50",
    "aria-label": "Swipe between the two pictures",
    oninput: () => gallery.stage.style.setProperty("--swipe", `${gallery.swipe.value}%`),
  })
  gallery.stage = make("div", { class: "stage" }, gallery.under, gallery.over, make("span", { class: "edge" }))
  gallery.heading = make("strong")
  gallery.saves = make("span", { class: "saves" })
  const step = (by) => () => turn(gallery, by)
  dialog.replaceChildren(
    make(
      "div",
      { class: "top" },
      gallery.heading,
      make("button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "✕"),
    ),
    make("div", { class: "pair" }, gallery.left, make("span", {}, "swipe"), gallery.right),
    gallery.stage,
    gallery.swipe,
    make(
      "div",
      { class: "bottom" },
      make("button", { type: "button", onclick: step(-1) }, "← Previous"),
      gallery.saves,
      make("button", { type: "button", onclick: step(1) }, "Next →"),
    ),
  )
  dialog.onkeydown = (event) => {
    if (event.target.matches("select, input[type=range]")) return
    const deeds = { ArrowLeft: step(-1), ArrowRight: step(1), ArrowUp: () => gallery.move(1), ArrowDown: () => gallery.move(-1) }
    if (!deeds[event.key]) return
    event.preventDefault()
    deeds[event.key]()
  }
  gallery.stage.onpointermove = (event) => {
    if (event.buttons !== 1 && event.pointerType !== "mouse") return
    const box = gallery.stage.getBoundingClientRect()
    gallery.swipe.value = String(Math.round(((event.clientX - box.left) / box.width) * 100))
    gallery.swipe.oninput()
  }
}

export function open(gallery, index, key) {
  gallery.at = index
  const { columns } = gallery.data
  const options = () => columns.map((it) => make("option", { value: it.key }, it.label))
  const before = key === "target" || !columns.some((it) => it.key === "target") ? columns[0].key : "target"
  gallery.left.replaceChildren(...options())
  gallery.right.replaceChildren(...options())
  gallery.left.value = before
  gallery.right.value = key
  if (!gallery.dialog.open) gallery.dialog.showModal()
  gallery.swipe.value = "50"
  gallery.swipe.oninput()
  drawLarge(gallery)
}

function turn(gallery, by) {
  const order = orderedRows(gallery).map((row) => row.index)
  const at = (order.indexOf(gallery.at) + by + order.length) % order.length
  gallery.at = order[at]
  drawLarge(gallery)
}

export function drawLarge(gallery) {
  const row = gallery.data.rows[gallery.at]
  if (!row) return gallery.dialog.close()
  const [left, right] = [gallery.left, gallery.right].map((it) =>
    gallery.data.columns.find((column) => column.key === it.value),
  )
  paint(gallery, gallery.under, right, gallery.at, gallery.look)
  paint(gallery, gallery.over, left, gallery.at, gallery.look)
  gallery.under.setAttribute("aria-label", describe(gallery, right, row))
  gallery.over.setAttribute("aria-label", describe(gallery, left, row))
  const epoch = gallery.data.epochs.length ? `, epoch ${gallery.epoch}` : ""
  const scores = [left, right].map((it) => row.captions?.[it.key]).filter(Boolean)
  gallery.heading.textContent = `${row.label}${epoch}${scores.length ? ` · ${scores.join(" · ")}` : ""}`
  const { animation } = gallery.data
  gallery.saves.replaceChildren(
    ...(animation
      ? ["gif", "webp"].map((format) =>
          make(
            "a",
            { href: new URL(`${animation}&row=${gallery.at}&format=${format}`, document.baseURI).href, download: "" },
            `Animation as ${format.toUpperCase()}`,
          ),
        )
      : []),
  )
}
