// What Python hands over; `library.py` mirrors these structures.

#pragma once

#include <cstdint>

extern "C" {

// Some outputs of a layer, in one format: see formats.h.
struct Segment {
  int32_t format;
  int32_t group_shift;  // a group has UNIT << group_shift weights
  int64_t first_output, num_outputs;
  const void* values;  // [panels, ...]
  const void* scales;  // [panels, ...] or null
};

struct Linear {
  int32_t out_features, in_features;
  int32_t num_segments;
  int32_t rounds_rows;  // rows meet bfloat16 weights in bfloat16
  const Segment* segments;  // one behind the other
  const float* bias;        // [out_features] or null
};

struct Layer {
  // Null where there is none.
  const float *input_norm, *q_norm, *k_norm, *ffn_norm;
  const float *attention_out_norm, *ffn_out_norm;  // of what a part makes
  const float* sinks;                              // [num_heads]
  Linear qkv, o, gate_up, down;
  int64_t cache_index;
  int32_t rotation, view;  // which of Rows.cos and of Model.views
};

// What the layers of a kind see of a text; 0 for no bound.
struct View {
  int64_t window, chunk;
};

struct Model {
  int32_t num_layers, num_heads, num_kv_heads, head_dim, hidden, intermediate;
  float norm_eps;
  int32_t activation;       // see activations.h
  int32_t is_gated;         // whether gate_up is a gate above what it scales, or the latter alone
  int32_t is_parallel;      // whether the feed-forward reads what attention reads
  int32_t is_layer_norm;    // whether norms are [2, width], factors and addends, and take the mean away
  int32_t norms_all_heads;  // whether q_norm and k_norm are [heads * head_dim]
  float attention_scale, attention_cap;  // no cap: 0
  float embedding_scale, residual_scale, logit_scale, logit_cap;
  int32_t num_views;
  const View* views;
  const Layer* layers;
  Linear embedding, head;
  const float* final_norm;
  // Null but for an EAGLE head, whose first layer reads the embedding beside a given state, which
  // has this norm.
  const float* state_norm;
};

// Rows of one sequence.
struct Block {
  int64_t count;
  float* cache;            // [cache layers, 2, num_kv_heads, capacity, head_dim]
  int64_t capacity, write_start, num_columns;
  int64_t length;            // of what is committed: a column in front of it is its token's position
  const int64_t* positions;  // [capacity] of the tokens, or null where every view sees all
  const float* mask;       // [count, mask_stride], 0 where a row sees a column; null: it sees all
  int64_t mask_stride;
  float* hidden_states;    // [count, num_states * hidden]: those in front of state_layers, or null
  const int32_t* state_layers;
  int64_t num_states;
  const float* given;      // [count, hidden]: states to start from where the model has state_norm
};

// Of every row of logits.
struct LogitFacts {
  int32_t k;
  int64_t* top_ids;  // [rows, k] of the largest
  float* numbers;    // [rows, 2 * k + 2]: those, their probabilities, logarithm of the sum, entropy
};

// All rows of a forward, block after block.
struct Rows {
  int64_t count;
  const int64_t *token_ids, *positions;
  // [rotations, num_positions, head_dim]; the sines of the first half are negative
  const float *cos, *sin;
  int64_t num_positions;
  int64_t capacity;        // of the largest cache
  int64_t num_blocks;
  const Block* blocks;
  float* work;             // at least work_floats() of them
  int64_t work_floats;
  float* logits;           // [count, vocab] or null
  LogitFacts facts;        // of the logits
};

}  // extern "C"
