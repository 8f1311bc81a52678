// Which steps the time view shows. Pure. Untouched it shows the whole run as it grows; once
// zoomed or moved it stays where it is.

const LEAST_SHOWN = 20;
const NARROWEST = 4;

export class StepRange {
  constructor() {
    /** @type {[number, number] | null} */
    this._own = null;
  }

  get isOwn() {
    return this._own !== null;
  }

  reset() {
    this._own = null;
  }

  /**
   * Borders in step numbers: a step `n` takes the place from n - 0.5 to n + 0.5.
   *
   * @param {number} numSteps
   * @returns {[number, number]}
   */
  of(numSteps) {
    return this._own ?? [0.5, Math.max(numSteps, LEAST_SHOWN) + 0.5];
  }

  /**
   * Zooms by a factor around a place; whole again where all is in view.
   *
   * @param {number} numSteps
   * @param {number} factor
   * @param {number} around
   */
  zoom(numSteps, factor, around) {
    const [low, high] = this.of(numSteps);
    const wide = Math.max(numSteps, LEAST_SHOWN);
    const width = Math.max(NARROWEST, (high - low) * factor);
    if (width >= wide) return this.reset();
    const share = (around - low) / (high - low);
    return this._place(around - share * width, width, wide);
  }

  /**
   * Moves by so many steps.
   *
   * @param {number} numSteps
   * @param {number} steps
   */
  move(numSteps, steps) {
    if (!this._own) return;
    const [low, high] = this._own;
    this._place(low + steps, high - low, Math.max(numSteps, LEAST_SHOWN));
  }

  /**
   * Moves as little as shows a step.
   *
   * @param {number} number
   */
  reveal(number) {
    if (!this._own) return;
    const [low, high] = this._own;
    if (number - 0.5 < low) this._own = [number - 0.5, number - 0.5 + high - low];
    else if (number + 0.5 > high) this._own = [number + 0.5 - (high - low), number + 0.5];
  }

  /**
   * @param {number} low
   * @param {number} width
   * @param {number} wide
   */
  _place(low, width, wide) {
    const start = Math.min(Math.max(0.5, low), wide + 0.5 - width);
    this._own = [start, start + width];
  }
}
