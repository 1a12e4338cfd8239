// Two pictures over each other; the edge between them follows the pointer, a finger or the keys.

import { make } from "../gallery/dom.js"

const AT_FIRST = 35 // per cent of the width that show what was given

export default function (component) {
  const { data, parentElement } = component
  const figure = parentElement.querySelector(".swipe")
  if (!figure.slider) build(figure)
  if (figure.dataset.after !== data.after.slice(-64)) {
    figure.dataset.after = data.after.slice(-64)
    figure.before.src = data.before
    figure.after.src = data.after
    figure.after.alt = data.about
  }
  figure.stage.style.aspectRatio = `${data.width} / ${data.height}`
  figure.style.setProperty("--widest", `${Math.max(data.width, 320)}px`)
  return () => {}
}

function build(figure) {
  figure.before = make("img", { class: "before", alt: "", draggable: "false" })
  figure.after = make("img", { class: "after", draggable: "false" })
  figure.slider = make("input", {
    type: "range",
    min: "0",
    max: "100",
    value: String(AT_FIRST),
    "aria-label": "Swipe between the picture and its colours",
    oninput: () => figure.stage.style.setProperty("--swipe", `${figure.slider.value}%`),
  })
  figure.stage = make("div", { class: "stage" }, figure.after, figure.before, make("span", { class: "edge" }))
  const follow = (event) => {
    const box = figure.stage.getBoundingClientRect()
    figure.slider.value = String(Math.round(((event.clientX - box.left) / box.width) * 100))
    figure.slider.oninput()
  }
  figure.stage.onpointerdown = (event) => {
    figure.stage.setPointerCapture(event.pointerId)
    follow(event)
  }
  figure.stage.onpointermove = (event) => {
    if (event.buttons === 1) follow(event)
  }
  const words = make("figcaption", {}, make("span", {}, "given"), figure.slider, make("span", {}, "coloured"))
  figure.replaceChildren(figure.stage, words)
  figure.slider.oninput()
}
