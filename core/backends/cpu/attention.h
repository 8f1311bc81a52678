// Norms, rotation and attention of one row.

#pragma once

#include <cmath>
#include <type_traits>

#include "activations.h"
#include "model.h"

namespace {

// A norm of some numbers: what is taken away from them, and what they are multiplied by and what is
// added then. A layer norm's addends stand behind its factors; an RMS norm has neither them nor a mean.
class Normed {
 public:
  // `total` numbers are one norm's, of which those that are asked for begin at `from`.
  Normed(const float* x, const float* norm, int64_t total, const Model& model, int64_t from = 0)
      : x(x + from), factors(norm + from), addends(model.is_layer_norm ? norm + total + from : nullptr) {
    Lanes sums = {}, squares = {};
    if (addends) {
      for (int64_t i = 0; i < total; i += LANES) sums += load(x + i);
      mean = sum_of(sums) / (float)total;
    }
    for (int64_t i = 0; i < total; i += LANES) {
      const Lanes difference = load(x + i) - mean;
      squares += difference * difference;
    }
    factor = 1.0f / std::sqrt(sum_of(squares) / (float)total + model.norm_eps);
  }
  Lanes at(int64_t i) const {
    const Lanes scaled = (load(x + i) - mean) * factor * load(factors + i);
    return addends ? scaled + load(addends + i) : scaled;
  }
  void write(int64_t width, float* y) const {
    for (int64_t i = 0; i < width; i += LANES) store(y + i, at(i));
  }

 private:
  const float *x, *factors, *addends;
  float mean = 0.0f, factor;
};

// Adds what a part made, normed.
void add_normed(const float* made, const float* norm, int64_t width, const Model& model, float* x) {
  const Normed normed(made, norm, width, model);
  for (int64_t i = 0; i < width; i += LANES)
    store(x + i, load(x + i) + normed.at(i) * model.residual_scale);
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
    if (model.norms_all_heads) Normed(first, norm, num_heads * dim, model, index * dim).write(dim, normed);
    else Normed(x, norm, dim, model).write(dim, normed);
    x = normed;
  }
  const int64_t at = (layer.rotation * rows.num_positions + rows.positions[row]) * dim;
  rotate(x, rows.cos + at, rows.sin + at, dim, y);
}

// What a row sees of its cache: a run of columns, then single ones.
struct Seen {
  int32_t first, run, num_rest;
  int32_t count() const { return run + num_rest; }
};

constexpr int QUERIES = 16;     // of one key head at most, which share its columns' passing
constexpr int TILE_QUERIES = 4;  // whose sums stand in registers
#if defined(HAS_512_BITS)        // which are twice as many
constexpr int SCORE_QUERIES = 4, TILE_VECTORS = 4;
#else
constexpr int SCORE_QUERIES = 2, TILE_VECTORS = 2;
#endif
constexpr int64_t NEAR_COLUMNS = 32;  // whose values stay near while the queries pass

// Queries of one key head, each with what it sees.
struct Group {
  int count;
  const float* queries;  // [QUERIES, dim]
  Seen seen[QUERIES];
  const int32_t* rest[QUERIES];
  float* scores[QUERIES];  // room for all that is seen
  float* y[QUERIES];
};

// Calls with some queries of a group at a time, as a constant.
template <int MOST, class Call>
inline void by_queries(int first, int count, Call call) {
  for (; count >= MOST; first += MOST, count -= MOST) call(std::integral_constant<int, MOST>{}, first);
  if constexpr (MOST > 1)
    if (count > 0) by_queries<MOST / 2>(first, count, call);
}

