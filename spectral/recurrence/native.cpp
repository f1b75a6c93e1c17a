// The recurrence over time on the CPU, one call for the whole sequence; see README.md in this folder.
//
// Work is cut into slices of ROWS batch rows of one trial. A slice runs through all time steps without waiting for
// others: batch rows do not depend on each other, so no barrier between steps is needed, and a slice's state stays in the
// first cache. Products run on panels: a (K, N) matrix cut into column blocks of VECS vectors, each stored row after row.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

// The width of a vector, and the block of a product: ROWS x VECS accumulators, VECS vectors of the panel and one factor
// must fit in the vector registers. There are 32 of them with AVX-512 (24 + 3 + 1) and 16 otherwise (8 + 2 + 1).
#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 8, VECS = 3;
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 4, VECS = 2;
#else
constexpr int BYTES = 16, ROWS = 4, VECS = 2;
#endif

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

int64_t padded(int64_t size, int64_t width) { return (size + width - 1) / width * width; }

// A (K, N) matrix as panels, so that the innermost loop of a product reads it as one stream. Entry (k, j) is copied from
// source[k * stride_k + j * stride_j]; the last panel is filled up with zero columns.
template <class T> struct Panels {
  int64_t k, n, width;
  std::vector<T> data;
  Panels(const T* source, int64_t k, int64_t n, int64_t stride_k, int64_t stride_j)
      : k(k), n(n), width(padded(n, WIDTH<T>)), data(k * width) {
    T* to = data.data();
    for (int64_t start = 0; start < width; start += VECS * WIDTH<T>) {
      const int64_t columns = std::min(VECS * WIDTH<T>, width - start);
      for (int64_t i = 0; i < k; i++)
        for (int64_t j = start; j < start + columns; j++) *to++ = j < n ? source[i * stride_k + j * stride_j] : T(0);
    }
  }
};

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

// sums (R rows, V vectors) += x (R rows, K; row stride xs) times one panel. It is not inlined, so that the sums stay in
// registers whatever code surrounds the call. Rows are addressed from every third one, since one pointer for each row
// would not fit in registers beside the loop's other variables.
template <class T, int R, int V>
__attribute__((noinline)) void multiply(const T* x, int64_t xs, const T* panel, int64_t k, Vec<T>* sums) {
  Vec<T> acc[R][V];
  const T* base[(R + 2) / 3];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) acc[r][v] = sums[r * V + v];
#pragma GCC unroll 4
  for (int g = 0; g < (R + 2) / 3; g++) base[g] = x + 3 * g * xs;
  for (int64_t i = 0; i < k; i++, panel += V * WIDTH<T>) {
    Vec<T> b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) b[v] = load(panel + v * WIDTH<T>);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const Vec<T> a = base[r / 3][r % 3 * xs] - Vec<T>{};
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) acc[r][v] += a * b[v];
    }
#pragma GCC unroll 4
    for (int g = 0; g < (R + 2) / 3; g++) {
      base[g]++;
      asm("" : "+r"(base[g]));  // keeps the compiler from making one pointer of each row again
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) sums[r * V + v] = acc[r][v];
}

// One panel of a product: calls out(row, column, value) for every vector of init(row, column) + x M. The callbacks let a
// product start from what is already known of a step, and finish with the nonlinearity, without an array in between.
template <class T, int R, int V, class Init, class Out>
INLINE void block(const T* x, int64_t xs, const T* panel, int64_t k, int64_t column, const Init& init, const Out& out) {
  Vec<T> acc[R * V];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) acc[r * V + v] = init(r, column + v * WIDTH<T>);
  multiply<T, R, V>(x, xs, panel, k, acc);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) out(r, column + v * WIDTH<T>, acc[r * V + v]);
}

// All panels of a product; the last one may have fewer vectors.
template <class T, int R, class Init, class Out>
INLINE void product(const T* x, int64_t xs, const Panels<T>& m, const Init& init, const Out& out) {
  const T* panel = m.data.data();
  int64_t column = 0;
  for (; column + VECS * WIDTH<T> <= m.width; column += VECS * WIDTH<T>, panel += m.k * VECS * WIDTH<T>)
    block<T, R, VECS>(x, xs, panel, m.k, column, init, out);
  const int64_t left = (m.width - column) / WIDTH<T>;
  if (left == 1) block<T, R, 1>(x, xs, panel, m.k, column, init, out);
  if (left == 2) block<T, R, 2>(x, xs, panel, m.k, column, init, out);
}

