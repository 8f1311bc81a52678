// Zoom and pan of a drawing in an SVG's group, by mouse, fingers and keys. d3-zoom does the gestures.

import { h } from "./dom.js";
import { select, zoom, zoomIdentity } from "./vendor/d3-zoom.js";

/** @import { D3ZoomEvent, ZoomBehavior } from "./vendor/d3-zoom.d.ts" */
/** @import { Box } from "./page_types.d.ts" */

const LEAST = 0.25;
const MOST = 3;
// Texts of 12 pixels are still read at this scale; nothing is made to fit by going below it.
export const READABLE = 0.8;
// A small drawing in much room is shown larger than life, so much at most.
const LARGEST_FIT = 1.5;
const MUCH_ROOM_PX = 900;
// A hand that trembles while it clicks has not panned.
const CLICK_PX = 4;
const MARGIN_PX = 12;

/**
 * Where a drawing stands after a wheel has moved it by so much: it never leaves its place by that.
 *
 * @param {number} at
 * @param {number} delta
 * @param {number} room
 * @param {number} size
 */
export function scrolled(at, delta, room, size) {
  const least = Math.min(at, room - size, 0);
  return Math.min(Math.max(at - delta, least), Math.max(at, 0));
}

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
    this._transform = zoomIdentity;
    this._bars = { x: h("i", { class: "scroll-bar across" }), y: h("i", { class: "scroll-bar down" }) };
    place.append(this._bars.x, this._bars.y);
    // Asked for at every drawing, its size would be laid out anew each time.
    this._room = { width: 0, height: 0 };
    /** @type {() => void} */
    this.onRoom = () => this.refresh();
    /** @type {ZoomBehavior<HTMLElement, unknown>} */
    const behavior = zoom();
    this._behavior = behavior
      .scaleExtent([LEAST, MOST])
      .extent(() => [
        [0, 0],
        [this._room.width, this._room.height],
      ])
      .clickDistance(CLICK_PX)
      // A wheel scrolls; with the key by which browsers zoom it zooms, and so do two fingers on a pad.
      .filter((/** @type {any} */ event) => (event.type === "wheel" ? event.ctrlKey : !event.ctrlKey && !event.button))
      .on("zoom", (/** @type {D3ZoomEvent<HTMLElement, unknown>} */ { transform, sourceEvent }) => {
        // Only a person's gestures have an event behind them.
        if (sourceEvent) this._isOwn = true;
        this._transform = transform;
        const text = transform.toString();
        if (group.getAttribute("transform") !== text) group.setAttribute("transform", text);
        this._drawBars();
      });
    this._place = select(place).call(this._behavior).on("dblclick.zoom", null);
    place.addEventListener("wheel", (event) => this._scroll(event), { passive: false });
    new ResizeObserver(([entry]) => this._resize(entry.contentRect)).observe(place);
  }

  /** Room of the drawing, in its own pixels, at the smallest readable scale. */
  get readableRoom() {
    return { width: this._room.width / READABLE, height: this._room.height / READABLE };
  }

  /** Shows all of the drawing if that leaves it readable, else its beginning. */
  fit() {
    const { width, height } = this._size();
    const largest = this._room.width > MUCH_ROOM_PX ? LARGEST_FIT : 1;
    const scale = Math.min(largest, this._room.width / width || 1, this._room.height / height || 1);
    this._isOwn = false;
    this._behavior.transform(this._place, zoomIdentity.scale(Math.max(READABLE, scale)));
  }

  /**
   * After a new drawing: fits it, unless somebody chose a zoom, and shows a part of it.
   *
   * @param {Box | null} [box]
   */
  refresh(box = null) {
    if (!this._isOwn) this.fit();
    if (box) this._reveal(box);
    this._drawBars();
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

  /** @param {WheelEvent} event */
  _scroll(event) {
    if (event.ctrlKey) return;
    const { x, y, k } = this._transform;
    const { width, height } = this._size();
    const isAcross = event.shiftKey && !event.deltaX;
    const to = {
      x: scrolled(x, isAcross ? event.deltaY : event.deltaX, this._room.width, width * k),
      y: scrolled(y, isAcross ? 0 : event.deltaY, this._room.height, height * k),
    };
    // At its end the page goes on.
    if (to.x === x && to.y === y) return;
    event.preventDefault();
    this._isOwn = true;
    this._behavior.transform(this._place, zoomIdentity.translate(to.x, to.y).scale(k));
  }

  /** @param {Box} box */
  _reveal({ x, y, width, height }) {
    const at = this._transform;
    const shift = (/** @type {number} */ low, /** @type {number} */ high, /** @type {number} */ room) =>
      low < 0 ? MARGIN_PX - low : high > room ? Math.max(room - MARGIN_PX - high, MARGIN_PX - low) : 0;
    const dx = shift(at.applyX(x), at.applyX(x + width), this._room.width);
    const dy = shift(at.applyY(y), at.applyY(y + height), this._room.height);
    if (!dx && !dy) return;
    this._behavior.transform(this._place, zoomIdentity.translate(at.x + dx, at.y + dy).scale(at.k));
  }

  _drawBars() {
    const { x, y, k } = this._transform;
    const { width, height } = this._size();
    drawBar(this._bars.x, x, this._room.width, width * k);
    drawBar(this._bars.y, y, this._room.height, height * k);
  }

  /** @param {DOMRectReadOnly} room */
  _resize(room) {
    this._room = room;
    this.onRoom();
  }
}

/**
 * Shows which part of a length is seen; nothing where all is.
 *
 * @param {HTMLElement} bar
 * @param {number} at
 * @param {number} room
 * @param {number} size
 */
function drawBar(bar, at, room, size) {
  const low = Math.min(0, at);
  const high = Math.max(room, at + size);
  bar.hidden = high - low < room + 1;
  bar.style.setProperty("--from", String(-low / (high - low)));
  bar.style.setProperty("--share", String(room / (high - low)));
}
