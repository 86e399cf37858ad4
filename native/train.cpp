// The native CPU training step: loss and gradients of a GPT-2, on whole windows of float32.
//
// Compiled and loaded with decode.cpp (setup.py, inference/native_library.py). What it computes is model/gpt.py's
// forward pass, the summed cross-entropy and what backpropagation makes of them, and Muon's update
// (training/muon.py); the rest of the optimizer stays in Python. Read it top-down: tiles, products, one row
// after another, the trainer, half a block there and back, attention, Muon, the head.
//
// Each thread owns some windows from the ids to the gradients, so that threads meet a few times a
// step and not at every operation, what one window needs stays in the caches of one core, and a
// core that is taken away for a moment holds up little. Every thread sums its windows in order, and
// the threads' sums are added in order: the bits depend on their number and the instruction set.
//
// Words: T tokens of a window, C n_embd, F the MLP's width, D the size of a head, V the vocabulary;
// d_x is the gradient of the loss with respect to x.

#include "common.h"

namespace {

// ------------------------------------------------------------------------------------------- tiles

#if defined(__AVX512F__)
constexpr int TILE = 12;  // rows of a tile of sums, all kept in registers
#elif defined(__AVX2__)
constexpr int TILE = 6;
#elif defined(__aarch64__)
constexpr int TILE = 12;
#else
constexpr int TILE = 4;
#endif
constexpr int64_t WIDE = 2 * LANES;  // columns of a tile
constexpr int64_t DEEP = 128;        // steps of a sum at a time: what a tile reads stays in L1

// A matrix whose rows or columns are read one number at a time.
struct Left {
  const float* data;
  int64_t row, column;  // strides
};
// A matrix that is read WIDE columns at a time; `panel` leads to the next WIDE columns.
struct Right {
  const float* data;
  int64_t row, panel;
};

// What a product is added to: a matrix (or none), and a bias for each column (or none).
struct Plus {
  const float* data = nullptr;
  int64_t row = 0;
  const float* bias = nullptr;
};

// c (R x WIDE) = left (R x n) times right (n x WIDE) + plus. What is added is read last, so that
// the sum need not wait for it.
template <int R>
INLINE void tile(int64_t n, Left left, const float* right, int64_t right_row, float* c,
                 int64_t c_row, Plus plus) {
  UNROLLED_FOR(int r = 0; r < R; ++r) {
    __builtin_prefetch(c + r * c_row, 1);
    __builtin_prefetch(c + r * c_row + LANES, 1);
  }
  if (plus.data && plus.data != c) UNROLLED_FOR(int r = 0; r < R; ++r) {
      __builtin_prefetch(plus.data + r * plus.row);
      __builtin_prefetch(plus.data + r * plus.row + LANES);
    }
  Floats sums[R][2];
  UNROLLED_FOR(int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = splat(0.0f);
  const float* quads[(R + 3) / 4];  // x86 reaches four rows from one address
  for (int q = 0; q < (R + 3) / 4; ++q) quads[q] = left.data + 4 * q * left.row;
  const int64_t one = left.row, three = 3 * left.row;
  for (int64_t k = 0; k < n; ++k) {
    const Floats b0 = load(right), b1 = load(right + LANES);
    right += right_row;
    UNROLLED_FOR(int r = 0; r < R; ++r) {
      const float* p = quads[r / 4];
      const float x = r % 4 == 0 ? p[0] : r % 4 == 1 ? p[one] : r % 4 == 2 ? p[2 * one] : p[three];
      const Floats a = splat(x);
      sums[r][0] = fma(a, b0, sums[r][0]);
      sums[r][1] = fma(a, b1, sums[r][1]);
    }
    UNROLLED_FOR(int q = 0; q < (R + 3) / 4; ++q) quads[q] += left.column;
  }
  if (plus.bias) {
    const Floats b0 = load(plus.bias), b1 = load(plus.bias + LANES);
    UNROLLED_FOR(int r = 0; r < R; ++r) sums[r][0] += b0, sums[r][1] += b1;
  }
  UNROLLED_FOR(int r = 0; r < R; ++r) {
    if (plus.data) {
      sums[r][0] += load(plus.data + r * plus.row);
      sums[r][1] += load(plus.data + r * plus.row + LANES);
    }
    store(c + r * c_row, sums[r][0]);
    store(c + r * c_row + LANES, sums[r][1]);
  }
}

template <int R>
void rows_of_tiles(int64_t n, Left left, const float* right, int64_t right_row, float* c,
                   int64_t c_row, int64_t columns, Plus plus) {
  if (columns >= WIDE) return tile<R>(n, left, right, right_row, c, c_row, plus);
  float whole[R * WIDE];  // the last columns of a matrix: computed in full, kept in part
  tile<R>(n, left, right, right_row, whole, WIDE, {});
  for (int64_t r = 0; r < R; ++r)
    for (int64_t i = 0; i < columns; ++i)
      c[r * c_row + i] = whole[r * WIDE + i] + (plus.bias ? plus.bias[i] : 0.0f) +
                         (plus.data ? plus.data[r * plus.row + i] : 0.0f);
}

// c (rows x columns) = left (rows x n) times right (n x columns) + plus.
void multiply(int64_t rows, int64_t columns, int64_t n, Left left, Right right, float* c,
              int64_t c_row, Plus plus = {}) {
  for (int64_t k = 0; k < n; k += DEEP) {
    const int64_t deep = std::min(DEEP, n - k);
    if (k > 0) plus = {c, c_row, nullptr};
    for (int64_t j = 0; j < columns; j += WIDE) {
      const float* b = right.data + j / WIDE * right.panel + k * right.row;
      for (int64_t i = 0; i < rows;) {
        const Left a{left.data + i * left.row + k * left.column, left.row, left.column};
        float* to = c + i * c_row + j;
        const Plus own{plus.data ? plus.data + i * plus.row + j : nullptr, plus.row,
                       plus.bias ? plus.bias + j : nullptr};
        const auto run = [&](auto size) {
          constexpr int R = decltype(size)::value;
          rows_of_tiles<R>(deep, a, b, right.row, to, c_row, columns - j, own);
          i += R;
        };
        const int64_t rest = rows - i;
        if (rest >= TILE)
          run(std::integral_constant<int, TILE>());
        else if (TILE > 8 && rest >= 8)
          run(std::integral_constant<int, 8>());
        else if (TILE > 4 && rest >= 4)
          run(std::integral_constant<int, 4>());
        else if (rest >= 2)
          run(std::integral_constant<int, 2>());
        else
          run(std::integral_constant<int, 1>());
      }
    }
  }
}

// ----------------------------------------------------------------------------------------- packing

// Lay a (rows x columns) matrix out in panels of WIDE columns; what is beyond its edge is 0.
void pack_panel(const float* from, int64_t row, int64_t column, int64_t rows, int64_t columns,
                float* to) {
  if (column == 1) {
    for (int64_t k = 0; k < rows; ++k, to += WIDE) {
      if (columns >= WIDE) {
        std::memcpy(to, from + k * row, WIDE * 4);
        continue;
      }
      for (int64_t i = 0; i < WIDE; ++i) to[i] = i < columns ? from[k * row + i] : 0.0f;
    }
    return;
  }
  constexpr int64_t BLOCK = 16;  // of a transposition: both sides stay in L1
  for (int64_t k = 0; k < rows; k += BLOCK)
    for (int64_t i = 0; i < WIDE; ++i) {
      const int64_t end = std::min(BLOCK, rows - k);
      for (int64_t kk = k; kk < k + end; ++kk)
        to[kk * WIDE + i] = i < columns ? from[kk * row + i * column] : 0.0f;
    }
}

int64_t packed_size(int64_t rows, int64_t columns) { return padded(columns, WIDE) * rows; }

void pack_matrix(const float* from, int64_t row, int64_t column, int64_t rows, int64_t columns,
                 float* to) {
  for (int64_t j = 0; j < columns; j += WIDE)
    pack_panel(from + j * column, row, column, rows, columns - j, to + j * rows);
}

// -------------------------------------------------------------------------- element by element

// Rows of numbers in a buffer. A row is a little longer than its numbers, so that the same column
// of many rows does not fall into the same few places of a cache.
struct Rows {
  float* data = nullptr;
  int64_t row = 0;
  float* at(int64_t i) const { return data + i * row; }
  Left left() const { return {data, row, 1}; }
  Left turned() const { return {data, 1, row}; }
  Right right() const { return {data, row, WIDE}; }
};
int64_t row_length(int64_t n) { return padded(n, WIDE) + LANES; }

INLINE Floats inverse(Floats x) {
#if defined(__AVX512F__)
  const Floats y = _mm512_rcp14_ps(x);  // 14 bits; one step of Newton's doubles them
  return y * fma(-x, y, splat(2.0f));
#else
  return splat(1.0f) / x;
#endif
}

struct Slope {
  Floats value, slope;
};

// An activation and its derivative.
INLINE Slope sloped(Activation kind, Floats x) {
  const Floats one = splat(1.0f), half = splat(0.5f);
  switch (kind) {
    case GELU_TANH: {
      const Floats square = x * x, c = splat(2 * 0.7978845608f);
      const Floats z = c * fma(splat(0.044715f) * square, x, x);  // twice tanh's argument
      const Floats s = inverse(one + exp(-z));
      const Floats dz = c * fma(splat(3 * 0.044715f), square, one);
      return {x * s, fma(x * s * (one - s), dz, s)};
    }
    case GELU: {
      const Floats tail = erfc(magnitude(x) * splat(0.70710678f));
      const Floats cdf = half * choose(x < splat(0.0f), tail, splat(2.0f) - tail);
      return {x * cdf, fma(x * splat(0.39894228f), exp(-half * x * x), cdf)};
    }
    case QUICK_GELU: {
      const Floats s = inverse(one + exp(splat(-1.702f) * x));
      return {x * s, fma(splat(1.702f) * x * s, one - s, s)};
    }
    case RELU: return {larger(x, splat(0.0f)), choose(x > splat(0.0f), one, splat(0.0f))};
    case SILU: {
      const Floats s = inverse(one + exp(-x));
      return {x * s, fma(x * s, one - s, s)};
    }
    default: {
      const Floats y = tanh(x);
      return {y, one - y * y};
    }
  }
}

template <int KIND>
void activate_as(const float* x, float* y, float* d, int64_t n) {
  for (int64_t i = 0; i < n; i += LANES) {
    const Slope s = sloped(Activation(KIND), load(x + i));
    store(y + i, s.value);
    if (d) store(d + i, load(d + i) * s.slope);
  }
}

// y = the activation of x; d, its gradient, becomes that of x where there is one.
void activate_row(Activation kind, const float* x, float* y, float* d, int64_t n) {
  switch (kind) {
    case GELU_TANH: return activate_as<GELU_TANH>(x, y, d, n);
    case GELU: return activate_as<GELU>(x, y, d, n);
    case QUICK_GELU: return activate_as<QUICK_GELU>(x, y, d, n);
    case RELU: return activate_as<RELU>(x, y, d, n);
    case SILU: return activate_as<SILU>(x, y, d, n);
    default: return activate_as<TANH>(x, y, d, n);
  }
}

// Buffers' rows are padded with zeros up to LANES, so that these loops need no tail.
void add_rows(const Rows& x, int64_t rows, int64_t n, float* sums) {
  for (int64_t i = 0; i < n; i += 4 * LANES) {
    Floats s[4];
    const int64_t parts = std::min<int64_t>(4, (n - i + LANES - 1) / LANES);
    if (parts == 4) {
      UNROLLED_FOR(int p = 0; p < 4; ++p) s[p] = splat(0.0f);
      for (int64_t r = 0; r < rows; ++r)
        UNROLLED_FOR(int p = 0; p < 4; ++p) s[p] += load(x.at(r) + i + p * LANES);
      UNROLLED_FOR(int p = 0; p < 4; ++p)
      store(sums + i + p * LANES, load(sums + i + p * LANES) + s[p]);
      continue;
    }
    for (int64_t p = 0; p < parts; ++p) {
      Floats sum = splat(0.0f);
      for (int64_t r = 0; r < rows; ++r) sum += load(x.at(r) + i + p * LANES);
      store(sums + i + p * LANES, load(sums + i + p * LANES) + sum);
    }
  }
}

double square_of(const float* x, int64_t n) {
  Floats sums = splat(0.0f);
  const int64_t whole = n / LANES * LANES;
  for (int64_t i = 0; i < whole; i += LANES) sums = fma(load(x + i), load(x + i), sums);
  double sum = total(sums);
  for (int64_t i = whole; i < n; ++i) sum += double(x[i]) * x[i];
  return sum;
}

struct Moments {
  float mean, scale;
};

// out = weight * (x - mean) * scale + bias, each row with its own moments.
void normalise_again(const Rows& x, int64_t rows, int64_t n, const Moments* moments,
                     const float* weight, const float* bias, const Rows& out) {
  const int64_t whole = n / LANES * LANES;
  for (int64_t r = 0; r < rows; ++r) {
    const auto [mean, scale] = moments[r];
    const float* from = x.at(r);
    float* to = out.at(r);
    for (int64_t i = 0; i < whole; i += LANES) {
      const Floats unit = (load(from + i) - splat(mean)) * splat(scale);
      store(to + i, fma(unit, load(weight + i), load(bias + i)));
    }
    for (int64_t i = whole; i < n; ++i) to[i] = (from[i] - mean) * scale * weight[i] + bias[i];
  }
}

// The same, the moments being measured first and kept.
void normalise(const Rows& x, int64_t rows, int64_t n, double epsilon, const float* weight,
               const float* bias, Moments* moments, const Rows& out) {
  const int64_t whole = n / LANES * LANES;
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = x.at(r);
    Floats sum = splat(0.0f), squares = splat(0.0f);
    for (int64_t i = 0; i < whole; i += LANES) sum += load(from + i);
    float all = total_of_row(sum);
    for (int64_t i = whole; i < n; ++i) all += from[i];
    const float mean = all / float(n);
    for (int64_t i = 0; i < whole; i += LANES) {
      const Floats d = load(from + i) - splat(mean);
      squares = fma(d, d, squares);
    }
    all = total_of_row(squares);
    for (int64_t i = whole; i < n; ++i) all += (from[i] - mean) * (from[i] - mean);
    moments[r] = {mean, float(1.0 / std::sqrt(double(all) / double(n) + epsilon))};
    normalise_again({x.at(r), x.row}, 1, n, moments + r, weight, bias, {out.at(r), out.row});
  }
}

// d_x += what d_out, the gradient of LayerNorm's result, makes of it; d_weight and d_bias too.
void normalise_back(const Rows& x, int64_t rows, int64_t n, const Moments* moments,
                    const float* weight, const Rows& d_out, const Rows& d_x, float* d_weight,
                    float* d_bias) {
  const int64_t whole = n / LANES * LANES;
  for (int64_t r = 0; r < rows; ++r) {
    const auto [mean, scale] = moments[r];
    const float *from = x.at(r), *d = d_out.at(r);
    float* to = d_x.at(r);
    Floats sum = splat(0.0f), dots = splat(0.0f);
    for (int64_t i = 0; i < whole; i += LANES) {
      const Floats unit = (load(from + i) - splat(mean)) * splat(scale), g = load(d + i);
      const Floats dw = g * load(weight + i);
      sum += dw;
      dots = fma(dw, unit, dots);
      store(d_weight + i, fma(g, unit, load(d_weight + i)));
      store(d_bias + i, load(d_bias + i) + g);
    }
    float all = total_of_row(sum), dot = total_of_row(dots);
    for (int64_t i = whole; i < n; ++i) {
      const float unit = (from[i] - mean) * scale;
      all += d[i] * weight[i];
      dot += d[i] * weight[i] * unit;
      d_weight[i] += d[i] * unit;
      d_bias[i] += d[i];
    }
    const float a = all / float(n), b = dot / float(n);
    for (int64_t i = 0; i < whole; i += LANES) {
      const Floats unit = (load(from + i) - splat(mean)) * splat(scale);
      const Floats dw = load(d + i) * load(weight + i);
      store(to + i, fma(splat(scale), dw - fma(unit, splat(b), splat(a)), load(to + i)));
    }
    for (int64_t i = whole; i < n; ++i) {
      const float unit = (from[i] - mean) * scale;
      to[i] += scale * (d[i] * weight[i] - (a + unit * b));
    }
  }
}

// ------------------------------------------------------------------------------------- the trainer

// As in training/muon.py.
struct Polynomial {
  float a, b, c;
};
constexpr Polynomial POLAR_EXPRESS[] = {
    {8.28721201814563f, -23.595886519098837f, 17.300387312530933f},
    {4.107059111542203f, -2.9478499167379106f, 0.5448431082926601f},
    {3.9486908534822946f, -2.908902115962949f, 0.5518191394370137f}};
constexpr double SAFETY = 1.01;

// Parameters in the order of the model's own list; addresses of weights, or of their gradients.
enum Part : int64_t {
  LN_1_W,
  LN_1_B,
  QKV_W,
  QKV_B,
  OUT_W,
  OUT_B,
  LN_2_W,
  LN_2_B,
  UP_W,
  UP_B,
  DOWN_W,
  DOWN_B,
  N_PARTS
};

struct Layout {
  explicit Layout(const Shape& s) {
    const int64_t c = s.n_embd, f = s.n_inner;
    add(s.vocab_size * c), add(s.n_positions * c);
    for (int64_t layer = 0; layer < s.n_layer; ++layer)
      for (int64_t size : {c, c, 3 * c * c, 3 * c, c * c, c, c, c, f * c, f, c * f, c}) add(size);
    add(c), add(c);
    if (!s.tied) add(s.vocab_size * c);
  }
  void add(int64_t size) {
    sizes.push_back(size);
    offsets.push_back(total);
    total += padded(size, LANES);
  }
  std::vector<int64_t> sizes, offsets;
  int64_t total = 0;
};

// One update of matrices of one shape.
struct Muon {
  int64_t n, rows, columns;
  const float* const* gradients;
  float* const* momenta;
  float* const* weights;
  double momentum, keep, rate;  // `keep`: what weight decay leaves of the weights
};

struct Sums {
  double loss, square;
};

class Trainer {
 public:
  Trainer(const Shape& shape, int64_t window, int n_threads)
      : shape_(shape),
        layout_(shape),
        t_(window),
        c_(shape.n_embd),
        f_(shape.n_inner),
        d_(shape.n_embd / shape.n_head),
        weights_(layout_.sizes.size()),
        workers_(size_t(n_threads)),
        pool_(n_threads) {
    int64_t size = 0;
    const auto take = [&size](int64_t n) {
      const int64_t at = size;
      size += padded(n, 16);
      return at;
    };
    for (int64_t layer = 0; layer < shape.n_layer; ++layer) {
      Packed p;
      p.qkv = take(packed_size(c_, 3 * c_)), p.qkv_back = take(packed_size(3 * c_, c_));
      p.out = take(packed_size(c_, c_)), p.out_back = take(packed_size(c_, c_));
      p.up = take(packed_size(c_, f_)), p.up_back = take(packed_size(f_, c_));
      p.down = take(packed_size(f_, c_)), p.down_back = take(packed_size(c_, f_));
      packed_at_.push_back(p);
    }
    head_at_ = take(packed_size(c_, shape.vocab_size));
    head_back_at_ = take(packed_size(shape.vocab_size, c_));
    packed_.allocate(size);
    head_rows_ = std::max<int64_t>(8, std::min(t_, (int64_t(1) << 20) / shape.vocab_size));
    for (Worker& w : workers_) make(w);
  }

