// The recurrence over time on the CPU, one call for the whole sequence; see README.md in this folder.
//
// Work is cut into slices of ROWS batch rows of one trial. A slice runs through all time steps by itself: batch rows do
// not depend on each other, so there is no barrier between steps, and a slice's state stays in the first cache. Products
// run on panels: a (K, N) matrix cut into column blocks of VECS vectors, each stored row after row.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 8, VECS = 3;
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 4, VECS = 2;
#else
constexpr int BYTES = 16, ROWS = 4, VECS = 2;
#endif

enum Activation { TANH, RELU, LEAKY_RELU, IDENTITY };

template <class T> struct Vector {
  typedef T type __attribute__((vector_size(BYTES)));
  typedef T loose __attribute__((vector_size(BYTES), aligned(alignof(T)), may_alias));  // at any address
  static constexpr int64_t WIDTH = BYTES / sizeof(T);
};
template <class T> using Vec = typename Vector<T>::type;
template <class T> constexpr int64_t WIDTH = Vector<T>::WIDTH;

template <class T> inline Vec<T> load(const T* from) { return *reinterpret_cast<const typename Vector<T>::loose*>(from); }
template <class T> inline void store(T* to, Vec<T> value) { *reinterpret_cast<typename Vector<T>::loose*>(to) = value; }
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

// tanh of one vector. float: an odd polynomial near zero, else (1 - e) / (1 + e) with e = exp(-2 |x|) = 2^k exp(f).
inline void tanh_(float* x) {
  for (int i = 0; i < WIDTH<float>; i++) {
    const float size = std::min(std::fabs(x[i]), 9.5f), square = size * size;
    const float near = size * (1 + square * (-0.33333333f + square * (0.13333334f + square * (-0.053968254f
        + square * (0.021869488f + square * (-0.0088632355f + square * 0.0035921280f))))));
    const float scaled = -2 * size * 1.44269504f;
    const float k = static_cast<float>(static_cast<int>(scaled - 0.5f));
    const float f = (scaled - k) * 0.69314718f;
    const float exp_f = 1 + f * (1 + f * (0.5f + f * (0.16666667f + f * (0.041666667f + f * (0.0083333333f
        + f * (0.0013888889f + f * 0.00019841270f))))));
    const int32_t bits = (static_cast<int32_t>(k) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    const float e = exp_f * power;
    const float value = size < 0.45f ? near : (1 - e) / (1 + e);
    x[i] = x[i] != x[i] ? x[i] : std::copysign(value, x[i]);
  }
}
inline void tanh_(double* x) {
  for (int i = 0; i < WIDTH<double>; i++) x[i] = std::tanh(x[i]);
}

template <class T> inline Vec<T> apply(Activation phi, Vec<T> x, T slope) {
  const Vec<T> zero = {};
  if (phi == RELU) return x <= zero ? zero : x;  // as torch: NaN stays NaN
  if (phi == LEAKY_RELU) return x > zero ? x : x * slope;
  if (phi == TANH) {
    T values[WIDTH<T>];
    std::memcpy(values, &x, sizeof x);
    tanh_(values);
    std::memcpy(&x, values, sizeof x);
  }
  return x;
}

// carried * phi'(x), phi' read off h = phi(x)
template <class T> inline Vec<T> descend(Activation phi, Vec<T> carried, Vec<T> h, T slope) {
  const Vec<T> zero = {};
  if (phi == RELU) return h > zero ? carried : (h == h ? zero : h);
  if (phi == LEAKY_RELU) return h > zero ? carried : carried * slope;
  if (phi == TANH) return carried * (1 - h * h);
  return carried;
}

int64_t padded(int64_t size, int64_t width) { return (size + width - 1) / width * width; }

// A (K, N) matrix as panels; reads source[k * stride_k + j * stride_j].
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

// acc (R rows, V vectors) += x (R, K; row stride xs) times one panel
template <class T, int R, int V> inline void multiply(const T* x, int64_t xs, const T* panel, int64_t k, Vec<T> (&acc)[R][V]) {
  for (int64_t i = 0; i < k; i++, panel += V * WIDTH<T>) {
    Vec<T> b[V];
    for (int v = 0; v < V; v++) b[v] = load(panel + v * WIDTH<T>);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const Vec<T> a = x[r * xs + i] - Vec<T>{};
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) acc[r][v] += a * b[v];
    }
  }
}

// out(row, column, vector) for every vector of init(row, column) + x M; the last panel may be narrower
template <class T, int R, int V, class Init, class Out>
inline void block(const T* x, int64_t xs, const T* panel, int64_t k, int64_t column, Init&& init, Out&& out) {
  Vec<T> acc[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) acc[r][v] = init(r, column + v * WIDTH<T>);
  multiply<T, R, V>(x, xs, panel, k, acc);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) out(r, column + v * WIDTH<T>, acc[r][v]);
}

