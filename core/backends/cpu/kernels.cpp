// The forward of a described decoder over a few rows, in one call and one parallel region.
//
// Activations are float32, and dense weights are written out to float32; packed weights multiply
// rows that are rounded to 8 bits. Every sum of a row runs in an order of its own, whatever rows are
// computed beside it and wherever its keys stand in the cache: the same tokens at the same positions
// give the same bits, in a chain, in a tree or alone.

#include <omp.h>

#include "attention.h"
#include "check.h"
#include "multiply.h"

namespace {

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

// A row's block, and its place there.
struct Place {
  int32_t block, row;
};

void finish_logits(float* logits, int64_t begin, int64_t end, const Model& model) {
  if (model.logit_scale != 1.0f)
    for (int64_t i = begin; i < end; ++i) logits[i] *= model.logit_scale;
  if (model.logit_cap > 0.0f) {
    const int64_t whole = begin + (end - begin) / LANES * LANES;
    cap_all(logits + begin, whole - begin, model.logit_cap);
    for (int64_t i = whole; i < end; ++i)
      logits[i] = tanh_of(all(logits[i] / model.logit_cap))[0] * model.logit_cap;
  }
}

int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }

struct Sizes {
  int64_t x, qkv, attended, gate_up, product, normed, tiles, scores, head, visible, counts, places;
  int64_t embedded, made;
  int64_t shared, per_thread;
  Sizes(const Model& model, int64_t rows, int64_t capacity) {
    const int64_t heads = model.num_heads + 2 * model.num_kv_heads;
    x = padded(rows * model.hidden);
    qkv = padded(rows * heads * model.head_dim);
    attended = padded(rows * model.num_heads * model.head_dim);
    gate_up = padded(rows * 2 * model.intermediate);
    product = padded(rows * model.intermediate);
    visible = padded(model.num_views * rows * capacity);
    counts = padded(model.num_views * rows);
    made = x;
    places = padded(2 * rows);
    normed = model.state_norm ? padded(2 * rows * model.hidden) : x;
    embedded = model.state_norm ? x : 0;
    tiles = normed > attended ? normed : attended;
    tiles = tiles > product ? tiles : product;
    scores = padded(capacity + LANES);
    head = padded(model.head_dim);
    shared = x + qkv + attended + gate_up + product + visible + counts + places + embedded + made;
    per_thread = normed + tiles + scores + head;
  }
};

}  // namespace

