// Zoom and pan of a drawing in an SVG's group, by mouse, fingers and keys. d3-zoom does the gestures.

import { select, zoom, zoomIdentity } from "./vendor/d3-zoom.js";

/** @import { D3ZoomEvent, ZoomBehavior } from "./vendor/d3-zoom.d.ts" */

const LEAST = 0.25;
const MOST = 3;
// A hand that trembles while it clicks has not panned.
const CLICK_PX = 4;

export class PanZoom {
  /**
   * `place` is the element that is seen; `group` holds the drawing of `size()`.
   *
   * @param {HTMLElement} place
   * @param {SVGGElement} group
   * @param {() => { width: number, height: number }} size
   */
  constructor(place, group, size) {
    this._size = size;
    this._isOwn = false;
    // Asked for at every drawing, its size would be laid out anew each time.
    this._room = { width: 0, height: 0 };
    /** @type {ZoomBehavior<HTMLElement, unknown>} */
    const behavior = zoom();
    this._behavior = behavior
      .scaleExtent([LEAST, MOST])
      .extent(() => [
        [0, 0],
        [this._room.width, this._room.height],
      ])
      .clickDistance(CLICK_PX)
      .on("zoom", (/** @type {D3ZoomEvent<HTMLElement, unknown>} */ { transform, sourceEvent }) => {
        // Only a person's gestures have an event behind them.
        if (sourceEvent) this._isOwn = true;
        const text = transform.toString();
        if (group.getAttribute("transform") !== text) group.setAttribute("transform", text);
      });
    this._place = select(place)
      .call(this._behavior)
      .on("dblclick.zoom", () => this.fit());
    new ResizeObserver(([entry]) => this._resize(entry.contentRect)).observe(place);
  }

  /** Shows all of the drawing, never larger than life; a small one stands at the left. */
  fit() {
    const { width, height } = this._size();
    const scale = Math.min(1, this._room.width / width || 1, this._room.height / height || 1);
    this._isOwn = false;
    this._behavior.transform(this._place, zoomIdentity.scale(Math.max(LEAST, scale)));
  }

  /** After a new drawing: fits it, unless somebody chose a zoom. */
  refresh() {
    if (!this._isOwn) this.fit();
  }

  /**
   * Zooms about the middle of what is seen.
   *
   * @param {number} factor
   */
  zoom(factor) {
    this._isOwn = true;
    this._behavior.scaleBy(this._place, factor);
  }

  /** @param {DOMRectReadOnly} room */
  _resize(room) {
    this._room = room;
    this.refresh();
  }
}
