// What stands between the two products of a feed-forward.

#pragma once

#include <cmath>

#include "lanes.h"

namespace {

// As `library.py` numbers them.
enum class Activation : int32_t { SILU, GELU_TANH, GELU, RELU, RELU2 };

// tanh to about two units in the last place: near 0 by its series, for there the quotient cancels.
inline Lanes tanh_of(Lanes x) {
  const Lanes square = x * x;
  Lanes series = all(62.0f / 2835.0f);
  series = series * square - 17.0f / 315.0f;
  series = series * square + 2.0f / 15.0f;
  series = series * square - 1.0f / 3.0f;
  series = series * square * x + x;
  const Lanes quotient = 1.0f - 2.0f / (1.0f + exp_of(2.0f * x));
  return square < all(0.04f) ? series : quotient;
}

inline Lanes erf_of(Lanes x) {
  for (int i = 0; i < LANES; ++i) x[i] = std::erf(x[i]);
  return x;
}

inline Lanes activated(Activation activation, Lanes x) {
  switch (activation) {
    case Activation::GELU_TANH: {
      const Lanes inner = 0.7978845608f * (x + 0.044715f * x * x * x);
      return 0.5f * x * (1.0f + tanh_of(inner));
    }
    case Activation::GELU: return 0.5f * x * (1.0f + erf_of(x * 0.7071067812f));
    case Activation::RELU: return x > Lanes{} ? x : Lanes{};
    case Activation::RELU2: return x > Lanes{} ? x * x : Lanes{};
    default: return x * (1.0f / (1.0f + exp_of(-x)));
  }
}

}  // namespace
