// The forward of a Llama-shaped model over a few rows, in one call and one parallel region.
//
// Activations are float32; weights are written out to float32 in registers, so that a packed weight
// counts exactly as what it stands for. Every sum of a row runs in an order of its own, whatever
// rows are computed beside it and wherever its keys stand in the cache: the same tokens at the same
// positions give the same bits, in a chain, in a tree or alone.
//
// Vectors are the compiler's own, so that one source serves every processor.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <omp.h>

namespace {

typedef float Lanes __attribute__((vector_size(32)));
typedef int32_t Words __attribute__((vector_size(32)));
typedef uint16_t Halves __attribute__((vector_size(16)));
typedef _Float16 FourHalves __attribute__((vector_size(8)));
typedef float FourFloats __attribute__((vector_size(16)));
typedef float LooseLanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t LooseWords __attribute__((vector_size(32), aligned(4), may_alias));

constexpr int LANES = 8;
constexpr int UNIT = 32;  // weights handled at once: four vectors
constexpr int AHEAD = 4096;  // bytes between a weight and the one to be fetched meanwhile

inline Lanes load(const float* from) { return *reinterpret_cast<const LooseLanes*>(from); }
inline void store(float* to, Lanes value) { *reinterpret_cast<LooseLanes*>(to) = value; }
inline Words load_words(const int32_t* from) { return *reinterpret_cast<const LooseWords*>(from); }
inline void fetch(const void* from) { __builtin_prefetch(static_cast<const char*>(from) + AHEAD); }
inline Lanes all(float value) { return value - Lanes{}; }

inline float sum_of(Lanes v) {
  FourFloats low, high;
  std::memcpy(&low, &v, sizeof(low));
  std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof(low), sizeof(high));
  const FourFloats pairs = low + high;
  return (pairs[0] + pairs[2]) + (pairs[1] + pairs[3]);
}

// exp to about two units in the last place (the reduction and polynomial of Cephes).
inline Lanes exp_of(Lanes x) {
  x = x < all(-87.0f) ? all(-87.0f) : x;
  x = x > all(88.0f) ? all(88.0f) : x;
  const Words power = __builtin_convertvector(x * 1.44269504f + all(128.5f), Words) - 128;
  const Lanes whole = __builtin_convertvector(power, Lanes);
  const Lanes rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Lanes y = all(1.9875691500e-4f);
  y = y * rest + 1.3981999507e-3f;
  y = y * rest + 8.3334519073e-3f;
  y = y * rest + 4.1665795894e-2f;
  y = y * rest + 1.6666665459e-1f;
  y = y * rest + 5.0000001201e-1f;
  y = y * (rest * rest) + rest + 1.0f;
  return y * (Lanes)((power + 127) << 23);
}

}  // namespace

extern "C" {

struct Linear {
  int32_t format, out_features, in_features;
  int32_t group_shift;  // a group has UNIT << group_shift weights
  const int32_t* values;  // [out_features, in_features * bits / 32]
  const void* scales;     // [out_features, num_groups, 2]: scale and offset
  const float* bias;      // [out_features] or null
};

struct Layer {
  const float *input_norm, *q_norm, *k_norm, *post_norm;
  Linear qkv, o, gate_up, down;
  int64_t cache_index;
};

struct Model {
  int32_t num_layers, num_heads, num_kv_heads, head_dim, hidden, intermediate;
  float norm_eps;
  const Layer* layers;
  Linear embedding, head;
  const float* final_norm;
};

struct Rows {
  int64_t count;
  const int64_t *token_ids, *positions;
  const float *cos, *sin;  // [positions, head_dim]; the sines of the first half are negative
  float* cache;            // [cache layers, 2, num_kv_heads, capacity, head_dim]
  int64_t capacity, write_start, num_columns;
  const float* mask;       // [count, mask_stride], 0 where a row sees a column; null: it sees all
  int64_t mask_stride;
  float* work;             // work_floats() of them
  float* logits;           // [count, vocab] or null
  float* hidden_states;    // [count, num_states * hidden]: those in front of state_layers, or null
  const int32_t* state_layers;
  int64_t num_states;
};

}  // extern "C"