// Products of NUM_QUERIES queries from `first` on with up to four columns that follow each other.
template <int NUM_QUERIES, int NUM_COLUMNS>
inline void score(const Group& group, int first, const float* keys, int64_t column, int64_t dim,
                  float scale) {
  Lanes sums[NUM_QUERIES][4] = {};
  for (int64_t i = 0; i < dim; i += LANES) {
    Lanes key[NUM_COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < NUM_COLUMNS; ++c) key[c] = NUM_QUERIES > 1 ? held(load(keys + (column + c) * dim + i)) : load(keys + (column + c) * dim + i);
#pragma GCC unroll 4
    for (int q = 0; q < NUM_QUERIES; ++q) {
      const Lanes query = held(load(group.queries + (first + q) * dim + i));
#pragma GCC unroll 4
      for (int c = 0; c < NUM_COLUMNS; ++c) sums[q][c] = fused(query, key[c], sums[q][c]);
    }
  }
#pragma GCC unroll 4
  for (int q = 0; q < NUM_QUERIES; ++q) {
    const FourFloats scores = sums_of(sums[q][0], sums[q][1], sums[q][2], sums[q][3]) * scale;
    std::memcpy(group.scores[first + q] + column - group.seen[first + q].first, &scores,
                NUM_COLUMNS * sizeof(float));
  }
}

// Scores of `count` queries from `first` on with columns that follow each other.
inline void score_run(const Group& group, int first, int count, const float* keys, int64_t begin,
                      int64_t end, int64_t dim, float scale) {
  int64_t column = begin;
  for (; column + 4 <= end; column += 4)
    by_queries<SCORE_QUERIES>(first, count, [&](auto number, int query) {
      score<decltype(number)::value, 4>(group, query, keys, column, dim, scale);
    });
  for (; column < end; ++column)
    by_queries<SCORE_QUERIES>(first, count, [&](auto number, int query) {
      score<decltype(number)::value, 1>(group, query, keys, column, dim, scale);
    });
}

// Adds columns that follow each other, weighed by what stands in place of the scores.
template <int NUM_QUERIES, int NUM_VECTORS>
inline void weigh(const Group& group, int first, const float* values, int64_t begin, int64_t end,
                  int64_t dim, int64_t at) {
  Lanes sums[NUM_QUERIES][NUM_VECTORS];
  const float* weights[NUM_QUERIES];
#pragma GCC unroll 4
  for (int q = 0; q < NUM_QUERIES; ++q) {
    weights[q] = group.scores[first + q] + (begin - group.seen[first + q].first);
#pragma GCC unroll 4
    for (int i = 0; i < NUM_VECTORS; ++i) sums[q][i] = load(group.y[first + q] + at + i * LANES);
  }
  for (int64_t column = begin; column < end; ++column) {
    Lanes value[NUM_VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < NUM_VECTORS; ++i) value[i] = held(load(values + column * dim + at + i * LANES));
#pragma GCC unroll 4
    for (int q = 0; q < NUM_QUERIES; ++q) {
      const Lanes weight = all(weights[q][column - begin]);
#pragma GCC unroll 4
      for (int i = 0; i < NUM_VECTORS; ++i) sums[q][i] = fused(value[i], weight, sums[q][i]);
    }
  }
#pragma GCC unroll 4
  for (int q = 0; q < NUM_QUERIES; ++q)
#pragma GCC unroll 4
    for (int i = 0; i < NUM_VECTORS; ++i) store(group.y[first + q] + at + i * LANES, sums[q][i]);
}

inline void weigh_run(const Group& group, int first, int count, const float* values,
                      int64_t begin, int64_t end, int64_t dim) {
  for (; begin < end; begin += NEAR_COLUMNS) {
    const int64_t last = begin + NEAR_COLUMNS < end ? begin + NEAR_COLUMNS : end;
    by_queries<TILE_QUERIES>(first, count, [&](auto number, int query) {
      constexpr int NUM_QUERIES = decltype(number)::value;
      int64_t at = 0;
      for (; at + TILE_VECTORS * LANES <= dim; at += TILE_VECTORS * LANES)
        weigh<NUM_QUERIES, TILE_VECTORS>(group, query, values, begin, last, dim, at);
      for (; at < dim; at += LANES)
        weigh<NUM_QUERIES, 1>(group, query, values, begin, last, dim, at);
    });
  }
}

