// Draws a report from its data. Texts go in as text nodes only.
"use strict";
{
  const { data, place, make, drawFigures } = documentParts();
  /**
   * A token, emitted or drafted.
   *
   * @typedef {object} Item
   * @property {string} text
   * @property {number} token_id
   * @property {string} source
   * @property {number | null} draft_prob
   * @property {number | null} target_prob
   */

  /** @type {Record<string, string>} */
  const GLYPHS = { "\n": "↵\n", "\t": "⇥\t", "\r": "␍" };
  const visible = (/** @type {string} */ text) => text.replace(/[\n\t\r]/g, (sign) => GLYPHS[sign]);

  /** @type {{ step: number, tokens: Item[], lost: Item[] }[]} */
  const steps = data.steps;
  /** With what a branch began. @type {Item[]} */
  const given = data.given;

  // Cells of numbers that the run does not have show a dash.
  const number = (/** @type {number | null} */ value, /** @type {number} */ digits) =>
    value === null ? "–" : value.toFixed(digits);
  const percent = (/** @type {number | null} */ value) => (value === null ? "–" : `${(value * 100).toFixed(1)} %`);

  function drawHeader() {
    const { mode, lossy, target, draft, dtype, device, started_at: start, outcome, error } = data.run;
    const ended = error ? `failed: ${error}` : outcome ? `ended: ${outcome}` : "cut off";
    const parts = [mode, lossy, target, draft && `draft ${draft}`, dtype, device, start, ended];
    place("subtitle").textContent = parts.filter(Boolean).join(" · ");
    document.title = `SpecDecodes run: ${mode} ${target}`;
    place("prompt").textContent = data.run.prompt_text;
    place("settings").textContent = JSON.stringify(data.run.config, null, 2);
  }

  /** @param {number | null} seconds */
  const milliseconds = (seconds) => (seconds === null ? "unknown" : `${(seconds * 1e3).toFixed(0)} ms`);

  /**
   * A counter, and where it comes from if it was not measured.
   *
   * @param {Record<string, any>} stats
   * @param {string} name
   */
  function told(stats, name) {
    const origin = stats.origins?.[name];
    if (stats[name] === null) return "unknown";
    return origin ? `${origin === "told" ? "as the server tells" : origin} ${stats[name]}` : String(stats[name]);
  }

  function drawNumbers() {
    const { stats, run } = data;
    const first = run.time_to_first_token_s;
    const numbers = [
      ["Tokens per second", number(stats.tokens_per_s, 1), `${stats.num_tokens} tokens`],
      ["Tokens per step, τ", number(stats.acceptance_length, 2), `${told(stats, "num_steps")} steps`],
      ["Acceptance", percent(stats.acceptance_rate), `of ${told(stats, "num_tested")} tested`],
      ["First token", first === null ? "–" : `${(first * 1e3).toFixed(0)} ms`, "prompt included"],
      ["Draft", milliseconds(stats.draft_s), `${told(stats, "num_drafted")} drafted`],
      ["Verify", milliseconds(stats.verify_s), "forward passes of the target"],
    ];
    for (const [label, value, note] of numbers) {
      const cell = make("dd", "", value);
      cell.append(make("small", "", note));
      const group = make("div");
      group.append(make("dt", "", label), cell);
      place("numbers").append(group);
    }
  }

  /**
   * @param {Item} item
   * @param {number} step
   * @param {boolean} isLost
   */
  function token(item, step, isLost) {
    const shown = visible(item.text) || (isLost ? `#${item.token_id}` : "");
    const node = make("span", `token ${item.source}${isLost ? " lost" : ""}`, shown);
    node.title =
      `${item.source}, step ${step}, id ${item.token_id}\n` +
      `target ${percent(item.target_prob)}, draft ${percent(item.draft_prob)}`;
    return node;
  }

  /** @param {boolean} withLost */
  function drawStrip(withLost) {
    const strip = document.createDocumentFragment();
    strip.append(...given.map((item) => token(item, 0, false)));
    for (const { step, tokens, lost } of steps) {
      // Refused drafts stand before the target's own token, which took their place.
      const last = tokens.at(-1)?.source ?? "accepted";
      const own = ["accepted", "remembered", "forced"].includes(last) ? 0 : 1;
      const kept = tokens.slice(0, tokens.length - own);
      strip.append(...kept.map((item) => token(item, step, false)));
      if (withLost) strip.append(...lost.map((item) => token(item, step, true)));
      strip.append(...tokens.slice(kept.length).map((item) => token(item, step, false)));
    }
    place("strip").replaceChildren(strip);
  }

  function drawLegend() {
    const counts = new Map();
    for (const { source } of [...given, ...steps.flatMap(({ tokens, lost }) => [...tokens, ...lost])]) {
      counts.set(source, (counts.get(source) ?? 0) + 1);
    }
    for (const [source, count] of counts) {
      place("legend").append(make("span", `token ${source}`, `${source} ${count}`));
    }
    // Lost drafts can be many times the output: they are made when they are asked for.
    const box = /** @type {HTMLInputElement} */ (place("show-lost"));
    box.addEventListener("change", () => drawStrip(box.checked));
  }

  function drawSteps() {
    const head = make("tr");
    for (const [name, column] of Object.entries(data.columns)) {
      const cell = make("th", "", column.unit ? `${name} (${column.unit})` : name);
      cell.title = column.meaning;
      head.append(cell);
    }
    place("steps").append(head);
    for (const values of data.rows) {
      const row = make("tr");
      for (const value of values) {
        const isText = typeof value === "string";
        row.append(make("td", "", isText ? visible(value) : String(value ?? "")));
      }
      place("steps").append(row);
    }
  }

  drawHeader();
  drawNumbers();
  drawLegend();
  drawStrip(false);
  drawSteps();
  drawFigures(["step_times"]);
}
