// The recurrence over time, one call for the whole sequence; see README.md in spectral/recurrence.
//
// Work is cut into slices of ROWS batch rows of one trial. A slice runs through all time steps without waiting for
// others: batch rows do not depend on each other, so no barrier between steps is needed, and a slice's state stays in the
// first cache.
#pragma once
#include "threads.h"
#include "transition.h"

namespace {

// The sizes and arrays of one call. All arrays are contiguous, with the trial axis first.
template <class T> struct Problem {
  int64_t trials, steps, batch, n;
  int64_t rank;        // r of the factors; without sigma and c `a` is W. In one trial 0 means that W is multiplied
  int64_t inputs;      // I, input features a step; -1 means that `x` is z = M x + b already, (trials, steps, batch, n)
  int64_t most;        // with factors: a trial with more columns than this forms W and is computed with it
  Activation activation;
  T slope;
  const T *x, *h0, *sigma, *a, *c, *m, *bias, *offset, *grad, *last;  // m (n, I); bias, offset, grad, last may be null
  T *states, *skinny, *delta, *end;  // skinny = h C, (.., min(r, most) but at least 1); end: h_T forward, dL/dh_0 backward; may be null
  T *grad_sigma, *grad_a, *grad_c, *grad_m, *grad_bias, *grad_offset;  // in the shapes of what they are gradients of

  // The row that multiplies A (or W), M and b at a step is [h C or h, x, 1]. Its products with delta are their gradients.
  int64_t core() const { return rank ? rank : n; }
  int64_t kept() const { return core() + (inputs < 0 ? 0 : inputs + 1); }
};

// A row stride of at least `size` that is an odd number of vectors: with a power of two, rows would share cache sets.
template <class T> int64_t stride(int64_t size) { return padded(size, 2 * WIDTH<T>) + WIDTH<T>; }

// The sums of one slice: rows of n numbers, `width` apart. They are the gradients of [A or W, M, b]^T, C^T, sigma, offset.
template <class T> struct Sums {
  int64_t width, kept, rank;
  int64_t size() const { return (kept + rank + 2) * width; }
  int64_t in() const { return kept * width; }
  int64_t sigma() const { return (kept + rank) * width; }
  int64_t offset() const { return sigma() + width; }
};

// One trial: the problem with the rank that this trial has, and the panels of its two products. A pack fills up its smaller
// sets of reflectors with columns that are zero in A and in C. They are left out here, so that a trial costs what it costs
// alone and is computed as it is alone; their gradients are exactly zero.
template <class T> struct Trial {
  Problem<T> p;
  std::unique_ptr<Factors<T>> factors;  // null if W was given
  Panels<T> in;                         // into the rank: C forward, A backward
  Panels<T> out;                        // out of it: [A^T or W^T; M^T; b] forward, C^T or W backward
  std::unique_ptr<T[]> sums;            // of every slice, one after another

  Sums<T> layout() const { return {stride<T>(p.n), p.kept(), p.rank}; }
};

// Make the panels of one trial.
template <class T> Trial<T> trial_of(bool back, Problem<T> p, int64_t trial) {
  const int64_t n = p.n, full = p.rank;
  const T* a = p.a + trial * n * (p.sigma ? full : n);
  std::unique_ptr<Factors<T>> factors;
  std::unique_ptr<T[]> formed;
  p.rank = 0;
  if (p.sigma) {
    factors = std::make_unique<Factors<T>>(a, p.c + trial * n * full, n, full);
    if (factors->rank() > p.most) {
      formed = array_of<T>(n * n);
      factors->form(p.sigma + trial * n, n, formed.get());
      a = formed.get();
    } else {
      if (!factors->rank()) factors->add_zero_column(n);  // because rank 0 means W
      p.rank = factors->a.size() / n, a = factors->a.data();
      // Rows of h C are stored `rank` apart inside the trial's part of the array, which begins at a multiple of its width.
      if (p.skinny) p.skinny += trial * p.steps * p.batch * (std::max<int64_t>(1, std::min(full, p.most)) - p.rank);
    }
  }
  const T* c = p.rank ? factors->c.data() : nullptr;
  const int64_t r = p.rank, k = p.core();
  if (back) {
    Panels<T> in(r ? a : nullptr, r ? n : 0, r, r, 1), out(r ? c : a, k, n, r ? 1 : n, r ? r : 1);
    Trial<T> made{p, std::move(factors), std::move(in), std::move(out), nullptr};
    return made;
  }
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
  Panels<T> in(c, r ? n : 0, r, r, 1), out(joined.data(), p.kept(), n, n, 1);
  return {p, std::move(factors), std::move(in), std::move(out), nullptr};
}

// The position of one slice in the arrays: its trial, its first batch row, its number in the trial.
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

// Run one slice of R rows backward through all time steps. Its sums go to its own place, so that no two threads write to
// one and so that they can be added in one order afterwards.
template <class T, int R> void backward(const Trial<T>& m, Slice<T> s) {
  // One allocation for the slice's arrays. carried: dL/dh of the step at hand. Gathered over GATHERED steps: deltas,
  // befores (h_{t-1}), keeps ([h C or h, x, 1]) and qq (delta A).
  const Problem<T>& p = m.p;
  const int64_t n = p.n, width = padded(n, WIDTH<T>), ds = stride<T>(n), ks = stride<T>(std::max(n, p.kept()));
  const int64_t qs = stride<T>(std::max<int64_t>(p.rank, 1)), rows = GATHERED * R;
  std::vector<T> data(R * ds + 2 * rows * ds + rows * ks + rows * qs + ds);
  T *carried = data.data(), *deltas = carried + R * ds, *befores = deltas + rows * ds, *keeps = befores + rows * ds;
  T *qq = keeps + rows * ks, *sigma = qq + rows * qs;
  const Sums<T> sums = m.layout();
  T *grad_out = m.sums.get() + s.number * sums.size(), *grad_in = grad_out + sums.in();
  T *grad_sigma = grad_out + sums.sigma(), *grad_offset = grad_out + sums.offset();
  std::fill_n(grad_out, sums.size(), T(0));
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
  for (int r = 0; r < R; r++) std::copy_n(carried + r * ds, n, p.end + s.start(r) * n);
}

// Run one slice in one direction of time.
template <class T, int R> void run_slice(bool back, const Trial<T>& m, Slice<T> s) {
  back ? backward<T, R>(m, s) : forward<T, R>(m, s);
#if defined(__SSE2__)
  _mm_sfence();  // other threads see the streamed stores from here on
#endif
}

// Add the sums of all slices of a trial, the first one first, and write them in the shapes of the weights.
template <class T> void gather(const Trial<T>& m, int64_t trial, int64_t full, int64_t slices) {
  const Problem<T>& p = m.p;
  const Sums<T> sums = m.layout();
  const int64_t n = p.n, r = p.rank, core = p.core();
  T* total = m.sums.get();
  for (int64_t slice = 1; slice < slices; slice++)
    for (int64_t i = 0; i < sums.size(); i += WIDTH<T>)
      store(total + i, load(total + i) + load(total + slice * sums.size() + i));
  const T *in = total + sums.in(), *inputs = total + core * sums.width, *bias = inputs + p.inputs * sums.width;
  if (p.offset) std::copy_n(total + sums.offset(), n, p.grad_offset + trial * n);
  if (p.inputs >= 0) {
    T* grad = p.grad_m + trial * n * p.inputs;
    for (int64_t j = 0; j < n; j++)
      for (int64_t i = 0; i < p.inputs; i++) *grad++ = inputs[i * sums.width + j];
    if (p.bias) std::copy_n(bias, n, p.grad_bias + trial * n);
  }
  T *grad_a = p.grad_a + trial * n * (p.sigma ? full : n), *grad_c = p.grad_c + trial * n * full;
  if (r) {
    const std::vector<int64_t>& live = m.factors->live;
    const int64_t count = live.size();
    if (count < full) std::fill_n(grad_a, n * full, T(0)), std::fill_n(grad_c, n * full, T(0));
    for (int64_t j = 0; j < n; j++)
      for (int64_t i = 0; i < count; i++)
        grad_a[j * full + live[i]] = total[i * sums.width + j], grad_c[j * full + live[i]] = in[i * sums.width + j];
    std::copy_n(total + sums.sigma(), n, p.grad_sigma + trial * n);
    return;
  }
  std::unique_ptr<T[]> own = p.sigma ? array_of<T>(n * n) : nullptr;
  T* grad_w = p.sigma ? own.get() : grad_a;
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < n; i++) grad_w[j * n + i] = total[i * sums.width + j];
  if (p.sigma) m.factors->gradient(grad_w, n, full, p.grad_sigma + trial * n, grad_a, grad_c);
}

