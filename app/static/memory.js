// Which runs a view of this tab shows: a page that is loaded anew goes on with them, and so does the
// first one that is opened after its tab was closed. Two open tabs have runs of their own.

// Pages of other programs at the same host, under other paths, have memories of their own.
const PLACE = new URL(".", document.baseURI).pathname;

export class Memory {
  /**
   * `current` tells the ids of the runs that are shown, oldest first.
   *
   * @param {string} view
   * @param {() => string[]} current
   */
  constructor(view, current) {
    this._key = `specdecodes-${view} ${PLACE}`;
    this._current = current;
    addEventListener("pagehide", () => {
      const ids = current();
      if (ids.length) this._write("localStorage", ids);
    });
  }

  /** The ids of the runs to go on with. */
  recall() {
    const [own, left] = [this._read("sessionStorage"), this._read("localStorage")];
    if (!own || own.join() === left?.join()) this._write("localStorage", null);
    return own ?? left ?? [];
  }

  /** To be called whenever other runs are shown. */
  keep() {
    this._write("sessionStorage", this._current());
  }

  /**
   * @param {"sessionStorage" | "localStorage"} storage
   * @returns {string[] | null}
   */
  _read(storage) {
    try {
      const ids = JSON.parse(window[storage].getItem(this._key) ?? "null");
      return Array.isArray(ids) ? ids.map(String) : null;
    } catch {
      return null; // nothing that could be read, or a browser that keeps nothing
    }
  }

  /**
   * @param {"sessionStorage" | "localStorage"} storage
   * @param {string[] | null} ids
   */
  _write(storage, ids) {
    try {
      if (ids) window[storage].setItem(this._key, JSON.stringify(ids));
      else window[storage].removeItem(this._key);
    } catch {
      // The browser keeps nothing: what is shown lasts as long as the page.
    }
  }
}
