// Sums of products of bytes: a word adds up four at a time.

#pragma once

#include "lanes.h"

#if defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))
#define HAS_BYTE_DOTS 1
#endif

namespace {

// Of one unit, at most eight times four of weights 0 to 15 with -127 to 127.
class NibbleSum {
 public:
  void add(Words weights, Words x) {
#if defined(HAS_BYTE_DOTS)
    sums = (Words)_mm256_dpbusd_epi32((__m256i)sums, (__m256i)weights, (__m256i)x);
#elif defined(__AVX2__)
    // Sixteen bits hold them: 8 * 2 * 15 * 127 < 2^15.
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)weights, (__m256i)x);
    sums = (Words)_mm256_add_epi16((__m256i)sums, pairs);
    asm("" : "+x"(sums));  // else all products come first, and do not fit into the registers
#else
    for (int i = 0; i < 4; ++i)
      sums += ((weights >> (8 * i)) & 15) * ((x << (24 - 8 * i)) >> 24);
#endif
  }
  Words words() const {
#if defined(__AVX2__) && !defined(HAS_BYTE_DOTS)
    return (Words)_mm256_madd_epi16((__m256i)sums, _mm256_set1_epi16(1));
#else
    return sums;
#endif
  }

 private:
  Words sums = {};
};

// Of weights -128 to 127 with -127 to 127.
class ByteSum {
 public:
  void add(Words weights, Words x) {
#if defined(__AVX2__)
    // The instructions take one side without signs, which go over to the other.
    const __m256i sizes = _mm256_abs_epi8((__m256i)weights);
    const __m256i signed_x = _mm256_sign_epi8((__m256i)x, (__m256i)weights);
#if defined(HAS_BYTE_DOTS)
    sums = (Words)_mm256_dpbusd_epi32((__m256i)sums, sizes, signed_x);
#else
    const __m256i pairs = _mm256_maddubs_epi16(sizes, signed_x);
    sums += (Words)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    asm("" : "+x"(sums));
#endif
#else
    for (int i = 0; i < 4; ++i)
      sums += ((weights << (24 - 8 * i)) >> 24) * ((x << (24 - 8 * i)) >> 24);
#endif
  }
  Words words() const { return sums; }

 private:
  Words sums = {};
};

}  // namespace