// A block of an outer product: g (K rows, V vectors; stride gs) += x^T y, summed over `rows` rows of x (stride xs) and y
// (stride ys). It is not inlined, so that the sums stay in registers.
template <class T, int K, int V>
__attribute__((noinline)) void outer_block(const T* x, int64_t xs, const T* y, int64_t ys, int64_t rows, T* g, int64_t gs) {
  Vec<T> acc[K][V];
#pragma GCC unroll 8
  for (int k = 0; k < K; k++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) acc[k][v] = load(g + k * gs + v * WIDTH<T>);
  for (int64_t i = 0; i < rows; i++, x += xs, y += ys) {
    Vec<T> b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) b[v] = load(y + v * WIDTH<T>);
#pragma GCC unroll 8
    for (int k = 0; k < K; k++) {
      const Vec<T> a = x[k] - Vec<T>{};
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) acc[k][v] += a * b[v];
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < K; k++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) store(g + k * gs + v * WIDTH<T>, acc[k][v]);
}

// One column block of an outer product: all K rows of g, in blocks of ROWS, 4, 2 and 1 of them.
template <class T, int V>
void outer_panel(const T* x, int64_t xs, int64_t k, const T* y, int64_t ys, int64_t rows, T* g, int64_t gs) {
  int64_t i = 0;
  for (; i + ROWS <= k; i += ROWS) outer_block<T, ROWS, V>(x + i, xs, y, ys, rows, g + i * gs, gs);
  if (ROWS > 4 && i + 4 <= k) outer_block<T, 4, V>(x + i, xs, y, ys, rows, g + i * gs, gs), i += 4;
  for (; i + 2 <= k; i += 2) outer_block<T, 2, V>(x + i, xs, y, ys, rows, g + i * gs, gs);
  if (i < k) outer_block<T, 1, V>(x + i, xs, y, ys, rows, g + i * gs, gs);
}

// An outer product, column block by column block: a block of y stays in the first cache while all of x passes.
template <class T>
void outer(const T* x, int64_t xs, int64_t k, const T* y, int64_t ys, int64_t rows, T* g, int64_t gs, int64_t width) {
  int64_t j = 0;
  for (; j + VECS * WIDTH<T> <= width; j += VECS * WIDTH<T>) outer_panel<T, VECS>(x, xs, k, y + j, ys, rows, g + j, gs);
  const int64_t left = (width - j) / WIDTH<T>;
  if (left == 1) outer_panel<T, 1>(x, xs, k, y + j, ys, rows, g + j, gs);
  if (left == 2) outer_panel<T, 2>(x, xs, k, y + j, ys, rows, g + j, gs);
}

// The sizes and arrays of one call. All arrays are contiguous, with the trial axis first.
template <class T> struct Problem {
  int64_t trials, steps, batch, n;
  int64_t rank;    // r of the factors; 0 means dense: `a` is W, and sigma and c are null
  int64_t inputs;  // I, input features a step; -1 means that `x` is z = M x + b already, (trials, steps, batch, n)
  Activation activation;
  T slope;
  const T *x, *h0, *sigma, *a, *c, *m, *bias, *offset, *grad, *last;  // m (n, I); bias, offset, grad, last may be null
  T *states, *skinny, *delta, *end;  // skinny = h C, (.., r); end: h_T forward, dL/dh_0 backward; others may be null
  T *grad_sigma, *grad_out, *grad_in, *grad_offset;                   // one sum per slice: (n), (kept, n), (r, n), (n)

  // The row that multiplies A (or W), M and b at a step is [h C or h, x, 1]. Its products with delta are their gradients.
  int64_t core() const { return rank ? rank : n; }
  int64_t kept() const { return core() + (inputs < 0 ? 0 : inputs + 1); }
};

// One trial: the problem with the rank that this trial has, and the panels of its two products. A pack fills up its smaller
// sets of reflectors with columns that are zero in A and in C. They are left out here, so that a trial costs what it costs
// alone; their gradients are exactly zero.
template <class T> struct Trial {
  Problem<T> p;
  std::vector<int64_t> live;  // the columns that stay, at least one; empty for a dense matrix
  Panels<T> in;               // into the rank: C forward, A backward
  Panels<T> out;              // out of it: [A^T or W^T; M^T; b] forward, C^T or W backward
};

