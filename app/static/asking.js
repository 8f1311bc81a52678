// Asks the server while a control moves: one question at a time, and behind it only the newest.

/**
 * `ask` makes and shows one answer, and `settled` is called behind the last one that was wanted; the result
 * of this asks for it soon.
 *
 * @param {() => Promise<void>} ask
 * @param {() => void} [settled]
 */
export function newestOnly(ask, settled = () => {}) {
  let isAsking = false;
  let isWanted = false;
  return async () => {
    isWanted = true;
    if (isAsking) return;
    isAsking = true;
    try {
      while (isWanted) {
        isWanted = false;
        await ask();
      }
    } finally {
      isAsking = false;
    }
    settled();
  };
}
