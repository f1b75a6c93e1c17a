// The transition W = U diag(sigma) V^T as a diagonal plus a matrix of low rank, W = S + A C^T, its gradient, and W itself.
//
// Formulas and notation are those of spectral/transition.py. Every trial is formed from its own reflectors alone: zero
// columns, with which a pack fills up smaller sets, are left out. All sums run in an order that depends on the sizes of one
// trial, so its bits are the same in every pack. Matrices of n rows and few columns are held transposed, as rows of n
// numbers, so that all loops run over whole vectors.
#pragma once
#include <limits>
#include <memory>

#include "products.h"

namespace {

constexpr int64_t ALIGNED = 16;  // the lengths of rows are rounded up to it; every WIDTH divides it

// How far rows of n numbers are apart: an odd number of ALIGNED, since with powers of two they would share cache sets.
inline int64_t apart(int64_t n) { return padded(n, ALIGNED) | ALIGNED; }

// An array whose numbers are not set, unlike those of std::vector.
template <class T> std::unique_ptr<T[]> array_of(int64_t size) { return std::unique_ptr<T[]>(new T[size]); }

// The columns that are not zero, below the diagonal or on it.
template <class T> std::vector<int64_t> live_reflectors(const T* raw, int64_t n, int64_t m) {
  std::vector<int64_t> live;
  for (int64_t j = 0; j < m; j++)
    for (int64_t i = j; i < n; i++)
      if (raw[i * m + j] != 0) {  // also where it is NaN
        live.push_back(j);
        break;
      }
  return live;
}

// Write columns `live` of a matrix (n rows, stride apart) as rows of ns numbers: scaled, and zero past n and in the first
// `live[k]` places if `trapezoid`.
template <class T>
void take_columns(const T* from, int64_t n, int64_t stride, const std::vector<int64_t>& live, bool trapezoid, T* to, int64_t ns) {
  for (size_t k = 0; k < live.size(); k++, to += ns) {
    const int64_t first = trapezoid ? live[k] : 0;
    for (int64_t i = 0; i < first; i++) to[i] = 0;
    for (int64_t i = first; i < n; i++) to[i] = from[i * stride + live[k]];
    for (int64_t i = n; i < ns; i++) to[i] = 0;
  }
}

// The sum of x_i y_i over ns numbers.
template <class T> T dot(const T* x, const T* y, int64_t ns) {
  Vec<T> sum = {};
  for (int64_t i = 0; i < ns; i += WIDTH<T>) sum += load(x + i) * load(y + i);
  T total = 0;
  for (int64_t i = 0; i < WIDTH<T>; i++) total += sum[i];
  return total;
}

// The largest absolute value of ns numbers, infinity if it is zero; NaN if one of them is not finite. Dividing by it keeps
// squares finite.
template <class T> T largest_of(const T* x, int64_t ns) {
  Vec<T> largest = {}, check = {};
  for (int64_t i = 0; i < ns; i += WIDTH<T>) {
    const Vec<T> value = load(x + i), size = value < 0 ? -value : value;
    largest = size > largest ? size : largest, check += value - value;
  }
  T most = 0, bad = 0;
  for (int64_t i = 0; i < WIDTH<T>; i++) most = std::max(most, largest[i]), bad += check[i];
  return most == 0 ? std::numeric_limits<T>::infinity() + bad : most + bad;
}

template <class T> void divide(T* x, T by, int64_t ns) {
  const Vec<T> divisor = by - Vec<T>{};
  for (int64_t i = 0; i < ns; i += WIDTH<T>) store(x + i, load(x + i) / divisor);
}

// Scale ns numbers to length 1, zero stays zero. `largest` and the result, a length, are what they were divided by.
template <class T> T scale_to_one(T* x, int64_t ns, T& largest) {
  largest = largest_of(x, ns);
  divide(x, largest, ns);
  const T square = dot(x, x, ns), length = square < 1 ? T(1) : std::sqrt(square);
  divide(x, length, ns);
  return length;
}

// What one side, U or V, keeps for the gradient. All of it lies in one array, whose size the caller knows.
template <class T> struct Side {
  int64_t n, columns;         // the reflectors as they are given: n rows, `columns` columns
  std::vector<int64_t> live;  // the columns that are not zero
  int64_t m, ns, ms;          // how many they are; the strides of rows of n and of m numbers
  T *y, *z, *r, *largest, *length;  // y, z (m, n): unit columns, Z; r (m, m): T^-1; the scales of the columns (m)

  Side(const T* raw, int64_t n, int64_t columns, T*& at)
      : n(n), columns(columns), live(live_reflectors(raw, n, columns)), m(live.size()), ns(apart(n)), ms(padded(m, ALIGNED)) {
    y = at, z = y + m * ns, r = z + m * ns, largest = r + m * ms, length = largest + m;
    at = length + m;
  }

  static int64_t size(int64_t n, int64_t m) { return m * (2 * apart(n) + padded(m, ALIGNED) + 2); }

  // Form the unit columns and T^-1 = striu(Y^T Y) + diag(|y|^2 / 2).
  void form(const T* raw) {
    take_columns(raw, n, columns, live, true, y, ns);
    for (int64_t k = 0; k < m; k++) length[k] = scale_to_one(y + k * ns, ns, largest[k]);
    gram(y, y, [&](int64_t i, int64_t j, T value) { r[i * ms + j] = i == j ? value / 2 : value; });
  }

  // Call out(i, j, value) with the product of the rows of x (m, n) and of y (m, n), for j >= i.
  template <class Out> void gram(const T* x, const T* other, const Out& out) {
    const Panels<T> columns_of(other, n, m, 1, ns);
    product_of_rows(x, ns, m, columns_of, [](int64_t, int64_t) { return Vec<T>{}; }, [&](int64_t i, int64_t j, Vec<T> value) {
      for (int64_t v = 0; v < WIDTH<T> && j + v < m; v++)
        if (j + v >= i) out(i, j + v, value[v]);
    });
  }

  // Solve R x = b, or R^T x = b if `transposed`, for all n columns of b (m, n).
  void solve(const T* b, T* x, bool transposed) const {
    constexpr int64_t STEP = 2;
    int64_t j = 0;
    for (; j + STEP * WIDTH<T> <= ns; j += STEP * WIDTH<T>) solve_block<STEP>(b + j, x + j, transposed);
    for (; j < ns; j += WIDTH<T>) solve_block<1>(b + j, x + j, transposed);
  }

  template <int V> void solve_block(const T* b, T* x, bool transposed) const {
    for (int64_t step = 0; step < m; step++) {
      const int64_t k = transposed ? step : m - 1 - step;
      Vec<T> value[V];
      for (int v = 0; v < V; v++) value[v] = load(b + k * ns + v * WIDTH<T>);
      for (int64_t i = transposed ? 0 : k + 1; i < (transposed ? k : m); i++) {
        const Vec<T> factor = (transposed ? r[i * ms + k] : r[k * ms + i]) - Vec<T>{};
        for (int v = 0; v < V; v++) value[v] -= factor * load(x + i * ns + v * WIDTH<T>);
      }
      const Vec<T> pivot = r[k * ms + k] - Vec<T>{};
      for (int v = 0; v < V; v++) store(x + k * ns + v * WIDTH<T>, value[v] / pivot);
    }
  }

  // Write dL/draw (n, columns) from g = dL/dy (m, n), which is overwritten, and dL/dT^-1 = -left right^T, both (m, n).
  void gradient(T* g, const T* left, const T* right, T* grad) {
    // The diagonal of T^-1 moves y along itself only, and the normalisation removes that part again.
    std::vector<T> both(m * ms);
    gram(left, right, [&](int64_t i, int64_t j, T value) {
      if (j > i) both[i * ms + j] = both[j * ms + i] = -value;
    });
    product_of_rows(both.data(), ms, m, Panels<T>(y, m, n, ns, 1), [&](int64_t k, int64_t j) { return load(g + k * ns + j); },
                    [&](int64_t k, int64_t j, Vec<T> value) { store(g + k * ns + j, value); });
    std::fill_n(grad, n * columns, T(0));
    for (int64_t k = 0; k < m; k++) {
      const T *row = g + k * ns, *unit = y + k * ns, along = dot(unit, row, ns);
      for (int64_t i = live[k]; i < n; i++) grad[i * columns + live[k]] = (row[i] - unit[i] * along) / length[k] / largest[k];
    }
  }
};

// The arrays of one transition. Of the results only those of its own direction are there.
template <class T> struct Transition {
  int64_t n, m1, m2;
  const T *sigma, *u, *v;       // (n), (n, m1), (n, m2)
  T *a, *c, *saved;             // (n, m1 + m2) each; what backward reads
  const T *grad_a, *grad_c;     // null for zero
  T *grad_sigma, *grad_u, *grad_v;

  static int64_t saved_size(int64_t n, int64_t m1, int64_t m2) {
    return Side<T>::size(n, m1) + Side<T>::size(n, m2) + m1 * padded(m2, ALIGNED) + apart(n);
  }

  void forward() const {
    std::fill_n(saved, saved_size(n, m1, m2), T(0));  // not all of it is written where columns are left out
    T* at = saved;
    Side<T> left(u, n, m1, at), right(v, n, m2, at);
    T *inner = at, *diagonal = inner + left.m * right.ms;  // inner = Zu S Yv, (left.m, right.m)
    const int64_t ns = left.ns, r = m1 + m2;
    std::fill_n(std::copy_n(sigma, n, diagonal), ns - n, T(0));
    left.form(u), right.form(v);
    left.solve(left.y, left.z, false), right.solve(right.y, right.z, true);
    auto scaled = array_of<T>((left.m + right.m) * ns), a2 = array_of<T>(right.m * ns);
    for (int64_t k = 0; k < left.m; k++) scale(left.z + k * ns, diagonal, scaled.get() + k * ns, ns);
    product_of_rows(scaled.get(), ns, left.m, Panels<T>(right.y, n, right.m, 1, ns), [](int64_t, int64_t) { return Vec<T>{}; },
                    [&](int64_t k, int64_t j, Vec<T> value) { store(inner + k * right.ms + j, value); });
    // A's right half is Yu inner - S Yv.
    const auto turned = transposed(inner, left.m, right.m, right.ms);
    product_of_rows(turned.data(), left.ms, right.m, Panels<T>(left.y, left.m, n, ns, 1),
                    [&](int64_t k, int64_t j) { return -(load(diagonal + j) * load(right.y + k * ns + j)); },
                    [&](int64_t k, int64_t j, Vec<T> value) { store(a2.get() + k * ns + j, value); });
    if (left.m + right.m < r) std::fill_n(a, n * r, T(0)), std::fill_n(c, n * r, T(0));
    for (int64_t i = 0; i < n; i++) {
      T *row_a = a + i * r, *row_c = c + i * r;
      for (int64_t k = 0; k < left.m; k++) row_a[left.live[k]] = -left.y[k * ns + i], row_c[left.live[k]] = scaled[k * ns + i];
      for (int64_t k = 0; k < right.m; k++)
        row_a[m1 + right.live[k]] = a2[k * ns + i], row_c[m1 + right.live[k]] = right.z[k * ns + i];
    }
  }

  void backward() const {
    T* at = saved;
    Side<T> left(u, n, m1, at), right(v, n, m2, at);
    T *inner = at, *diagonal = inner + left.m * right.ms;
    const int64_t ns = left.ns, p = left.m, q = right.m;
    auto data = array_of<T>((4 * p + 4 * q) * ns);
    T *a1 = data.get(), *c1 = a1 + p * ns, *scaled = c1 + p * ns, *x1 = scaled + p * ns;
    T *a2 = x1 + p * ns, *c2 = a2 + q * ns, *y2 = c2 + q * ns, *x2 = y2 + q * ns;
    taken(grad_a, left.live, 0, a1, ns), taken(grad_a, right.live, m1, a2, ns);
    taken(grad_c, left.live, 0, c1, ns), taken(grad_c, right.live, m1, c2, ns);
    for (int64_t k = 0; k < p; k++) scale(left.z + k * ns, diagonal, scaled + k * ns, ns);
    // Through A = [-Yu, Yu inner - S Yv] and C = [S Zu^T, Zv^T] with inner = Zu S Yv; c1 becomes the gradient of Zu S.
    std::vector<T> grad_inner(p * right.ms);
    product_of_rows(left.y, ns, p, Panels<T>(a2, n, q, 1, ns), [](int64_t, int64_t) { return Vec<T>{}; },
                    [&](int64_t k, int64_t j, Vec<T> value) { store(grad_inner.data() + k * right.ms + j, value); });
    accumulate(grad_inner.data(), right.ms, p, Panels<T>(right.y, q, n, ns, 1), c1, ns);
    for (int64_t j = 0; j < n; j += WIDTH<T>) {
      Vec<T> sum = {};
      for (int64_t k = 0; k < p; k++) sum += load(c1 + k * ns + j) * load(left.z + k * ns + j);
      for (int64_t k = 0; k < q; k++) sum -= load(a2 + k * ns + j) * load(right.y + k * ns + j);
      store(grad_sigma + j, sum, n - j);
    }
    for (int64_t i = 0; i < p * ns; i += WIDTH<T>) store(a1 + i, -load(a1 + i));  // becomes the gradient of Yu
    accumulate(inner, right.ms, p, Panels<T>(a2, q, n, ns, 1), a1, ns);
    for (int64_t k = 0; k < q; k++) {
      scale(a2 + k * ns, diagonal, y2 + k * ns, ns);
      for (int64_t j = 0; j < ns; j += WIDTH<T>) store(y2 + k * ns + j, -load(y2 + k * ns + j));  // and this of Yv
    }
    accumulate(transposed(grad_inner.data(), p, q, right.ms).data(), left.ms, q, Panels<T>(scaled, p, n, ns, 1), y2, ns);
    // Through the solves Zu = Ru^-1 Yu^T and Zv = Rv^-T Yv^T.
    for (int64_t k = 0; k < p; k++) scale(c1 + k * ns, diagonal, c1 + k * ns, ns);
    left.solve(c1, x1, true), right.solve(c2, x2, false);
    for (int64_t i = 0; i < p * ns; i += WIDTH<T>) store(a1 + i, load(a1 + i) + load(x1 + i));
    for (int64_t i = 0; i < q * ns; i += WIDTH<T>) store(y2 + i, load(y2 + i) + load(x2 + i));
    left.gradient(a1, x1, left.z, grad_u), right.gradient(y2, right.z, x2, grad_v);
  }

 private:
  static void scale(const T* x, const T* by, T* to, int64_t ns) {
    for (int64_t j = 0; j < ns; j += WIDTH<T>) store(to + j, load(x + j) * load(by + j));
  }
  // to (rows, n) += x (rows, k) M.
  static void accumulate(const T* x, int64_t xs, int64_t rows, const Panels<T>& m, T* to, int64_t ns) {
    product_of_rows(x, xs, rows, m, [&](int64_t k, int64_t j) { return load(to + k * ns + j); },
                    [&](int64_t k, int64_t j, Vec<T> value) { store(to + k * ns + j, value); });
  }
  // The transpose of x (rows, columns), with rows of padded length.
  static std::vector<T> transposed(const T* x, int64_t rows, int64_t columns, int64_t stride) {
    const int64_t to_stride = padded(rows, ALIGNED);
    std::vector<T> to(columns * to_stride);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < columns; j++) to[j * to_stride + i] = x[i * stride + j];
    return to;
  }
  void taken(const T* grad, const std::vector<int64_t>& live, int64_t from, T* to, int64_t ns) const {
    if (grad) take_columns(grad + from, n, m1 + m2, live, false, to, ns);
    else std::fill_n(to, live.size() * ns, T(0));
  }
};

