// The keyed noise by which tokens are drawn: see core/acceptance/sampling.py.

#pragma once

#include "facts.h"

namespace {

typedef uint64_t Counters __attribute__((vector_size(8 * LANES)));
typedef int64_t SignedCounters __attribute__((vector_size(8 * LANES)));

// Natural logarithm of positive normal numbers to about two units in the last place (the reduction and
// polynomial of Cephes).
inline Lanes log_of(Lanes x) {
  Words bits;
  std::memcpy(&bits, &x, sizeof(bits));
  Words power = (bits >> 23) - 126;
  bits = (bits & 0x007fffff) | 0x3f000000;
  Lanes rest;  // from a half to one
  std::memcpy(&rest, &bits, sizeof(rest));
  const Words is_low = rest < all(0.707106781f);
  power += is_low;  // true is -1
  rest = (is_low ? rest + rest : rest) - 1.0f;
  const Lanes square = rest * rest, whole = __builtin_convertvector(power, Lanes);
  Lanes y = all(7.0376836292e-2f);
  y = y * rest - 1.1514610310e-1f;
  y = y * rest + 1.1676998740e-1f;
  y = y * rest - 1.2420140846e-1f;
  y = y * rest + 1.4249322787e-1f;
  y = y * rest - 1.6668057665e-1f;
  y = y * rest + 2.0000714765e-1f;
  y = y * rest - 2.4999993993e-1f;
  y = y * rest + 3.3333331174e-1f;
  y = y * rest * square - 2.12194440e-4f * whole - 0.5f * square;
  return rest + y + 0.693359375f * whole;
}

// SplitMix64's finalizer (Steele, Lea and Flood 2014).
inline Counters mixed(Counters word) {
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
  return word ^ (word >> 31);
}

// The logarithms of Exp(1) noise of tokens `begin` to `end`.
void log_noise_of(uint64_t key, int64_t begin, int64_t end, float* to) {
  constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15u;
  Counters lane;
  for (int i = 0; i < LANES; ++i) lane[i] = i;
  for (int64_t first = begin; first < end; first += LANES) {
    const Counters word = mixed((lane + (uint64_t)first) * GOLDEN + key) >> 11;
    Lanes uniform = __builtin_convertvector((SignedCounters)word, Lanes) * 0x1p-53f;
    uniform = larger(uniform, all(0x1p-60f));
    uniform = uniform < all(1.0f - 0x1p-24f) ? uniform : all(1.0f - 0x1p-24f);
    // -log(1 - u): what 1 - u lost by rounding is put back (Kahan).
    const Lanes left = 1.0f - uniform, lost = 1.0f - left;
    const Words is_tiny = lost == Lanes{};
    const Lanes noise = is_tiny ? uniform : -log_of(left) * (uniform / (is_tiny ? all(1.0f) : lost));
    const Lanes result = log_of(noise);
    if (first + LANES <= end) store(to + first, result);
    else
      for (int i = 0; first + i < end; ++i) to[first + i] = result[i];
  }
}

// Rows of logits, and the logarithms of the noise at their positions.
struct NoisyRows {
  int64_t count, vocab;
  const float* logits;              // [count, vocab]
  const float* const* log_noise;    // [vocab] each
  float divisor;                    // of the logits: the temperature
};

// The tokens of each row with the largest log-probability less log-noise, by a team of threads.
struct Drawn {
  int32_t k;
  int64_t* ids;      // [rows, k]
  float* log_probs;  // [rows, k]
  float* log_totals; // [rows] the logarithm of the sum of exp(logit / divisor)
};

template <class Wait>
void draw(const NoisyRows& rows, const Drawn& drawn, const FactsWork& first, const FactsWork& second,
          float* scores, int thread, int team, const Wait& wait) {
  const Share own(rows.vocab, PANEL, thread, team);
  for (int64_t row = 0; row < rows.count; ++row) {
    const float* logits = rows.logits + row * rows.vocab;
    float* scaled = scores + row * rows.vocab;
    for (int64_t i = own.begin; i < own.end; ++i) scaled[i] = logits[i] / rows.divisor;
    part_of(first, thread * rows.count + row, 1).add(scaled, own.begin, own.end);
  }
  wait();
  for (int64_t row = 0; row < rows.count; ++row) {
    int64_t id;
    float value;
    Facts whole(&id, &value, 1);
    for (int other = 0; other < team; ++other) whole.add(first.parts[other * rows.count + row]);
    const float log_total = whole.log_total();
    if (thread == 0) drawn.log_totals[row] = log_total;
    float* score = scores + row * rows.vocab;
    for (int64_t i = own.begin; i < own.end; ++i)
      score[i] = (score[i] - log_total) - rows.log_noise[row][i];
    part_of(second, thread * rows.count + row, drawn.k).add<false>(score, own.begin, own.end);
  }
  wait();
  const Share own_rows(rows.count, 1, thread, team);
  for (int64_t row = own_rows.begin; row < own_rows.end; ++row) {
    int64_t* ids = drawn.ids + row * drawn.k;
    float* log_probs = drawn.log_probs + row * drawn.k;
    Facts whole(ids, log_probs, drawn.k);
    for (int other = 0; other < team; ++other) whole.add(second.parts[other * rows.count + row]);
    for (int32_t i = 0; i < drawn.k; ++i)
      log_probs[i] = rows.logits[row * rows.vocab + ids[i]] / rows.divisor - drawn.log_totals[row];
  }
}

}  // namespace