// The columns that are not zero in both A and C. One column always stays, because rank 0 would mean dense.
template <class T> std::vector<int64_t> live_columns(const Problem<T>& p, const T* a, const T* c) {
  std::vector<char> found(p.rank);
  for (int64_t i = 0; i < p.n; i++)
    for (int64_t j = 0; j < p.rank; j++) found[j] |= a[i * p.rank + j] != 0 || c[i * p.rank + j] != 0;
  std::vector<int64_t> live;
  for (int64_t j = 0; j < p.rank; j++)
    if (found[j] || (j + 1 == p.rank && live.empty())) live.push_back(j);
  return live;
}

// The columns `live` of a matrix (rows, columns).
template <class T> std::vector<T> chosen(const T* from, int64_t rows, int64_t columns, const std::vector<int64_t>& live) {
  std::vector<T> to;
  to.reserve(rows * live.size());
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j : live) to.push_back(from[i * columns + j]);
  return to;
}

// Make the panels of one trial.
template <class T> Trial<T> trial_of(bool back, Problem<T> p, int64_t trial) {
  const int64_t n = p.n;
  const T* a = p.a + trial * n * p.core();
  if (!p.rank && back) return {p, {}, Panels<T>(a, 0, 0, 0, 1), Panels<T>(a, n, n, n, 1)};
  std::vector<int64_t> live;
  std::vector<T> own_a, own_c;
  if (p.rank) {
    const T* c = p.c + trial * n * p.rank;
    live = live_columns(p, a, c);
    own_a = chosen(a, n, p.rank, live), own_c = chosen(c, n, p.rank, live), a = own_a.data();
    const int64_t rank = live.size();
    // Rows of h C are stored `rank` apart inside the trial's part of the array, which begins at a multiple of the full r.
    if (p.skinny) p.skinny += trial * p.steps * p.batch * (p.rank - rank);
    p.rank = rank;
  }
  const int64_t r = p.rank, k = p.core();
  if (back) return {p, live, Panels<T>(a, n, r, r, 1), Panels<T>(own_c.data(), r, n, 1, r)};
  // A, M and b lie one under another, so that M x + b is formed in the same product as A (h C)^T.
  std::vector<T> joined(p.kept() * n);
  for (int64_t i = 0; i < p.kept(); i++)
    for (int64_t j = 0; j < n; j++) {
      T value = 0;
      if (i < k) value = a[j * k + i];
      else if (i - k < p.inputs) value = p.m[(trial * n + j) * p.inputs + i - k];
      else if (p.bias) value = p.bias[trial * n + j];
      joined[i * n + j] = value;
    }
  return {p, live, Panels<T>(own_c.data(), r ? n : 0, r, r, 1), Panels<T>(joined.data(), p.kept(), n, n, 1)};
}

// The position of one slice in the arrays: its trial, its first batch row, its number among all slices.
template <class T> struct Slice {
  const Problem<T>& p;
  int64_t trial, first, number;
  int64_t row(int64_t t, int64_t r) const { return (trial * p.steps + t) * p.batch + first + r; }
  int64_t start(int64_t r) const { return trial * p.batch + first + r; }
  // Prefetch x of 16 steps later. Steps lie batch x inputs apart, which is too far for the processor to guess.
  void ahead(const T* x, bool back) const {
    const int64_t step = p.batch * p.inputs * (back ? -16 : 16);
    __builtin_prefetch(x + step), __builtin_prefetch(x + step + (ROWS - 1) * p.inputs);
  }
  // Write [x_t, 1] of one row behind its core, where the product of M and b expects them.
  void inputs(T* to, int64_t t, int64_t r, bool back) const {
    if (p.inputs < 0) return;
    const T* x = p.x + row(t, r) * p.inputs;
    to += p.core();
    if (r == 0) ahead(x, back);
    if (p.inputs == 1) *to = *x;  // by far the most common case; a call to copy would cost more than the arithmetic
    else std::copy_n(x, p.inputs, to);
    to[p.inputs] = 1;
  }
};

// A row stride of at least `size` that is an odd number of vectors: with a power of two, rows would share cache sets.
template <class T> int64_t stride(int64_t size) { return padded(size, 2 * WIDTH<T>) + WIDTH<T>; }