  // Set `gradients` to those of `scale` times the summed loss of the windows, or add them, and
  // return that sum, and the sum of the gradients' squares. ids, targets: (windows, T).
  Sums run(const float* const* weights, float* const* gradients, const int64_t* ids,
           const int64_t* targets, int64_t n_windows, double scale, bool add) {
    check(ids, n_windows), check(targets, n_windows);
    for (size_t i = 0; i < weights_.size(); ++i) weights_[i] = weights[i];
    for (Worker& w : workers_) reserve(w, padded(n_windows, pool_.size()) / pool_.size());
    pool_.run([&](int t) {
      Worker& w = workers_[size_t(t)];
      pack(t);
      std::memset(w.gradients.get(), 0, size_t(layout_.total) * 4);
      w.loss = 0;
      pool_.barrier();
      const Range own = share(n_windows, t, pool_.size());
      const int64_t n = own.end - own.begin;
      const int64_t *in = ids + own.begin * t_, *out = targets + own.begin * t_;
      for (int64_t i = 0; i < n; ++i) embed(w, i, in + i * t_);
      // Half a block for all windows, then the other half: its weights stay in the cache.
      for (int64_t layer = 0; layer < shape_.n_layer; ++layer) {
        for (int64_t i = 0; i < n; ++i) attention(w, layer, i);
        for (int64_t i = 0; i < n; ++i) mlp(w, layer, i);
      }
      for (int64_t i = 0; i < n; ++i) head(w, i, out + i * t_, float(scale));
      for (int64_t layer = shape_.n_layer; layer-- > 0;) {
        for (int64_t i = 0; i < n; ++i) mlp_back(w, layer, i);
        for (int64_t i = 0; i < n; ++i) attention_back(w, layer, i);
      }
      for (int64_t i = 0; i < n; ++i) embed_back(w, i, in + i * t_);
      pool_.barrier();
      w.square = collect(t, gradients, add);
    });
    Sums sums{0, 0};
    for (const Worker& w : workers_) sums.loss += w.loss, sums.square += w.square;
    return sums;
  }