// How many slices `batch` rows are cut into: as many of ROWS as fit, and the rest as powers of two.
inline int64_t slices_of(int64_t batch) {
  int64_t count = batch / ROWS;
  for (int64_t rest = batch % ROWS; rest; rest &= rest - 1) count++;
  return count;
}

// Run all slices of all trials. They are one queue for all threads, so that unlike trials do not leave a thread idle.
template <class T> void run(bool back, const Problem<T>& p, int64_t threads) {
  const int64_t slices = slices_of(p.batch), whole = p.batch / ROWS;
  std::vector<Trial<T>> each;
  for (int64_t trial = 0; trial < p.trials; trial++) {
    each.push_back(trial_of(back, p, trial));
    // At least one: without rows all sums are zero.
    const int64_t size = each.back().layout().size(), count = std::max<int64_t>(slices, 1);
    if (back) each.back().sums = array_of<T>(count * size);
    if (back && !slices) std::fill_n(each.back().sums.get(), size, T(0));
  }
  share(p.trials * slices, threads, [&](int64_t task) {
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
    const Slice<T> s{m.p, trial, first, slice};
    if (rows == ROWS) run_slice<T, ROWS>(back, m, s);
    else if (rows == 4) run_slice<T, 4>(back, m, s);
    else if (rows == 2) run_slice<T, 2>(back, m, s);
    else run_slice<T, 1>(back, m, s);
  });
  if (back) share(p.trials, threads, [&](int64_t trial) { gather(each[trial], trial, p.rank, slices); });
}

}  // namespace
