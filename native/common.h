// What both native programs need: refusals, vectors, arithmetic, memory, threads, and a model's shape.
//
// decode.cpp and train.cpp are compiled once per instruction set (setup.py), each time into one
// library, and Python loads the best one that the CPU runs (inference/native_library.py).

#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define TINYGPT_POSIX 1
#endif

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif
#if defined(__clang__)
#define UNROLLED_FOR(...) _Pragma("unroll") for (__VA_ARGS__)
#else
#define UNROLLED_FOR(...) _Pragma("GCC unroll 16") for (__VA_ARGS__)
#endif
#define INLINE inline __attribute__((always_inline))

inline thread_local char last_error[512];  // the same for both

namespace {

constexpr int32_t ABI = 2;

// ---------------------------------------------------------------------------------------- refusals

enum Code : int32_t { OK = 0, VALUE = 1, CONTEXT = 2, DAMAGED = 3, MACHINE = 4, BUG = 5 };

struct Refused {
  Code code;
  std::string text;
};

template <class... Args>
std::string format(const char* pattern, Args... args) {
  if constexpr (sizeof...(Args) == 0) {
    return pattern;
  } else {
    char text[400];
    std::snprintf(text, sizeof text, pattern, args...);
    return text;
  }
}

template <class... Args>
[[noreturn]] void refuse(Code code, const char* pattern, Args... args) {
  throw Refused{code, format(pattern, args...)};
}

using ll = long long;  // what %lld prints

// ----------------------------------------------------------------------------------------- vectors

#if defined(__AVX512F__)
constexpr int LANES = 16, MAX_ROWS = 6, MAX_QUERIES = 4;
#elif defined(__AVX2__)
constexpr int LANES = 8, MAX_ROWS = 2, MAX_QUERIES = 2;
#elif defined(__aarch64__)
constexpr int LANES = 4, MAX_ROWS = 6, MAX_QUERIES = 4;
#else
constexpr int LANES = 4, MAX_ROWS = 2, MAX_QUERIES = 2;
#endif
constexpr int PARTS = 4;  // vectors in a row of a panel
constexpr int64_t PANEL = PARTS * LANES;

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

template <class V, class T>
INLINE V load_as(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
INLINE Floats load(const float* p) { return load_as<Floats>(p); }
template <class V, class T>
INLINE void store(T* p, const V& v) {
  std::memcpy(p, &v, sizeof v);
}

#if defined(__AVX512F__)
INLINE Floats splat(float x) { return _mm512_set1_ps(x); }
INLINE Ints splat(int32_t x) { return reinterpret_cast<Ints>(_mm512_set1_epi32(x)); }
INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
INLINE Floats load(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
// Add to each lane the products of its four unsigned weights with four signed activations.
INLINE Ints dot4(Ints sum, const uint8_t* w, Ints x) {
  const __m512i q = _mm512_loadu_si512(w), v = reinterpret_cast<__m512i>(x);
#if defined(__AVX512VNNI__)
  return reinterpret_cast<Ints>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), q, v));
#else
  const __m512i even = _mm512_and_si512(q, _mm512_set1_epi16(255)), odd = _mm512_srli_epi16(q, 8);
  const __m512i x_even = _mm512_srai_epi16(_mm512_slli_epi16(v, 8), 8);
  const __m512i both = _mm512_add_epi32(_mm512_madd_epi16(even, x_even),
                                        _mm512_madd_epi16(odd, _mm512_srai_epi16(v, 8)));
  return sum + reinterpret_cast<Ints>(both);
#endif
}
#elif defined(__AVX2__)
INLINE Floats splat(float x) { return _mm256_set1_ps(x); }
INLINE Ints splat(int32_t x) { return reinterpret_cast<Ints>(_mm256_set1_epi32(x)); }
INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
INLINE Floats load(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
INLINE Ints dot4(Ints sum, const uint8_t* w, Ints x) {
  const __m256i q = _mm256_loadu_si256((const __m256i*)w), v = reinterpret_cast<__m256i>(x);
  const __m256i even = _mm256_and_si256(q, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(q, 8);
  const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8);
  const __m256i both = _mm256_add_epi32(_mm256_madd_epi16(even, x_even),
                                        _mm256_madd_epi16(odd, _mm256_srai_epi16(v, 8)));
  return sum + reinterpret_cast<Ints>(both);
}
#else  // four lanes of whatever the compiler finds: SSE2, NEON, or plain registers
INLINE Floats splat(float x) { return Floats{x, x, x, x}; }
INLINE Ints splat(int32_t x) { return Ints{x, x, x, x}; }
#if defined(__aarch64__)
INLINE Floats fma(Floats a, Floats b, Floats c) { return (Floats)vfmaq_f32(c, a, b); }
#else
INLINE Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
#endif
INLINE Floats load(const int8_t* p) {
  return Floats{float(p[0]), float(p[1]), float(p[2]), float(p[3])};
}
INLINE Ints dot4(Ints sum, const uint8_t* w, Ints x) {
  int8_t v[4];
  std::memcpy(v, &x, 4);  // every lane holds the same four activations
  for (int i = 0; i < LANES; ++i)
    for (int j = 0; j < 4; ++j) sum[i] += int32_t(w[4 * i + j]) * v[j];
  return sum;
}
#endif

// One lane of `fma`: the same bits, for the few rows that are computed alone.
INLINE float fma1(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

INLINE Floats choose(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }
INLINE Floats larger(Floats a, Floats b) { return choose(a > b, a, b); }
INLINE Floats magnitude(Floats x) {
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(x) & splat(int32_t(0x7fffffff)));
}
INLINE double total(Floats v) {
  double sum = 0;
  for (int i = 0; i < LANES; ++i) sum += v[i];
  return sum;
}
INLINE bool any(Ints mask) {
  uint64_t words[LANES / 2], all = 0;
  std::memcpy(words, &mask, sizeof mask);
  for (uint64_t word : words) all |= word;
  return all != 0;
}
INLINE float largest(Floats v) {
  float best = v[0];
  for (int i = 1; i < LANES; ++i) best = v[i] > best ? v[i] : best;
  return best;
}
INLINE float total_of_row(Floats v) {  // in an order of its own, but always the same
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(v);
#else
  float a[LANES];
  std::memcpy(a, &v, sizeof v);
  for (int n = LANES / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) a[i] += a[i + n];
  return a[0];
#endif
}
// To the second-level cache: far ahead, so that the wait for the memory is over when it is needed.
INLINE void prefetch(const char* p) { __builtin_prefetch(p, 0, 2); }

constexpr int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// -------------------------------------------------------------------------------------- arithmetic

// e^x to 2 units in the last place; 0 below -87 (Cephes' polynomial on [-ln 2 / 2, ln 2 / 2]).
INLINE Floats exp(Floats x) {
  const Floats most = splat(88.3f), least = splat(-87.0f),
               round = splat(12582912.0f);  // 1.5 * 2^23
  const Floats bounded = larger(choose(x < most, x, most), least);
  const Floats n = (bounded * splat(1.44269504f) + round) - round;
  const Floats r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), bounded));
  Floats p = splat(1.9875691500e-4f);
  for (float c :
       {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = fma(p, r, splat(c));
  p = fma(p, r * r, r) + splat(1.0f);
  const Ints exponent = (__builtin_convertvector(n, Ints) + splat(int32_t(127))) << 23;
  return choose(x < least, splat(0.0f), p * reinterpret_cast<Floats>(exponent));
}

// 1 - erf(x) for x >= 0, to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
INLINE Floats erfc(Floats x) {
  const Floats t = splat(1.0f) / fma(x, splat(0.3275911f), splat(1.0f));
  Floats p = splat(1.061405429f);
  for (float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
    p = fma(p, t, splat(c));
  return p * t * exp(-x * x);
}

INLINE Floats sigmoid_times(Floats x, Floats z) { return x / (splat(1.0f) + exp(-z)); }

INLINE Floats tanh(Floats x) {
  const Floats square = x * x;
  Floats p = splat(62.0f / 2835);  // near 0 the quotient below would lose digits
  for (float c : {-17.0f / 315, 2.0f / 15, -1.0f / 3, 1.0f}) p = fma(p, square, splat(c));
  const Floats far = splat(1.0f) - splat(2.0f) / (splat(1.0f) + exp(x + x));
  return choose(magnitude(x) < splat(0.25f), p * x, far);
}

enum Activation : int32_t { GELU_TANH, GELU, QUICK_GELU, RELU, SILU, TANH, N_ACTIVATIONS };

INLINE Floats activated(Activation kind, Floats x) {
  switch (kind) {
    case GELU_TANH: {  // x (1 + tanh z) / 2 is x times the logistic function of 2 z
      const Floats z = splat(0.7978845608f) * fma(splat(0.044715f) * x * x, x, x);
      return sigmoid_times(x, z + z);
    }
    case GELU: {
      const Floats tail = erfc(magnitude(x) * splat(0.70710678f));
      return splat(0.5f) * x * choose(x < splat(0.0f), tail, splat(2.0f) - tail);
    }
    case QUICK_GELU: return sigmoid_times(x, splat(1.702f) * x);
    case RELU: return larger(x, splat(0.0f));
    case SILU: return sigmoid_times(x, x);
    default: return tanh(x);
  }
}

// ------------------------------------------------------------------------------------------ memory

int64_t product(std::initializer_list<int64_t> factors) {
  int64_t result = 1;
  for (int64_t f : factors)
    if (f < 0 || __builtin_mul_overflow(result, f, &result) || result > (int64_t(1) << 46))
      throw std::bad_alloc();
  return result;
}

// Zeroed memory, in pages of 2 MB where it is large and the system has them.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { release(); }

  void allocate(int64_t bytes) {
    release();
    constexpr size_t huge = size_t(2) << 20;
    const size_t size = size_t(padded(std::max<int64_t>(bytes, 64), 64));
#if TINYGPT_POSIX
    if (size >= huge) {
      size_ = size + huge;
      base_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (base_ == MAP_FAILED) {
        base_ = nullptr;
        throw std::bad_alloc();
      }
      data_ =
          reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(base_) + huge - 1) & ~(huge - 1));
#if defined(MADV_HUGEPAGE)
      madvise(data_, size, MADV_HUGEPAGE);
#endif
      return;
    }
#endif
    base_ = ::operator new(size, std::align_val_t(64));
    size_ = 0;
    data_ = static_cast<char*>(base_);
    std::memset(data_, 0, size);
  }

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void release() {
    if (!base_) return;
#if TINYGPT_POSIX
    if (size_) munmap(base_, size_);
#endif
    if (!size_) ::operator delete(base_, std::align_val_t(64));
    base_ = nullptr;
    data_ = nullptr;
  }
  void* base_ = nullptr;
  char* data_ = nullptr;
  size_t size_ = 0;  // of the mapping; 0 where `new` made it
};