  // Update n matrices (rows, columns) by Muon; training/muon.py says how. What is iterated on is the smaller
  // of the two products of a matrix with itself.
  void muon(const Muon& update) {
    const int64_t rows = update.rows, columns = update.columns, small = std::min(rows, columns);
    const int64_t whole = product({rows, columns}), square = small * row_length(small);
    const int64_t size = 4 * square + 2 * whole + WIDE * std::max(rows, columns);
    for (Worker& w : workers_) {
      if (w.turning_size >= size) continue;
      w.turning_size = 0;
      w.turning.allocate(size + WIDE);
      w.turning_size = size;
    }
    pool_.run([&](int t) {
      float* next = workers_[size_t(t)].turning.get();
      Rows squares[4];
      for (Rows& r : squares) r = {next, row_length(small)}, next += square;
      float *ahead = next, *turned = next + whole, *panel = turned + whole;
      pool_.deal(update.n, t);
      pool_.barrier();
      for (int64_t i; (i = pool_.next(t)) >= 0;) {
        const float *gradient = update.gradients[i], beta = float(update.momentum);
        float *momentum = update.momenta[i], *weight = update.weights[i];
        for (int64_t j = 0; j < whole; ++j) {
          momentum[j] += (1 - beta) * (gradient[j] - momentum[j]);
          ahead[j] = gradient[j] + beta * (momentum[j] - gradient[j]);
        }
        turn(ahead, rows, columns, squares, turned, panel);
        const float keep = float(update.keep), rate = float(update.rate);
        for (int64_t j = 0; j < whole; ++j) weight[j] = keep * weight[j] - rate * turned[j];
      }
    });
  }