// A matrix (n, r) of which only some columns are not zero in A and in C.
template <class T> struct Factors {
  std::vector<int64_t> live;  // these columns
  std::vector<T> a, c;        // (n, live) each

  Factors(const T* all_a, const T* all_c, int64_t n, int64_t r) {
    std::vector<char> found(r);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < r; j++) found[j] |= all_a[i * r + j] != 0 || all_c[i * r + j] != 0;
    for (int64_t j = 0; j < r; j++)
      if (found[j]) live.push_back(j);
    a = chosen(all_a, n, r), c = chosen(all_c, n, r);
  }

  int64_t rank() const { return live.size(); }

  // Give an empty matrix one column of zeros, which is not a live one.
  void add_zero_column(int64_t n) { a.assign(n, T(0)), c.assign(n, T(0)); }

  // Write W = diag(sigma) + A C^T, (n, n).
  void form(const T* sigma, int64_t n, T* w) const {
    const int64_t k = rank();
    product_of_rows(a.data(), k, n, Panels<T>(c.data(), k, n, 1, k), [](int64_t, int64_t) { return Vec<T>{}; },
                    [&](int64_t i, int64_t j, Vec<T> value) { store(w + i * n + j, value, n - j); });
    for (int64_t i = 0; i < n; i++) w[i * (n + 1)] += sigma[i];
  }

  // Write the gradients of sigma (n), A and C (n, r) from that of W, (n, n).
  void gradient(const T* grad_w, int64_t n, int64_t r, T* grad_sigma, T* grad_a, T* grad_c) const {
    const int64_t k = rank();
    if (k < r) std::fill_n(grad_a, n * r, T(0)), std::fill_n(grad_c, n * r, T(0));
    auto placed = [&](T* grad) {
      return [this, grad, r, k](int64_t i, int64_t j, Vec<T> value) {
        for (int64_t v = 0; v < WIDTH<T> && j + v < k; v++) grad[i * r + live[j + v]] = value[v];
      };
    };
    auto none = [](int64_t, int64_t) { return Vec<T>{}; };
    product_of_rows(grad_w, n, n, Panels<T>(c.data(), n, k, k, 1), none, placed(grad_a));
    auto turned = array_of<T>(n * n);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < n; j++) turned[j * n + i] = grad_w[i * n + j];
    product_of_rows(turned.get(), n, n, Panels<T>(a.data(), n, k, k, 1), none, placed(grad_c));
    for (int64_t i = 0; i < n; i++) grad_sigma[i] = grad_w[i * (n + 1)];
  }

 private:
  std::vector<T> chosen(const T* from, int64_t rows, int64_t columns) const {
    std::vector<T> to;
    to.reserve(rows * live.size());
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j : live) to.push_back(from[i * columns + j]);
    return to;
  }
};

// Scale every column of x (n, m) to length 1, in place; a zero column stays zero.
template <class T> void normalize(T* x, int64_t n, int64_t m) {
  const int64_t ns = padded(n, ALIGNED);
  std::vector<T> column(ns);
  for (int64_t k = 0; k < m; k++) {
    for (int64_t i = 0; i < n; i++) column[i] = x[i * m + k];
    T largest;
    scale_to_one(column.data(), ns, largest);
    for (int64_t i = 0; i < n; i++) x[i * m + k] = column[i];
  }
}

// The sum of squares of x (rows, columns): each column by itself, then one column after another. Further zero columns
// change nothing, not even the rounding.
template <class T> double sum_of_squares(const T* x, int64_t rows, int64_t columns) {
  std::vector<double> sums(columns);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) sums[j] += double(x[i * columns + j]) * double(x[i * columns + j]);
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

}  // namespace
