// Whether the program knows under which path browsers find it. Pure.

/**
 * What to do where it does not, else an empty text; both addresses end with a slash.
 *
 * @param {string} told
 * @param {string} found
 */
export function misplaced(told, found) {
  const [own, here] = [new URL(told, found), new URL(found)];
  const path = here.pathname.replace(/\/$/, "");
  if (own.pathname !== here.pathname) {
    return `This page is served under ${path || "/"}, and its program believes ${own.pathname}; start it with --root-path ${path || "/"}.`;
  }
  if (own.hostname !== here.hostname) {
    return `This page is at ${here.origin}, and its program believes ${own.origin}; start it with --root-path ${here.origin}${path}, or have the proxy pass the Host header on.`;
  }
  return "";
}