namespace {

// Formats give UNIT weights of an output row. Words are laid out so that lane i of a vector comes
// from word i: no shuffles, only shifts.

struct Float32 {
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const float* from = reinterpret_cast<const float*>(linear.values) + row * linear.in_features;
    fetch(from + unit * UNIT);
    fetch(from + unit * UNIT + UNIT / 2);
    for (int i = 0; i < 4; ++i) w[i] = load(from + unit * UNIT + i * LANES);
  }
};

struct BFloat16 {
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const uint16_t* from =
        reinterpret_cast<const uint16_t*>(linear.values) + row * linear.in_features + unit * UNIT;
    fetch(from);
    for (int i = 0; i < 4; ++i) {
      Halves halves;
      std::memcpy(&halves, from + i * LANES, sizeof(halves));
      w[i] = (Lanes)(__builtin_convertvector(halves, Words) << 16);
    }
  }
};

// Scale and offset of a weight's group, from a pair of halves or floats.
inline Lanes pair_of(const _Float16* pair) {
  FourHalves halves = {};
  std::memcpy(&halves, pair, 2 * sizeof(*pair));
  const FourFloats both = __builtin_convertvector(halves, FourFloats);
  return Lanes{both[0], both[1]};
}
inline Lanes pair_of(const float* pair) { return Lanes{pair[0], pair[1]}; }

template <class Scale>
inline void scale_and_offset(const Linear& linear, int64_t row, int unit, Lanes* w) {
  const int64_t num_groups = (linear.in_features / UNIT) >> linear.group_shift;
  const Scale* scales = static_cast<const Scale*>(linear.scales);
  const Lanes pair = pair_of(scales + 2 * (row * num_groups + (unit >> linear.group_shift)));
  const Lanes scale = all(pair[0]), offset = all(pair[1]);
  for (int i = 0; i < 4; ++i) w[i] = w[i] * scale + offset;
}

template <class Scale>
struct Int4 {  // 0 to 15
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const int32_t* from = linear.values + row * (linear.in_features / 8) + (unit / 2) * LANES;
    fetch(from);
    const Words words = load_words(from) >> (unit % 2 * 16);
    for (int i = 0; i < 4; ++i) w[i] = __builtin_convertvector((words >> (4 * i)) & 15, Lanes);
    scale_and_offset<Scale>(linear, row, unit, w);
  }
};

template <class Scale>
struct Int8 {  // -128 to 127
  static void weights(const Linear& linear, int64_t row, int unit, Lanes* w) {
    const int32_t* from = linear.values + row * (linear.in_features / 4) + unit * LANES;
    fetch(from);
    const Words words = load_words(from);
    for (int i = 0; i < 4; ++i)
      w[i] = __builtin_convertvector((words << (24 - 8 * i)) >> 24, Lanes);
    scale_and_offset<Scale>(linear, row, unit, w);
  }
};

enum class Epilogue { STORE, ADD };