template <class T>
class Array {
 public:
  void allocate(int64_t n) { memory_.allocate(product({n, int64_t(sizeof(T))})); }
  T* get() const { return memory_.as<T>(); }
  T& operator[](int64_t i) const { return get()[i]; }

 private:
  Memory memory_;
};

// ----------------------------------------------------------------------------------------- threads

INLINE void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

struct Range {
  int64_t begin, end;
};
Range share(int64_t n, int t, int n_threads) {
  return {n * t / n_threads, n * (t + 1) / n_threads};
}

// Threads that run one function together. Who waits spins for about a tenth of a millisecond, then
// sleeps, so that other threads (torch's, say) are not starved. To yield instead costs milliseconds
// where the CPU is busy: whoever gets it keeps it, while a sleeper that is woken comes first.
class Pool {
 public:
  explicit Pool(int n) : n_(n), left_(static_cast<size_t>(n)) {
    try {
      for (int t = 1; t < n; ++t) threads_.emplace_back([this, t] { work(t); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ~Pool() { stop(); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int size() const { return n_; }

  // Call f(t) on every thread t, and return when all have ended. f must not throw.
  template <class F>
  void run(const F& f) {
    if (n_ == 1) return f(0);
    job_ = [](const void* p, int t) { (*static_cast<const F*>(p))(t); };
    argument_ = &f;
    n_done_.store(0);
    round_.fetch_add(1);
    wake();
    f(0);
    wait([this] { return n_done_.load() == n_ - 1; });
  }

  // Wait, inside `run`, until every thread is here.
  void barrier() {
    if (n_ == 1) return;
    const unsigned phase = phase_.load();
    if (n_here_.fetch_add(1) == n_ - 1) {
      n_here_.store(0);
      phase_.store(phase + 1);
      wake();
    } else {
      wait([this, phase] { return phase_.load() != phase; });
    }
  }

  // Deal out 0 .. n - 1, inside `run`: each thread takes its own share in order, and then from the
  // ends of the others' that are behind. A barrier must stand between one deal and the next.
  void deal(int64_t n, int t) { left_[size_t(t)].range.store(packed(share(n, t, n_))); }

  // What is next for thread t of what was dealt out; -1 at the end.
  int64_t next(int t) {
    for (int i = 0; i < n_; ++i) {
      std::atomic<uint64_t>& range = left_[size_t((t + i) % n_)].range;
      for (uint64_t left = range.load();;) {
        const int64_t begin = int64_t(left >> 32), end = int64_t(left & 0xffffffff);
        if (begin == end) break;
        const Range rest = i == 0 ? Range{begin + 1, end} : Range{begin, end - 1};
        if (range.compare_exchange_weak(left, packed(rest))) return i == 0 ? begin : end - 1;
      }
    }
    return -1;
  }

 private:
  struct alignas(64) Left {
    std::atomic<uint64_t> range{0};  // begin in the upper half, end in the lower
  };
  static uint64_t packed(Range r) { return uint64_t(r.begin) << 32 | uint64_t(r.end); }

  void work(int t) {
    unsigned last = 0;
    for (;;) {
      wait([this, last] { return round_.load() != last; });
      last = round_.load();
      if (stopping_.load()) return;
      job_(argument_, t);
      n_done_.fetch_add(1);
      wake();
    }
  }

  template <class Ready>
  void wait(const Ready& ready) {
    for (int i = 0; i < 2000; ++i) {
      if (ready()) return;
      pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    n_asleep_.fetch_add(1);
    changed_.wait(lock, ready);
    n_asleep_.fetch_sub(1);
  }

  void wake() {  // after a change that someone may wait for
    if (!n_asleep_.load()) return;
    { std::lock_guard<std::mutex> lock(mutex_); }
    changed_.notify_all();
  }

  void stop() {
    stopping_.store(true);
    round_.fetch_add(1);
    wake();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  const int n_;
  std::vector<Left> left_;
  std::vector<std::thread> threads_;
  void (*job_)(const void*, int) = nullptr;
  const void* argument_ = nullptr;
  alignas(64) std::atomic<unsigned> round_{0};
  alignas(64) std::atomic<int> n_done_{0};
  alignas(64) std::atomic<int> n_here_{0};
  alignas(64) std::atomic<unsigned> phase_{0};
  alignas(64) std::atomic<int> n_asleep_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
};

// ------------------------------------------------------------------------------ a model's shape

struct Shape {
  int64_t vocab_size, n_positions, n_embd, n_layer, n_head, n_inner;
  double layer_norm_epsilon;
  int32_t activation, tied, precision, reserved;
};
enum Precision : int32_t { EXACT, INT8, INT8_DYNAMIC, N_PRECISIONS };

void check_shape(const Shape& s, Code code) {
  const int64_t sizes[] = {s.vocab_size, s.n_positions, s.n_embd, s.n_layer, s.n_head, s.n_inner};
  for (int64_t size : sizes)
    if (size < 1 || size > (int64_t(1) << 31) - 1024)
      refuse(code, "a size of the model is %lld", ll(size));
  const bool known = s.activation >= 0 && s.activation < N_ACTIVATIONS && s.precision >= 0 &&
                     s.precision < N_PRECISIONS && (s.tied == 0 || s.tied == 1) && s.reserved == 0;
  if (!known || s.n_embd % s.n_head || !(s.layer_norm_epsilon > 0))
    refuse(code, "the engine does not know a model of this kind");
  if (s.precision == INT8_DYNAMIC && std::max(s.n_embd, s.n_inner) > 100000)
    refuse(code, "int8-dynamic sums at most 100000 numbers in 32 bits; take another precision");
  // Limits of ModelConfig, so that no size below can overflow.
  const double columns = double(s.n_layer) * (4.0 * double(s.n_embd) + 2.0 * double(s.n_inner));
  const double rows = 2.0 * double(s.vocab_size) + double(s.n_positions);
  if (s.n_layer > 1000 || (rows + columns) * double(s.n_embd) > 2e11)
    refuse(code, "the model is larger than the engine opens");
}

// --------------------------------------------------------------------------------- calls from C

int32_t failed(Code code, const char* text) noexcept {
  std::snprintf(last_error, sizeof last_error, "%s", text);
  return code;
}

// Run f; what it throws becomes a code and a message.
template <class F>
int32_t guarded(const F& f) noexcept {
  try {
    f();
    return OK;
  } catch (const Refused& error) {
    return failed(error.code, error.text.c_str());
  } catch (const std::bad_alloc&) {
    return failed(MACHINE,
                  "too little memory for the native engine; take fewer slots or windows, or a smaller model");
  } catch (const std::length_error&) {
    return failed(MACHINE,
                  "too little memory for the native engine; take fewer slots or windows, or a smaller model");
  } catch (const std::system_error& error) {
    return failed(MACHINE, error.what());  // no thread to be had
  } catch (const std::exception& error) {
    return failed(BUG, error.what());
  } catch (...) {
    return failed(BUG, "the native engine failed");
  }
}

void check_pointers(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (!p) refuse(BUG, "the native engine was called with a null pointer");
}

void check_threads(int64_t n) {
  if (n < 1 || n > 1024) refuse(VALUE, "%lld threads: 1 to 1024 are possible", ll(n));
}

// Run f on a session (or a trainer) that nobody else is using.
template <class Session, class F>
int32_t with(Session* session, std::initializer_list<const void*> pointers, const F& f) noexcept {
  return guarded([&] {
    if (!session) refuse(VALUE, "the session is closed; open another");
    check_pointers(pointers);
#if TINYGPT_POSIX
    if (session->process != getpid())
      refuse(VALUE, "the native engine does not survive a fork; open the model in the child");
#endif
    if (session->busy.test_and_set()) refuse(VALUE, "another thread is using this session");
    struct Leave {
      std::atomic_flag& busy;
      ~Leave() { busy.clear(); }
    } leave{session->busy};
    f();
  });
}

}  // namespace