// Run one slice of R rows forward through all time steps.
template <class T, int R> void forward(const Trial<T>& m, Slice<T> s) {
  // The slice's state lies in small arrays with padded rows, which stay in the first cache. With factors, each vector of h
  // is read before h' overwrites it, so that one array is enough; a dense product reads all of h while it writes h'.
  const Problem<T>& p = m.p;
  const int64_t n = p.n, hs = stride<T>(std::max(n, p.kept())), qs = stride<T>(p.kept());
  std::vector<T> state(2 * R * hs), product_c(R * qs), diagonal(2 * hs);
  T *h = state.data(), *next = p.rank ? h : h + R * hs, *q = product_c.data(), *sigma = diagonal.data(), *offset = sigma + hs;
  const bool kept = p.states, apart = kept && streams(p.states, n, p.trials * p.steps * p.batch);
  if (p.rank) std::copy_n(p.sigma + s.trial * n, n, sigma);
  if (p.offset) std::copy_n(p.offset + s.trial * n, n, offset);
  for (int r = 0; r < R; r++) std::copy_n(p.h0 + s.start(r) * n, n, h + r * hs);
  for (int64_t t = 0; t < p.steps; t++) {
    // Where a product of this step ends: the nonlinearity, the carried state, and the array of all states if it is kept.
    T* states = kept ? p.states + s.row(t, 0) * n : nullptr;
    const T* z = p.inputs < 0 ? p.x + s.row(t, 0) * n : nullptr;
    auto finish = [=, &p](int r, int64_t j, Vec<T> x) INLINE_LAMBDA {
      const Vec<T> value = apply<T>(p.activation, x, p.slope, offset + j);
      store(next + r * hs + j, value);
      if (apart) stream(states + r * n + j, value);
      else if (kept) store(states + r * n + j, value, n - j);
    };
    // Where it starts: z, if the caller formed it, or zero; M x + b is then part of the product.
    auto given = [=, &p](int r, int64_t j) INLINE_LAMBDA {
      if (z) __builtin_prefetch(z + (p.batch + r) * n + j);
      return z ? load(z + r * n + j, n - j) : Vec<T>{};
    };
    if (p.rank) {
      // q = h C, which backward reads again, then h' = phi(z + sigma h + [q, x, 1] [A^T; M^T; b]).
      T* skinny = p.skinny ? p.skinny + s.row(t, 0) * p.rank : nullptr;
      product<T, R>(h, hs, m.in, [](int, int64_t) INLINE_LAMBDA { return Vec<T>{}; }, [=, &p](int r, int64_t j, Vec<T> x) INLINE_LAMBDA {
        store(q + r * qs + j, x);
        if (skinny) store(skinny + r * p.rank + j, x, p.rank - j);
      });
      for (int r = 0; r < R; r++) s.inputs(q + r * qs, t, r, false);
      product<T, R>(q, qs, m.out, [=](int r, int64_t j) INLINE_LAMBDA { return given(r, j) + load(sigma + j) * load(h + r * hs + j); }, finish);
    } else {
      // h' = phi(z + [h, x, 1] [W^T; M^T; b]).
      for (int r = 0; r < R; r++) s.inputs(h + r * hs, t, r, false);
      product<T, R>(h, hs, m.out, given, finish);
      std::swap(h, next);
    }
  }
  for (int r = 0; r < R; r++) std::copy_n(h + r * hs, n, p.end + s.start(r) * n);
}

// How many steps are gathered before their outer products are added to the gradients of the weights. One step has too few
// rows: each block of a gradient would be loaded and stored for R rows only.
constexpr int64_t GATHERED = 8;