// Rows taken together when so many are left.
int64_t tile_rows(int64_t left) { return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

// Lays the rows of each tile side by side, a vector of each in turn; a single row is so as it is.
const float* interleaved(const float* x, int64_t rows, int64_t width, float* to) {
  if (rows == 1) return x;
  for (int64_t row = 0; row < rows;) {
    const int64_t count = tile_rows(rows - row);
    for (int64_t i = 0; i < width; i += LANES)
      for (int64_t r = 0; r < count; ++r)
        store(to + row * width + i * count + r * LANES, load(x + (row + r) * width + i));
    row += count;
  }
  return to;
}

// NUM_OUT outputs of NUM_ROWS interleaved rows at a time. One accumulator a product keeps the order
// of its sum the same for every tile.
template <class Format, int NUM_ROWS, int NUM_OUT>
void tile(const Linear& linear, int64_t out, const float* x, float* y, int64_t y_stride,
          Epilogue epilogue) {
  Lanes sums[NUM_OUT][NUM_ROWS] = {};
  const int num_units = linear.in_features / UNIT;
  for (int unit = 0; unit < num_units; ++unit) {
#pragma GCC unroll 8
    for (int o = 0; o < NUM_OUT; ++o) {
      Lanes w[4];
      Format::weights(linear, out + o, unit, w);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
#pragma GCC unroll 8
        for (int r = 0; r < NUM_ROWS; ++r)
          sums[o][r] += w[i] * load(x + ((unit * 4 + i) * NUM_ROWS + r) * LANES);
    }
  }
  for (int o = 0; o < NUM_OUT; ++o)
    for (int r = 0; r < NUM_ROWS; ++r) {
      const float product = sum_of(sums[o][r]) + (linear.bias ? linear.bias[out + o] : 0.0f);
      float* to = y + r * y_stride + out + o;
      *to = epilogue == Epilogue::ADD ? *to + product : product;
    }
}

template <class Format, int NUM_ROWS, int NUM_OUT>
int64_t tiles(const Linear& linear, int64_t begin, int64_t end, const float* x, float* y,
              int64_t y_stride, Epilogue epilogue) {
  int64_t out = begin;
  for (; out + NUM_OUT <= end; out += NUM_OUT)
    tile<Format, NUM_ROWS, NUM_OUT>(linear, out, x, y, y_stride, epilogue);
  for (; out < end; ++out) tile<Format, NUM_ROWS, 1>(linear, out, x, y, y_stride, epilogue);
  return NUM_ROWS;
}

// Outputs begin to end of all rows, which are interleaved.
template <class Format>
void multiply_as(const Linear& linear, int64_t begin, int64_t end, int64_t rows, const float* x,
                 float* y, int64_t y_stride, Epilogue epilogue) {
  constexpr int64_t BLOCK = 32;  // outputs whose weights stay near while the rows pass
  for (int64_t from = begin; from < end; from += BLOCK) {
    const int64_t to = from + BLOCK < end ? from + BLOCK : end;
    for (int64_t row = 0; row < rows;) {
      const float* x_row = x + row * linear.in_features;
      float* y_row = y + row * y_stride;
      switch (tile_rows(rows - row)) {
        case 8:
          row += tiles<Format, 8, 1>(linear, from, to, x_row, y_row, y_stride, epilogue);
          break;
        case 4:
          row += tiles<Format, 4, 2>(linear, from, to, x_row, y_row, y_stride, epilogue);
          break;
        case 2:
          row += tiles<Format, 2, 4>(linear, from, to, x_row, y_row, y_stride, epilogue);
          break;
        default:
          row += tiles<Format, 1, 4>(linear, from, to, x_row, y_row, y_stride, epilogue);
      }
    }
  }
}

template <class Call>
void with_format(int32_t format, Call call) {
  switch (format) {
    case 0: call(Float32{}); break;
    case 1: call(BFloat16{}); break;
    case 2: call(Int4<_Float16>{}); break;
    case 3: call(Int4<float>{}); break;
    case 4: call(Int8<_Float16>{}); break;
    case 5: call(Int8<float>{}); break;
  }
}

// See multiply_as.
void multiply(const Linear& linear, int64_t begin, int64_t end, int64_t rows, const float* x,
              float* y, int64_t y_stride, Epilogue epilogue = Epilogue::STORE) {
  with_format(linear.format, [&](auto format) {
    multiply_as<decltype(format)>(linear, begin, end, rows, x, y, y_stride, epilogue);
  });
}

void write_out(const Linear& linear, int64_t row, float* to) {
  with_format(linear.format, [&](auto format) {
    for (int unit = 0; unit < linear.in_features / UNIT; ++unit) {
      Lanes w[4];
      decltype(format)::weights(linear, row, unit, w);
      for (int i = 0; i < 4; ++i) store(to + unit * UNIT + i * LANES, w[i]);
    }
  });
}

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

// The share of a thread, in multiples of `step`.
struct Share {
  int64_t begin, end;
  Share(int64_t total, int64_t step, int thread, int num_threads) {
    const int64_t steps = (total + step - 1) / step;
    begin = steps * thread / num_threads * step;
    end = steps * (thread + 1) / num_threads * step;
    if (end > total) end = total;
  }
};

int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }

struct Sizes {
  int64_t x, qkv, attended, gate_up, product, normed, tiles, scores, head, visible, counts;
  int64_t shared, per_thread;
  Sizes(const Model& model, int64_t rows, int64_t capacity) {
    const int64_t heads = model.num_heads + 2 * model.num_kv_heads;
    x = padded(rows * model.hidden);
    qkv = padded(rows * heads * model.head_dim);
    attended = padded(rows * model.num_heads * model.head_dim);
    gate_up = padded(rows * 2 * model.intermediate);
    product = padded(rows * model.intermediate);
    visible = padded(rows * capacity);
    counts = padded(rows);
    normed = x;
    tiles = x > attended ? x : attended;
    tiles = tiles > product ? tiles : product;
    scores = padded(capacity + LANES);
    head = padded(model.head_dim);
    shared = x + qkv + attended + gate_up + product + visible + counts;
    per_thread = normed + tiles + scores + head;
  }
};

void list_visible(const Rows& rows, int64_t row, int32_t* visible, int32_t* count) {
  const float* mask = rows.mask ? rows.mask + row * rows.mask_stride : nullptr;
  int32_t found = 0;
  for (int64_t column = 0; column < rows.num_columns; ++column) {
    visible[found] = (int32_t)column;
    found += mask == nullptr || mask[column] == 0.0f;
  }
  *count = found;
}

}  // namespace

