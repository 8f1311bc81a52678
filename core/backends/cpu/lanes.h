// Vectors of the compiler's own, so that one source serves every processor.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace {

typedef float Lanes __attribute__((vector_size(32)));
typedef int32_t Words __attribute__((vector_size(32)));
typedef uint16_t Halves __attribute__((vector_size(16)));
typedef _Float16 HalfFloats __attribute__((vector_size(16)));
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
inline Words all_words(int32_t value) { return value - Words{}; }

// a * b + c. Compilers fuse that in one tile and not in another, and then a row's bits would hang on
// the rows beside it.
inline Lanes fused(Lanes a, Lanes b, Lanes c) {
#if defined(__FMA__)
  return (Lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

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
