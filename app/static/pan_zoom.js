// Zoom by wheel and pan by dragging for the group of an SVG.

const LEAST = 0.25;
const MOST = 3;

export class PanZoom {
  /** `place` is the element that is seen; `group` holds the drawing of `size()`. */
  constructor(place, group, size) {
    this._element = place;
    this._group = group;
    this._size = size;
    this._isOwn = false;
    this._grabbed = null;
    // Asked for at every drawing, its size would be laid out anew each time.
    this._place = { width: 0, height: 0 };
    new ResizeObserver(([entry]) => this._resize(entry.contentRect)).observe(place);
    place.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    place.addEventListener("pointerdown", (event) => (this._grabbed = { x: event.clientX, y: event.clientY }));
    place.addEventListener("pointermove", (event) => this._move(event));
    for (const end of ["pointerup", "pointerleave"]) {
      place.addEventListener(end, () => (this._grabbed = null));
    }
    place.addEventListener("dblclick", () => this.fit());
  }

  /** Shows all of the drawing, never larger than life; a small one stands at the left. */
  fit() {
    const { width, height } = this._size();
    const scale = Math.min(1, this._place.width / width || 1, this._place.height / height || 1);
    this._isOwn = false;
    this._set({ x: 0, y: 0, scale: Math.max(LEAST, scale) });
  }

  /** After a new drawing: fits it, unless somebody chose a zoom. */
  refresh() {
    if (!this._isOwn) this.fit();
  }

  _resize(place) {
    this._place = place;
    this.refresh();
  }

  zoom(factor, x = 0, y = 0) {
    const { x: left, y: top, scale } = this._view;
    const next = Math.min(MOST, Math.max(LEAST, scale * factor));
    this._isOwn = true;
    this._set({
      scale: next,
      x: x - ((x - left) * next) / scale,
      y: y - ((y - top) * next) / scale,
    });
  }

  _wheel(event) {
    event.preventDefault();
    const box = this._element.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
  }

  _move(event) {
    if (!this._grabbed) return;
    const { x, y, scale } = this._view;
    this._isOwn = true;
    this._set({ scale, x: x + event.clientX - this._grabbed.x, y: y + event.clientY - this._grabbed.y });
    this._grabbed = { x: event.clientX, y: event.clientY };
  }

  _set(view) {
    if (this._view && ["x", "y", "scale"].every((key) => this._view[key] === view[key])) return;
    this._view = view;
    this._group.setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.scale})`);
  }
}