  std::atomic_flag busy = ATOMIC_FLAG_INIT;
#if TINYGPT_POSIX
  const pid_t process = getpid();
#endif

 private:
  struct Packed {
    int64_t qkv, qkv_back, out, out_back, up, up_back, down, down_back;
  };
  // What the way back needs of a window in a layer.
  struct Kept {
    Rows x, qkv, attended, middle, inner;
    Moments *moments_1, *moments_2;
    float* log_sums;  // of each head and token: p = exp(score - log_sum)
  };
  struct Worker {
    Array<float> gradients, kept, scratch, turning;
    Rows normed, active, d_inner, d_qkv, d_normed, scores, d_scores, logits;
    float* turned = nullptr;  // keys or values of a head, turned and packed
    int64_t n_windows = 0, turning_size = 0;
    double loss = 0, square = 0;
  };

  // ---- memory

  int64_t kept_size() const {  // of a window in a layer
    const int64_t rows = 2 * row_length(c_) + row_length(3 * c_) + row_length(c_) + row_length(f_);
    return t_ * (rows + 4 + shape_.n_head);
  }

  void make(Worker& w) {
    const int64_t v = shape_.vocab_size;
    const int64_t widths[] = {c_, f_, f_, 3 * c_, c_};
    int64_t size = 0;
    for (int64_t width : widths) size += product({t_, row_length(width)});
    size += product({2, t_, row_length(t_)}) + product({head_rows_, row_length(v)}) +
            packed_size(d_, t_);
    w.scratch.allocate(size + WIDE);
    float* next = w.scratch.get();
    const auto rows = [&next](int64_t n, int64_t width) {
      const Rows r{next, row_length(width)};
      next += n * r.row;
      return r;
    };
    w.normed = rows(t_, c_), w.active = rows(t_, f_), w.d_inner = rows(t_, f_);
    w.d_qkv = rows(t_, 3 * c_), w.d_normed = rows(t_, c_);
    w.scores = rows(t_, t_), w.d_scores = rows(t_, t_);
    w.logits = rows(head_rows_, v);
    w.turned = next;
    w.gradients.allocate(layout_.total);
  }

