// Vectors of the widest kind that the compiler may use, and what is done to one: loads, stores, the nonlinearities.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

// The width of a vector, and the tile of a product: TILE x VECS accumulators, VECS vectors of the panel and one factor must
// fit in the vector registers.
//
//   instruction set        registers   tile    accumulators + panel + factor
//   AVX-512                32 x 64 B   8 x 3   24 + 3 + 1
//   AVX2 and FMA           16 x 32 B   4 x 3   12 + 3 + 1
//   NEON (64-bit ARM)      32 x 16 B   8 x 3   24 + 3 + 1
//   AVX without FMA        16 x 32 B   4 x 2    8 + 2 + 1, and one for the product before it is added
//   SSE2, others           16 x 16 B   4 x 2    8 + 2 + 1, likewise
#if defined(__AVX512F__)
constexpr int BYTES = 64, TILE = 8, VECS = 3;
#elif defined(__AVX__) && defined(__FMA__)
constexpr int BYTES = 32, TILE = 4, VECS = 3;
#elif defined(__AVX__)
constexpr int BYTES = 32, TILE = 4, VECS = 2;
#elif defined(__aarch64__)
constexpr int BYTES = 16, TILE = 8, VECS = 3;
#else
constexpr int BYTES = 16, TILE = 4, VECS = 2;
#endif
// The rows of a slice, a power of two of at least one tile. Each panel of a product is read from the second cache once for
// all of them.
constexpr int ROWS = 8;

enum Activation { TANH, RELU, LEAKY_RELU, IDENTITY, MODRELU };

template <class T> struct Vector {
  typedef T type __attribute__((vector_size(BYTES)));
  typedef T loose __attribute__((vector_size(BYTES), aligned(alignof(T)), may_alias));  // at any address
  static constexpr int64_t WIDTH = BYTES / sizeof(T);
};
template <class T> using Vec = typename Vector<T>::type;
template <class T> constexpr int64_t WIDTH = Vector<T>::WIDTH;

template <class T> inline Vec<T> load(const T* from) { return *reinterpret_cast<const typename Vector<T>::loose*>(from); }
template <class T> inline void store(T* to, Vec<T> value) { *reinterpret_cast<typename Vector<T>::loose*>(to) = value; }
// The last vector of a row may be shorter than WIDTH: these two neither read nor write past its `count` numbers.
template <class T> inline Vec<T> load(const T* from, int64_t count) {
  if (count >= WIDTH<T>) return load(from);
  Vec<T> value = {};
  std::memcpy(&value, from, count * sizeof(T));
  return value;
}
template <class T> inline void store(T* to, Vec<T> value, int64_t count) {
  if (count >= WIDTH<T>) store(to, value);
  else std::memcpy(to, &value, count * sizeof(T));
}

// Like store, but past the caches. What is not read again soon then need not be fetched before it is overwritten, and does
// not displace what is. `to` must be aligned to BYTES.
template <class T> inline void stream(T* to, Vec<T> value) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(value));
#elif defined(__AVX__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(value));
#elif defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<__m128i>(value));
#else
  store(to, value);
#endif
}
// Whether rows of `size` numbers from `to` on may be streamed: the rows are whole aligned vectors, and the array is too
// large for the caches.
template <class T> bool streams(const T* to, int64_t size, int64_t rows) {
  constexpr int64_t LARGE = int64_t(4) << 20;
  return size % WIDTH<T> == 0 && reinterpret_cast<uintptr_t>(to) % BYTES == 0 && rows * size * int64_t(sizeof(T)) >= LARGE;
}

// tanh of a vector. In float32: an odd polynomial near zero, where the quotient would cancel, and (1 - e) / (1 + e) with
// e = exp(-2 |x|) = 2^k exp(f) elsewhere. In float64: the C library's, one number at a time.
inline Vec<float> tanh_(Vec<float> x) {
  typedef int32_t Integers __attribute__((vector_size(BYTES)));
  const Vec<float> zero = {}, magnitude = x < zero ? -x : x, most = zero + 9.5f;
  const Vec<float> size = magnitude > most ? most : magnitude, square = size * size;
  const Vec<float> near = size * (1.0f + square * (-0.33333333f + square * (0.13333334f + square * (-0.053968254f
      + square * (0.021869488f + square * (-0.0088632355f + square * 0.0035921280f))))));
  const Vec<float> scaled = size * -2.88539008f;  // -2 / ln 2
  const Integers whole = __builtin_convertvector(scaled - 0.5f, Integers);
  const Vec<float> f = (scaled - __builtin_convertvector(whole, Vec<float>)) * 0.69314718f;
  const Vec<float> exp_f = 1.0f + f * (1.0f + f * (0.5f + f * (0.16666667f + f * (0.041666667f + f * (0.0083333333f
      + f * (0.0013888889f + f * 0.00019841270f))))));
  const Vec<float> e = exp_f * reinterpret_cast<Vec<float>>((whole + 127) << 23);
  const Vec<float> value = size < 0.45f ? near : (1.0f - e) / (1.0f + e);
  return x < zero ? -value : value;
}
inline Vec<double> tanh_(Vec<double> x) {
  for (int i = 0; i < WIDTH<double>; i++) x[i] = std::tanh(x[i]);
  return x;
}

// phi(x). b points to the offset of each unit for modReLU, sign(x) relu(|x| + b).
template <class T> inline Vec<T> apply(Activation phi, Vec<T> x, T slope, const T* b) {
  const Vec<T> zero = {};
  if (phi == RELU) return x <= zero ? zero : x;  // as torch: NaN stays NaN
  if (phi == LEAKY_RELU) return x > zero ? x : x * slope;
  if (phi == TANH) return tanh_(x);
  if (phi == MODRELU) {
    const Vec<T> up = x + load(b), down = x - load(b);
    return x > zero ? (up <= zero ? zero : up) : (x < zero ? (down >= zero ? zero : down) : x);
  }
  return x;
}

// carried * phi'(x), with phi' computed from h = phi(x). NaN stays NaN.
template <class T> inline Vec<T> descend(Activation phi, Vec<T> carried, Vec<T> h, T slope) {
  const Vec<T> zero = {};
  if (phi == RELU) return h > zero ? carried : (h == h ? zero : h);
  if (phi == LEAKY_RELU) return h > zero ? carried : carried * slope;
  if (phi == TANH) return carried * (1 - h * h);
  if (phi == MODRELU) return h == zero ? zero : carried;
  return carried;
}

}  // namespace
