// Draws two pictures on top of each other. The edge between the two pictures follows the pointer, a
// finger or the arrow keys.

import { createElement } from "../gallery/dom.js"

const START_PERCENT = 35 // share of the width that shows the left picture at first
const URL_END = 64 // number of last characters that identify a data URL

export default function (component) {
  const { data, parentElement } = component
  const figure = parentElement.querySelector(".swipe")
  if (!figure.slider) build(figure)
  const version = data.after.slice(-URL_END)
  if (figure.dataset.version !== version) {
    figure.dataset.version = version
    figure.before.src = data.before
    figure.after.src = data.after
    figure.after.alt = data.description
  }
  figure.stage.style.aspectRatio = `${data.width} / ${data.height}`
  figure.style.setProperty("--max-width", `${Math.max(data.width, 320)}px`)
  return () => {}
}

function build(figure) {
  figure.before = createElement("img", { class: "before", alt: "", draggable: "false" })
  figure.after = createElement("img", { class: "after", draggable: "false" })
  figure.slider = createElement("input", {
    type: "range",
    min: "0",
    max: "100",
    value: String(START_PERCENT),
    "aria-label": "Swipe between input and result",
    oninput: () => figure.stage.style.setProperty("--swipe", `${figure.slider.value}%`),
  })
  const edge = createElement("span", { class: "edge" })
  figure.stage = createElement("div", { class: "stage" }, figure.after, figure.before, edge)
  const moveEdge = (event) => {
    const box = figure.stage.getBoundingClientRect()
    figure.slider.value = String(Math.round(((event.clientX - box.left) / box.width) * 100))
    figure.slider.oninput()
  }
  figure.stage.onpointerdown = (event) => {
    figure.stage.setPointerCapture(event.pointerId)
    moveEdge(event)
  }
  figure.stage.onpointermove = (event) => {
    if (event.buttons === 1) moveEdge(event)
  }
  const labels = [createElement("span", {}, "input"), figure.slider, createElement("span", {}, "result")]
  figure.replaceChildren(figure.stage, createElement("figcaption", {}, ...labels))
  figure.slider.oninput()
}