  // Make room for what so many windows keep: each layer's, and the stream that leaves the last.
  void reserve(Worker& w, int64_t n_windows) {
    if (n_windows <= w.n_windows) return;
    w.n_windows = 0;
    w.kept.allocate(product({n_windows, shape_.n_layer * kept_size() + 2 * t_ * row_length(c_)}) +
                    WIDE);
    w.n_windows = n_windows;
  }

  Kept kept(const Worker& w, int64_t layer, int64_t i) const {
    float* next = w.kept.get() + (i * shape_.n_layer + layer) * kept_size();
    const auto rows = [&next, this](int64_t width) {
      const Rows r{next, row_length(width)};
      next += t_ * r.row;
      return r;
    };
    Kept k;
    k.x = rows(c_), k.qkv = rows(3 * c_), k.attended = rows(c_), k.middle = rows(c_);
    k.inner = rows(f_);
    k.moments_1 = reinterpret_cast<Moments*>(next), k.moments_2 = k.moments_1 + t_;
    k.log_sums = next + 4 * t_;
    return k;
  }
  // The stream after the last block, and the gradient of the stream.
  Rows last(const Worker& w, int64_t i, int which) const {
    const int64_t size = t_ * row_length(c_);
    float* base = w.kept.get() + w.n_windows * shape_.n_layer * kept_size();
    return {base + (2 * i + which) * size, row_length(c_)};
  }

  const float* weight(int64_t layer, Part part) const {
    return weights_[size_t(2 + layer * N_PARTS + part)];
  }
  const float* weight_last(int64_t i) const {
    return weights_[size_t(2 + shape_.n_layer * N_PARTS + i)];
  }
  const float* head_weight() const { return shape_.tied ? weights_[0] : weight_last(2); }
  float* gradient(const Worker& w, int64_t index) const {
    return w.gradients.get() + layout_.offsets[size_t(index)];
  }
  float* gradient(const Worker& w, int64_t layer, Part part) const {
    return gradient(w, 2 + layer * N_PARTS + part);
  }
  float* gradient_last(const Worker& w, int64_t i) const {
    return gradient(w, 2 + shape_.n_layer * N_PARTS + i);
  }
  Right packed(int64_t at, int64_t rows) const { return {packed_.get() + at, WIDE, rows * WIDE}; }

  void check(const int64_t* ids, int64_t n_windows) const {
    const int64_t n = product({n_windows, t_});
    for (int64_t i = 0; i < n; ++i)
      if (ids[i] < 0 || ids[i] >= shape_.vocab_size)
        refuse(VALUE, "id %lld is not one of vocab_size=%lld", ll(ids[i]), ll(shape_.vocab_size));
  }

  // ---- before and after the windows

  // Lay the weights out for the products: those of the way there turned round, the others not.
  void pack(int t) {
    int64_t n = 0;
    const auto both = [&](const float* w, int64_t out, int64_t in, int64_t there, int64_t back) {
      for (int64_t j = 0; j < out; j += WIDE)
        if (n++ % pool_.size() == t)
          pack_panel(w + j * in, 1, in, in, out - j, packed_.get() + there + j * in);
      for (int64_t j = 0; j < in; j += WIDE)
        if (n++ % pool_.size() == t)
          pack_panel(w + j, in, 1, out, in - j, packed_.get() + back + j * out);
    };
    for (int64_t layer = 0; layer < shape_.n_layer; ++layer) {
      const Packed& p = packed_at_[size_t(layer)];
      both(weight(layer, QKV_W), 3 * c_, c_, p.qkv, p.qkv_back);
      both(weight(layer, OUT_W), c_, c_, p.out, p.out_back);
      both(weight(layer, UP_W), f_, c_, p.up, p.up_back);
      both(weight(layer, DOWN_W), c_, f_, p.down, p.down_back);
    }
    both(head_weight(), shape_.vocab_size, c_, head_at_, head_back_at_);
  }

  // Add the threads' gradients up, in the order of the threads; return the sum of the squares.
  double collect(int t, float* const* gradients, bool add) {
    double square = 0;
    for (size_t i = 0; i < layout_.sizes.size(); ++i) {
      const Range own = share(layout_.sizes[i], t, pool_.size());
      constexpr int64_t PART = 4096;  // stays in L1 from thread to thread
      for (int64_t begin = own.begin; begin < own.end; begin += PART) {
        const int64_t n = std::min(PART, own.end - begin);
        float* to = gradients[i] + begin;
        for (const Worker& w : workers_) {
          const float* from = w.gradients.get() + layout_.offsets[i] + begin;
          if (!add && &w == &workers_.front())
            std::memcpy(to, from, size_t(n) * 4);
          else
            for (int64_t j = 0; j < n; ++j) to[j] += from[j];
        }
        square += square_of(to, n);
      }
    }
    return square;
  }

  void embed(const Worker& w, int64_t i, const int64_t* ids) {
    const Rows x = kept(w, 0, i).x;
    for (int64_t t = 0; t < t_; ++t) {
      const float *token = weights_[0] + ids[t] * c_, *position = weights_[1] + t * c_;
      float* to = x.at(t);
      for (int64_t j = 0; j < c_; ++j) to[j] = token[j] + position[j];
    }
  }