template <class T, int R, class Init, class Out>
inline void product(const T* x, int64_t xs, const Panels<T>& m, Init&& init, Out&& out) {
  const T* panel = m.data.data();
  int64_t column = 0;
  for (; column + VECS * WIDTH<T> <= m.width; column += VECS * WIDTH<T>, panel += m.k * VECS * WIDTH<T>)
    block<T, R, VECS>(x, xs, panel, m.k, column, init, out);
  const int64_t left = (m.width - column) / WIDTH<T>;
  if (left == 1) block<T, R, 1>(x, xs, panel, m.k, column, init, out);
  if (left == 2) block<T, R, 2>(x, xs, panel, m.k, column, init, out);
}

template <class T> struct Problem {
  int64_t trials, steps, batch, n, rank;  // rank 0: dense
  Activation activation;
  T slope;
  const T *z, *h0, *sigma, *a, *c, *grad, *last;  // dense: a is W; grad, last may be null
  T *states, *skinny, *delta, *grad_h0, *grad_sigma;
};

template <class T> struct Matrices {
  Panels<T> in, out;  // factored forward: C, A^T; backward: A, C^T. dense: W^T or W in `out`
};

// Where one slice stands in the arrays of a problem: first row of its trial and the row inside the trial.
template <class T> struct Slice {
  const Problem<T>& p;
  int64_t trial, first, number;
  int64_t row(int64_t t, int64_t r) const { return ((trial * p.steps + t) * p.batch + first + r); }
  int64_t start(int64_t r) const { return trial * p.batch + first + r; }
};

template <class T, int R> void forward(const Problem<T>& p, const Matrices<T>& m, Slice<T> s) {
  const int64_t n = p.n, width = padded(n, WIDTH<T>), skinny_width = padded(p.rank, WIDTH<T>);
  std::vector<T> state(2 * R * width), skinny(R * std::max<int64_t>(skinny_width, 1)), sigma(width);
  T *h = state.data(), *next = h + R * width, *q = skinny.data();
  if (p.rank) std::copy_n(p.sigma + s.trial * n, n, sigma.data());
  for (int r = 0; r < R; r++) std::copy_n(p.h0 + s.start(r) * n, n, h + r * width);
  for (int64_t t = 0; t < p.steps; t++) {
    const T* z = p.z + s.row(t, 0) * n;
    T* states = p.states + s.row(t, 0) * n;
    auto finish = [&](T* to) {
      return [=, &p](int r, int64_t j, Vec<T> x) {
        const Vec<T> value = apply<T>(p.activation, x, p.slope);
        store(to + r * width + j, value);
        store(states + r * n + j, value, n - j);
      };
    };
    if (p.rank) {
      T* kept = p.skinny ? p.skinny + s.row(t, 0) * p.rank : nullptr;
      product<T, R>(h, width, m.in, [](int, int64_t) { return Vec<T>{}; }, [&](int r, int64_t j, Vec<T> x) {
        store(q + r * skinny_width + j, x);
        if (kept) store(kept + r * p.rank + j, x, p.rank - j);
      });
      const T* diagonal = sigma.data();
      product<T, R>(q, skinny_width, m.out, [&](int r, int64_t j) {
        return load(z + r * n + j, n - j) + load(diagonal + j) * load(h + r * width + j);
      }, finish(h));
    } else {
      product<T, R>(h, width, m.out, [&](int r, int64_t j) { return load(z + r * n + j, n - j); }, finish(next));
      std::swap(h, next);
    }
  }
}

