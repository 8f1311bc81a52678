// Places the nodes of a draft tree: depth goes right, leaves go down. Pure.

export const COLUMN_GAP = 26;
export const ROW_HEIGHT = 30;

/**
 * Children of every node, those on the accepted path first, the others in the tree's order.
 *
 * @param {number[]} parents
 * @param {number[]} path
 */
export function childrenOf(parents, path) {
  /** @type {number[][]} */
  const children = parents.map(() => []);
  for (const [node, parent] of parents.entries()) if (parent >= 0) children[parent].push(node);
  const accepted = new Set(path);
  for (const list of children) list.sort((a, b) => Number(accepted.has(b)) - Number(accepted.has(a)) || a - b);
  return children;
}

/**
 * Row and column of every node, and the size of the grid. A node stands in the row of its first
 * child, so that the accepted path is a straight line at the top.
 *
 * @param {number[]} parents
 * @param {number[]} path
 */
export function layoutTree(parents, path) {
  const children = childrenOf(parents, path);
  const places = parents.map(() => ({ row: 0, column: 0 }));
  let numRows = 0;
  let numColumns = 1;
  const stack = [{ node: 0, column: 0, isFirst: true }];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { node, column, isFirst } = next;
    const row = node === 0 ? 0 : isFirst ? places[parents[node]].row : numRows;
    places[node] = { row, column };
    numRows = Math.max(numRows, row + 1);
    numColumns = Math.max(numColumns, column + 1);
    // The first child is taken up first, so it is pushed last.
    for (let place = children[node].length - 1; place >= 0; place -= 1) {
      stack.push({ node: children[node][place], column: column + 1, isFirst: place === 0 });
    }
  }
  return { places, numRows, numColumns };
}

/**
 * Left edge and width of every column, for texts of the given widths.
 *
 * @param {{ column: number }[]} places
 * @param {number[]} widths
 */
export function columnEdges(places, widths) {
  /** @type {number[]} */
  const columns = [];
  places.forEach(({ column }, node) => {
    columns[column] = Math.max(columns[column] ?? 0, widths[node]);
  });
  let left = 0;
  return columns.map((width) => {
    const edge = { left, width };
    left += width + COLUMN_GAP;
    return edge;
  });
}