  void embed_back(const Worker& w, int64_t i, const int64_t* ids) {
    const Rows d_x = last(w, i, 1);
    float *d_token = gradient(w, 0), *d_position = gradient(w, 1);
    for (int64_t t = 0; t < t_; ++t) {
      const float* from = d_x.at(t);
      float *token = d_token + ids[t] * c_, *position = d_position + t * c_;
      for (int64_t j = 0; j < c_; ++j) token[j] += from[j], position[j] += from[j];
    }
  }

  // ---- a block

  // Add the gradients of a linear layer's weights and bias.
  void linear_back(const Rows& d_out, const Rows& x, int64_t in, int64_t out, float* d_weight,
                   float* d_bias) {
    multiply(out, in, t_, d_out.turned(), x.right(), d_weight, in, {d_weight, in});
    add_rows(d_out, t_, out, d_bias);
  }

  void activate(const Rows& x, const Rows& y, const Rows* d) {
    for (int64_t t = 0; t < t_; ++t)
      activate_row(Activation(shape_.activation), x.at(t), y.at(t), d ? d->at(t) : nullptr,
                   padded(f_, LANES));
  }

  void attention(const Worker& w, int64_t layer, int64_t i) {
    const Kept k = kept(w, layer, i);
    const Packed& p = packed_at_[size_t(layer)];
    normalise(k.x, t_, c_, shape_.layer_norm_epsilon, weight(layer, LN_1_W), weight(layer, LN_1_B),
              k.moments_1, w.normed);
    multiply(t_, 3 * c_, c_, w.normed.left(), packed(p.qkv, c_), k.qkv.data, k.qkv.row,
             {nullptr, 0, weight(layer, QKV_B)});
    for (int64_t h = 0; h < shape_.n_head; ++h) attend(w, k, h);
    multiply(t_, c_, c_, k.attended.left(), packed(p.out, c_), k.middle.data, k.middle.row,
             {k.x.data, k.x.row, weight(layer, OUT_B)});
  }

  void mlp(const Worker& w, int64_t layer, int64_t i) {
    const Kept k = kept(w, layer, i);
    const Packed& p = packed_at_[size_t(layer)];
    const bool ends = layer + 1 == shape_.n_layer;
    const Rows next = ends ? last(w, i, 0) : kept(w, layer + 1, i).x;
    normalise(k.middle, t_, c_, shape_.layer_norm_epsilon, weight(layer, LN_2_W),
              weight(layer, LN_2_B), k.moments_2, w.normed);
    multiply(t_, f_, c_, w.normed.left(), packed(p.up, c_), k.inner.data, k.inner.row,
             {nullptr, 0, weight(layer, UP_B)});
    activate(k.inner, w.active, nullptr);
    multiply(t_, c_, f_, w.active.left(), packed(p.down, f_), next.data, next.row,
             {k.middle.data, k.middle.row, weight(layer, DOWN_B)});
  }

  void mlp_back(const Worker& w, int64_t layer, int64_t i) {
    const Kept k = kept(w, layer, i);
    const Packed& p = packed_at_[size_t(layer)];
    const Rows d_x = last(w, i, 1);
    multiply(t_, f_, c_, d_x.left(), packed(p.down_back, c_), w.d_inner.data, w.d_inner.row);
    activate(k.inner, w.active, &w.d_inner);
    linear_back(d_x, w.active, f_, c_, gradient(w, layer, DOWN_W), gradient(w, layer, DOWN_B));
    normalise_again(k.middle, t_, c_, k.moments_2, weight(layer, LN_2_W), weight(layer, LN_2_B),
                    w.normed);
    linear_back(w.d_inner, w.normed, c_, f_, gradient(w, layer, UP_W), gradient(w, layer, UP_B));
    multiply(t_, c_, f_, w.d_inner.left(), packed(p.up_back, f_), w.d_normed.data, w.d_normed.row);
    normalise_back(k.middle, t_, c_, k.moments_2, weight(layer, LN_2_W), w.d_normed, d_x,
                   gradient(w, layer, LN_2_W), gradient(w, layer, LN_2_B));
  }

  void attention_back(const Worker& w, int64_t layer, int64_t i) {
    const Kept k = kept(w, layer, i);
    const Packed& p = packed_at_[size_t(layer)];
    const Rows d_x = last(w, i, 1);
    linear_back(d_x, k.attended, c_, c_, gradient(w, layer, OUT_W), gradient(w, layer, OUT_B));
    multiply(t_, c_, c_, d_x.left(), packed(p.out_back, c_), w.d_normed.data, w.d_normed.row);
    for (int64_t h = 0; h < shape_.n_head; ++h) attend_back(w, k, h);
    normalise_again(k.x, t_, c_, k.moments_1, weight(layer, LN_1_W), weight(layer, LN_1_B),
                    w.normed);
    linear_back(w.d_qkv, w.normed, c_, 3 * c_, gradient(w, layer, QKV_W),
                gradient(w, layer, QKV_B));
    multiply(t_, c_, 3 * c_, w.d_qkv.left(), packed(p.qkv_back, 3 * c_), w.d_normed.data,
             w.d_normed.row);
    normalise_back(k.x, t_, c_, k.moments_1, weight(layer, LN_1_W), w.d_normed, d_x,
                   gradient(w, layer, LN_1_W), gradient(w, layer, LN_1_B));
  }

  // ---- attention of one head

  static constexpr int64_t QUERIES = 2 * TILE;  // at a time; no key beyond them is looked at

  float score_scale() const { return float(1.0 / std::sqrt(double(d_))); }

  void attend(const Worker& w, const Kept& k, int64_t h) {
    const float *q = k.qkv.data + h * d_, *keys = q + c_, *values = q + 2 * c_;
    pack_matrix(keys, 1, k.qkv.row, d_, t_, w.turned);
    for (int64_t i = 0; i < t_; i += QUERIES) {
      const int64_t n = std::min(QUERIES, t_ - i), seen = i + n;
      const Rows s{w.scores.at(i), w.scores.row};
      multiply(n, padded(seen, WIDE), d_, {q + i * k.qkv.row, k.qkv.row, 1},
               {w.turned, WIDE, d_ * WIDE}, s.data, s.row);
      for (int64_t r = 0; r < n; ++r)
        k.log_sums[h * t_ + i + r] = softmax(s.at(r), i + r + 1, padded(seen, LANES));
      multiply(n, d_, seen, s.left(), {values, k.qkv.row, WIDE}, k.attended.at(i) + h * d_,
               k.attended.row);
    }
  }

