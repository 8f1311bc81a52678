// What the page takes of d3; `npm run vendor` makes d3-zoom.js of it.

export { select } from "d3-selection";
export { zoom, zoomIdentity } from "d3-zoom";
