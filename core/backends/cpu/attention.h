// Norms, rotation and attention of one row.

#pragma once

#include <cmath>

#include "lanes.h"
#include "model.h"

namespace {

void rms_norm(const float* x, const float* weight, int64_t width, float eps, float* y) {
  Lanes squares = {};
  for (int64_t i = 0; i < width; i += LANES) squares += load(x + i) * load(x + i);
  const float factor = 1.0f / std::sqrt(sum_of(squares) / (float)width + eps);
  for (int64_t i = 0; i < width; i += LANES) store(y + i, load(x + i) * factor * load(weight + i));
}

void rotate(const float* x, const float* cos, const float* sin, int64_t dim, float* y) {
  const int64_t half = dim / 2;
  for (int64_t i = 0; i < dim; i += LANES) {
    const float* other = x + (i < half ? i + half : i - half);
    store(y + i, load(x + i) * load(cos + i) + load(other) * load(sin + i));
  }
}

// A head as attention wants it: normed where the model norms it, then rotated.
void turn_head(const float* x, const float* norm, const Model& model, const Rows& rows, int64_t row,
               float* y) {
  float normed[512];
  if (norm) {
    rms_norm(x, norm, model.head_dim, model.norm_eps, normed);
    x = normed;
  }
  const int64_t at = rows.positions[row] * model.head_dim;
  rotate(x, rows.cos + at, rows.sin + at, model.head_dim, y);
}

template <int NUM_VECTORS>
void weigh_values(const float* values, const int32_t* visible, int64_t count, int64_t dim,
                  const float* weights, float factor, float* y) {
  Lanes sums[NUM_VECTORS] = {};
  for (int64_t j = 0; j < count; ++j) {
    const float* value = values + visible[j] * dim;
#pragma GCC unroll 8
    for (int i = 0; i < NUM_VECTORS; ++i) sums[i] += load(value + i * LANES) * weights[j];
  }
  for (int i = 0; i < NUM_VECTORS; ++i) store(y + i * LANES, sums[i] * factor);
}

// One head of one row over the columns that it sees, in their order.
void attend(const float* query, const float* keys, const float* values, const int32_t* visible,
            int64_t count, int64_t dim, float* scores, float* y) {
  const float scale = 1.0f / std::sqrt((float)dim);
  float highest = -INFINITY;
  for (int64_t j = 0; j < count; ++j) {
    const float* key = keys + visible[j] * dim;
    Lanes sums = {};
    for (int64_t i = 0; i < dim; i += LANES) sums += load(query + i) * load(key + i);
    scores[j] = sum_of(sums) * scale;
    highest = scores[j] > highest ? scores[j] : highest;
  }
  for (int64_t j = count; j % LANES; ++j) scores[j] = -INFINITY;
  Lanes total = {};
  for (int64_t j = 0; j < count; j += LANES) {
    const Lanes weights = exp_of(load(scores + j) - highest);
    store(scores + j, weights);
    if (j + LANES <= count) total += weights;
    else for (int64_t i = 0; j + i < count; ++i) total[i] += weights[i];
  }
  const float factor = 1.0f / sum_of(total);
  int64_t at = 0;
  for (; at + 8 * LANES <= dim; at += 8 * LANES)
    weigh_values<8>(values + at, visible, count, dim, scores, factor, y + at);
  for (; at < dim; at += LANES)
    weigh_values<1>(values + at, visible, count, dim, scores, factor, y + at);
}

// The columns that a block's row sees, in their order.
void list_visible(const Block& block, int64_t row, int32_t* visible, int32_t* count) {
  const float* mask = block.mask ? block.mask + row * block.mask_stride : nullptr;
  int32_t found = 0;
  for (int64_t column = 0; column < block.num_columns; ++column) {
    visible[found] = (int32_t)column;
    found += mask == nullptr || mask[column] == 0.0f;
  }
  *count = found;
}

}  // namespace
