// The keyed noise by which tokens are drawn: see core/acceptance/sampling.py.

#pragma once

#include "lanes.h"

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

}  // namespace