extern "C" {

// Floats of working memory for so many rows over a cache of so many columns.
int64_t work_floats(const Model* model, int64_t rows, int64_t capacity, int32_t num_threads) {
  const Sizes sizes(*model, rows, capacity);
  return sizes.shared + num_threads * sizes.per_thread;
}

void forward(const Model* model_pointer, const Rows* rows_pointer, int32_t num_threads) {
  const Model& model = *model_pointer;
  const Rows& rows = *rows_pointer;
  const int64_t n = rows.count, hidden = model.hidden, dim = model.head_dim;
  const int64_t num_heads = model.num_heads, num_kv_heads = model.num_kv_heads;
  const int64_t intermediate = model.intermediate;
  const int64_t qkv_width = (num_heads + 2 * num_kv_heads) * dim, q_width = num_heads * dim;
  const int64_t kv_size = num_kv_heads * rows.capacity * dim;
  const Sizes sizes(model, n, rows.capacity);
  float* x = rows.work;
  float* qkv = x + sizes.x;
  float* attended = qkv + sizes.qkv;
  float* gate_up = attended + sizes.attended;
  float* product = gate_up + sizes.gate_up;
  int32_t* visible = reinterpret_cast<int32_t*>(product + sizes.product);
  int32_t* counts = visible + sizes.visible;

#pragma omp parallel num_threads(num_threads)
  {
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    float* normed = rows.work + sizes.shared + thread * sizes.per_thread;
    float* tiles = normed + sizes.normed;
    float* scores = tiles + sizes.tiles;
    float* query = scores + sizes.scores;
    const auto norm_rows = [&](const float* weight) {  // every thread for itself: no waiting
      for (int64_t row = 0; row < n; ++row)
        rms_norm(x + row * hidden, weight, hidden, model.norm_eps, normed + row * hidden);
      return interleaved(normed, n, hidden, tiles);
    };
    const Share own_rows(n, 1, thread, team);
    for (int64_t row = own_rows.begin; row < own_rows.end; ++row) {
      write_out(model.embedding, rows.token_ids[row], x + row * hidden);
      list_visible(rows, row, visible + row * rows.capacity, counts + row);
    }
    const auto keep_states = [&](int32_t layer) {  // nobody writes x before the next barrier
      for (int64_t state = 0; rows.hidden_states && state < rows.num_states; ++state) {
        if (rows.state_layers[state] != layer) continue;
        for (int64_t row = own_rows.begin; row < own_rows.end; ++row)
          std::memcpy(rows.hidden_states + (row * rows.num_states + state) * hidden,
                      x + row * hidden, hidden * sizeof(float));
      }
    };
#pragma omp barrier
    for (int32_t index = 0; index < model.num_layers; ++index) {
      keep_states(index);
      const Layer& layer = model.layers[index];
      float* keys = rows.cache + layer.cache_index * 2 * kv_size;
      float* values = keys + kv_size;
      const float* attention_in = norm_rows(layer.input_norm);
      // Whole heads a thread, so that it can write its own keys and values at once.
      const Share own_heads(num_heads + 2 * num_kv_heads, 1, thread, team);
      multiply(layer.qkv, own_heads.begin * dim, own_heads.end * dim, n, attention_in, qkv,
               qkv_width);
      for (int64_t head = own_heads.begin; head < own_heads.end; ++head) {
        if (head < num_heads) continue;
        const bool is_key = head < num_heads + num_kv_heads;
        const int64_t kv_head = head - num_heads - (is_key ? 0 : num_kv_heads);
        for (int64_t row = 0; row < n; ++row) {
          const float* from = qkv + row * qkv_width + head * dim;
          const int64_t at = (kv_head * rows.capacity + rows.write_start + row) * dim;
          if (is_key) turn_head(from, layer.k_norm, model, rows, row, keys + at);
          else std::memcpy(values + at, from, dim * sizeof(float));
        }
      }
#pragma omp barrier
      const Share own_queries(n * num_heads, 1, thread, team);
      for (int64_t task = own_queries.begin; task < own_queries.end; ++task) {
        const int64_t row = task / num_heads, head = task % num_heads;
        const int64_t kv_at = head / (num_heads / num_kv_heads) * rows.capacity * dim;
        turn_head(qkv + row * qkv_width + head * dim, layer.q_norm, model, rows, row, query);
        attend(query, keys + kv_at, values + kv_at, visible + row * rows.capacity, counts[row], dim,
               scores, attended + row * q_width + head * dim);
      }
#pragma omp barrier
      const Share own_hidden(hidden, 4, thread, team);
      multiply(layer.o, own_hidden.begin, own_hidden.end, n,
               interleaved(attended, n, q_width, tiles), x, hidden, Epilogue::ADD);
#pragma omp barrier
      const float* product_in = norm_rows(layer.post_norm);
      const Share own_product(intermediate, LANES, thread, team);
      for (int64_t offset = 0; offset <= intermediate; offset += intermediate)
        multiply(layer.gate_up, offset + own_product.begin, offset + own_product.end, n, product_in,
                 gate_up, 2 * intermediate);
      for (int64_t row = 0; row < n; ++row)
        for (int64_t i = own_product.begin; i < own_product.end; i += LANES) {
          const float* gate = gate_up + row * 2 * intermediate + i;
          const Lanes sigmoid = 1.0f / (1.0f + exp_of(-load(gate)));
          store(product + row * intermediate + i, load(gate) * sigmoid * load(gate + intermediate));
        }
#pragma omp barrier
      multiply(layer.down, own_hidden.begin, own_hidden.end, n,
               interleaved(product, n, intermediate, tiles), x, hidden, Epilogue::ADD);
#pragma omp barrier
    }
    keep_states(model.num_layers);
    if (rows.logits) {
      const float* head_in = norm_rows(model.final_norm);
      const int64_t vocab = model.head.out_features;
      const Share own_vocab(vocab, 4, thread, team);
      multiply(model.head, own_vocab.begin, own_vocab.end, n, head_in, rows.logits, vocab);
    }
  }
}

// All weights as every product counts them; for long prompts.
void dequantize(const Linear* linear, float* to, int32_t num_threads) {
#pragma omp parallel for num_threads(num_threads)
  for (int64_t row = 0; row < linear->out_features; ++row)
    write_out(*linear, row, to + row * linear->in_features);
}

// Some rows of the weights: an embedding's.
void write_rows(const Linear* linear, int64_t count, const int64_t* indices, float* to) {
  for (int64_t i = 0; i < count; ++i)
    write_out(*linear, indices[i], to + i * linear->in_features);
}

}  // extern "C"