// Scores as weights; returns what their sum divides by, as a factor.
inline float softmax(float* scores, int64_t count, float cap, const float* sink) {
  for (int64_t j = count; j % LANES; ++j) scores[j] = 0.0f;
  if (cap > 0.0f) cap_all(scores, count, cap);
  for (int64_t j = count; j % LANES; ++j) scores[j] = -INFINITY;
  Lanes lanes = all(sink ? *sink : -INFINITY);
  for (int64_t j = 0; j < count; j += LANES) lanes = larger(load(scores + j), lanes);
  const float highest = highest_of(lanes);
  Lanes total = {};
  for (int64_t j = 0; j < count; j += LANES) {
    const Lanes weights = exp_of(load(scores + j) - highest);
    store(scores + j, weights);
    if (j + LANES <= count) total += weights;
    else for (int64_t i = 0; j + i < count; ++i) total[i] += weights[i];
  }
  const float rest = sink ? exp_of(all(*sink - highest))[0] : 0.0f;
  return 1.0f / (sum_of(total) + rest);
}

// Heads of some rows over the columns that they see, each in their order. Columns that all of them see
// pass once; a query's sums are the same as alone.
inline void attend(const Group& group, const float* keys, const float* values, const Model& model,
                   const float* sink) {
  const int64_t dim = model.head_dim;
  const float scale = model.attention_scale;
  int64_t begin = 0, end = INT64_MAX;  // of the columns that all see
  for (int q = 0; q < group.count; ++q) {
    const Seen& seen = group.seen[q];
    begin = seen.first > begin ? seen.first : begin;
    end = seen.first + seen.run < end ? seen.first + seen.run : end;
  }
  if (end < begin) end = begin;
  for (int q = 0; q < group.count; ++q) {
    const Seen& seen = group.seen[q];
    const int64_t last = seen.first + seen.run;
    score_run(group, q, 1, keys, seen.first, begin < last ? begin : last, dim, scale);
    score_run(group, q, 1, keys, end, last, dim, scale);
    for (int32_t k = 0; k < seen.num_rest; ++k)  // as if they stood behind the run
      score<1, 1>(group, q, keys + (group.rest[q][k] - last - k) * dim, last + k, dim, scale);
  }
  score_run(group, 0, group.count, keys, begin, end, dim, scale);
  float factors[QUERIES];
  for (int q = 0; q < group.count; ++q) {
    const Seen& seen = group.seen[q];
    const int64_t last = seen.first + seen.run;
    factors[q] = softmax(group.scores[q], seen.count(), model.attention_cap, sink);
    for (int64_t i = 0; i < dim; i += LANES) store(group.y[q] + i, Lanes{});
    weigh_run(group, q, 1, values, seen.first, begin < last ? begin : last, dim);
  }
  weigh_run(group, 0, group.count, values, begin, end, dim);
  for (int q = 0; q < group.count; ++q) {
    const Seen& seen = group.seen[q];
    const int64_t last = seen.first + seen.run;
    weigh_run(group, q, 1, values, end, last, dim);
    for (int32_t k = 0; k < seen.num_rest; ++k)
      weigh_run(group, q, 1, values + (group.rest[q][k] - last - k) * dim, last + k, last + k + 1,
                dim);
    for (int64_t i = 0; i < dim; i += LANES)
      store(group.y[q] + i, load(group.y[q] + i) * factors[q]);
  }
}

// The columns that a block's row sees in a view, in their order; `rest` takes the single ones.
Seen list_visible(const Block& block, const View& view, int64_t row, int64_t position,
                  int32_t* rest) {
  const float* mask = block.mask ? block.mask + row * block.mask_stride : nullptr;
  int64_t lowest = view.window ? position - view.window + 1 : 0;  // of the positions that are seen
  if (view.chunk) lowest = position / view.chunk * view.chunk;
  lowest = lowest < 0 ? 0 : lowest;
  const auto sees = [&](int64_t column) {
    const bool is_near = column < block.length || !block.positions || block.positions[column] >= lowest;
    return is_near && (mask == nullptr || mask[column] == 0.0f);
  };
  int64_t column = lowest < block.length ? lowest : block.length;
  while (column < block.num_columns && !sees(column)) ++column;
  Seen seen{(int32_t)column, 0, 0};
  while (column < block.num_columns && sees(column)) ++column;
  seen.run = (int32_t)column - seen.first;
  for (; column < block.num_columns; ++column) {
    rest[seen.num_rest] = (int32_t)column;
    seen.num_rest += sees(column);
  }
  return seen;
}

}  // namespace
