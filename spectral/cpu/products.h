// Products of small and skinny matrices.
#pragma once
#include <vector>

#include "vectors.h"

namespace {

inline int64_t padded(int64_t size, int64_t width) { return (size + width - 1) / width * width; }

// How many vectors the next column block has, of `left` that are left. One more than a full block is cut into two halves:
// a block of a single vector has too few sums for the multipliers to be busy.
inline int64_t block_of(int64_t left) { return left >= VECS && left != VECS + 1 ? VECS : std::min<int64_t>(left, 2); }

// A (K, N) matrix as panels, so that the innermost loop of a product reads it as one stream. Entry (k, j) is copied from
// source[k * stride_k + j * stride_j]; the last panel is filled up with zero columns.
template <class T> struct Panels {
  int64_t k, n, width;
  std::vector<T> data;
  Panels(const T* source, int64_t k, int64_t n, int64_t stride_k, int64_t stride_j)
      : k(k), n(n), width(padded(n, WIDTH<T>)), data(k * width) {
    T* to = data.data();
    for (int64_t start = 0, columns; start < width; start += columns) {
      columns = block_of((width - start) / WIDTH<T>) * WIDTH<T>;
      const int64_t own = std::min(columns, n - start);  // the rest is padding
      const T* row = source + start * stride_j;
      for (int64_t i = 0; i < k; i++, row += stride_k, to += columns) {
        if (stride_j == 1) std::copy_n(row, own, to);
        else for (int64_t j = 0; j < own; j++) to[j] = row[j * stride_j];
        std::fill(to + own, to + columns, T(0));
      }
    }
  }
};

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

// sums (R rows, V vectors) = x (R rows, K; row stride xs) times one panel. It is not inlined, so that the sums stay in
// registers whatever code surrounds the call. Rows are addressed from every third one, since one pointer for each row
// would not fit in registers beside the loop's other variables.
template <class T, int R, int V>
__attribute__((noinline)) void multiply(const T* x, int64_t xs, const T* panel, int64_t k, Vec<T>* sums) {
  Vec<T> acc[R][V];
  const T* base[(R + 2) / 3];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) acc[r][v] = Vec<T>{};
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
// product add what is already known of a step, and finish with the nonlinearity, without an array in between.
template <class T, int R, int V, class Init, class Out>
INLINE void block(const T* x, int64_t xs, const T* panel, int64_t k, int64_t column, const Init& init, const Out& out) {
  Vec<T> acc[R * V];
  multiply<T, R, V>(x, xs, panel, k, acc);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) out(r, column + v * WIDTH<T>, init(r, column + v * WIDTH<T>) + acc[r * V + v]);
}

// All panels of a product.
template <class T, int R, class Init, class Out>
INLINE void product(const T* x, int64_t xs, const Panels<T>& m, const Init& init, const Out& out) {
  const T* panel = m.data.data();
  for (int64_t column = 0, vectors; column < m.width; column += vectors * WIDTH<T>, panel += m.k * vectors * WIDTH<T>) {
    vectors = block_of((m.width - column) / WIDTH<T>);
    constexpr int S = R < TILE ? R : TILE;
#pragma GCC unroll 1
    for (int first = 0; first < R; first += S) {
      auto from = [&](int r, int64_t j) INLINE_LAMBDA { return init(first + r, j); };
      auto to = [&](int r, int64_t j, Vec<T> value) INLINE_LAMBDA { out(first + r, j, value); };
      if (vectors == VECS) block<T, S, VECS>(x + first * xs, xs, panel, m.k, column, from, to);
      else if (vectors == 2) block<T, S, 2>(x + first * xs, xs, panel, m.k, column, from, to);
      else block<T, S, 1>(x + first * xs, xs, panel, m.k, column, from, to);
    }
  }
}

// A product of any number of rows: calls out(row, column, value) for every vector of init(row, column) + x M.
template <class T, class Init, class Out>
void product_of_rows(const T* x, int64_t xs, int64_t rows, const Panels<T>& m, const Init& init, const Out& out) {
  int64_t first = 0;
  auto from = [&](int r, int64_t j) INLINE_LAMBDA { return init(first + r, j); };
  auto to = [&](int r, int64_t j, Vec<T> value) INLINE_LAMBDA { out(first + r, j, value); };
  for (; first + ROWS <= rows; first += ROWS) product<T, ROWS>(x + first * xs, xs, m, from, to);
  if (ROWS > 4 && first + 4 <= rows) product<T, 4>(x + first * xs, xs, m, from, to), first += 4;
  for (; first + 2 <= rows; first += 2) product<T, 2>(x + first * xs, xs, m, from, to);
  if (first < rows) product<T, 1>(x + first * xs, xs, m, from, to);
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

// One column block of an outer product: all K rows of g, in blocks of TILE, 4, 2 and 1 of them.
template <class T, int V>
void outer_panel(const T* x, int64_t xs, int64_t k, const T* y, int64_t ys, int64_t rows, T* g, int64_t gs) {
  int64_t i = 0;
  for (; i + TILE <= k; i += TILE) outer_block<T, TILE, V>(x + i, xs, y, ys, rows, g + i * gs, gs);
  if (TILE > 4 && i + 4 <= k) outer_block<T, 4, V>(x + i, xs, y, ys, rows, g + i * gs, gs), i += 4;
  for (; i + 2 <= k; i += 2) outer_block<T, 2, V>(x + i, xs, y, ys, rows, g + i * gs, gs);
  if (i < k) outer_block<T, 1, V>(x + i, xs, y, ys, rows, g + i * gs, gs);
}

// An outer product, column block by column block: a block of y stays in the first cache while all of x passes.
template <class T>
void outer(const T* x, int64_t xs, int64_t k, const T* y, int64_t ys, int64_t rows, T* g, int64_t gs, int64_t width) {
  for (int64_t j = 0, vectors; j < width; j += vectors * WIDTH<T>) {
    vectors = block_of((width - j) / WIDTH<T>);
    if (vectors == VECS) outer_panel<T, VECS>(x, xs, k, y + j, ys, rows, g + j, gs);
    else if (vectors == 2) outer_panel<T, 2>(x, xs, k, y + j, ys, rows, g + j, gs);
    else outer_panel<T, 1>(x, xs, k, y + j, ys, rows, g + j, gs);
  }
}

}  // namespace
