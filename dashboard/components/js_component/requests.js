// Requests data from the routes of the dashboard.

// Returns the response of a route. If the request fails, throws an error whose message is a sentence
// for the user, without its full stop.
export async function request(url, options = {}) {
  let response
  try {
    response = await fetch(url, options)
  } catch {
    throw new Error("The server cannot be reached")
  }
  const type = response.headers.get("content-type") ?? ""
  if (!response.ok) {
    const content = type.includes("json") ? await response.json() : {}
    throw new Error(content.error?.replace(/\.$/, "") ?? `The server responded with status ${response.status}`)
  }
  // A server without these routes sends the page of Streamlit, and a proxy may send its sign-in page.
  if (type.includes("text/html")) {
    throw new Error("The server sent a page instead of data; reload the page")
  }
  return response
}
