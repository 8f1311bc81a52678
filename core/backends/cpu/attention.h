// Norms, rotation and attention of one row.

#pragma once

#include <cmath>

#include "activations.h"
#include "model.h"

namespace {

// What a norm divides by, as a factor.
float rms_factor(const float* x, int64_t width, float eps) {
  Lanes squares = {};
  for (int64_t i = 0; i < width; i += LANES) squares += load(x + i) * load(x + i);
  return 1.0f / std::sqrt(sum_of(squares) / (float)width + eps);
}

void scale_by(const float* x, float factor, const float* weight, int64_t width, float* y) {
  for (int64_t i = 0; i < width; i += LANES) store(y + i, load(x + i) * factor * load(weight + i));
}

void rms_norm(const float* x, const float* weight, int64_t width, float eps, float* y) {
  scale_by(x, rms_factor(x, width, eps), weight, width, y);
}

// Adds what a part made, normed.
void add_normed(const float* made, const float* weight, int64_t width, float eps, float scale,
                float* x) {
  const float factor = rms_factor(made, width, eps);
  for (int64_t i = 0; i < width; i += LANES)
    store(x + i, load(x + i) + load(made + i) * factor * load(weight + i) * scale);
}

// Bounds numbers softly.
void cap_all(float* x, int64_t count, float cap) {
  for (int64_t i = 0; i < count; i += LANES) store(x + i, tanh_of(load(x + i) / cap) * cap);
}

void rotate(const float* x, const float* cos, const float* sin, int64_t dim, float* y) {
  const int64_t half = dim / 2;
  for (int64_t i = 0; i < dim; i += LANES) {
    const float* other = x + (i < half ? i + half : i - half);
    store(y + i, load(x + i) * load(cos + i) + load(other) * load(sin + i));
  }
}

// A head as attention wants it: normed where the model norms it, then rotated. Head `index` of those
// that begin at `first`, of which a norm may be over all `num_heads`.
void turn_head(const float* first, int64_t index, int64_t num_heads, const float* norm,
               const Layer& layer, const Model& model, const Rows& rows, int64_t row, float* y) {
  float normed[512];
  const int64_t dim = model.head_dim;
  const float* x = first + index * dim;
  if (norm) {
    const bool all_heads = model.norms_all_heads;
    const float factor = all_heads ? rms_factor(first, num_heads * dim, model.norm_eps)
                                   : rms_factor(x, dim, model.norm_eps);
    scale_by(x, factor, norm + (all_heads ? index * dim : 0), dim, normed);
    x = normed;
  }
  const int64_t at = (layer.rotation * rows.num_positions + rows.positions[row]) * dim;
  rotate(x, rows.cos + at, rows.sin + at, dim, y);
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
            int64_t count, const Model& model, const float* sink, float* scores, float* y) {
  const int64_t dim = model.head_dim;
  for (int64_t j = 0; j < count; ++j) {
    const float* key = keys + visible[j] * dim;
    Lanes sums = {};
    for (int64_t i = 0; i < dim; i += LANES) sums += load(query + i) * load(key + i);
    scores[j] = sum_of(sums) * model.attention_scale;
  }
  for (int64_t j = count; j % LANES; ++j) scores[j] = 0.0f;
  if (model.attention_cap > 0.0f) cap_all(scores, count, model.attention_cap);
  float highest = sink ? *sink : -INFINITY;
  for (int64_t j = 0; j < count; ++j) highest = scores[j] > highest ? scores[j] : highest;
  for (int64_t j = count; j % LANES; ++j) scores[j] = -INFINITY;
  Lanes total = {};
  for (int64_t j = 0; j < count; j += LANES) {
    const Lanes weights = exp_of(load(scores + j) - highest);
    store(scores + j, weights);
    if (j + LANES <= count) total += weights;
    else for (int64_t i = 0; j + i < count; ++i) total[i] += weights[i];
  }
  const float rest = sink ? exp_of(all(*sink - highest))[0] : 0.0f;
  const float factor = 1.0f / (sum_of(total) + rest);
  int64_t at = 0;
  for (; at + 8 * LANES <= dim; at += 8 * LANES)
    weigh_values<8>(values + at, visible, count, dim, scores, factor, y + at);
  for (; at < dim; at += LANES)
    weigh_values<1>(values + at, visible, count, dim, scores, factor, y + at);
}

// The columns that a block's row sees in a view, in their order.
void list_visible(const Block& block, const View& view, int64_t row, int64_t position,
                  int32_t* visible, int32_t* count) {
  const float* mask = block.mask ? block.mask + row * block.mask_stride : nullptr;
  int64_t lowest = view.window ? position - view.window + 1 : 0;  // of the positions that are seen
  if (view.chunk) lowest = position / view.chunk * view.chunk;
  lowest = lowest < 0 ? 0 : lowest;
  int32_t found = 0;
  for (int64_t column = lowest < block.length ? lowest : block.length; column < block.num_columns;
       ++column) {
    const bool is_near = column < block.length || !block.positions || block.positions[column] >= lowest;
    visible[found] = (int32_t)column;
    found += is_near && (mask == nullptr || mask[column] == 0.0f);
  }
  *count = found;
}

}  // namespace
