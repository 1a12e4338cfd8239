// Pictures side by side: a row for each, a column for source, target and every run.
//
// Python says where strips of pictures lie: {columns, rows, epochs, epoch, pinned, compact, look,
// animation}. A strip is one file with all rows of a column at one epoch; this file cuts it, so that
// scrubbing through the epochs asks the server for nothing but the next strip, and a browser keeps
// those it has. State that goes back: `epoch`, `pinned`, `look`.

const GUTTER = 4
const TELL_MS = 400
const PLAY_MS = 500
const FULL_DIFFERENCE = 128 // of 255, from which on the heat map is at its brightest
const HEAT = [
  [0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99],
  [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164],
]

const galleries = new WeakMap()
const files = new Map() // address -> promise of an image, the newest last
const MOST_FILES = 400

function load(address) {
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

// The strip of a column at an epoch, or the latest before it.
function latest(column, epoch) {
  let found = null
  for (const strip of column.strips) if (strip[0] <= epoch) found = strip
  return found
}

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made[name] = value
    else if (value === true) made.setAttribute(name, "")
    else if (value !== false && value !== null) made.setAttribute(name, value)
  }
  made.append(...children.filter((it) => it !== null))
  return made
}

// ---- Pixels ---------------------------------------------------------------------------------

function cutInto(canvas, image, row) {
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

function differenceInto(canvas, image, target, row) {
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

async function paint(gallery, canvas, column, row, look) {
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
    delete canvas.dataset.missing
  } catch (error) {
    if (canvas.dataset.wanted !== wanted) return
    canvas.width = canvas.height = 8
    canvas.dataset.missing = error.message
  }
}

// ---- The grid -------------------------------------------------------------------------------

function orderedRows(gallery) {
  const rows = gallery.data.rows.map((row, index) => ({ ...row, index }))
  const isPinned = (row) => gallery.pinned.includes(row.key)
  return [...rows.filter(isPinned), ...rows.filter((row) => !isPinned(row))]
}

function describe(gallery, column, row) {
  const strip = latest(column, gallery.epoch)
  const epoch = column.isRun && strip && gallery.data.epochs.length ? `, epoch ${strip[0]}` : ""
  const caption = row.captions?.[column.key]
  return `${column.label} of ${row.label}${epoch}${caption ? `, ${caption}` : ""}`
}

function headOf(gallery, column) {
  const strip = latest(column, gallery.epoch)
  let detail = column.detail ?? ""
  if (column.isRun && gallery.data.epochs.length) detail = strip ? `epoch ${strip[0]}` : "not yet"
  const dot = column.colour ? make("span", { class: "dot", style: `background:${column.colour}` }) : null
  const isBehind = column.isRun && strip && gallery.data.epochs.length && strip[0] !== gallery.epoch
  return make(
    "div",
    { class: "head" },
    make("div", { class: "name" }, dot, column.label),
    make("div", { class: isBehind ? "detail behind" : "detail" }, detail),
  )
}

function buildGrid(gallery) {
  const { data, grid } = gallery
  grid.style.setProperty("--columns", data.columns.length)
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
      const canvas = make("canvas")
      const caption = row.captions?.[column.key]
      const tile = make(
        "button",
        { class: "tile", type: "button", onclick: () => open(gallery, row.index, column.key) },
        canvas,
        caption ? make("span", { class: "caption" }, caption) : null,
      )
      grid.append(tile)
      gallery.tiles.push({ tile, canvas, column, row })
    }
  }
  paintGrid(gallery)
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

// ---- One picture, large ---------------------------------------------------------------------

function buildDialog(gallery) {
  const { dialog } = gallery
  const choice = (label) => make("select", { "aria-label": label, onchange: () => drawLarge(gallery) })
  gallery.left = choice("Left picture")
  gallery.right = choice("Right picture")
  gallery.under = make("canvas")
  gallery.over = make("canvas", { class: "over" })
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
    const deeds = { ArrowLeft: step(-1), ArrowRight: step(1), ArrowUp: () => move(gallery, 1), ArrowDown: () => move(gallery, -1) }
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

function open(gallery, index, key) {
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

function drawLarge(gallery) {
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