template <class T, int R> void backward(const Problem<T>& p, const Matrices<T>& m, Slice<T> s) {
  const int64_t n = p.n, width = padded(n, WIDTH<T>), skinny_width = padded(p.rank, WIDTH<T>);
  std::vector<T> buffers(2 * R * width), skinny(R * std::max<int64_t>(skinny_width, 1)), sums(2 * width);
  T *carried = buffers.data(), *delta = carried + R * width, *q = skinny.data();
  T *sigma = sums.data(), *grad_sigma = sigma + width;
  if (p.rank) std::copy_n(p.sigma + s.trial * n, n, sigma);
  auto given = [&](int64_t t, int r, int64_t j) {
    return p.grad && t >= 0 ? load(p.grad + s.row(t, r) * n + j, n - j) : Vec<T>{};
  };
  for (int r = 0; r < R; r++)
    for (int64_t j = 0; j < n; j += WIDTH<T>) {
      Vec<T> value = given(p.steps - 1, r, j);
      if (p.last) value += load(p.last + s.start(r) * n + j, n - j);
      store(carried + r * width + j, value);
    }
  for (int64_t t = p.steps - 1; t >= 0; t--) {
    for (int64_t j = 0; j < n; j += WIDTH<T>) {
      Vec<T> sum = load(grad_sigma + j);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const int64_t at = s.row(t, r) * n + j;
        const Vec<T> d = descend<T>(p.activation, load(carried + r * width + j), load(p.states + at, n - j), p.slope);
        store(delta + r * width + j, d);
        store(p.delta + at, d, n - j);
        if (p.rank) sum += d * load((t ? p.states + s.row(t - 1, r) * n : p.h0 + s.start(r) * n) + j, n - j);
      }
      store(grad_sigma + j, sum);
    }
    auto carry = [&](int r, int64_t j, Vec<T> x) { store(carried + r * width + j, x); };
    if (p.rank) {
      T* kept = p.skinny + s.row(t, 0) * p.rank;
      product<T, R>(delta, width, m.in, [](int, int64_t) { return Vec<T>{}; }, [&](int r, int64_t j, Vec<T> x) {
        store(q + r * skinny_width + j, x);
        store(kept + r * p.rank + j, x, p.rank - j);
      });
      product<T, R>(q, skinny_width, m.out, [&](int r, int64_t j) {
        return given(t - 1, r, j) + load(sigma + j) * load(delta + r * width + j);
      }, carry);
    } else {
      product<T, R>(delta, width, m.out, [&](int r, int64_t j) { return given(t - 1, r, j); }, carry);
    }
  }
  for (int r = 0; r < R; r++) std::copy_n(carried + r * width, n, p.grad_h0 + s.start(r) * n);
  if (p.rank) std::copy_n(grad_sigma, n, p.grad_sigma + s.number * n);
}

template <class T, int R> void run_slice(bool back, const Problem<T>& p, const Matrices<T>& m, Slice<T> s) {
  back ? backward<T, R>(p, m, s) : forward<T, R>(p, m, s);
}

// A trial's rows as slices of ROWS, then of fewer: the count of slices of `batch` rows.
int64_t slices_of(int64_t batch) {
  int64_t count = batch / ROWS;
  for (int64_t rest = batch % ROWS; rest; rest &= rest - 1) count++;
  return count;
}

template <class T> Matrices<T> matrices(bool back, const Problem<T>& p, int64_t trial) {
  const int64_t n = p.n, r = p.rank;
  if (!r) {
    const T* w = p.a + trial * n * n;
    return {Panels<T>(w, 0, 0, 0, 0), back ? Panels<T>(w, n, n, n, 1) : Panels<T>(w, n, n, 1, n)};
  }
  const T *a = p.a + trial * n * r, *c = p.c + trial * n * r;
  return {Panels<T>(back ? a : c, n, r, r, 1), Panels<T>(back ? c : a, r, n, 1, r)};
}

template <class T> void run(bool back, const Problem<T>& p, int64_t threads) {
  std::vector<Matrices<T>> packed;
  for (int64_t trial = 0; trial < p.trials; trial++) packed.push_back(matrices(back, p, trial));
  const int64_t slices = slices_of(p.batch), whole = p.batch / ROWS, tasks = p.trials * slices;
  std::atomic<int64_t> next{0};
  auto work = [&] {
    for (int64_t task = next++; task < tasks; task = next++) {
      const int64_t trial = task / slices, slice = task % slices;
      int64_t first = std::min(slice, whole) * ROWS, rows = ROWS;
      if (slice >= whole) {  // the rest as powers of two, the largest first
        int64_t rest = p.batch - first;
        for (int64_t i = whole;; i++, rest -= rows, first += rows) {
          for (rows = ROWS / 2; rows > rest; rows /= 2) {}
          if (i == slice) break;
        }
      }
      const Slice<T> s{p, trial, first, task};
      const Matrices<T>& m = packed[trial];
      if (rows == ROWS) run_slice<T, ROWS>(back, p, m, s);
      else if (rows == 4) run_slice<T, 4>(back, p, m, s);
      else if (rows == 2) run_slice<T, 2>(back, p, m, s);
      else run_slice<T, 1>(back, p, m, s);
    }
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < std::min(threads, tasks); i++) others.emplace_back(work);
  work();
  for (auto& other : others) other.join();
}

// sizes: trials, steps, batch, n, rank, activation, threads, back
template <class T> void call(const int64_t* size, double slope, void** at) {
  T* const* to = reinterpret_cast<T**>(at);
  const Problem<T> p{size[0], size[1], size[2], size[3], size[4], static_cast<Activation>(size[5]), T(slope),
                     to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7], to[8], to[9], to[10], to[11]};
  run(size[7] != 0, p, size[6]);
}

}  // namespace

extern "C" {
// grad_sigma holds one sum for each trial and slice.
int64_t spectral_slices(int64_t batch) { return slices_of(batch); }
void spectral_run_float(const int64_t* size, double slope, void** at) { call<float>(size, slope, at); }
void spectral_run_double(const int64_t* size, double slope, void** at) { call<double>(size, slope, at); }
}