// Run one slice of R rows backward through all time steps. `full` is the rank of the pack's arrays, which may be larger
// than that of the trial.
template <class T, int R> void backward(const Trial<T>& m, int64_t full, Slice<T> s) {
  // One allocation for all of the slice's arrays. carried: dL/dh of the step at hand. Gathered over GATHERED steps: deltas,
  // befores (h_{t-1}), keeps ([h C or h, x, 1]) and qq (delta A). Then the sums, which are written out at the end.
  const Problem<T>& p = m.p;
  const int64_t n = p.n, width = padded(n, WIDTH<T>), ds = stride<T>(n), ks = stride<T>(std::max(n, p.kept()));
  const int64_t qs = stride<T>(std::max<int64_t>(p.rank, 1)), rows = GATHERED * R;
  std::vector<T> data(R * ds + 2 * rows * ds + rows * ks + rows * qs + 3 * ds + (p.kept() + p.rank) * ds);
  T *carried = data.data(), *deltas = carried + R * ds, *befores = deltas + rows * ds, *keeps = befores + rows * ds;
  T *qq = keeps + rows * ks, *sigma = qq + rows * qs, *grad_sigma = sigma + ds;
  T *grad_offset = grad_sigma + ds, *grad_out = grad_offset + ds, *grad_in = grad_out + p.kept() * ds;
  const bool apart = p.delta && streams(p.delta, n, p.trials * p.steps * p.batch);
  if (p.rank) std::copy_n(p.sigma + s.trial * n, n, sigma);
  // dL/dh_t from outside, zero where the loss reads no state of that step; the step before it is prefetched.
  auto given = [=, &p](int64_t t, int r, int64_t j) INLINE_LAMBDA {
    if (!p.grad || t < 0) return Vec<T>{};
    __builtin_prefetch(p.grad + s.row(t - 1, r) * n + j);
    return load(p.grad + s.row(t, r) * n + j, n - j);
  };
  // The gradient of the last state may come separately; it enters at the last step.
  for (int r = 0; r < R; r++)
    for (int64_t j = 0; j < n; j += WIDTH<T>) {
      Vec<T> value = given(p.steps - 1, r, j);
      if (p.last) value += load(p.last + s.start(r) * n + j, n - j);
      store(carried + r * ds + j, value);
    }
  int64_t filled = 0;
  for (int64_t t = p.steps - 1; t >= 0; t--) {
    T *delta = deltas + filled * R * ds, *before = befores + filled * R * ds, *keep = keeps + filled * R * ks;
    T* q = qq + filled * R * qs;
    // delta = carried * phi'(h), for all rows of one vector of units at a time, so that the sums over rows stay in
    // registers. States of two steps earlier are prefetched. delta leaves the slice only if the caller formed z.
    for (int64_t j = 0; j < n; j += WIDTH<T>) {
      Vec<T> sum = load(grad_sigma + j), signs = load(grad_offset + j);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const int64_t at = s.row(t, r) * n + j;
        const Vec<T> h = load(p.states + at, n - j);
        const Vec<T> b = load((t ? p.states + s.row(t - 1, r) * n : p.h0 + s.start(r) * n) + j, n - j);
        __builtin_prefetch(p.states + s.row(t - 2, r) * n + j);
        const Vec<T> d = descend<T>(p.activation, load(carried + r * ds + j), h, p.slope);
        store(delta + r * ds + j, d);
        if (apart) stream(p.delta + at, d);
        else if (p.delta) store(p.delta + at, d, n - j);
        if (p.offset) signs += h > Vec<T>{} ? d : -d;  // d is 0 where h is
        if (p.rank) store(before + r * ds + j, b), sum += d * b;
        else store(keep + r * ks + j, b, n - j);
      }
      store(grad_sigma + j, sum), store(grad_offset + j, signs);
    }
    // The other factor of the outer products: the row [h C, x, 1]; in the dense form h is in place already.
    for (int r = 0; r < R; r++) {
      if (p.rank) std::copy_n(p.skinny + s.row(t, r) * p.rank, p.rank, keep + r * ks);
      for (int64_t j = 0; j < p.rank; j += WIDTH<T>) __builtin_prefetch(p.skinny + s.row(t - 1, r) * p.rank + j);
      s.inputs(keep + r * ks, t, r, true);
    }
    // dL/dh_{t-1} = its gradient from outside + sigma delta + (delta A) C^T, or + delta W.
    auto carry = [=](int r, int64_t j, Vec<T> x) INLINE_LAMBDA { store(carried + r * ds + j, x); };
    if (p.rank) {
      product<T, R>(delta, ds, m.in, [](int, int64_t) INLINE_LAMBDA { return Vec<T>{}; },
                    [=](int r, int64_t j, Vec<T> x) INLINE_LAMBDA { store(q + r * qs + j, x); });
      product<T, R>(q, qs, m.out, [=](int r, int64_t j) INLINE_LAMBDA {
        return given(t - 1, r, j) + load(sigma + j) * load(delta + r * ds + j);
      }, carry);
    } else {
      product<T, R>(delta, ds, m.out, [=](int r, int64_t j) INLINE_LAMBDA { return given(t - 1, r, j); }, carry);
    }
    // Add the gathered steps to the gradients: [h C, x, 1]^T delta of A, M and b, and (delta A)^T h_{t-1} of C.
    if (++filled == GATHERED || t == 0) {
      outer(keeps, ks, p.kept(), deltas, ds, filled * R, grad_out, ds, width);
      if (p.rank) outer(qq, qs, p.rank, befores, ds, filled * R, grad_in, ds, width);
      filled = 0;
    }
  }
  // Write the slice's results. Each slice has its own part of the sums, so that no two threads write to one place.
  for (int r = 0; r < R; r++) std::copy_n(carried + r * ds, n, p.end + s.start(r) * n);
  if (p.rank) std::copy_n(grad_sigma, n, p.grad_sigma + s.number * n);
  if (p.offset) std::copy_n(grad_offset, n, p.grad_offset + s.number * n);
  // Row i of the trial's sums belongs in row place(i) of the pack's arrays; rows of columns left out are zero.
  const int64_t left_out = full - p.rank;
  auto place = [&](int64_t i) { return i < int64_t(m.live.size()) ? m.live[i] : i + left_out; };
  T* out = p.grad_out + s.number * (p.kept() + left_out) * n;
  T* in = p.grad_in + s.number * full * n;
  if (left_out) std::fill_n(out, full * n, T(0)), std::fill_n(in, full * n, T(0));
  for (int64_t i = 0; i < p.kept(); i++) std::copy_n(grad_out + i * ds, n, out + place(i) * n);
  for (int64_t i = 0; i < p.rank; i++) std::copy_n(grad_in + i * ds, n, in + place(i) * n);
}

