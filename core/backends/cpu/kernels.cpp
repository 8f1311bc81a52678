// The forward of a described decoder over a few rows, in one call and one parallel region.
//
// Activations are float32, and floating weights are written out to float32 unless a layer rounds its
// rows to bfloat16; packed weights multiply rows that are rounded to 8 bits. Every sum of a row runs in an order of its own, whatever rows are
// computed beside it and wherever its keys stand in the cache: the same tokens at the same positions
// give the same bits, in a chain, in a tree or alone.

#include <omp.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <memory>

#include "attention.h"
#include "check.h"
#include "facts.h"
#include "noise.h"
#include "pack.h"
#include "product.h"
#include "team.h"

namespace {

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

// The working memory of a forward, part after part.
struct Room {
  float* next;
  template <class T>
  T* take(int64_t count) {
    T* found = reinterpret_cast<T*>(next);
    next += padded(count * (int64_t)sizeof(T) / (int64_t)sizeof(float));
    return found;
  }
};

struct Work {
  int64_t rows, capacity;
  Needs needs;  // of all layers
  float *x, *qkv, *gate_up, *embedded, *made;
  Seen* seen;     // [views, rows]
  int32_t* rest;  // [views, rows, capacity]
  Place* places;
  float *normed, *attended, *product;  // rooms of matrices
  // A thread's own.
  float *scores, *queries;
  FactsWork facts;
  int64_t floats;  // of all

  // Without memory it only counts; a thread other than the first has its own part behind theirs.
  Work(const Model& model, int64_t rows, int64_t capacity, int32_t k, float* memory, int thread,
       int num_threads)
      : rows(rows), capacity(capacity) {
    for (int32_t i = 0; i < model.num_layers; ++i) {
      const Layer& layer = model.layers[i];
      needs = needs | needs_of(layer.qkv) | needs_of(layer.o) | needs_of(layer.gate_up) |
              needs_of(layer.down);
    }
    needs = needs | needs_of(model.head);
    const int64_t hidden = model.hidden, dim = model.head_dim;
    const int64_t inputs = model.state_norm ? 2 * hidden : hidden;
    Room room{memory};
    x = room.take<float>(rows * hidden);
    qkv = room.take<float>(rows * (model.num_heads + 2 * model.num_kv_heads) * dim);
    gate_up = room.take<float>(rows * (model.is_gated ? 2 : 1) * model.intermediate);
    embedded = room.take<float>(model.state_norm ? rows * hidden : 0);
    made = room.take<float>(rows * hidden);
    seen = room.take<Seen>(model.num_views * rows);
    rest = room.take<int32_t>(model.num_views * rows * capacity);
    places = room.take<Place>(rows);
    normed = room.take<float>(Matrix::floats(rows, inputs, needs));
    attended = room.take<float>(Matrix::floats(rows, model.num_heads * dim, needs));
    product = room.take<float>(Matrix::floats(rows, model.intermediate, needs));
    const int64_t parts = num_threads * rows;
    facts = {room.take<Facts>(parts), room.take<int64_t>(parts * k), room.take<float>(parts * k)};
    const int64_t one_scores = padded(capacity + LANES);
    const int64_t own = QUERIES * one_scores + padded(QUERIES * dim);
    room.next += thread * own;
    scores = room.take<float>(QUERIES * one_scores);
    queries = room.take<float>(QUERIES * dim);
    room.next += (num_threads - thread - 1) * own;
    floats = room.next - memory;
  }
};

// Rows as a layer by itself reads them.
struct RowsMemory {
  const Needs needs;
  const std::unique_ptr<RoundedUnit[]> room;  // for its alignment
  const Matrix rows;
  RowsMemory(const Linear& linear, int64_t count)
      : needs(needs_of(linear)),
        room(new RoundedUnit[Matrix::floats(count, linear.in_features, needs) * sizeof(float) /
                                 sizeof(RoundedUnit) + 1]),
        rows(reinterpret_cast<float*>(room.get()), count, linear.in_features, needs),
        count(count) {}
  // A thread's share of rows that lie one after the other.
  void fill(const float* x, int thread, int team) const {
    const Share own(count, 1, thread, team);
    for (int64_t row = own.begin; row < own.end; ++row) {
      std::memcpy(rows.row(row), x + row * rows.width, rows.width * sizeof(float));
      rows.finish(needs, row, 0, rows.width);
    }
  }

