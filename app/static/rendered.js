// An answer as Markdown. The server parses it; here its nodes are made, and the model's words are texts.

import { h } from "./dom.js";
import { getJson, messageOf } from "./net.js";

/** @import { MarkdownNode, RenderedAnswer } from "./types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

// While an answer is written, it is parsed anew this often at most.
const PAUSE_MS = 500;
const BLOCKS = "p h1 h2 h3 h4 h5 h6 ul ol li blockquote pre hr table thead tbody tr th td".split(" ");
const INLINES = "code em strong s br a".split(" ");
const TAGS = new Set([...BLOCKS, ...INLINES]);

/**
 * @param {MarkdownNode[]} nodes
 * @returns {(Node | string)[]}
 */
export function elementsOf(nodes) {
  return nodes.flatMap(({ tag, text, href, children }) => {
    const inside = [...(text ? [text] : []), ...elementsOf(children)];
    if (!TAGS.has(tag)) return inside;
    const link = tag === "a" && href ? { href, target: "_blank", rel: "noopener noreferrer nofollow" } : {};
    return [h(/** @type {keyof HTMLElementTagNameMap} */ (tag), link, ...inside)];
  });
}

export class Rendered {
  /** @param {RunModel} run */
  constructor(run) {
    this._run = run;
    this.element = h("div", { class: "rendered", hidden: true });
    this._numTokens = -1;
    this._isEnded = false;
    this._timer = 0;
  }

  /** @param {boolean} show */
  show(show) {
    this.element.hidden = !show;
    if (show) this.update();
  }

  /** Asks for what is new, if it is shown. */
  update() {
    const { tokens, isEnded } = this._run;
    const isNew = tokens.length !== this._numTokens || isEnded !== this._isEnded;
    if (this.element.hidden || !isNew || this._timer) return;
    this._numTokens = tokens.length;
    this._isEnded = isEnded;
    this._timer = setTimeout(() => {
      this._timer = 0;
      this.update();
    }, PAUSE_MS);
    this._draw();
  }

  async _draw() {
    try {
      /** @type {RenderedAnswer} */
      const { blocks } = await getJson(`runs/${encodeURIComponent(this._run.id)}/answer.json`);
      this.element.replaceChildren(...elementsOf(blocks));
    } catch (error) {
      this.element.replaceChildren(h("p", { class: "hint" }, messageOf(error)));
    }
  }
}
