// The types of what d3-zoom.js holds.

export { select } from "d3-selection";
export { type D3ZoomEvent, type ZoomBehavior, zoom, zoomIdentity } from "d3-zoom";