  // Make probabilities of the first n scores of a row and zeros of the others; return the
  // logarithm of their sum.
  float softmax(float* s, int64_t n, int64_t width) {
    const Floats scale = splat(score_scale());
    for (int64_t j = n; j < width; ++j) s[j] = -std::numeric_limits<float>::infinity();
    Floats top = load(s);
    for (int64_t j = LANES; j < width; j += LANES) top = larger(load(s + j), top);
    const float most = largest(top);
    Floats sum = splat(0.0f);
    for (int64_t j = 0; j < width; j += LANES) {
      const Floats e = exp((load(s + j) - splat(most)) * scale);
      store(s + j, e);
      sum += e;
    }
    const float all = total_of_row(sum);
    const Floats share = splat(1.0f / all);
    for (int64_t j = 0; j < width; j += LANES) store(s + j, load(s + j) * share);
    return most * score_scale() + std::log(all);
  }

  void attend_back(const Worker& w, const Kept& k, int64_t h) {
    const int64_t row = k.qkv.row;
    const float *q = k.qkv.data + h * d_, *keys = q + c_, *values = q + 2 * c_;
    const Rows d_out{w.d_normed.data + h * d_, w.d_normed.row};
    float *d_q = w.d_qkv.data + h * d_, *d_keys = d_q + c_, *d_values = d_q + 2 * c_;
    const Floats scale = splat(score_scale());
    const Right turned{w.turned, WIDE, d_ * WIDE};
    pack_matrix(keys, 1, row, d_, t_, w.turned);
    for (int64_t i = 0; i < t_; i += QUERIES) {
      const int64_t n = std::min(QUERIES, t_ - i), seen = i + n;
      multiply(n, padded(seen, WIDE), d_, {q + i * row, row, 1}, turned, w.scores.at(i),
               w.scores.row);
    }
    pack_matrix(values, 1, row, d_, t_, w.turned);
    for (int64_t i = 0; i < t_; i += QUERIES) {
      const int64_t n = std::min(QUERIES, t_ - i), seen = i + n, width = padded(seen, LANES);
      const Rows s{w.scores.at(i), w.scores.row}, d_s{w.d_scores.at(i), w.d_scores.row};
      multiply(n, padded(seen, WIDE), d_, {d_out.at(i), d_out.row, 1}, turned, d_s.data, d_s.row);
      for (int64_t r = 0; r < n; ++r) {
        float *p = s.at(r), *d = d_s.at(r);
        for (int64_t j = i + r + 1; j < width; ++j)
          p[j] = -std::numeric_limits<float>::infinity(), d[j] = 0;
        const Floats log_sum = splat(k.log_sums[h * t_ + i + r]);
        Floats dots = splat(0.0f);
        for (int64_t j = 0; j < width; j += LANES) {
          const Floats e = exp(load(p + j) * scale - log_sum);
          store(p + j, e);
          dots = fma(e, load(d + j), dots);
        }
        const Floats dot = splat(total_of_row(dots));
        for (int64_t j = 0; j < width; j += LANES)
          store(d + j, load(p + j) * (load(d + j) - dot) * scale);
      }
      multiply(n, d_, seen, d_s.left(), {keys, row, WIDE}, d_q + i * w.d_qkv.row, w.d_qkv.row);
    }
    for (int64_t j = 0; j < t_; j += QUERIES) {  // only queries from j on have seen these keys
      const int64_t n = std::min(QUERIES, t_ - j), sees = t_ - j;
      multiply(n, d_, sees, {w.d_scores.at(j) + j, 1, w.d_scores.row}, {q + j * row, row, WIDE},
               d_keys + j * w.d_qkv.row, w.d_qkv.row);
      multiply(n, d_, sees, {w.scores.at(j) + j, 1, w.scores.row}, {d_out.at(j), d_out.row, WIDE},
               d_values + j * w.d_qkv.row, w.d_qkv.row);
    }
  }

  // ---- Muon

  // turned = roughly the nearest orthogonal matrix.
  static void turn(const float* matrix, int64_t rows, int64_t columns, Rows squares[4],
                   float* turned, float* panel) {
    const bool tall = rows > columns;
    const int64_t n = std::min(rows, columns), deep = std::max(rows, columns);
    const int64_t row = tall ? 1 : columns, column = tall ? columns : 1;  // of the wide matrix
    Rows &gram = squares[0], &factor = squares[1], &spare = squares[2], &gathered = squares[3];
    for (int64_t j = 0; j < n; j += WIDE) {
      pack_panel(matrix + j * row, column, row, deep, n - j, panel);
      symmetric_columns(n, j, deep, {matrix, row, column}, panel, WIDE, gram);
    }
    double trace = 0;
    for (int64_t i = 0; i < n; ++i) trace += gram.at(i)[i];
    const float scale = float(1 / (SAFETY * std::sqrt(trace) + 1e-7));
    times(gram, n, scale * scale);
    for (int step = 0; step < 3; ++step) {
      const auto [a, b, c] = POLAR_EXPRESS[step];
      symmetric(n, gram, gram, factor);
      for (int64_t i = 0; i < n; ++i) {
        float *f = factor.at(i), *g = gram.at(i);
        for (int64_t j = 0; j < n; ++j) f[j] = c * f[j] + b * g[j];
        f[i] += a;
      }
      if (step < 2) {
        symmetric(n, factor, gram, spare);
        symmetric(n, factor, spare, gram);
      }
      if (step == 0) {
        std::swap(gathered, factor);
      } else {
        symmetric(n, factor, gathered, spare);
        std::swap(gathered, spare);
      }
    }
    times(gathered, n, scale);
    if (tall) {
      multiply(deep, n, n, {matrix, columns, 1}, gathered.right(), turned, n);
    } else {
      for (int64_t j = 0; j < deep; j += WIDE) {
        pack_panel(matrix + j, columns, 1, n, deep - j, panel);
        multiply(n, std::min(WIDE, deep - j), n, gathered.left(), {panel, WIDE, 0}, turned + j,
                 deep);
      }
    }
  }

