// The library's functions. SCALAR is float or double: one library is built for each. Arrays are contiguous.
#include "recurrence.h"

using T = SCALAR;

// Enough arithmetic for another thread to be worth its start.
constexpr int64_t WORTH_A_THREAD = 1 << 21;

static int64_t useful(int64_t threads, int64_t operations) { return std::min(threads, 1 + operations / WORTH_A_THREAD); }

// Keep sums in registers across iterations, and the compiler from adding them up beforehand.
#if defined(__x86_64__) && defined(__AVX512F__)
#define IN_REGISTER(x) "+v"(x)
#elif defined(__x86_64__)
#define IN_REGISTER(x) "+x"(x)
#elif defined(__aarch64__)
#define IN_REGISTER(x) "+w"(x)
#endif

// The operations a second of multiply-adds in registers and nothing else: twelve independent sums, enough for two units
// with a latency of four cycles. 0 on other processors.
static double multiply_adds_alone() {
#if defined(IN_REGISTER)
  constexpr int64_t COUNT = 2000000;
  Vec<T> a = {}, b = {}, c = {}, d = {}, e = {}, f = {}, g = {}, h = {}, i = {}, j = {}, k = {}, l = {};
  Vec<T> x = Vec<T>{} + T(0.5), y = Vec<T>{} + T(0.25);
  auto seconds = [] {  // of this thread alone, whatever else runs
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
  };
  const double started = seconds();
  for (int64_t n = 0; n < COUNT; n++) {
    a += x * y, b += x * y, c += x * y, d += x * y, e += x * y, f += x * y;
    g += x * y, h += x * y, i += x * y, j += x * y, k += x * y, l += x * y;
    asm volatile("" : IN_REGISTER(a), IN_REGISTER(b), IN_REGISTER(c), IN_REGISTER(d), IN_REGISTER(e), IN_REGISTER(f),
                 IN_REGISTER(g), IN_REGISTER(h), IN_REGISTER(i), IN_REGISTER(j), IN_REGISTER(k), IN_REGISTER(l));
    asm volatile("" : IN_REGISTER(x), IN_REGISTER(y));  // the product is formed anew
  }
  return 2.0 * 12 * WIDTH<T> * COUNT / (seconds() - started);
#else
  return 0;
#endif
}

extern "C" {
// Operations a second, the best of `rounds`.
double spectral_peak(int64_t rounds) {
  double best = 0;
  for (int64_t round = 0; round < rounds; round++) best = std::max(best, multiply_adds_alone());
  return best;
}

// The tile of a product and the numbers of a vector, for a description of the machine.
void spectral_tile(int64_t* to) { to[0] = TILE, to[1] = VECS, to[2] = WIDTH<T>; }

// size: trials, steps, batch, n, rank, inputs, most, activation, threads, back. at: the arrays, in the order of Problem.
void spectral_run(const int64_t* size, double slope, void** at) {
  T* const* to = reinterpret_cast<T**>(at);
  const Problem<T> p{size[0], size[1], size[2], size[3], size[4], size[5], size[6], static_cast<Activation>(size[7]), T(slope),
                     to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7], to[8], to[9], to[10], to[11], to[12],
                     to[13], to[14], to[15], to[16], to[17], to[18], to[19]};
  run(size[9] != 0, p, size[8]);
}

// The numbers that spectral_factors saves for the gradient, for each trial.
int64_t spectral_saved(const int64_t* size) { return Transition<T>::saved_size(size[0], size[1], size[2]); }

// size: trials, n, m1, m2, threads, back. at: the arrays of Transition, in its order and with the trial axis first.
void spectral_factors(const int64_t* size, void** at) {
  T* const* to = reinterpret_cast<T**>(at);
  const int64_t trials = size[0], n = size[1], m1 = size[2], m2 = size[3], r = m1 + m2;
  auto place = [&](int i, int64_t trial, int64_t count) { return to[i] ? to[i] + trial * count : nullptr; };
  share(trials, useful(size[4], trials * n * r * r), [&](int64_t k) {
    const Transition<T> one{n, m1, m2, place(0, k, n), place(1, k, n * m1), place(2, k, n * m2), place(3, k, n * r),
                            place(4, k, n * r), place(5, k, Transition<T>::saved_size(n, m1, m2)), place(6, k, n * r),
                            place(7, k, n * r), place(8, k, n), place(9, k, n * m1), place(10, k, n * m2)};
    size[5] ? one.backward() : one.forward();
  });
}

// size: trials, n, r, threads, back. at: sigma, a, c, then W, or dW and the gradients of sigma, a and c.
void spectral_matrix(const int64_t* size, void** at) {
  T* const* to = reinterpret_cast<T**>(at);
  const int64_t trials = size[0], n = size[1], r = size[2];
  share(trials, useful(size[3], trials * n * n * r), [&](int64_t k) {
    const Factors<T> factors(to[1] + k * n * r, to[2] + k * n * r, n, r);
    if (!size[4]) factors.form(to[0] + k * n, n, to[3] + k * n * n);
    else factors.gradient(to[3] + k * n * n, n, r, to[4] + k * n, to[5] + k * n * r, to[6] + k * n * r);
  });
}

// size: matrices, rows, columns. Scale every column of every matrix to length 1, in place.
void spectral_normalize(const int64_t* size, void* x) {
  for (int64_t k = 0; k < size[0]; k++) normalize(static_cast<T*>(x) + k * size[1] * size[2], size[1], size[2]);
}

// size: trials, rows, columns. Write the sum of the squares of each trial.
void spectral_squares(const int64_t* size, const void* x, double* to) {
  for (int64_t k = 0; k < size[0]; k++)
    to[k] = sum_of_squares(static_cast<const T*>(x) + k * size[1] * size[2], size[1], size[2]);
}
}