// Run one slice in one direction of time.
template <class T, int R> void run_slice(bool back, const Trial<T>& m, int64_t full, Slice<T> s) {
  back ? backward<T, R>(m, full, s) : forward<T, R>(m, s);
#if defined(__SSE2__)
  _mm_sfence();  // other threads see the streamed stores from here on
#endif
}

// How many slices `batch` rows are cut into: as many of ROWS as fit, and the rest as powers of two.
int64_t slices_of(int64_t batch) {
  int64_t count = batch / ROWS;
  for (int64_t rest = batch % ROWS; rest; rest &= rest - 1) count++;
  return count;
}

// Run all slices of all trials. They are one queue for all threads, so that unlike trials do not leave a thread idle.
template <class T> void run(bool back, const Problem<T>& p, int64_t threads) {
  std::vector<Trial<T>> each;
  for (int64_t trial = 0; trial < p.trials; trial++) each.push_back(trial_of(back, p, trial));
  const int64_t slices = slices_of(p.batch), whole = p.batch / ROWS, tasks = p.trials * slices;
  std::atomic<int64_t> next{0};
  auto work = [&] {
    for (int64_t task = next++; task < tasks; task = next++) {
      const int64_t trial = task / slices, slice = task % slices;
      int64_t first = std::min(slice, whole) * ROWS, rows = ROWS;
      if (slice >= whole) {  // one of the last slices: their sizes are powers of two, the largest first
        int64_t rest = p.batch - first;
        for (int64_t i = whole;; i++, rest -= rows, first += rows) {
          for (rows = ROWS / 2; rows > rest; rows /= 2) {}
          if (i == slice) break;
        }
      }
      const Trial<T>& m = each[trial];
      const Slice<T> s{m.p, trial, first, task};
      if (rows == ROWS) run_slice<T, ROWS>(back, m, p.rank, s);
      else if (rows == 4) run_slice<T, 4>(back, m, p.rank, s);
      else if (rows == 2) run_slice<T, 2>(back, m, p.rank, s);
      else run_slice<T, 1>(back, m, p.rank, s);
    }
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < std::min(threads, tasks); i++) others.emplace_back(work);
  work();
  for (auto& other : others) other.join();
}

// size: trials, steps, batch, n, rank, inputs, activation, threads, back. at: the arrays, in the order of Problem.
template <class T> void call(const int64_t* size, double slope, void** at) {
  T* const* to = reinterpret_cast<T**>(at);
  const Problem<T> p{size[0], size[1], size[2], size[3], size[4], size[5], static_cast<Activation>(size[6]), T(slope),
                     to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7], to[8], to[9], to[10], to[11], to[12],
                     to[13], to[14], to[15], to[16], to[17]};
  run(size[8] != 0, p, size[7]);
}

}  // namespace

extern "C" {
// The caller needs the number of slices for the arrays of sums, which are (trials, slices, ...).
int64_t spectral_slices(int64_t batch) { return slices_of(batch); }
// SCALAR is float or double: one library is built for each.
void spectral_run(const int64_t* size, double slope, void** at) { call<SCALAR>(size, slope, at); }
}
