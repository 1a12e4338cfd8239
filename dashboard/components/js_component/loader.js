// Loads the script and the style sheet of a component once, or shows why they cannot be loaded.
//
// `component.py` writes the line `const COMPONENT = {name, script, styles, subject, howToStart}` in
// front of this file.

const scriptUrl = new URL(COMPONENT.script, document.baseURI).href
if (!document.querySelector(`link[data-component="${COMPONENT.name}"]`)) {
  const link = document.createElement("link")
  link.rel = "stylesheet"
  link.dataset.component = COMPONENT.name
  link.href = new URL(COMPONENT.styles, document.baseURI).href
  document.head.append(link)
}
const loading = import(scriptUrl)

// Streamlit calls this function after every change of the data or the theme.
export default function (component) {
  let cleanUp = null
  let isUnmounted = false
  loading
    .then((module) => {
      if (!isUnmounted) cleanUp = module.default(component)
    })
    .catch(async (error) => {
      console.error(error)
      const reason = await describeFailure(error)
      if (!isUnmounted) showMessage(component.parentElement, reason)
    })
  return () => {
    isUnmounted = true
    if (cleanUp) cleanUp()
  }
}

// Requests the script again, because a failed import does not tell its reason.
async function describeFailure(error) {
  let response
  try {
    response = await fetch(scriptUrl, { cache: "no-store" })
  } catch {
    return "the server cannot be reached. Check that the dashboard is running, then reload the page."
  }
  // Streamlit answers requests for unknown paths with its own page and the status 200.
  const isScript = response.ok && response.headers.get("content-type")?.includes("javascript")
  if (isScript) return `its script failed (${error.message}). Reload the page.`
  return `this server does not provide its script. ${COMPONENT.howToStart}`
}

// Replaces the component by a message. Its colours are written here, because the style sheet of the
// component may be missing as well.
function showMessage(parentElement, reason) {
  const message = document.createElement("p")
  message.setAttribute("role", "alert")
  message.className = "component-error"
  message.style.cssText = `
    margin: 0;
    padding: 1rem;
    border-radius: var(--st-base-radius, 8px);
    background: var(--st-red-background-color, #ffe9e9);
    color: var(--st-text-color, #152238);
    font-family: var(--st-font, sans-serif);
  `
  const sentences = `${COMPONENT.subject} cannot be shown: ${reason}`
  // Text between backticks is a command.
  sentences.split("`").forEach((text, index) => {
    const element = document.createElement(index % 2 ? "code" : "span")
    element.textContent = text
    if (index % 2) element.style.fontSize = "0.9em"
    message.append(element)
  })
  parentElement.replaceChildren(message)
}
