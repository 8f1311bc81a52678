// Requests to the page's own server. A refusal is an Error with the server's sentence.

/** What the server refused. */
export class Refusal extends Error {
  /**
   * @param {string} sentence
   * @param {boolean} isMissing whether there is no such thing
   */
  constructor(sentence, isMissing) {
    super(sentence);
    this.isMissing = isMissing;
  }
}

const BASE = new URL("../", import.meta.url);

/**
 * The address of something under the page's own prefix.
 *
 * @param {string} path
 */
export function address(path) {
  return new URL(path, BASE).href;
}

/** @param {Promise<Response>} asked */
async function checked(asked) {
  const response = await asked.catch(() => {
    throw new Error("The server does not answer; see whether it still runs, and try again.");
  });
  if (!response.ok) throw new Refusal(await response.text(), response.status === 404);
  return response;
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function getJson(path) {
  return (await checked(fetch(address(path), { cache: "no-store" }))).json();
}

/**
 * Sends with a method; `body` is a text, a file or a value that becomes JSON.
 *
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export async function send(method, path, body) {
  const isReady = typeof body === "string" || body instanceof Blob;
  const content = isReady ? body : JSON.stringify(body ?? {});
  return (await checked(fetch(address(path), { method, body: content }))).json();
}

/**
 * What a caught refusal says.
 *
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