 private:
  const int64_t count;
};

// Where the parts of facts are found outside of a forward.
struct FactsMemory {
  FactsWork work;
  FactsMemory(int64_t parts, int32_t k)
      : memory(new char[parts * sizeof(Facts) + alignof(Facts)]),
        ids(new int64_t[parts * k]),
        values(new float[parts * k]) {
    const uintptr_t aligned =
        ((uintptr_t)memory.get() + alignof(Facts) - 1) / alignof(Facts) * alignof(Facts);
    work = {reinterpret_cast<Facts*>(aligned), ids.get(), values.get()};
  }

 private:
  const std::unique_ptr<char[]> memory;
  const std::unique_ptr<int64_t[]> ids;
  const std::unique_ptr<float[]> values;
};

}  // namespace

extern "C" {

// Floats of working memory for so many rows over a cache of so many columns.
int64_t work_floats(const Model* model, int64_t rows, int64_t capacity, int32_t k,
                    int32_t num_threads) {
  return Work(*model, rows, capacity, k, nullptr, 0, num_threads).floats;
}

// Null, or what is wrong with the rows, which are then not computed.
const char* forward(const Model* model_pointer, const Rows* rows_pointer, int32_t num_threads) {
  const Model& model = *model_pointer;
  const Rows& rows = *rows_pointer;
  if (const char* problem = problem_of(rows, model)) return problem;
  if (rows.work_floats < work_floats(model_pointer, rows.count, rows.capacity, rows.facts.k, num_threads))
    return "too little working memory";
  const int64_t n = rows.count, hidden = model.hidden, dim = model.head_dim;
  const int64_t num_heads = model.num_heads, num_kv_heads = model.num_kv_heads;
  const int64_t intermediate = model.intermediate;
  const int64_t inner_width = (model.is_gated ? 2 : 1) * intermediate;  // of gate and up
  const Activation activation = static_cast<Activation>(model.activation);
  const int64_t qkv_width = (num_heads + 2 * num_kv_heads) * dim, q_width = num_heads * dim;
  Place* places = Work(model, n, rows.capacity, rows.facts.k, rows.work, 0, num_threads).places;
  int64_t num_placed = 0;
  for (int32_t block = 0; block < rows.num_blocks; ++block)
    for (int32_t row = 0; row < rows.blocks[block].count; ++row)
      places[num_placed++] = {block, row};
  Barrier barrier(num_threads);
  int num_started = 0;

#pragma omp parallel num_threads(num_threads)
  {
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    if (thread == 0) num_started = team;
#pragma omp barrier
    // Where the machine gives fewer threads than were asked for, OpenMP's own barrier knows.
    const auto wait = [&] {
      if (num_started == num_threads) {
        barrier.wait();
      } else {
#pragma omp barrier
      }
    };
    const Work work(model, n, rows.capacity, rows.facts.k, rows.work, thread, num_threads);
    const Needs needs = work.needs;
    float* x = work.x;
    const Matrix attended(work.attended, n, q_width, needs);
    const Matrix product(work.product, n, intermediate, needs);
    const Share own_rows(n, 1, thread, team);
    // Rows as a layer reads them: normed, and beside their embedding in a head's first layer.
    const auto norm_rows = [&](const float* norm, const Linear& next, bool is_fusing) {
      const Matrix normed(work.normed, n, is_fusing ? 2 * hidden : hidden, needs);
      const Needs wanted = needs_of(next);
      for (int64_t row = own_rows.begin; row < own_rows.end; ++row) {
        float* to = normed.row(row);
        if (is_fusing) {
          Normed(work.embedded + row * hidden, norm, hidden, model).write(hidden, to);
          Normed(x + row * hidden, model.state_norm, hidden, model).write(hidden, to + hidden);
        } else if (norm) {
          Normed(x + row * hidden, norm, hidden, model).write(hidden, to);
        } else {
          std::memcpy(to, x + row * hidden, hidden * sizeof(float));
        }
        normed.finish(wanted, row, 0, normed.width);
      }
      wait();
      return normed.input(wanted);
    };
    for (int64_t row = own_rows.begin; row < own_rows.end; ++row) {
      float* embedding_at = (model.state_norm ? work.embedded : x) + row * hidden;
      write_out(model.embedding, rows.token_ids[row], embedding_at);
      const Block& block = rows.blocks[places[row].block];
      const int64_t place = places[row].row;
      if (model.state_norm)
        std::memcpy(x + row * hidden, block.given + place * hidden, hidden * sizeof(float));
      else if (model.embedding_scale != 1.0f)
        for (int64_t i = 0; i < hidden; i += LANES)
          store(embedding_at + i, load(embedding_at + i) * model.embedding_scale);
      for (int32_t view = 0; view < model.num_views; ++view) {
        const int64_t at = view * n + row;
        work.seen[at] = list_visible(block, model.views[view], place, rows.positions[row],
                                     work.rest + at * rows.capacity);
      }
    }
    const auto keep_states = [&](int32_t layer) {  // nobody else writes a thread's rows of x here
      for (int64_t row = own_rows.begin; row < own_rows.end; ++row) {
        const Block& block = rows.blocks[places[row].block];
        for (int64_t state = 0; block.hidden_states && state < block.num_states; ++state)
          if (block.state_layers[state] == layer)
            std::memcpy(block.hidden_states + (places[row].row * block.num_states + state) * hidden,
                        x + row * hidden, hidden * sizeof(float));
      }
    };
    for (int32_t index = 0; index < model.num_layers; ++index) {
      keep_states(index);
      const Layer& layer = model.layers[index];
      const Seen* seen = work.seen + layer.view * n;
      const int32_t* rest = work.rest + layer.view * n * rows.capacity;
      // Adds what a linear layer makes of its input to x.
      const Share own_hidden(hidden, PANEL, thread, team);
      const auto add_made = [&](const Linear& linear, const Matrix& from, const float* norm) {
        const Input input = from.input(needs_of(linear));
        if (!norm) {
          multiply(linear, own_hidden.begin, own_hidden.end,
                   {n, input, x, hidden, Epilogue::ADD, model.residual_scale});
          wait();
          return;
        }
        multiply(linear, own_hidden.begin, own_hidden.end, {n, input, work.made, hidden});
        wait();
        for (int64_t row = own_rows.begin; row < own_rows.end; ++row)
          add_normed(work.made + row * hidden, norm, hidden, model, x + row * hidden);
      };
      // Where a block's keys or values of a head begin.
      const auto cached = [&](const Block& block, int64_t is_value, int64_t kv_head) {
        const int64_t plane = (layer.cache_index * 2 + is_value) * num_kv_heads + kv_head;
        return block.cache + plane * block.capacity * dim;
      };
      const Input attention_in =
          norm_rows(layer.input_norm, layer.qkv, model.state_norm && index == 0);
      const Share own_qkv(qkv_width, PANEL, thread, team);
      multiply(layer.qkv, own_qkv.begin, own_qkv.end, {n, attention_in, work.qkv, qkv_width});
      wait();
      const Share own_pairs(n * num_kv_heads, 1, thread, team);
      for (int64_t task = own_pairs.begin; task < own_pairs.end; ++task) {
        const int64_t row = task / num_kv_heads, head = task % num_kv_heads;
        const Block& block = rows.blocks[places[row].block];
        const float* keys = work.qkv + row * qkv_width + q_width;
        const int64_t at = (block.write_start + places[row].row) * dim;
        turn_head(keys, head, num_kv_heads, layer.k_norm, layer, model, rows, row,
                  cached(block, 0, head) + at);
        std::memcpy(cached(block, 1, head) + at, keys + (num_kv_heads + head) * dim,
                    dim * sizeof(float));
      }
      wait();
      // Rows of a query head follow each other, so that those of a key head and a block meet.
      const Needs attended_needs = needs_of(layer.o);
      const bool is_rounded_by_head = dim % UNIT == 0;
      const Share own_queries(n * num_heads, 1, thread, team);
      for (int64_t task = own_queries.begin; task < own_queries.end;) {
        const int64_t kv_head = task / n / (num_heads / num_kv_heads);
        const int32_t block_index = places[task % n].block;
        const Block& block = rows.blocks[block_index];
        Group group{0, work.queries};
        int& count = group.count;
        const int64_t head = task / n;
        for (; count < QUERIES && task + count < own_queries.end; ++count) {
          const int64_t row = (task + count) % n, query_head = (task + count) / n;
          const bool is_together = places[row].block == block_index &&
                                   query_head / (num_heads / num_kv_heads) == kv_head &&
                                   (!layer.sinks || query_head == head);
          if (!is_together) break;
          turn_head(work.qkv + row * qkv_width, query_head, num_heads, layer.q_norm, layer, model,
                    rows, row, work.queries + count * dim);
          group.seen[count] = seen[row];
          group.rest[count] = rest + row * rows.capacity;
          group.scores[count] = work.scores + count * padded(rows.capacity + LANES);
          group.y[count] = attended.row(row) + query_head * dim;
        }
        attend(group, cached(block, 0, kv_head), cached(block, 1, kv_head), model,
               layer.sinks ? layer.sinks + head : nullptr);
        for (int q = 0; is_rounded_by_head && q < count; ++q) {
          const int64_t row = (task + q) % n, first = (task + q) / n * dim;
          attended.finish(attended_needs, row, first, first + dim);
        }
        task += count;
      }
      wait();
      if (!is_rounded_by_head) {
        for (int64_t row = own_rows.begin; row < own_rows.end; ++row)
          attended.finish(attended_needs, row, 0, q_width);
        wait();
      }
      Input product_in;
      if (model.is_parallel) product_in = norm_rows(layer.ffn_norm, layer.gate_up, false);
      add_made(layer.o, attended, layer.attention_out_norm);
      if (!model.is_parallel) product_in = norm_rows(layer.ffn_norm, layer.gate_up, false);
      const Share own_product(intermediate, UNIT, thread, team);
      for (int64_t offset = 0; offset < inner_width; offset += intermediate)
        multiply(layer.gate_up, offset + own_product.begin, offset + own_product.end,
                 {n, product_in, work.gate_up, inner_width});
      const Needs product_needs = needs_of(layer.down);
      for (int64_t row = 0; row < n; ++row) {
        for (int64_t i = own_product.begin; i < own_product.end; i += LANES) {
          const float* gate = work.gate_up + row * inner_width + i;
          const Lanes scaled = activated(activation, load(gate));
          store(product.row(row) + i, model.is_gated ? scaled * load(gate + intermediate) : scaled);
        }
        product.finish(product_needs, row, own_product.begin, own_product.end);
      }
      wait();
      add_made(layer.down, product, layer.ffn_out_norm);
    }
    keep_states(model.num_layers);
    if (rows.logits) {
      const Input head_in = norm_rows(model.final_norm, model.head, false);
      const int64_t vocab = model.head.out_features;
      const Share own_vocab(vocab, PANEL, thread, team);
      multiply(model.head, own_vocab.begin, own_vocab.end, {n, head_in, rows.logits, vocab});
      for (int64_t row = 0; row < n; ++row)
        finish_logits(rows.logits + row * vocab, own_vocab.begin, own_vocab.end, model);
      find_facts(rows.facts, work.facts, rows.logits, n, vocab, thread, team, wait);
    }
  }
  return nullptr;
}

// A layer's product with rows that lie one after the other.
void multiply_rows(const Linear* linear, int64_t count, const float* x, float* y,
                   int32_t num_threads) {
  const RowsMemory rows(*linear, count);
#pragma omp parallel num_threads(num_threads)
  {
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    rows.fill(x, thread, team);
#pragma omp barrier
    const Share own(linear->out_features, PANEL, thread, team);
    multiply(*linear, own.begin, own.end,
             {count, rows.rows.input(rows.needs), y, linear->out_features});
  }
}

// The facts of rows of logits.
void logit_facts(int64_t rows, int64_t vocab, const float* logits, const LogitFacts* facts,
                 int32_t num_threads) {
  const FactsMemory memory(num_threads * rows, facts->k);
#pragma omp parallel num_threads(num_threads)
  find_facts(*facts, memory.work, logits, rows, vocab, omp_get_thread_num(), omp_get_num_threads(),
             [] {
#pragma omp barrier
             });
}

// Logits that all rows share, with a layer's product with each row added, and their facts.
void corrected_logits(const Linear* linear, int64_t count, const float* x, const float* shared,
                      float* logits, const LogitFacts* facts, int32_t num_threads) {
  const FactsMemory memory(num_threads * count, facts->k);
  const RowsMemory own_rows(*linear, count);
  const int64_t vocab = linear->out_features;
#pragma omp parallel num_threads(num_threads)
  {
    const auto wait = [] {
#pragma omp barrier
    };
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    own_rows.fill(x, thread, team);
    wait();
    const Share own(vocab, PANEL, thread, team);
    for (int64_t row = 0; row < count; ++row)
      std::memcpy(logits + row * vocab + own.begin, shared + own.begin,
                  (own.end - own.begin) * sizeof(float));
    multiply(*linear, own.begin, own.end,
             {count, own_rows.rows.input(own_rows.needs), logits, vocab, Epilogue::ADD, 1.0f});
    find_facts(*facts, memory.work, logits, count, vocab, thread, team, wait);
  }
}

// Tokens as noise draws them; `scores` has room for all rows.
void drawn_tokens(const NoisyRows* rows, const Drawn* drawn, float* scores, int32_t num_threads) {
  const FactsMemory first(num_threads * rows->count, 1);
  const FactsMemory second(num_threads * rows->count, drawn->k);
#pragma omp parallel num_threads(num_threads)
  draw(*rows, *drawn, first.work, second.work, scores, omp_get_thread_num(), omp_get_num_threads(),
       [] {
#pragma omp barrier
       });
}

// The logarithms of the noise of all tokens at a position, which has this key.
void log_noise(uint64_t key, int64_t vocab, float* to, int32_t num_threads) {
#pragma omp parallel num_threads(num_threads)
  {
    const Share own(vocab, PANEL, omp_get_thread_num(), omp_get_num_threads());
    log_noise_of(key, own.begin, own.end, to);
  }
}

// All weights.
void dequantize(const Linear* linear, float* to, int32_t num_threads) {
  const int64_t width = linear->in_features;
  for (int32_t i = 0; i < linear->num_segments; ++i) {
    const Segment& segment = linear->segments[i];
    with_format(segment.format, [&](auto format) {
#pragma omp parallel for num_threads(num_threads)
      for (int64_t first = 0; first < segment.num_outputs; first += PANEL) {
        const int64_t left = segment.num_outputs - first, count = left < PANEL ? left : PANEL;
        float* rows = to + (segment.first_output + first) * width;
        each_column<decltype(format)>(segment, width, first / PANEL, [&](int64_t column, Wide w) {
          for (int64_t lane = 0; lane < count; ++lane) rows[lane * width + column] = w[lane];
        });
      }
    });
  }
}

// Asks for large pages: weights are read from one end to the other, in which small pages are looked up
// all the time.
void use_large_pages(char* memory, int64_t num_bytes) {
#if defined(__linux__)
  constexpr uintptr_t PAGE = 4096;
  const uintptr_t begin = ((uintptr_t)memory + PAGE - 1) / PAGE * PAGE;
  const uintptr_t end = ((uintptr_t)memory + num_bytes) / PAGE * PAGE;
  if (begin < end) madvise((void*)begin, end - begin, MADV_HUGEPAGE);
#endif
}

// Outputs of a panel.
int32_t panel_outputs() { return PANEL; }

// Rows of floating numbers of 2 or 4 bytes as panels; `count` elements a row, of which two columns
// of bfloat16 are one.
void pack_floats(int32_t num_bytes, int64_t num_outputs, int64_t count, const char* from, char* to,
                 int32_t num_threads) {
  each_panel(num_outputs, to, num_bytes * count * PANEL, num_threads,
             [&](int64_t row, int lane, char* panel) {
               const char* source = from + row * count * num_bytes;
               if (num_bytes == 4) pack_elements<int32_t>(source, count, lane, panel);
               else pack_elements<int16_t>(source, count, lane, panel);
             });
}

// Rows of whole numbers of so many bits, a byte each, as panels.
void pack_numbers(int32_t bits, int64_t num_outputs, int64_t in_features, const uint8_t* from,
                  char* to, int32_t num_threads) {
  each_panel(num_outputs, to, in_features * bits / 8 * PANEL, num_threads,
             [&](int64_t row, int lane, char* panel) {
               pack_bytes(bits, from + row * in_features, in_features, lane, panel);
             });
}

// Rows of a GGUF file's blocks as panels; `scales` are zero so far, `scale_bytes` a panel.
void pack_blocks(int32_t format, int64_t num_outputs, int64_t in_features, const uint8_t* from,
                 char* values, char* scales, int64_t scale_bytes, int32_t num_threads) {
  with_blocks(format, [&](auto block) {
    using Block = decltype(block);
    const int64_t row_bytes = in_features / (Block::UNITS * UNIT) * Block::BYTES;
    each_panel(num_outputs, values, in_features * Block::BITS / 8 * PANEL, num_threads,
               [&](int64_t row, int lane, char* panel) {
                 pack_lane<Block>(from + row * row_bytes, in_features, lane, panel,
                                  scales + row / PANEL * scale_bytes);
               });
  });
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
