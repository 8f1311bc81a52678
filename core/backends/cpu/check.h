// Whether the rows that Python hands over lie inside what they point into. A forward reads and writes
// wherever these numbers say, so that none of them is believed.

#pragma once

#include "model.h"

namespace {

const char* problem_of(const Block& block, const Model& model, int64_t capacity) {
  if (block.count < 1 || block.capacity < 1 || block.capacity > capacity)
    return "a block without rows, or with a cache of another size";
  if (block.write_start < 0 || block.write_start > block.capacity - block.count)
    return "rows that the cache has no room for";
  if (block.num_columns < 0 || block.num_columns > block.capacity)
    return "rows that attend to more than the cache holds";
  if (block.mask && block.mask_stride < block.num_columns) return "a mask narrower than its rows";
  if (model.state_norm && !block.given) return "rows without the states that they start from";
  if (block.hidden_states && block.num_states > 0 && !block.state_layers)
    return "states of no layers";
  return nullptr;
}

// The first thing that is wrong, or null.
const char* problem_of(const Rows& rows, const Model& model) {
  int64_t count = 0;
  for (int64_t block = 0; block < rows.num_blocks; ++block) {
    const char* problem = problem_of(rows.blocks[block], model, rows.capacity);
    if (problem) return problem;
    count += rows.blocks[block].count;
  }
  if (count != rows.count) return "blocks that are not all of the rows";
  for (int64_t row = 0; row < count; ++row) {
    if (rows.token_ids[row] < 0 || rows.token_ids[row] >= model.embedding.out_features)
      return "a token id that the embedding has no row for";
    if (rows.positions[row] < 0 || rows.positions[row] >= rows.num_positions)
      return "a position behind the end of the rotary table";
  }
  return nullptr;
}

}  // namespace
