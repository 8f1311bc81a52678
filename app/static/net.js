// Requests to the page's own server. A refusal is an Error with the server's sentence.

const BASE = new URL("../", import.meta.url);

/** The address of something under the page's own prefix. */
export function address(path) {
  return new URL(path, BASE).href;
}

async function checked(response) {
  if (!response.ok) throw new Error(await response.text());
  return response;
}

export async function getJson(path) {
  return (await checked(await fetch(address(path), { cache: "no-store" }))).json();
}

/** Sends with a method; `body` is a text or a value that becomes JSON. */
export async function send(method, path, body) {
  const text = typeof body === "string" ? body : JSON.stringify(body ?? {});
  return (await checked(await fetch(address(path), { method, body: text }))).json();
}