extern "C" {

// Floats of working memory for so many rows over a cache of so many columns.
int64_t work_floats(const Model* model, int64_t rows, int64_t capacity, int32_t num_threads) {
  const Sizes sizes(*model, rows, capacity);
  return sizes.shared + num_threads * sizes.per_thread;
}

// Null, or what is wrong with the rows, which are then not computed.
const char* forward(const Model* model_pointer, const Rows* rows_pointer, int32_t num_threads) {
  const Model& model = *model_pointer;
  const Rows& rows = *rows_pointer;
  if (const char* problem = problem_of(rows, model)) return problem;
  if (rows.work_floats < work_floats(model_pointer, rows.count, rows.capacity, num_threads))
    return "too little working memory";
  const int64_t n = rows.count, hidden = model.hidden, dim = model.head_dim;
  const int64_t num_heads = model.num_heads, num_kv_heads = model.num_kv_heads;
  const int64_t intermediate = model.intermediate;
  const Activation activation = static_cast<Activation>(model.activation);
  const int64_t qkv_width = (num_heads + 2 * num_kv_heads) * dim, q_width = num_heads * dim;
  const Sizes sizes(model, n, rows.capacity);
  float* x = rows.work;
  float* qkv = x + sizes.x;
  float* attended = qkv + sizes.qkv;
  float* gate_up = attended + sizes.attended;
  float* product = gate_up + sizes.gate_up;
  int32_t* visible = reinterpret_cast<int32_t*>(product + sizes.product);
  int32_t* counts = visible + sizes.visible;
  Place* places = reinterpret_cast<Place*>(counts + sizes.counts);
  float* embedded = reinterpret_cast<float*>(counts + sizes.counts + sizes.places);
  float* made = embedded + sizes.embedded;
  int64_t num_placed = 0;
  for (int32_t block = 0; block < rows.num_blocks; ++block)
    for (int32_t row = 0; row < rows.blocks[block].count; ++row)
      places[num_placed++] = {block, row};

#pragma omp parallel num_threads(num_threads)
  {
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    float* normed = rows.work + sizes.shared + thread * sizes.per_thread;
    float* tiles = normed + sizes.normed;
    float* scores = tiles + sizes.tiles;
    float* query = scores + sizes.scores;
    const auto norm_rows = [&](const float* weight, const Linear& next) {  // every thread for itself
      if (!weight) return interleaved(next, x, n, hidden, tiles);
      for (int64_t row = 0; row < n; ++row)
        rms_norm(x + row * hidden, weight, hidden, model.norm_eps, normed + row * hidden);
      return interleaved(next, normed, n, hidden, tiles);
    };
    const auto norm_both = [&](const float* weight, const Linear& next) {
      for (int64_t row = 0; row < n; ++row) {
        float* to = normed + row * 2 * hidden;
        rms_norm(embedded + row * hidden, weight, hidden, model.norm_eps, to);
        rms_norm(x + row * hidden, model.state_norm, hidden, model.norm_eps, to + hidden);
      }
      return interleaved(next, normed, n, 2 * hidden, tiles);
    };
    const Share own_rows(n, 1, thread, team);
    for (int64_t row = own_rows.begin; row < own_rows.end; ++row) {
      float* embedding_at = (model.state_norm ? embedded : x) + row * hidden;
      write_out(model.embedding, rows.token_ids[row], embedding_at);
      const Block& block = rows.blocks[places[row].block];
      const int64_t place = places[row].row;
      if (model.state_norm)
        std::memcpy(x + row * hidden, block.given + place * hidden, hidden * sizeof(float));
      else if (model.embedding_scale != 1.0f)
        for (int64_t i = 0; i < hidden; i += LANES)
          store(embedding_at + i, load(embedding_at + i) * model.embedding_scale);
      for (int32_t view = 0; view < model.num_views; ++view)
        list_visible(block, model.views[view], place, rows.positions[row],
                     visible + (view * n + row) * rows.capacity, counts + view * n + row);
    }
    const auto keep_states = [&](int32_t layer) {  // nobody writes x before the next barrier
      for (int64_t row = own_rows.begin; row < own_rows.end; ++row) {
        const Block& block = rows.blocks[places[row].block];
        for (int64_t state = 0; block.hidden_states && state < block.num_states; ++state)
          if (block.state_layers[state] == layer)
            std::memcpy(block.hidden_states + (places[row].row * block.num_states + state) * hidden,
                        x + row * hidden, hidden * sizeof(float));
      }
    };
#pragma omp barrier
    for (int32_t index = 0; index < model.num_layers; ++index) {
      keep_states(index);
      const Layer& layer = model.layers[index];
      // Where a block's keys or values of a head begin.
      const int32_t* seen = visible + layer.view * n * rows.capacity;
      const int32_t* num_seen = counts + layer.view * n;
      // Adds what a linear layer makes of its input to x.
      const Share own_hidden(hidden, LANES, thread, team);
      const auto add_made = [&](const Linear& linear, const float* from, int64_t width,
                                const float* norm) {
        const Input input = interleaved(linear, from, n, width, tiles);
        if (!norm) {
          multiply(linear, own_hidden.begin, own_hidden.end,
                   {n, input, x, hidden, Epilogue::ADD, model.residual_scale});
          return;
        }
        multiply(linear, own_hidden.begin, own_hidden.end, {n, input, made, hidden});
#pragma omp barrier
        for (int64_t row = own_rows.begin; row < own_rows.end; ++row)
          add_normed(made + row * hidden, norm, hidden, model.norm_eps, model.residual_scale,
                     x + row * hidden);
      };
      const auto cached = [&](const Block& block, int64_t is_value, int64_t kv_head) {
        const int64_t plane = (layer.cache_index * 2 + is_value) * num_kv_heads + kv_head;
        return block.cache + plane * block.capacity * dim;
      };
      const bool is_fusing = model.state_norm && index == 0;
      const Input attention_in =
          is_fusing ? norm_both(layer.input_norm, layer.qkv) : norm_rows(layer.input_norm, layer.qkv);
      // Whole heads a thread, so that it can write its own keys and values at once.
      const Share own_heads(num_heads + 2 * num_kv_heads, 1, thread, team);
      multiply(layer.qkv, own_heads.begin * dim, own_heads.end * dim,
               {n, attention_in, qkv, qkv_width});
      if (layer.k_norm && model.norms_all_heads) {  // which read the keys of other threads
#pragma omp barrier
      }
      for (int64_t head = own_heads.begin; head < own_heads.end; ++head) {
        if (head < num_heads) continue;
        const bool is_key = head < num_heads + num_kv_heads;
        const int64_t kv_head = head - num_heads - (is_key ? 0 : num_kv_heads);
        for (int64_t row = 0; row < n; ++row) {
          const float* keys = qkv + row * qkv_width + q_width;
          const Block& block = rows.blocks[places[row].block];
          float* to = cached(block, !is_key, kv_head) + (block.write_start + places[row].row) * dim;
          if (is_key) turn_head(keys, kv_head, num_kv_heads, layer.k_norm, layer, model, rows, row, to);
          else std::memcpy(to, keys + (num_kv_heads + kv_head) * dim, dim * sizeof(float));
        }
      }
#pragma omp barrier
      const Share own_queries(n * num_heads, 1, thread, team);
      for (int64_t task = own_queries.begin; task < own_queries.end; ++task) {
        const int64_t row = task / num_heads, head = task % num_heads;
        const int64_t kv_head = head / (num_heads / num_kv_heads);
        const Block& block = rows.blocks[places[row].block];
        turn_head(qkv + row * qkv_width, head, num_heads, layer.q_norm, layer, model, rows, row, query);
        attend(query, cached(block, 0, kv_head), cached(block, 1, kv_head),
               seen + row * rows.capacity, num_seen[row], model,
               layer.sinks ? layer.sinks + head : nullptr, scores,
               attended + row * q_width + head * dim);
      }
#pragma omp barrier
      add_made(layer.o, attended, q_width, layer.attention_out_norm);
#pragma omp barrier
      const Input product_in = norm_rows(layer.ffn_norm, layer.gate_up);
      const Share own_product(intermediate, LANES, thread, team);
      for (int64_t offset = 0; offset <= intermediate; offset += intermediate)
        multiply(layer.gate_up, offset + own_product.begin, offset + own_product.end,
                 {n, product_in, gate_up, 2 * intermediate});
      for (int64_t row = 0; row < n; ++row)
        for (int64_t i = own_product.begin; i < own_product.end; i += LANES) {
          const float* gate = gate_up + row * 2 * intermediate + i;
          store(product + row * intermediate + i,
                activated(activation, load(gate)) * load(gate + intermediate));
        }
#pragma omp barrier
      add_made(layer.down, product, intermediate, layer.ffn_out_norm);
#pragma omp barrier
    }
    keep_states(model.num_layers);
    if (rows.logits) {
      const Input head_in = norm_rows(model.final_norm, model.head);
      const int64_t vocab = model.head.out_features;
      const Share own_vocab(vocab, LANES, thread, team);
      multiply(model.head, own_vocab.begin, own_vocab.end,
               {n, head_in, rows.logits, vocab});
      for (int64_t row = 0; row < n; ++row)
        finish_logits(rows.logits + row * vocab, own_vocab.begin, own_vocab.end, model);
    }
  }
  return nullptr;
}

// A packed layer's product with rows that lie one after the other.
void multiply_rows(const Linear* linear, int64_t count, const float* x, float* y,
                   int32_t num_threads) {
#pragma omp parallel num_threads(num_threads)
  {
    const Share own(linear->out_features, LANES, omp_get_thread_num(), omp_get_num_threads());
    multiply(*linear, own.begin, own.end, {count, {x, x}, y, linear->out_features});
  }
}

// All weights; for long prompts.
void dequantize(const Linear* linear, float* to, int32_t num_threads) {
#pragma omp parallel for num_threads(num_threads)
  for (int64_t row = 0; row < linear->out_features; ++row)
    write_out(*linear, row, to + row * linear->in_features);
}

// Some rows of the weights: an embedding's. Null, or what is wrong with the indices.
const char* write_rows(const Linear* linear, int64_t count, const int64_t* indices, float* to) {
  for (int64_t i = 0; i < count; ++i)
    if (indices[i] < 0 || indices[i] >= linear->out_features)
      return "a token id that the embedding has no row for";
  for (int64_t i = 0; i < count; ++i)
    write_out(*linear, indices[i], to + i * linear->in_features);
  return nullptr;
}

}  // extern "C"