  static void times(const Rows& x, int64_t n, float factor) {
    for (int64_t i = 0; i < n; ++i) {
      float* row = x.at(i);
      for (int64_t j = 0; j < n; ++j) row[j] *= factor;
    }
  }

  // out = a times b, which are polynomials of one symmetric matrix: so is their product.
  static void symmetric(int64_t n, const Rows& a, const Rows& b, const Rows& out) {
    for (int64_t j = 0; j < n; j += WIDE)
      symmetric_columns(n, j, n, a.left(), b.data + j, b.row, out);
  }

  // A panel of columns of a symmetric product down to the diagonal, and as rows what is above it.
  static void symmetric_columns(int64_t n, int64_t j, int64_t deep, Left left, const float* right,
                                int64_t right_row, const Rows& out) {
    const int64_t columns = std::min(WIDE, n - j);
    multiply(j + columns, columns, deep, left, {right, right_row, 0}, out.data + j, out.row);
    for (int64_t i = 0; i < j; i += LANES)  // WIDE is a multiple: square by square
      for (int64_t k = 0; k < columns; ++k)
        for (int64_t l = i; l < i + LANES; ++l) out.at(j + k)[l] = out.at(l)[j + k];
  }

  // ---- the head

  // Add a window's loss, and leave the gradient of its stream in last(w, i, 1).
  void head(Worker& w, int64_t i, const int64_t* targets, float scale) {
    const int64_t v = shape_.vocab_size, width = padded(v, LANES);
    const Rows x = last(w, i, 0), d_x = last(w, i, 1);
    Moments* moments =
        reinterpret_cast<Moments*>(w.scores.data);  // free until the blocks' way back
    normalise(x, t_, c_, shape_.layer_norm_epsilon, weight_last(0), weight_last(1), moments,
              w.normed);
    for (int64_t begin = 0; begin < t_; begin += head_rows_) {
      const int64_t n = std::min(head_rows_, t_ - begin);
      const Rows hidden{w.normed.at(begin), w.normed.row};
      multiply(n, v, c_, hidden.left(), packed(head_at_, c_), w.logits.data, w.logits.row);
      for (int64_t r = 0; r < n; ++r)
        w.loss += lose(w.logits.at(r), v, width, targets[begin + r], scale);
      float* d_head = shape_.tied ? gradient(w, 0) : gradient_last(w, 2);
      multiply(v, c_, n, w.logits.turned(), hidden.right(), d_head, c_, {d_head, c_});
      multiply(n, c_, v, w.logits.left(), packed(head_back_at_, v), w.d_normed.at(begin),
               w.d_normed.row);
    }
    for (int64_t t = 0; t < t_; ++t) std::memset(d_x.at(t), 0, size_t(c_) * 4);
    normalise_back(x, t_, c_, moments, weight_last(0), w.d_normed, d_x, gradient_last(w, 0),
                   gradient_last(w, 1));
  }

  // A token's loss; its logits become scale times their gradient.
  static double lose(float* y, int64_t n, int64_t width, int64_t target, float scale) {
    const float right = y[target];
    for (int64_t j = n; j < width; ++j) y[j] = -std::numeric_limits<float>::infinity();
    Floats top = load(y);
    for (int64_t j = LANES; j < width; j += LANES) top = larger(load(y + j), top);
    const float most = largest(top);
    double sum = 0;
    Floats part = splat(0.0f);
    for (int64_t j = 0; j < width; j += LANES) {
      const Floats e = exp(load(y + j) - splat(most));
      store(y + j, e);
      part += e;
      if (j % (256 * LANES) == 255 * LANES) sum += total_of_row(part), part = splat(0.0f);
    }
    sum += total_of_row(part);
    const Floats share = splat(float(scale / sum));
    for (int64_t j = 0; j < width; j += LANES) store(y + j, load(y + j) * share);
    y[target] -= scale;
    return std::log(sum) + double(most) - double(right);
  }

  const Shape shape_;
  const Layout layout_;
  const int64_t t_, c_, f_, d_;
  int64_t head_rows_ = 0, head_at_ = 0, head_back_at_ = 0;
  std::vector<const float*> weights_;
  std::vector<Packed> packed_at_;
  Array<float> packed_;
  std::vector<Worker> workers_;
  Pool pool_;
};

}  // namespace

EXPORT int32_t tinygpt_trainer(const Shape* shape, int64_t window, int32_t n_threads,
                               Trainer** out) {
  return guarded([&] {
    check_pointers({shape, out});
    check_threads(n_threads);
    check_shape(*shape, VALUE);
    if (window < 1 || window > shape->n_positions)
      refuse(VALUE, "windows of %lld: 1 to n_positions=%lld are possible", ll(window),
             ll(shape->n_positions));
    *out = new Trainer(*shape, window, n_threads);
  });
}

// Waits for a call that another thread has under way.
EXPORT void tinygpt_dismiss(Trainer* trainer) {
  if (!trainer) return;
#if TINYGPT_POSIX
  if (trainer->process != getpid()) return;  // a forked child can't join the parent's threads
#endif
  while (trainer->busy.test_and_set()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  delete trainer;
}

EXPORT int32_t tinygpt_gradients(Trainer* trainer, const float* const* weights,
                                 float* const* gradients, const int64_t* ids,
                                 const int64_t* targets, int64_t n_windows, double scale,
                                 int32_t add, Sums* sums) {
  return with(trainer, {weights, gradients, ids, targets, sums}, [&] {
    if (n_windows < 1) refuse(VALUE, "%lld windows: at least 1", ll(n_windows));
    *sums = trainer->run(weights, gradients, ids, targets, n_windows, scale, add != 0);
  });
}

EXPORT int32_t tinygpt_muon(Trainer* trainer, const Muon* update) {
  return with(trainer, {update}, [&] {
    check_pointers({update->gradients, update->momenta, update->weights});
    if (update->n < 1 || update->n >= int64_t(1) << 31 || update->rows < 1 || update->columns < 1)
      refuse(VALUE, "%lld matrices of %lld x %lld", ll(update->n), ll(update->rows),
             ll(update->columns));
    trainer->muon(*update);
  });
}
