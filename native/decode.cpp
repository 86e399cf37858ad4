// The native CPU decode engine: a GPT-2 from packed weights, one session of sequences at a time.
//
// What it computes is model/gpt.py; how it draws is inference/sampling.py. Read it top-down: the packed file,
// matrices, attention, a session, drawing, and the C functions at the end, which check everything.
//
// Every sum is made by one thread in one order that depends neither on the number of threads nor
// on what else is in the batch, so a sequence's numbers are the same bits alone, in a batch, in any
// split of its prompt and on any number of threads.
//
// Words: a panel is PANEL rows of a matrix kept together, column by column, so that one thread
// reads one run of addresses. n counts, k runs along a sum, t is a thread, m a row of activations.

#include "common.h"

namespace {

constexpr int32_t LAYOUT = 3;  // of the packed file; inference/packed_weights.py has the same number

// -------------------------------------------------------------------------------------- arithmetic

void activate(Activation kind, float* x, int64_t n) {  // n is a multiple of LANES
  for (int64_t i = 0; i < n; i += LANES) store(x + i, activated(kind, load(x + i)));
}

void layer_norm(const float* x, int64_t n, const float* weight, const float* bias, double epsilon,
                float* out) {
  const int64_t whole = n / LANES * LANES;
  Floats sums = splat(0.0f);
  for (int64_t i = 0; i < whole; i += LANES) sums += load(x + i);
  double sum = total(sums);
  for (int64_t i = whole; i < n; ++i) sum += x[i];
  const float mean = float(sum / double(n));
  Floats squares = splat(0.0f);
  for (int64_t i = 0; i < whole; i += LANES) {
    const Floats d = load(x + i) - splat(mean);
    squares = fma(d, d, squares);
  }
  double square = total(squares);
  for (int64_t i = whole; i < n; ++i) square += double(x[i] - mean) * double(x[i] - mean);
  const float scale = float(1.0 / std::sqrt(square / double(n) + epsilon));
  for (int64_t i = 0; i < whole; i += LANES)
    store(out + i,
          fma((load(x + i) - splat(mean)) * splat(scale), load(weight + i), load(bias + i)));
  for (int64_t i = whole; i < n; ++i) out[i] = fma1((x[i] - mean) * scale, weight[i], bias[i]);
}

float norm_above(const float* x, int64_t n) {  // the length of a vector, rounded up
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double(x[i]) * x[i];
  return float(std::sqrt(sum) * (1 + 1e-6));
}

// Round a row to 8 bits: x is about scale * out. Padding up to a multiple of 4 becomes 0.
void quantise(const float* x, int64_t n, int8_t* out, float* scale, int32_t* sum) {
  int32_t most = 0;  // bits of floats without sign are ordered as the floats, NaN above all
  const int64_t whole = n / LANES * LANES;
  Ints top = splat(int32_t(0));
  for (int64_t i = 0; i < whole; i += LANES) {
    const Ints bits = load_as<Ints>(x + i) & splat(int32_t(0x7fffffff));
    const Ints more = bits > top;
    top = (bits & more) | (top & ~more);
  }
  for (int i = 0; i < LANES; ++i) most = std::max(most, int32_t(top[i]));
  for (int64_t i = whole; i < n; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, 4);
    most = std::max(most, bits & 0x7fffffff);
  }
  float amax;
  std::memcpy(&amax, &most, 4);
  const bool finite = most < 0x7f800000;
  // Below the smallest normal numbers the quotient would overflow; such a row is as good as 0.
  const float inverse = finite && amax > 1e-30f ? 127.0f / amax : 0.0f;
  *scale = !finite ? std::numeric_limits<float>::quiet_NaN() : inverse > 0 ? amax / 127.0f : 0.0f;
  int32_t all = 0;
  if (inverse > 0) {
    for (int64_t i = 0; i < n; ++i) {
      const int32_t q = int32_t((x[i] * inverse + 12582912.0f) - 12582912.0f);  // to the nearest
      out[i] = int8_t(q);
      all += q;
    }
  } else {
    std::memset(out, 0, size_t(n));
  }
  std::memset(out + n, 0, size_t(padded(n, 4) - n));
  *sum = all;
}

// ---------------------------------------------------------------------- the packed file: its shape

// float32; int8; uint8 in fours, for int8 activations; float32 row by row, to read single rows of.
enum Kind : int32_t { FLOATS, BYTES, DOTS, ROWS };

struct
    Matrix {  // rows x columns, in panels; offsets into the payload until `bind` adds its address
  Kind kind = FLOATS;
  int64_t rows = 0, columns = 0, panels = 0;
  int64_t weights_at = -1, scale_at = -1, bias_at = -1;
  const char* weights = nullptr;
  const float *scale = nullptr, *bias = nullptr;

  int64_t row_bytes() const {
    switch (kind) {
      case FLOATS: return columns * 4;
      case BYTES: return columns;
      case DOTS: return padded(columns, 4);
      default: return padded(columns, LANES) * 4;
    }
  }
  int64_t panel_bytes() const { return PANEL * row_bytes(); }
  const float* row(int64_t i) const {  // of ROWS
    return reinterpret_cast<const float*>(weights + i * row_bytes());
  }
};

struct Vector {
  int64_t n = 0, at = -1;
  const float* data = nullptr;
};

struct Layer {
  Vector ln_1_weight, ln_1_bias, ln_2_weight, ln_2_bias;
  Matrix qkv, projection, up, down;
};

// Below this many weights the whole head is as fast as screening it.
constexpr int64_t SCREEN_FROM = 1 << 16;

// Where everything is in the payload. Both the packer and the reader follow from the shape alone.
struct Plan {
  Shape shape;
  Matrix head, screen;
  Vector bound;  // for each row of `screen`: how far it may be from the head's, per unit of input
  Vector embedding;  // (V, C), only where the head is not tied to it
  Vector positions;
  std::vector<Layer> layers;
  Vector ln_f_weight, ln_f_bias;
  int64_t n_bytes = 0;

  explicit Plan(const Shape& s) : shape(s) {
    const Kind kind = s.precision == EXACT ? FLOATS : s.precision == INT8 ? BYTES : DOTS;
    const int64_t c = s.n_embd;
    matrix(head, s.precision == EXACT ? ROWS : kind, s.vocab_size, c, false);
    if (s.precision == EXACT && s.vocab_size * c >= SCREEN_FROM) {
      matrix(screen, BYTES, s.vocab_size, c, false);
      vector(bound, padded(s.vocab_size, PANEL));
    }
    if (!s.tied) vector(embedding, s.vocab_size * c);
    vector(positions, s.n_positions * c);
    layers.resize(size_t(s.n_layer));
    for (Layer& layer : layers) {
      vector(layer.ln_1_weight, c);
      vector(layer.ln_1_bias, c);
      matrix(layer.qkv, kind, 3 * c, c, true);
      matrix(layer.projection, kind, c, c, true);
      vector(layer.ln_2_weight, c);
      vector(layer.ln_2_bias, c);
      matrix(layer.up, kind, s.n_inner, c, true);
      matrix(layer.down, kind, c, s.n_inner, true);
    }
    vector(ln_f_weight, c);
    vector(ln_f_bias, c);
  }

  void bind(const char* payload) {
    bind(head, payload), bind(screen, payload), bind(bound, payload), bind(embedding, payload);
    bind(positions, payload), bind(ln_f_weight, payload), bind(ln_f_bias, payload);
    for (Layer& layer : layers) {
      bind(layer.ln_1_weight, payload), bind(layer.ln_1_bias, payload);
      bind(layer.ln_2_weight, payload), bind(layer.ln_2_bias, payload);
      bind(layer.qkv, payload), bind(layer.projection, payload);
      bind(layer.up, payload), bind(layer.down, payload);
    }
  }

 private:
  int64_t take(int64_t bytes) {
    const int64_t at = n_bytes;
    n_bytes += padded(bytes, 64);
    return at;
  }
  void vector(Vector& v, int64_t n) {
    v.n = n;
    v.at = take(n * 4);
  }
  void matrix(Matrix& m, Kind kind, int64_t rows, int64_t columns, bool with_bias) {
    m.kind = kind;
    m.rows = rows;
    m.columns = columns;
    m.panels = padded(rows, PANEL) / PANEL;
    m.weights_at = take(m.panels * m.panel_bytes());
    if (kind == BYTES || kind == DOTS) m.scale_at = take(m.panels * PANEL * 4);
    if (with_bias) m.bias_at = take(m.panels * PANEL * 4);
  }
  static const float* floats(const char* payload, int64_t at) {
    return at < 0 ? nullptr : reinterpret_cast<const float*>(payload + at);
  }
  static void bind(Vector& v, const char* payload) { v.data = floats(payload, v.at); }
  static void bind(Matrix& m, const char* payload) {
    m.weights = m.weights_at < 0 ? nullptr : payload + m.weights_at;
    m.scale = floats(payload, m.scale_at);
    m.bias = floats(payload, m.bias_at);
  }
};

struct Header {
  char magic[8];
  int32_t layout, panel;
  Shape shape;
  double head_norm;  // the longest row of the head
  uint64_t payload_bytes, payload_sum, header_sum;
};
constexpr char MAGIC[8] = {'t', 'i', 'n', 'y', 'g', 'p', 't', '\n'};
constexpr int64_t PAYLOAD_AT = 1 << 16, CHUNK = 1 << 20;  // at a page, however large pages are

// A checksum against damage, not against malice: each step is one-to-one, so no single error hides.
uint64_t checksum(const char* data, int64_t n, uint64_t seed) {
  constexpr uint64_t prime = 0x9E3779B97F4A7C15;
  uint64_t lane[4] = {seed, seed + 1, seed + 2, seed + 3}, word = 0;
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (int j = 0; j < 4; ++j) {
      std::memcpy(&word, data + i + 8 * j, 8);
      lane[j] = (lane[j] ^ word) * prime;
      lane[j] ^= lane[j] >> 29;
    }
  for (; i < n; ++i) lane[0] = (lane[0] ^ uint8_t(data[i])) * prime;
  uint64_t sum = uint64_t(n);
  for (uint64_t one : lane) sum = (sum ^ one) * prime, sum ^= sum >> 31;
  return sum;
}

uint64_t checksum(Header header) {
  header.header_sum = 0;
  return checksum(reinterpret_cast<const char*>(&header), sizeof header, 7);
}

struct Closer {
  void operator()(FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<FILE, Closer>;

// ---------------------------------------------------------------------------------------- packing

struct Tensor {  // strides count elements
  const float* data;
  int64_t rows, columns, row_stride, column_stride;
};

// Appends to the payload, chunk by chunk, each with its checksum.
class Writer {
 public:
  explicit Writer(FILE* file) : file_(file), chunk_(size_t(CHUNK)) {}

  void write(const void* data, int64_t n) {
    for (const char* p = static_cast<const char*>(data); n > 0;) {
      const int64_t part = std::min(n, CHUNK - fill_);
      std::memcpy(chunk_.data() + fill_, p, size_t(part));
      fill_ += part, p += part, n -= part, written_ += part;
      if (fill_ == CHUNK) flush();
    }
  }
  void pad_to(int64_t at) {
    const char zeros[64] = {};
    while (written_ < at) write(zeros, std::min<int64_t>(64, at - written_));
  }
  uint64_t finish() {
    if (fill_) flush();
    return checksum(reinterpret_cast<const char*>(sums_.data()), int64_t(sums_.size()) * 8, 1);
  }

 private:
  void flush() {
    sums_.push_back(checksum(chunk_.data(), fill_, sums_.size()));
    if (std::fwrite(chunk_.data(), 1, size_t(fill_), file_) != size_t(fill_))
      refuse(MACHINE, "the packed weights can't be written: %s; make room there",
             std::strerror(errno));
    fill_ = 0;
  }
  FILE* file_;
  std::vector<char> chunk_;
  std::vector<uint64_t> sums_;
  int64_t fill_ = 0, written_ = 0;
};

void check_tensor(const Tensor& t, int64_t rows, int64_t columns) {
  if (!t.data || t.rows != rows || t.columns != columns)
    refuse(VALUE, "a tensor has shape (%lld, %lld), the model asks for (%lld, %lld)", ll(t.rows),
           ll(t.columns), ll(rows), ll(columns));
}

// One panel of a matrix as floats, column by column: out[k * PANEL + row]; missing rows are 0.
void gather(const Tensor& w, int64_t first, float* out) {
  const int64_t n = std::min(PANEL, w.rows - first);
  const float* source = w.data + first * w.row_stride;
  for (int64_t k = 0; k < w.columns; ++k, out += PANEL) {
    const float* column = source + k * w.column_stride;
    if (w.row_stride == 1) {
      std::memcpy(out, column, size_t(n) * 4);
    } else {
      for (int64_t j = 0; j < n; ++j) out[j] = column[j * w.row_stride];
    }
    for (int64_t j = n; j < PANEL; ++j) out[j] = 0;
  }
}

// The rows of a panel one after the other; missing rows and columns are 0.
void copy_rows(const Tensor& w, int64_t first, int64_t stride, float* out) {
  std::fill(out, out + PANEL * stride, 0.0f);
  for (int64_t j = 0; j < std::min(PANEL, w.rows - first); ++j)
    for (int64_t k = 0; k < w.columns; ++k)
      out[j * stride + k] = w.data[(first + j) * w.row_stride + k * w.column_stride];
}

// Round a gathered panel to 8 bits with one scale a row, in the order that its kind asks for.
void quantise_panel(const float* in, int64_t columns, Kind kind, char* out, float* scale) {
  float amax[PANEL] = {}, inverse[PANEL];
  for (int64_t k = 0; k < columns; ++k)
    for (int64_t j = 0; j < PANEL; ++j) {
      const float a = std::fabs(in[k * PANEL + j]);
      amax[j] = a > amax[j] ? a : amax[j];
    }
  for (int64_t j = 0; j < PANEL; ++j) {
    inverse[j] = amax[j] > 1e-30f ? 127.0f / amax[j] : 0.0f;
    scale[j] = inverse[j] > 0 ? amax[j] / 127.0f : 0.0f;
  }
  if (kind == DOTS) std::memset(out, 128, size_t(PANEL * padded(columns, 4)));
  for (int64_t k = 0; k < columns; ++k)
    for (int64_t j = 0; j < PANEL; ++j) {
      const float q = (in[k * PANEL + j] * inverse[j] + 12582912.0f) - 12582912.0f;
      if (kind == BYTES)
        reinterpret_cast<int8_t*>(out)[k * PANEL + j] = int8_t(q);
      else
        reinterpret_cast<uint8_t*>(out)[(k / 4 * PANEL + j) * 4 + k % 4] =
            uint8_t(int32_t(q) + 128);
    }
}

// How far the screen's score of each row may be from the head's for an input of length 1: the
// rounding of the weights (Cauchy-Schwarz), and that of both sums in float32 (Higham 2002, 3.1).
double bound_panel(const float* in, const int8_t* q, const float* scale, int64_t columns,
                   float* bound) {
  double error[PANEL] = {}, norm[PANEL] = {}, rounded[PANEL] = {}, longest = 0;
  for (int64_t k = 0; k < columns; ++k)
    for (int64_t j = 0; j < PANEL; ++j) {
      const double w = in[k * PANEL + j], v = double(q[k * PANEL + j]) * scale[j];
      error[j] += (w - v) * (w - v), norm[j] += w * w, rounded[j] += v * v;
    }
  const double units = double(columns + 16) * 0x1p-24;  // twice as many without fused multiply-add
  const double slack = 2.02 * units / (1 - 2 * units);
  for (int64_t j = 0; j < PANEL; ++j) {
    const double most = std::sqrt(error[j]) + slack * (std::sqrt(norm[j]) + std::sqrt(rounded[j]));
    bound[j] = float(most * (1 + 1e-6) + 1e-36);
    longest = std::max(longest, std::sqrt(std::max(norm[j], rounded[j])));
  }
  return longest;
}

class Packer {
 public:
  Packer(Writer& writer, Pool& pool) : writer_(writer), pool_(pool) {}

  void vector(const Vector& v, const Tensor& t, int64_t rows, int64_t columns) {
    check_tensor(t, rows, columns);
    writer_.pad_to(v.at);
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        row[size_t(j)] = t.data[i * t.row_stride + j * t.column_stride];
        check(row[size_t(j)]);
      }
      writer_.write(row.data(), columns * 4);
    }
  }

  // Returns the length of the longest row, where there are bounds to be made.
  double matrix(const Matrix& m, const Tensor& w, const Tensor* bias, const Vector* bound) {
    check_tensor(w, m.rows, m.columns);
    const int64_t rows = m.panels * PANEL,
                  batch = std::max<int64_t>(1, (int64_t(16) << 20) / m.panel_bytes());
    std::vector<float> scale(static_cast<size_t>(rows)),
        bounds(static_cast<size_t>(bound ? rows : 0));
    const int64_t n_gathered = m.kind == ROWS ? m.panel_bytes() / 4 : PANEL * m.columns;
    std::vector<float> gathered(size_t(n_gathered * pool_.size()));
    std::vector<char> out(size_t(std::min(batch, m.panels) * m.panel_bytes()));
    std::vector<double> longest(size_t(pool_.size()));
    std::atomic<bool> finite{true};
    writer_.pad_to(m.weights_at);
    for (int64_t first = 0; first < m.panels; first += batch) {
      const int64_t n = std::min(batch, m.panels - first);
      pool_.run([&](int t) {
        float* panel = gathered.data() + n_gathered * t;
        const Range own = share(n, t, pool_.size());
        for (int64_t i = own.begin; i < own.end; ++i) {
          const int64_t row = (first + i) * PANEL;
          char* packed = out.data() + i * m.panel_bytes();
          if (m.kind == ROWS)
            copy_rows(w, row, m.row_bytes() / 4, panel);
          else
            gather(w, row, panel);
          float sum = 0;
          for (int64_t k = 0; k < n_gathered; ++k) sum += panel[k] * 0.0f;
          if (sum != 0) finite = false;  // 0 times infinity or NaN
          if (m.kind == FLOATS || m.kind == ROWS)
            std::memcpy(packed, panel, size_t(m.panel_bytes()));
          else
            quantise_panel(panel, m.columns, m.kind, packed, scale.data() + row);
          if (bound)
            longest[size_t(t)] =
                std::max(longest[size_t(t)],
                         bound_panel(panel, reinterpret_cast<int8_t*>(packed), scale.data() + row,
                                     m.columns, bounds.data() + row));
        }
      });
      if (!finite) check(std::numeric_limits<float>::quiet_NaN());
      writer_.write(out.data(), n * m.panel_bytes());
    }
    if (m.scale_at >= 0) put(m.scale_at, scale);
    if (bias) {
      check_tensor(*bias, 1, m.rows);
      std::vector<float> values(static_cast<size_t>(rows));
      for (int64_t i = 0; i < m.rows; ++i) {
        values[size_t(i)] = bias->data[i * bias->column_stride];
        check(values[size_t(i)]);
      }
      put(m.bias_at, values);
    }
    if (bound) {
      std::fill(bounds.begin() + m.rows, bounds.end(), std::numeric_limits<float>::infinity());
      put(bound->at, bounds);
    }
    return *std::max_element(longest.begin(), longest.end());
  }

 private:
  void put(int64_t at, const std::vector<float>& values) {
    writer_.pad_to(at);
    writer_.write(values.data(), int64_t(values.size()) * 4);
  }
  static void check(float x) {
    if (!std::isfinite(x))
      refuse(VALUE, "the weights hold NaN or infinity; take another checkpoint");
  }
  Writer& writer_;
  Pool& pool_;
};

void pack(const char* path, const Shape& shape, const Tensor* tensors, int64_t n_tensors,
          int n_threads) {
  check_shape(shape, VALUE);
  Plan plan(shape);
  const int64_t expected = 2 + 12 * shape.n_layer + 2 + (shape.tied ? 0 : 1);
  if (n_tensors != expected)
    refuse(VALUE, "%lld tensors, the model has %lld", ll(n_tensors), ll(expected));
  File file(std::fopen(path, "wb"));
  if (!file) refuse(MACHINE, "%.200s can't be written: %s", path, std::strerror(errno));
  Header header = {};
  std::memcpy(header.magic, MAGIC, sizeof MAGIC);
  header.layout = LAYOUT;
  header.panel = int32_t(PANEL);
  header.shape = shape;
  header.payload_bytes = uint64_t(plan.n_bytes);
  std::vector<char> front(static_cast<size_t>(PAYLOAD_AT));
  if (std::fwrite(front.data(), 1, front.size(), file.get()) != front.size())
    refuse(MACHINE, "%.200s can't be written: %s; make room there", path, std::strerror(errno));

  Pool pool(n_threads);
  Writer writer(file.get());
  Packer packer(writer, pool);
  const Tensor& wte = tensors[0];
  const Tensor& head = shape.tied ? wte : tensors[n_tensors - 1];
  const int64_t c = shape.n_embd;
  packer.matrix(plan.head, head, nullptr, nullptr);
  if (plan.screen.rows) header.head_norm = packer.matrix(plan.screen, head, nullptr, &plan.bound);
  if (!shape.tied) packer.vector(plan.embedding, wte, shape.vocab_size, c);
  packer.vector(plan.positions, tensors[1], shape.n_positions, c);
  const Tensor* t = tensors + 2;  // ln_1, c_attn, c_proj, ln_2, c_fc, c_proj: weight and bias each
  for (const Layer& layer : plan.layers) {
    packer.vector(layer.ln_1_weight, t[0], 1, c);
    packer.vector(layer.ln_1_bias, t[1], 1, c);
    packer.matrix(layer.qkv, t[2], &t[3], nullptr);
    packer.matrix(layer.projection, t[4], &t[5], nullptr);
    packer.vector(layer.ln_2_weight, t[6], 1, c);
    packer.vector(layer.ln_2_bias, t[7], 1, c);
    packer.matrix(layer.up, t[8], &t[9], nullptr);
    packer.matrix(layer.down, t[10], &t[11], nullptr);
    t += 12;
  }
  packer.vector(plan.ln_f_weight, t[0], 1, c);
  packer.vector(plan.ln_f_bias, t[1], 1, c);
  writer.pad_to(plan.n_bytes);
  header.payload_sum = writer.finish();
  header.header_sum = checksum(header);
  std::memcpy(front.data(), &header, sizeof header);
  std::rewind(file.get());
  const bool written = std::fwrite(front.data(), 1, front.size(), file.get()) == front.size();
  if (!written || std::fclose(file.release()))
    refuse(MACHINE, "%.200s can't be written: %s; make room there", path, std::strerror(errno));
}

// ---------------------------------------------------------------------------------- opened weights

int64_t seek_end(FILE* file) {
#if defined(_WIN32)
  return _fseeki64(file, 0, SEEK_END) ? -1 : _ftelli64(file);
#else
  return fseeko(file, 0, SEEK_END) ? -1 : int64_t(ftello(file));
#endif
}
bool seek(FILE* file, int64_t at) {
#if defined(_WIN32)
  return _fseeki64(file, at, SEEK_SET) == 0;
#else
  return fseeko(file, off_t(at), SEEK_SET) == 0;
#endif
}

Header read_header(const char* path) {
  File file(std::fopen(path, "rb"));
  if (!file) refuse(DAMAGED, "%.200s can't be read: %s", path, std::strerror(errno));
  Header header;
  if (std::fread(&header, sizeof header, 1, file.get()) != 1 ||
      std::memcmp(header.magic, MAGIC, sizeof MAGIC) || header.header_sum != checksum(header))
    refuse(DAMAGED, "%.200s is no packed model, or damaged", path);
  if (header.layout != LAYOUT || header.panel != PANEL)
    refuse(DAMAGED, "%.200s is packed for another version or CPU", path);
  check_shape(header.shape, DAMAGED);
  const int64_t size = seek_end(file.get());
  if (size < PAYLOAD_AT || uint64_t(size - PAYLOAD_AT) != header.payload_bytes)
    refuse(DAMAGED, "%.200s is cut short or too long (%lld bytes)", path, ll(size));
  return header;
}

// The payload of a packed file, mapped: the pages that the system holds of it anyway, so that a
// start costs no copy and processes share them. Where files can't be mapped it is read.
class Payload {
 public:
  Payload(const char* path, int64_t n_bytes) : size_(size_t(n_bytes)) {
#if TINYGPT_POSIX
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) refuse(DAMAGED, "%.200s can't be read: %s", path, std::strerror(errno));
    struct stat now;  // the header's length may be of a file that another process has replaced
    const bool fits = fstat(file, &now) == 0 && now.st_size == PAYLOAD_AT + n_bytes;
    void* at = fits ? mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, PAYLOAD_AT) : MAP_FAILED;
    close(file);
    if (at != MAP_FAILED) {
      data_ = static_cast<char*>(at);
      madvise(at, size_, MADV_WILLNEED);
      return;
    }
#endif
    copy_.allocate(n_bytes);
    const File source(std::fopen(path, "rb"));
    if (!source || !seek(source.get(), PAYLOAD_AT) ||
        std::fread(copy_.as<char>(), 1, size_, source.get()) != size_)
      refuse(DAMAGED, "%.200s can't be read", path);
  }
  ~Payload() {
#if TINYGPT_POSIX
    if (data_) munmap(data_, size_);
#endif
  }
  Payload(const Payload&) = delete;
  Payload& operator=(const Payload&) = delete;

  const char* get() const { return data_ ? data_ : copy_.as<char>(); }

 private:
  char* data_ = nullptr;
  size_t size_;
  Memory copy_;
};

struct Model {
  Header header;
  Plan plan;
  std::unique_ptr<Payload> payload;

  Model(const char* path, int n_threads) : header(read_header(path)), plan(header.shape) {
    if (uint64_t(plan.n_bytes) != header.payload_bytes)
      refuse(DAMAGED, "%.200s does not hold the model it names", path);
    payload = std::make_unique<Payload>(path, plan.n_bytes);
    check_sums(path, n_threads);
    plan.bind(payload->get());
  }

 private:
  void check_sums(const char* path, int n_threads) const {
    const int64_t n = plan.n_bytes, n_chunks = (n + CHUNK - 1) / CHUNK;
    std::vector<uint64_t> sums(static_cast<size_t>(n_chunks));
    Pool pool(n_threads);
    pool.run([&](int t) {
      pool.deal(n_chunks, t);
      for (int64_t i; (i = pool.next(t)) >= 0;)
        sums[size_t(i)] =
            checksum(payload->get() + i * CHUNK, std::min(CHUNK, n - i * CHUNK), uint64_t(i));
    });
    const uint64_t sum = checksum(reinterpret_cast<const char*>(sums.data()), n_chunks * 8, 1);
    if (sum != header.payload_sum) refuse(DAMAGED, "%.200s is damaged", path);
  }
};

// ---------------------------------------------------------------------------------------- matrices

struct Input {  // rows of activations, as the matrix's kind wants them
  const float* floats;
  int64_t stride;
  const int8_t* bytes;  // of rows rounded by `quantise`, `byte_stride` apart
  int64_t byte_stride;
  const float* scale;
  const int32_t* sum;
};

// Add to M rows of sums what n_k columns of a panel give; W is float or int8_t.
template <int M, class W>
void multiply(const char* panel, int64_t n_k, const Input& in, int64_t k0, int64_t m0, float* sums,
              int64_t stride, bool first, const char* ahead, int64_t ahead_step) {
  Floats sum[M][PARTS];
  UNROLLED_FOR (int m = 0; m < M; ++m)
    UNROLLED_FOR (int r = 0; r < PARTS; ++r)
      sum[m][r] = first ? splat(0.0f) : load(sums + m * stride + r * LANES);
  const W* w = reinterpret_cast<const W*>(panel) + k0 * PANEL;
  const float* x = in.floats + m0 * in.stride + k0;
  for (int64_t k = 0; k < n_k; ++k, w += PANEL, ahead += ahead_step) {
    UNROLLED_FOR (int i = 0; i < int(PANEL * sizeof(W) + 63) / 64; ++i) prefetch(ahead + 64 * i);
    Floats q[PARTS];
    UNROLLED_FOR (int r = 0; r < PARTS; ++r) q[r] = load(w + r * LANES);
    UNROLLED_FOR (int m = 0; m < M; ++m) {
      const Floats v = splat(x[m * in.stride + k]);
      UNROLLED_FOR (int r = 0; r < PARTS; ++r) sum[m][r] = fma(q[r], v, sum[m][r]);
    }
  }
  UNROLLED_FOR (int m = 0; m < M; ++m)
    UNROLLED_FOR (int r = 0; r < PARTS; ++r) store(sums + m * stride + r * LANES, sum[m][r]);
}

// The same in whole numbers, four columns at a time; sums hold int32 until `finish`.
template <int M>
void multiply_dots(const char* panel, int64_t n_k, const Input& in, int64_t k0, int64_t m0,
                   float* sums, int64_t stride, bool first, const char* ahead, int64_t ahead_step) {
  Ints sum[M][PARTS];
  UNROLLED_FOR (int m = 0; m < M; ++m)
    UNROLLED_FOR (int r = 0; r < PARTS; ++r)
      sum[m][r] = first ? splat(int32_t(0)) : load_as<Ints>(sums + m * stride + r * LANES);
  const uint8_t* w = reinterpret_cast<const uint8_t*>(panel) + k0 * PANEL;
  const int8_t* x = in.bytes + m0 * in.byte_stride + k0;
  for (int64_t k = 0; k < n_k; k += 4, w += 4 * PANEL, ahead += 4 * ahead_step) {
    UNROLLED_FOR (int i = 0; i < int(4 * PANEL + 63) / 64; ++i) prefetch(ahead + 64 * i);
    UNROLLED_FOR (int m = 0; m < M; ++m) {
      int32_t four;
      std::memcpy(&four, x + m * in.byte_stride + k, 4);
      const Ints v = splat(four);
      UNROLLED_FOR (int r = 0; r < PARTS; ++r) sum[m][r] = dot4(sum[m][r], w + 4 * r * LANES, v);
    }
  }
  UNROLLED_FOR (int m = 0; m < M; ++m)
    UNROLLED_FOR (int r = 0; r < PARTS; ++r) store(sums + m * stride + r * LANES, sum[m][r]);
}

// M scores of each of PARTS rows of a ROWS matrix. Activations are 0 in their padding.
template <int M>
void multiply_rows(const char* rows, int64_t row_bytes, const Input& in, int64_t m0, float* y,
                   int64_t stride, const char* ahead, int64_t ahead_step) {
  Floats sum[M][PARTS];
  UNROLLED_FOR (int m = 0; m < M; ++m)
    UNROLLED_FOR (int r = 0; r < PARTS; ++r) sum[m][r] = splat(0.0f);
  const float* x = in.floats + m0 * in.stride;
  for (int64_t k = 0; k < row_bytes / 4; k += LANES, ahead += ahead_step) {
    UNROLLED_FOR (int i = 0; i < int(PARTS * sizeof(Floats) + 63) / 64; ++i)
      prefetch(ahead + 64 * i);
    Floats q[PARTS];
    UNROLLED_FOR (int r = 0; r < PARTS; ++r)
      q[r] = load(reinterpret_cast<const float*>(rows + r * row_bytes) + k);
    UNROLLED_FOR (int m = 0; m < M; ++m) {
      const Floats v = load(x + m * in.stride + k);
      UNROLLED_FOR (int r = 0; r < PARTS; ++r) sum[m][r] = fma(q[r], v, sum[m][r]);
    }
  }
  UNROLLED_FOR (int m = 0; m < M; ++m)
    UNROLLED_FOR (int r = 0; r < PARTS; ++r) y[m * stride + r] = total_of_row(sum[m][r]);
}

using MultiplyRows = void (*)(const char*, int64_t, const Input&, int64_t, float*, int64_t,
                              const char*, int64_t);

MultiplyRows multiply_rows_for(int64_t rows) {
  switch (std::min<int64_t>(rows, MAX_ROWS)) {
    case 1: return &multiply_rows<1>;
    case 2: return &multiply_rows<2>;
#if defined(__AVX512F__) || defined(__aarch64__)
    case 3: return &multiply_rows<3>;
    case 4: return &multiply_rows<4>;
    case 5: return &multiply_rows<5>;
#endif
    default: return &multiply_rows<MAX_ROWS>;
  }
}

// The scores of a ROWS matrix, panels dealt out; each block of rows of x fetches its share of the
// next rows of weights.
void score_rows(const Matrix& w, const Input& in, int64_t n_rows, float* y, int64_t stride,
                Pool& pool, int t) {
  const int64_t n_blocks = (n_rows + MAX_ROWS - 1) / MAX_ROWS, group = PARTS * w.row_bytes();
  pool.deal(w.panels, t);
  for (int64_t p; (p = pool.next(t)) >= 0;)
    for (int64_t row = p * PANEL; row < (p + 1) * PANEL; row += PARTS)
      for (int64_t b = 0; b < n_blocks; ++b) {
        const Range rows = share(n_rows, int(b), int(n_blocks));
        const char* at = w.weights + row * w.row_bytes();
        multiply_rows_for(rows.end - rows.begin)(
            at, w.row_bytes(), in, rows.begin, y + rows.begin * stride + row, stride,
            at + group + b * group / n_blocks, int64_t(PARTS * sizeof(Floats)) / n_blocks);
      }
}

using Multiply = void (*)(const char*, int64_t, const Input&, int64_t, int64_t, float*, int64_t,
                          bool, const char*, int64_t);

template <int M>
Multiply multiply_for(Kind kind) {
  return kind == FLOATS  ? &multiply<M, float>
         : kind == BYTES ? &multiply<M, int8_t>
                         : &multiply_dots<M>;
}
Multiply multiply_for(Kind kind, int64_t rows) {
  switch (std::min<int64_t>(rows, MAX_ROWS)) {
    case 1: return multiply_for<1>(kind);
    case 2: return multiply_for<2>(kind);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 3: return multiply_for<3>(kind);
    case 4: return multiply_for<4>(kind);
    case 5: return multiply_for<5>(kind);
#endif
    default: return multiply_for<MAX_ROWS>(kind);
  }
}

// Turn the sums of a panel into results: scales and bias.
void finish(const Matrix& w, const Input& in, int64_t panel, int64_t n_rows, float* y,
            int64_t stride) {
  const int64_t at = panel * PANEL;
  for (int64_t m = 0; m < n_rows; ++m)
    for (int64_t r = 0; r < PANEL; r += LANES) {
      float* p = y + m * stride + r;
      Floats v = load(p);
      if (w.kind == DOTS) {
        const Ints whole = load_as<Ints>(p) - splat(int32_t(128 * in.sum[m]));
        v = __builtin_convertvector(whole, Floats) * (load(w.scale + at + r) * splat(in.scale[m]));
      } else if (w.kind == BYTES) {
        v *= load(w.scale + at + r);
      }
      if (w.bias) v += load(w.bias + at + r);
      store(p, v);
    }
}

// y[m][row], panels dealt out; `after(first row, y of the panel)` then works on each panel.
// With several blocks of rows, columns are taken in chunks that stay in the first-level cache, and
// each block fetches its share of the next chunk.
template <class After>
void matmul(const Matrix& w, const Input& in, int64_t n_rows, float* y, int64_t stride, Pool& pool,
            int t, const After& after) {
  const int64_t n_blocks = (n_rows + MAX_ROWS - 1) / MAX_ROWS;
  const int64_t width = w.kind == FLOATS ? 4 : 1;  // bytes of a weight
  const int64_t columns = w.kind == DOTS ? padded(w.columns, 4) : w.columns;
  const int64_t chunk = n_blocks == 1 ? columns : 16384 / (PANEL * width);
  pool.deal(w.panels, t);
  for (int64_t p; (p = pool.next(t)) >= 0;) {
    const char* panel = w.weights + p * w.panel_bytes();
    float* out = y + p * PANEL;
    for (int64_t k = 0; k < columns; k += chunk) {
      const int64_t n_k = std::min(chunk, columns - k);
      for (int64_t b = 0; b < n_blocks; ++b) {
        const Range rows = share(n_rows, int(b), int(n_blocks));
        const int64_t step = PANEL * width / n_blocks;
        const int64_t distance = n_blocks == 1 ? 8192 : (n_k * PANEL * width + b * n_k * step);
        multiply_for(w.kind, rows.end - rows.begin)(panel, n_k, in, k, rows.begin,
                                                    out + rows.begin * stride, stride, k == 0,
                                                    panel + k * PANEL * width + distance, step);
      }
    }
    finish(w, in, p, n_rows, out, stride);
    after(p * PANEL, out);
  }
}

// One score of a ROWS matrix: the bits that `score_rows` gives.
float dot_row(const Matrix& w, int64_t row, const float* x) {
  const float* p = w.row(row);
  Floats sum = splat(0.0f);
  for (int64_t k = 0; k < w.columns; k += LANES) sum = fma(load(p + k), load(x + k), sum);
  return total_of_row(sum);
}

// One row of a matrix as floats: the embedding of an id, where it is the head too.
void read_row(const Matrix& w, int64_t row, float* out) {
  if (w.kind == ROWS) {
    std::memcpy(out, w.row(row), size_t(w.columns) * 4);
    return;
  }
  const char* panel = w.weights + row / PANEL * w.panel_bytes();
  const int64_t j = row % PANEL;
  for (int64_t k = 0; k < w.columns; ++k) {
    if (w.kind == BYTES)
      out[k] = float(reinterpret_cast<const int8_t*>(panel)[k * PANEL + j]) * w.scale[row];
    else
      out[k] = float(int(uint8_t(panel[(k / 4 * PANEL + j) * 4 + k % 4])) - 128) * w.scale[row];
  }
}

// --------------------------------------------------------------------------------------- attention

// Keys and values of one layer of one slot: blocks of 16 positions, in each for every head the keys
// as (head_dim, 16) and the values as (16, head_dim padded to LANES).
constexpr int64_t BLOCK = 16;

struct Heads {
  int64_t n, dim, value_dim;  // value_dim: padded
  explicit Heads(const Shape& s)
      : n(s.n_head), dim(s.n_embd / s.n_head), value_dim(padded(dim, LANES)) {}
  int64_t head_floats() const { return BLOCK * (dim + value_dim); }
  int64_t block_floats() const { return n * head_floats(); }
};

void remember(const Heads& heads, float* cache, int64_t head, int64_t position, const float* key,
              const float* value) {
  float* block = cache + position / BLOCK * heads.block_floats() + head * heads.head_floats();
  const int64_t j = position % BLOCK;
  for (int64_t d = 0; d < heads.dim; ++d) block[d * BLOCK + j] = key[d];
  std::memcpy(block + BLOCK * heads.dim + j * heads.value_dim, value, size_t(heads.dim) * 4);
}

// Q neighbouring queries of one head, the first of which sees n_first keys, each next one more.
template <int Q>
void attend(const Heads& heads, const float* cache, const float* query, int64_t query_stride,
            int64_t n_first, float* scores, int64_t scores_stride, float* out, int64_t out_stride) {
  const int64_t n = n_first + Q - 1, dim = heads.dim, block_floats = heads.block_floats();
  const Floats scale = splat(float(1.0 / std::sqrt(double(dim))));
  const int64_t n_groups = (n + LANES - 1) / LANES, per_block = BLOCK / LANES;
  for (int64_t g = 0; g < n_groups; g += PARTS) {
    const float* keys[PARTS];
    for (int64_t r = 0; r < PARTS; ++r) {
      const int64_t one = std::min(g + r, n_groups - 1);  // past the end: the last again
      keys[r] = cache + one / per_block * block_floats + one % per_block * LANES;
    }
    Floats sum[Q][PARTS];
    UNROLLED_FOR (int j = 0; j < Q; ++j)
      UNROLLED_FOR (int r = 0; r < PARTS; ++r) sum[j][r] = splat(0.0f);
    for (int64_t d = 0; d < dim; ++d) {
      Floats key[PARTS];
      UNROLLED_FOR (int r = 0; r < PARTS; ++r) {
        key[r] = load(keys[r] + d * BLOCK);
        if (Q == 1) prefetch(reinterpret_cast<const char*>(keys[r] + (dim + d) * BLOCK));  // values
      }
      UNROLLED_FOR (int j = 0; j < Q; ++j) {
        const Floats v = splat(query[j * query_stride + d]);
        UNROLLED_FOR (int r = 0; r < PARTS; ++r) sum[j][r] = fma(v, key[r], sum[j][r]);
      }
    }
    UNROLLED_FOR (int j = 0; j < Q; ++j)
      UNROLLED_FOR (int r = 0; r < PARTS; ++r)
        store(scores + j * scores_stride + (g + r) * LANES, sum[j][r] * scale);
  }
  float share_of[Q];
  for (int j = 0; j < Q; ++j) {
    float* s = scores + j * scores_stride;
    const int64_t end = padded(n, LANES);
    for (int64_t i = n_first + j; i < end; ++i) s[i] = -std::numeric_limits<float>::infinity();
    Floats top = load(s);
    for (int64_t i = LANES; i < end; i += LANES) top = larger(top, load(s + i));
    const Floats most = splat(largest(top));
    Floats sum = splat(0.0f);
    for (int64_t i = 0; i < end; i += LANES) {
      const Floats p = exp(load(s + i) - most);
      store(s + i, p);
      sum += p;
    }
    share_of[j] = float(1.0 / total(sum));
  }
  const float* values = cache + BLOCK * dim;
  for (int64_t d = 0; d < dim; d += PARTS * LANES) {
    const int64_t n_parts = std::min<int64_t>(PARTS, (dim - d + LANES - 1) / LANES);
    Floats sum[Q][PARTS];
    UNROLLED_FOR (int j = 0; j < Q; ++j)
      UNROLLED_FOR (int r = 0; r < PARTS; ++r) sum[j][r] = splat(0.0f);
    const auto add = [&](auto parts) {
      constexpr int R = decltype(parts)::value;
      for (int64_t first = 0; first < n; first += BLOCK) {
        const float* v = values + first / BLOCK * block_floats + d;
        const int64_t end = std::min(BLOCK, n - first);
        for (int64_t i = 0; i < end; ++i, v += heads.value_dim)
          UNROLLED_FOR (int r = 0; r < R; ++r) {
            const Floats value = load(v + r * LANES);
            UNROLLED_FOR (int j = 0; j < Q; ++j)
              sum[j][r] = fma(splat(scores[j * scores_stride + first + i]), value, sum[j][r]);
          }
      }
    };
    if (n_parts == 1)
      add(std::integral_constant<int, 1>());
    else if (n_parts == 2)
      add(std::integral_constant<int, 2>());
    else if (n_parts == 3)
      add(std::integral_constant<int, 3>());
    else
      add(std::integral_constant<int, 4>());
    for (int j = 0; j < Q; ++j) {
      float result[PARTS * LANES];
      for (int r = 0; r < PARTS; ++r) store(result + r * LANES, sum[j][r] * splat(share_of[j]));
      std::memcpy(out + j * out_stride + d, result, size_t(std::min(dim - d, PANEL)) * 4);
    }
  }
}

// ----------------------------------------------------------------------------------------- drawing

// Number `index` of the stream of numpy's Philox keyed by (seed, sample index), as `random()` gives
// it: 53 bits in [0, 1). Philox 4x64-10 is of Salmon et al. 2011.
double philox(uint64_t seed, uint64_t sample_index, uint64_t index) {
  uint64_t x[4] = {index / 4 + 1, 0, 0, 0}, k0 = seed, k1 = sample_index;
  for (int round = 0; round < 10; ++round) {
    const unsigned __int128 a = (unsigned __int128)0xD2E7470EE14C6C93u * x[0];
    const unsigned __int128 b = (unsigned __int128)0xCA5A826395121157u * x[2];
    const uint64_t next[4] = {uint64_t(b >> 64) ^ x[1] ^ k0, uint64_t(b),
                              uint64_t(a >> 64) ^ x[3] ^ k1, uint64_t(a)};
    std::memcpy(x, next, sizeof x);
    k0 += 0x9E3779B97F4A7C15u, k1 += 0xBB67AE8584CAA73Bu;
  }
  return double(x[index % 4] >> 11) * 0x1p-53;
}

// e^x for x <= 0, to 2 units in the last place (numpy's own differs by as much between machines);
// 0 below the smallest normal number. Written so that the compiler takes several at a time.
INLINE double exp_below(double x) {
  const double shifted = x * 1.4426950408889634 + 0x1.8p52, n = shifted - 0x1.8p52;
  const double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800;
  for (double c : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                   1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0})
    p = p * r + c;
  uint64_t bits;  // n stands in the low bits of `shifted`
  std::memcpy(&bits, &shifted, 8);
  bits = (bits + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, 8);
  return x > -708 ? p * power : 0.0;
}

// The order in which numpy sums an array of doubles.
double pairwise_sum(const double* a, int64_t n) {
  if (n < 8) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += a[i];
    return sum;
  }
  if (n <= 128) {
    double r[8];
    for (int j = 0; j < 8; ++j) r[j] = a[j];
    int64_t i = 8;
    for (; i < n - n % 8; i += 8)
      for (int j = 0; j < 8; ++j) r[j] += a[i + j];
    double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; ++i) sum += a[i];
    return sum;
  }
  const int64_t half = n / 2 - n / 2 % 8;
  return pairwise_sum(a, half) + pairwise_sum(a + half, n - half);
}

struct Draws {
  int64_t n_slots, n;
  const int64_t* slots;
  double temperature, top_p, min_p, repetition_penalty;
  int64_t top_k, n_stop_ids;
  const int64_t* stop_ids;
  uint64_t seed;
  const uint64_t *sample_indices, *drawn;
  const uint8_t* seen;
  int64_t *ids, *n_ids;
};

// inference/sampling.py's next_id, step by step, with room for V numbers.
class Sampler {
 public:
  void reserve(int64_t v) {
    scores_.resize(size_t(v)), spare_.resize(size_t(v)), order_.resize(size_t(v));
  }

  // Returns -1 where the scores are no numbers. `seen` marks ids, or is null without a penalty.
  int64_t next_id(const float* logits, int64_t v, const Draws& settings, const uint8_t* seen,
                  double u) {
    double* p = scores_.data();
    for (int64_t i = 0; i < v; ++i) p[i] = logits[i];
    if (seen)
      for (int64_t i = 0; i < v; ++i)
        if (seen[i])
          p[i] = p[i] < 0 ? p[i] * settings.repetition_penalty : p[i] / settings.repetition_penalty;
    int64_t best = 0;
    for (int64_t i = 0; i < v; ++i) {
      if (std::isnan(p[i])) return -1;
      if (p[i] > p[best]) best = i;
    }
    if (!std::isfinite(p[best])) return -1;
    if (settings.temperature == 0) return best;
    if (settings.top_k > 0 && settings.top_k < v) keep_top(p, v, settings.top_k);
    const double top = p[best];
    for (int64_t i = 0; i < v; ++i) {
      p[i] = exp_below((p[i] - top) / settings.temperature);
    }
    divide(p, v, pairwise_sum(p, v));
    if (settings.top_p < 1) keep_mass(p, v, settings.top_p);
    if (settings.min_p > 0) {
      const double least = settings.min_p * *std::max_element(p, p + v);
      for (int64_t i = 0; i < v; ++i)
        if (p[i] < least) p[i] = 0;
    }
    divide(p, v, pairwise_sum(p, v));
    double sum = 0;
    for (int64_t i = 0; i < v; ++i) p[i] = sum += p[i];
    return std::upper_bound(p, p + v - 1, u * sum) - p;
  }

 private:
  static void divide(double* p, int64_t v, double by) {
    for (int64_t i = 0; i < v; ++i) p[i] /= by;
  }
  void keep_top(double* p, int64_t v, int64_t k) {
    std::copy(p, p + v, spare_.begin());
    std::nth_element(spare_.begin(), spare_.begin() + (k - 1), spare_.begin() + v,
                     std::greater<double>());
    const double least = spare_[size_t(k - 1)];
    for (int64_t i = 0; i < v; ++i)
      if (p[i] < least) p[i] = -std::numeric_limits<double>::infinity();
  }
  // Zero what comes after the most likely ids whose mass is top_p. It sorts no more than it needs.
  void keep_mass(double* p, int64_t v, double top_p) {
    int64_t n = 0;
    for (int64_t i = 0; i < v; ++i) {
      spare_[size_t(i)] = p[i];
      if (p[i] > 0) order_[size_t(n++)] = int32_t(i);
    }
    const auto likelier = [this](int32_t a, int32_t b) {
      const double x = spare_[size_t(a)], y = spare_[size_t(b)];
      return x > y || (x == y && a < b);
    };
    double mass = 0;
    int64_t done = 0;
    for (int64_t batch = 256; done < n && mass < top_p + 1e-9; batch *= 4) {
      const int64_t end = std::min(n, done + batch);
      if (end < n)
        std::nth_element(order_.begin() + done, order_.begin() + end, order_.begin() + n, likelier);
      std::sort(order_.begin() + done, order_.begin() + end, likelier);
      for (; done < end; ++done) {
        const int32_t id = order_[size_t(done)];
        mass += spare_[size_t(id)];
        if (mass - spare_[size_t(id)] >= top_p) p[id] = 0;
      }
    }
    for (; done < n; ++done) p[order_[size_t(done)]] = 0;
  }
  std::vector<double> scores_, spare_;
  std::vector<int32_t> order_;
};

// --------------------------------------------------------------------------------------- a session

struct Feed {  // ids to append to a slot
  int64_t slot, n;
  const int64_t* ids;
};

struct Span {  // the part of a feed that one pass computes: rows row .. row + n of the activations
  int64_t slot, position, row, n;
  const int64_t* ids;
  bool is_last;
};

struct Slot {
  int64_t length = 0;
  uint64_t call = 0;  // the call that appended last: slots of one call get their logits together
  bool has_hidden = false, has_logits = false;
};

constexpr int64_t MAX_PASS = 256;  // rows that share one pass over the weights
constexpr int64_t HEAD_ROWS = 16;  // rows that share one pass over the head
constexpr int64_t MOST_SCREENED = 1024;

class Session {
 public:
  Session(const Model& model, int64_t n_slots, int n_threads)
      : model_(model),
        plan_(model.plan),
        shape_(model.plan.shape),
        heads_(model.plan.shape),
        n_slots_(n_slots),
        slots_(size_t(n_slots)),
        pool_(n_threads) {
    const int64_t c = shape_.n_embd, t = n_threads;
    n_rows_ = std::max(n_slots, std::min(MAX_PASS, shape_.n_positions));
    width_ = padded(c, PANEL);
    qkv_width_ = padded(3 * c, PANEL);
    inner_width_ = padded(shape_.n_inner, PANEL);
    head_width_ = padded(shape_.vocab_size, PANEL);
    byte_width_ = padded(std::max(c, shape_.n_inner), 4);
    n_blocks_ = padded(shape_.n_positions, BLOCK) / BLOCK;
    const int64_t n_prepared = n_rows_ + t;  // single rows are prepared by each thread for itself
    x_.allocate(product({n_rows_, width_}));
    normed_.allocate(product({n_prepared, width_}));
    attended_.allocate(product({n_rows_, width_}));
    added_.allocate(product({n_rows_, width_}));
    qkv_.allocate(product({n_rows_, qkv_width_}));
    inner_.allocate(product({n_rows_, inner_width_}));
    bytes_.allocate(product({n_prepared, byte_width_}));
    byte_scale_.allocate(n_prepared);
    byte_sum_.allocate(n_prepared);
    scores_width_ = padded(shape_.n_positions + MAX_QUERIES, PANEL);
    scores_.allocate(product({t, MAX_QUERIES, scores_width_}));
    hidden_.allocate(product({n_slots, width_}));
    head_in_.allocate(product({HEAD_ROWS, width_}));
    head_out_.allocate(product({HEAD_ROWS, head_width_}));
    best_.resize(size_t(t * HEAD_ROWS));
    cache_.allocate(product({n_slots, shape_.n_layer, n_blocks_, heads_.block_floats()}));
    ids_.allocate(product({n_slots, shape_.n_positions}));
    samplers_.resize(size_t(t));
  }

  void prefill(int64_t slot, const int64_t* ids, int64_t n) {
    check_slot(slot);
    append({{slot, n, ids}}, nullptr);
  }

  void step(const int64_t* slots, const int64_t* ids, int64_t n) {
    check_slots(slots, n);
    std::vector<Feed> feeds;
    for (int64_t i = 0; i < n; ++i) feeds.push_back({slots[i], 1, ids + i});
    append(feeds, nullptr);
  }

  void verify(int64_t slot, const int64_t* ids, int64_t n, float* out) {
    check_slot(slot);
    append({{slot, n, ids}}, out);
  }

  void logits(int64_t slot, float* out) {
    check_hidden(slot);
    if (!logits_.get()) logits_.allocate(product({n_slots_, shape_.vocab_size}));
    if (!slots_[size_t(slot)].has_logits) {
      std::vector<int64_t> group;  // the others will be asked for next
      for (int64_t i = 0; i < n_slots_; ++i) {
        const Slot& one = slots_[size_t(i)];
        if (one.has_hidden && !one.has_logits && one.call == slots_[size_t(slot)].call)
          group.push_back(i);
      }
      each_head(group.data(), int64_t(group.size()), [&](const int64_t* part, int64_t n) {
        compute_logits(n);
        for (int64_t m = 0; m < n; ++m) {
          std::memcpy(&logits_[part[m] * shape_.vocab_size], &head_out_[m * head_width_],
                      size_t(shape_.vocab_size) * 4);
          slots_[size_t(part[m])].has_logits = true;
        }
      });
    }
    std::memcpy(out, &logits_[slot * shape_.vocab_size], size_t(shape_.vocab_size) * 4);
  }

  void argmax(const int64_t* slots, int64_t n, int64_t* out) {
    for (int64_t i = 0; i < n; ++i) check_hidden(slots[i]);
    each_head(slots, n, [&](const int64_t* part, int64_t m) { greedy(m, out + (part - slots)); });
  }

  void truncate(int64_t slot, int64_t n) {
    check_slot(slot);
    Slot& one = slots_[size_t(slot)];
    if (n < 0 || n > one.length)
      refuse(VALUE, "slot %lld holds %lld ids, can't keep %lld", ll(slot), ll(one.length), ll(n));
    one.length = n;
    one.has_hidden = one.has_logits = false;
  }

  void decode(const Draws& draws) {
    check_draws(draws);
    cancelled_.store(false);
    const int64_t n = draws.n_slots, v = shape_.vocab_size;
    const bool greedily = draws.temperature == 0 && draws.repetition_penalty == 1;
    if (!greedily)
      for (Sampler& sampler : samplers_) sampler.reserve(v);
    std::vector<uint8_t> seen(draws.seen, draws.seen + (draws.seen ? n * v : 0));
    std::vector<int64_t> running(static_cast<size_t>(n)), slots, drawn(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) running[size_t(i)] = i, draws.n_ids[i] = 0;
    for (int64_t count = 0; count < draws.n && !running.empty(); ++count) {
      slots.clear();
      for (int64_t i : running) slots.push_back(draws.slots[i]);
      each_head(slots.data(), int64_t(slots.size()), [&](const int64_t* part, int64_t m) {
        const int64_t* who = running.data() + (part - slots.data());
        if (greedily) {
          greedy(m, drawn.data() + (part - slots.data()));
          for (int64_t r = 0; r < m; ++r) check_number(std::isfinite(best_score_[r]));
        } else {
          sample(draws, who, m, uint64_t(count), seen, drawn.data() + (part - slots.data()));
        }
      });
      std::vector<int64_t> going;
      std::vector<std::vector<int64_t>> fed;
      const bool ends = count + 1 == draws.n || cancelled_.load();
      for (size_t j = 0; j < running.size(); ++j) {
        const int64_t i = running[j], id = drawn[j];
        draws.ids[i * draws.n + draws.n_ids[i]++] = id;
        if (draws.seen) seen[size_t(i * v + id)] = 1;
        const bool stop = std::find(draws.stop_ids, draws.stop_ids + draws.n_stop_ids, id) !=
                          draws.stop_ids + draws.n_stop_ids;
        if (stop || ends) continue;
        going.push_back(i);
        fed.push_back(continued(draws.slots[i], id));
      }
      running = going;
      std::vector<Feed> feeds;
      for (size_t j = 0; j < running.size(); ++j) {
        const int64_t slot = draws.slots[running[j]];
        if (fed[j].size() != 1 || slots_[size_t(slot)].length == shape_.n_positions)
          truncate(slot, 0);
        feeds.push_back({slot, int64_t(fed[j].size()), fed[j].data()});
      }
      if (!feeds.empty()) append(feeds, nullptr);
    }
  }

  void cancel() { cancelled_.store(true); }

  // One thread at a time, and none in a forked child, which has none of the pool's threads.
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
#if TINYGPT_POSIX
  const pid_t process = getpid();
#endif

 private:
  // ---- checks

  void check_slot(int64_t slot) const {
    if (slot < 0 || slot >= n_slots_)
      refuse(VALUE, "slot %lld: this session has %lld, counted from 0", ll(slot), ll(n_slots_));
  }
  void check_slots(const int64_t* slots, int64_t n) const {
    if (n < 1) refuse(VALUE, "no slots are given; name at least one");
    std::vector<bool> named(slots_.size());
    for (int64_t i = 0; i < n; ++i) {
      check_slot(slots[i]);
      if (named[size_t(slots[i])]) refuse(VALUE, "slot %lld is given twice", ll(slots[i]));
      named[size_t(slots[i])] = true;
    }
  }
  void check_hidden(int64_t slot) const {
    check_slot(slot);
    if (!slots_[size_t(slot)].has_hidden)
      refuse(VALUE, "slot %lld has no logits: append ids to it first", ll(slot));
  }
  void check_feed(const Feed& feed) const {
    if (feed.n < 1) refuse(VALUE, "no ids are given; append at least one");
    const int64_t length = slots_[size_t(feed.slot)].length;
    if (feed.n > shape_.n_positions - length)
      refuse(CONTEXT,
             "%lld tokens are more than this model's n_positions=%lld; give a shorter text",
             ll(length + feed.n), ll(shape_.n_positions));
    for (int64_t i = 0; i < feed.n; ++i)
      if (feed.ids[i] < 0 || feed.ids[i] >= shape_.vocab_size)
        refuse(VALUE, "id %lld is outside the vocabulary (0 to %lld)", ll(feed.ids[i]),
               ll(shape_.vocab_size - 1));
  }
  void check_draws(const Draws& d) const {
    check_slots(d.slots, d.n_slots);
    for (int64_t i = 0; i < d.n_slots; ++i) check_hidden(d.slots[i]);
    const bool possible = d.n >= 1 && d.temperature >= 0 && d.top_p > 0 && d.top_p <= 1 &&
                          d.min_p >= 0 && d.min_p <= 1 && d.repetition_penalty > 0 &&
                          d.top_k >= 0 && d.n_stop_ids >= 0;
    if (!possible || (d.repetition_penalty != 1) != (d.seen != nullptr))
      refuse(VALUE, "a setting of decode is impossible; GenerationConfig says what is allowed");
  }

  // ---- the forward pass

  // Append to slots that differ. With `out`, one feed's logits after each id go there, (n, V).
  void append(const std::vector<Feed>& feeds, float* out) {
    for (const Feed& feed : feeds) check_feed(feed);
    ++n_calls_;
    spans_.clear();
    int64_t rows = 0;
    for (const Feed& feed : feeds)
      for (int64_t done = 0; done < feed.n;) {
        const int64_t n = std::min(feed.n - done, n_rows_ - rows);
        const int64_t position = slots_[size_t(feed.slot)].length + done;
        spans_.push_back({feed.slot, position, rows, n, feed.ids + done, done + n == feed.n});
        rows += n, done += n;
        if (rows == n_rows_) rows = pass(rows, &out);
      }
    if (rows) pass(rows, &out);
    for (const Feed& feed : feeds) {
      Slot& slot = slots_[size_t(feed.slot)];
      for (int64_t i = 0; i < feed.n; ++i)
        ids_[feed.slot * shape_.n_positions + slot.length + i] = int32_t(feed.ids[i]);
      slot.length += feed.n;
      slot.call = n_calls_;
      slot.has_hidden = true;
      slot.has_logits = false;
    }
  }

  int64_t pass(int64_t n_rows, float** out) {
    pool_.run([&](int t) { forward(n_rows, t); });
    if (*out) {  // the last norm of every row, then the head
      pool_.run([&](int t) {
        const Range own = share(n_rows, t, pool_.size());
        for (int64_t m = own.begin; m < own.end; ++m)
          last_norm(&x_[m * width_], &attended_[m * width_]);
      });
      for (int64_t first = 0; first < n_rows; first += HEAD_ROWS) {
        const int64_t n = std::min(HEAD_ROWS, n_rows - first);
        std::memcpy(head_in_.get(), &attended_[first * width_], size_t(n * width_) * 4);
        compute_logits(n);
        for (int64_t m = 0; m < n; ++m, *out += shape_.vocab_size)
          std::memcpy(*out, &head_out_[m * head_width_], size_t(shape_.vocab_size) * 4);
      }
    }
    spans_.clear();
    return 0;
  }

  void last_norm(const float* x, float* out) const {
    layer_norm(x, shape_.n_embd, plan_.ln_f_weight.data, plan_.ln_f_bias.data,
               shape_.layer_norm_epsilon, out);
  }

  // What thread t does of one pass; ends with the hidden states that slots keep.
  void forward(int64_t n_rows, int t) {
    const int n_threads = pool_.size();
    embed(n_rows, t);
    pool_.barrier();
    for (int64_t i = 0; i < shape_.n_layer; ++i) {
      const Layer& layer = plan_.layers[size_t(i)];
      Input in =
          prepare(layer.qkv, x_.get(), width_, n_rows, &layer.ln_1_weight, &layer.ln_1_bias, t);
      matmul(layer.qkv, in, n_rows, qkv_.get(), qkv_width_, pool_, t,
             [](int64_t, float*) {});
      pool_.barrier();
      attention(i, t);
      pool_.barrier();
      in = prepare(layer.projection, attended_.get(), width_, n_rows, nullptr, nullptr, t);
      project(layer.projection, in, n_rows, t);
      pool_.barrier();
      in = prepare(layer.up, x_.get(), width_, n_rows, &layer.ln_2_weight, &layer.ln_2_bias, t);
      matmul(layer.up, in, n_rows, inner_.get(), inner_width_, pool_, t,
             [&](int64_t, float* y) {
               for (int64_t m = 0; m < n_rows; ++m)
                 activate(Activation(shape_.activation), y + m * inner_width_, PANEL);
             });
      pool_.barrier();
      in = prepare(layer.down, inner_.get(), inner_width_, n_rows, nullptr, nullptr, t);
      project(layer.down, in, n_rows, t);
      pool_.barrier();
    }
    for (size_t i = size_t(t); i < spans_.size(); i += size_t(n_threads)) {
      const Span& span = spans_[i];
      if (span.is_last)
        last_norm(&x_[(span.row + span.n - 1) * width_], &hidden_[span.slot * width_]);
    }
  }

  void embed(int64_t n_rows, int t) {
    const Range own = share(n_rows, t, pool_.size());
    const int64_t c = shape_.n_embd;
    for (const Span& span : spans_)
      for (int64_t i = std::max<int64_t>(0, own.begin - span.row);
           i < std::min(span.n, own.end - span.row); ++i) {
        float* x = &x_[(span.row + i) * width_];
        if (plan_.embedding.data)
          std::memcpy(x, plan_.embedding.data + span.ids[i] * c, size_t(c) * 4);
        else
          read_row(plan_.head, span.ids[i], x);
        const float* p = plan_.positions.data + (span.position + i) * c;
        for (int64_t k = 0; k < c; ++k) x[k] += p[k];
      }
  }

  // Norm and round rows as a matrix wants its input. Each thread prepares a single row for itself;
  // more rows are shared, and a barrier waits for all.
  Input prepare(const Matrix& w, const float* x, int64_t stride, int64_t n_rows,
                const Vector* weight, const Vector* bias, int t) {
    const bool alone = n_rows == 1;
    const int64_t at = alone ? n_rows_ + t : 0;
    const Range own = alone ? Range{0, 1} : share(n_rows, t, pool_.size());
    for (int64_t m = own.begin; m < own.end; ++m) {
      const float* row = x + m * stride;
      if (weight) {
        float* normed = &normed_[(at + m) * width_];
        layer_norm(row, shape_.n_embd, weight->data, bias->data, shape_.layer_norm_epsilon, normed);
        row = normed;
      }
      if (w.kind == DOTS)
        quantise(row, w.columns, &bytes_[(at + m) * byte_width_], &byte_scale_[at + m],
                 &byte_sum_[at + m]);
    }
    if (!alone && (weight || w.kind == DOTS)) pool_.barrier();
    return {weight ? &normed_[at * width_] : x,
            weight ? width_ : stride,
            &bytes_[at * byte_width_],
            byte_width_,
            &byte_scale_[at],
            &byte_sum_[at]};
  }

  // A matrix whose result is added to the residual stream.
  void project(const Matrix& w, const Input& in, int64_t n_rows, int t) {
    matmul(w, in, n_rows, added_.get(), width_, pool_, t,
           [&](int64_t at, float* y) {
             for (int64_t m = 0; m < n_rows; ++m)
               for (int64_t i = 0; i < PANEL; i += LANES) {
                 float* x = &x_[m * width_ + at + i];
                 store(x, load(x) + load(y + m * width_ + i));
               }
           });
  }

  void attention(int64_t layer, int t) {
    const int64_t c = shape_.n_embd, dim = heads_.dim;
    const Range own = share(int64_t(spans_.size()) * heads_.n, t, pool_.size());
    float* scores = &scores_[t * MAX_QUERIES * scores_width_];
    for (int64_t item = own.begin; item < own.end; ++item) {
      const Span& span = spans_[size_t(item / heads_.n)];
      const int64_t head = item % heads_.n;
      float* cache =
          &cache_[(span.slot * shape_.n_layer + layer) * n_blocks_ * heads_.block_floats()];
      const float* q = &qkv_[span.row * qkv_width_] + head * dim;
      for (int64_t i = 0; i < span.n; ++i)
        remember(heads_, cache, head, span.position + i, q + i * qkv_width_ + c,
                 q + i * qkv_width_ + 2 * c);
      cache += head * heads_.head_floats();
      float* out = &attended_[span.row * width_] + head * dim;
      int64_t i = 0;
      for (; i + MAX_QUERIES <= span.n; i += MAX_QUERIES)
        attend<MAX_QUERIES>(heads_, cache, q + i * qkv_width_, qkv_width_, span.position + i + 1,
                            scores, scores_width_, out + i * width_, width_);
      for (; i < span.n; ++i)
        attend<1>(heads_, cache, q + i * qkv_width_, qkv_width_, span.position + i + 1, scores,
                  scores_width_, out + i * width_, width_);
    }
  }

  // ---- the head

  // Call f(slots, n) for at most HEAD_ROWS slots at a time, whose hidden states are in head_in_.
  template <class F>
  void each_head(const int64_t* slots, int64_t n, const F& f) {
    for (int64_t first = 0; first < n; first += HEAD_ROWS) {
      const int64_t part = std::min(HEAD_ROWS, n - first);
      for (int64_t m = 0; m < part; ++m)
        std::memcpy(&head_in_[m * width_], &hidden_[slots[first + m] * width_], size_t(width_) * 4);
      f(slots + first, part);
    }
  }

  void head(const Matrix& w, int64_t n, int t) {
    const Input in = prepare(w, head_in_.get(), width_, n, nullptr, nullptr, t);
    if (w.kind == ROWS)
      score_rows(w, in, n, head_out_.get(), head_width_, pool_, t);
    else
      matmul(w, in, n, head_out_.get(), head_width_, pool_, t, [](int64_t, float*) {});
  }

  void compute_logits(int64_t n) {
    pool_.run([&](int t) { head(plan_.head, n, t); });
  }

  // Ids whose scores thread t looks at.
  Range own_ids(int t) const {
    const Range panels = share(plan_.head.panels, t, pool_.size());
    return {std::min(panels.begin * PANEL, shape_.vocab_size),
            std::min(panels.end * PANEL, shape_.vocab_size)};
  }

  // Whether the screen pays, and its bounds hold, for the n rows of head_in_; sets reach_.
  bool can_screen(int64_t n) {
    if (!plan_.screen.rows || n_unscreened_-- > 0) return false;
    n_unscreened_ = 0;
    for (int64_t m = 0; m < n; ++m) {
      reach_[m] = norm_above(&head_in_[m * width_], shape_.n_embd);
      if (!(double(reach_[m]) * model_.header.head_norm < 1e36)) return false;  // or not a number
    }
    return true;
  }

  struct Best {
    float lower;  // no id of this thread scores surely higher
    float value;
    int64_t id;
    int64_t n_candidates;
  };

  // Where the screen leaves many ids, the whole head is faster: take it for a while.
  void judge_screen(int64_t n_candidates, int64_t n) {
    if (n_candidates > n * shape_.vocab_size / 8) n_unscreened_ = 100;
  }

  // The best id of each row of head_in_, the smallest where several tie, as a full head gives it.
  // The screen's scores and their bounds leave a few ids; those are scored exactly.
  void greedy(int64_t n, int64_t* out) {
    const bool screened = can_screen(n);
    pool_.run([&](int t) {
      const Range ids = own_ids(t);
      head(screened ? plan_.screen : plan_.head, n, t);
      pool_.barrier();
      if (screened) {
        for (int64_t m = 0; m < n; ++m) best_[size_t(t * HEAD_ROWS + m)].lower = surely(m, ids);
        pool_.barrier();
      }
      for (int64_t m = 0; m < n; ++m) {
        const float* y = &head_out_[m * head_width_];
        Best& best = best_[size_t(t * HEAD_ROWS + m)];
        best.id = -1;
        best.n_candidates = 0;
        const auto offer = [&best](int64_t id, float value) {
          if (best.id < 0 || value > best.value || (std::isnan(value) && !std::isnan(best.value)))
            best.value = value, best.id = id;
        };
        if (screened)
          each_candidate(m, ids, lower_bound(m), [&](int64_t i) {
            offer(i, dot_row(plan_.head, i, &head_in_[m * width_]));
            ++best.n_candidates;
          });
        else
          for (int64_t i = ids.begin; i < ids.end; ++i) offer(i, y[i]);
      }
    });
    int64_t n_candidates = 0;
    for (int64_t m = 0; m < n; ++m) {
      Best best{0, 0, -1, 0};
      for (int t = 0; t < pool_.size(); ++t) {  // in the order of ids
        const Best& one = best_[size_t(t * HEAD_ROWS + m)];
        n_candidates += one.n_candidates;
        if (one.id < 0) continue;
        if (best.id < 0 || one.value > best.value ||
            (std::isnan(one.value) && !std::isnan(best.value)))
          best = one;
      }
      out[m] = best.id;
      best_score_[m] = best.value;
    }
    judge_screen(n_candidates, n);
  }

  // The largest score that some id of a range surely reaches.
  float surely(int64_t m, Range ids) const {
    const float* y = &head_out_[m * head_width_];
    Floats lower = splat(-std::numeric_limits<float>::infinity());
    for (int64_t i = ids.begin; i < ids.end; i += LANES)  // rows past the end have infinite bounds
      lower = larger(load(y + i) - load(plan_.bound.data + i) * splat(reach_[m]), lower);
    return largest(lower);
  }

  // Call f(id) for the ids of a range whose score may reach `floor`.
  template <class F>
  void each_candidate(int64_t m, Range ids, float floor, const F& f) const {
    const float *y = &head_out_[m * head_width_], *bound = plan_.bound.data;
    for (int64_t i = ids.begin; i < ids.end; i += LANES) {
      const Ints reaches = load(y + i) + load(bound + i) * splat(reach_[m]) >= splat(floor);
      if (!any(reaches)) continue;
      for (int64_t j = i; j < std::min(i + LANES, ids.end); ++j)
        if (y[j] + bound[j] * reach_[m] >= floor) f(j);
    }
  }

  float lower_bound(int64_t m) const {
    float lower = best_[size_t(m)].lower;
    for (int t = 1; t < pool_.size(); ++t)
      lower = std::max(lower, best_[size_t(t * HEAD_ROWS + m)].lower);
    return lower;
  }

  // Exact scores in head_out_ of all ids that can be among the k best; -infinity for the others.
  void screen_top(int64_t n, int64_t k) {
    std::vector<std::vector<float>> tops(size_t(pool_.size() * n));
    for (auto& top : tops) top.reserve(size_t(k));
    pool_.run([&](int t) {
      const Range ids = own_ids(t);
      head(plan_.screen, n, t);
      pool_.barrier();
      for (int64_t m = 0; m < n; ++m) {  // a heap of the k largest sure scores, the least in front
        std::vector<float>& top = tops[size_t(m * pool_.size() + t)];
        const float *y = &head_out_[m * head_width_], *bound = plan_.bound.data;
        for (int64_t i = ids.begin; i < ids.end; i += LANES) {
          const Floats sure = load(y + i) - load(bound + i) * splat(reach_[m]);
          if (int64_t(top.size()) == k && !any(sure > splat(top.front()))) continue;
          for (int64_t j = i; j < std::min(i + LANES, ids.end); ++j) {
            const float value = y[j] - bound[j] * reach_[m];
            if (int64_t(top.size()) == k) {
              if (value <= top.front()) continue;
              std::pop_heap(top.begin(), top.end(), std::greater<float>());
              top.pop_back();
            }
            top.push_back(value);
            std::push_heap(top.begin(), top.end(), std::greater<float>());
          }
        }
      }
    });
    std::vector<float> floors(static_cast<size_t>(n));
    std::atomic<int64_t> n_candidates{0};
    for (int64_t m = 0; m < n; ++m) {
      std::vector<float> all;
      for (int t = 0; t < pool_.size(); ++t) {
        const auto& top = tops[size_t(m * pool_.size() + t)];
        all.insert(all.end(), top.begin(), top.end());
      }
      std::nth_element(all.begin(), all.begin() + (k - 1), all.end(), std::greater<float>());
      floors[size_t(m)] = all[size_t(k - 1)];
    }
    pool_.run([&](int t) {
      const Range ids = own_ids(t);
      int64_t own = 0;
      for (int64_t m = 0; m < n; ++m) {
        float* y = &head_out_[m * head_width_];
        const float *bound = plan_.bound.data, none = -std::numeric_limits<float>::infinity();
        for (int64_t i = ids.begin; i < ids.end; i += LANES) {
          if (!any(load(y + i) + load(bound + i) * splat(reach_[m]) >= splat(floors[size_t(m)]))) {
            store(y + i, splat(none));
            continue;
          }
          for (int64_t j = i; j < std::min(i + LANES, ids.end); ++j) {
            const bool reaches = y[j] + bound[j] * reach_[m] >= floors[size_t(m)];
            y[j] = reaches ? dot_row(plan_.head, j, &head_in_[m * width_]) : none;
            own += reaches;
          }
        }
      }
      n_candidates += own;
    });
    judge_screen(n_candidates, n);
  }

  // ---- drawing

  // Draw for rows of head_in_; `who` are their places in `draws`.
  void sample(const Draws& draws, const int64_t* who, int64_t n, uint64_t count,
              const std::vector<uint8_t>& seen, int64_t* out) {
    const int64_t v = shape_.vocab_size;
    const bool few = draws.top_k > 0 && draws.top_k <= std::min(MOST_SCREENED, v) &&
                     draws.repetition_penalty == 1;
    if (few && draws.temperature > 0 && can_screen(n))
      screen_top(n, draws.top_k);
    else
      compute_logits(n);
    pool_.run([&](int t) {
      for (int64_t m = t; m < n; m += pool_.size()) {
        const int64_t i = who[m];
        const double u = draws.temperature == 0
                             ? 0
                             : philox(draws.seed, draws.sample_indices[i], draws.drawn[i] + count);
        out[m] = samplers_[size_t(t)].next_id(&head_out_[m * head_width_], v, draws,
                                              draws.seen ? seen.data() + i * v : nullptr, u);
      }
    });
    for (int64_t m = 0; m < n; ++m) check_number(out[m] >= 0);
  }

  static void check_number(bool is_one) {
    if (!is_one)
      refuse(DAMAGED,
             "the model's logits are no numbers: its weights compute nothing; take another "
             "checkpoint");
  }

  // What a slot is fed after `id` was drawn: that id, or past the window the tail of its ids.
  std::vector<int64_t> continued(int64_t slot, int64_t id) const {
    const int64_t length = slots_[size_t(slot)].length, p = shape_.n_positions;
    std::vector<int64_t> ids;
    if (length == p) {
      const int64_t keep = std::max<int64_t>(1, p / 2);
      for (int64_t i = p - keep + 1; i < p; ++i) ids.push_back(ids_[slot * p + i]);
    }
    ids.push_back(id);
    return ids;
  }

  const Model& model_;
  const Plan& plan_;
  const Shape& shape_;
  const Heads heads_;
  const int64_t n_slots_;
  std::vector<Slot> slots_;
  int64_t n_rows_, width_, qkv_width_, inner_width_, head_width_, byte_width_, scores_width_,
      n_blocks_;
  Array<float> x_, normed_, attended_, added_, qkv_, inner_, scores_, hidden_, head_in_, head_out_,
      logits_, cache_;
  Array<int8_t> bytes_;
  Array<float> byte_scale_;
  Array<int32_t> byte_sum_, ids_;
  std::vector<Best> best_;
  float reach_[HEAD_ROWS] = {}, best_score_[HEAD_ROWS] = {};
  std::vector<Sampler> samplers_;
  std::vector<Span> spans_;
  uint64_t n_calls_ = 0;
  int64_t n_unscreened_ = 0;  // times that the screen is still left out
  std::atomic<bool> cancelled_{false};
  Pool pool_;
};

// ------------------------------------------------------------------------------------ C functions

bool cpu_supports(const char* isa) {
  const std::string name = isa;
  if (name == "portable") return true;
#if defined(__x86_64__) || defined(__i386__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  if (name == "avx2") return avx2;
  if (name == "avx512") return avx512;
  if (name == "vnni") return avx512 && __builtin_cpu_supports("avx512vnni");
#endif
  return false;
}

}  // namespace

EXPORT int32_t tinygpt_abi() { return ABI; }
EXPORT int32_t tinygpt_panel() { return int32_t(PANEL); }
EXPORT int32_t tinygpt_supports(const char* isa) { return isa && cpu_supports(isa); }
EXPORT const char* tinygpt_error() { return last_error; }

EXPORT int32_t tinygpt_pack(const char* path, const Shape* shape, const Tensor* tensors,
                            int64_t n_tensors, int32_t n_threads) {
  return guarded([&] {
    check_pointers({path, shape, tensors});
    check_threads(n_threads);
    pack(path, *shape, tensors, n_tensors, n_threads);
  });
}

EXPORT int32_t tinygpt_open(const char* path, int32_t n_threads, Model** out) {
  return guarded([&] {
    check_pointers({path, out});
    check_threads(n_threads);
    *out = new Model(path, n_threads);
  });
}

EXPORT int32_t tinygpt_shape(const Model* model, Shape* out) {
  return guarded([&] {
    check_pointers({model, out});
    *out = model->plan.shape;
  });
}

EXPORT void tinygpt_close(Model* model) { delete model; }

EXPORT int32_t tinygpt_session(const Model* model, int64_t n_slots, int64_t n_threads,
                               Session** out) {
  return guarded([&] {
    check_pointers({model, out});
    check_threads(n_threads);
    if (n_slots < 1 || n_slots > 65536)
      refuse(VALUE, "%lld slots: 1 to 65536 are possible", ll(n_slots));
    *out = new Session(*model, n_slots, int(n_threads));
  });
}

// Waits for a call that another thread has under way.
EXPORT void tinygpt_end(Session* session) {
  if (!session) return;
#if TINYGPT_POSIX
  if (session->process != getpid()) return;  // a forked child can't join the parent's threads
#endif
  while (session->busy.test_and_set()) {
    session->cancel();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  delete session;
}

EXPORT void tinygpt_cancel(Session* session) {
  if (session) session->cancel();
}

EXPORT int32_t tinygpt_prefill(Session* session, int64_t slot, const int64_t* ids, int64_t n) {
  return with(session, {ids}, [&] { session->prefill(slot, ids, n); });
}

EXPORT int32_t tinygpt_step(Session* session, const int64_t* slots, const int64_t* ids, int64_t n) {
  return with(session, {slots, ids}, [&] { session->step(slots, ids, n); });
}

EXPORT int32_t tinygpt_verify(Session* session, int64_t slot, const int64_t* ids, int64_t n,
                              float* out) {
  return with(session, {ids, out}, [&] { session->verify(slot, ids, n, out); });
}

EXPORT int32_t tinygpt_logits(Session* session, int64_t slot, float* out) {
  return with(session, {out}, [&] { session->logits(slot, out); });
}

EXPORT int32_t tinygpt_argmax(Session* session, const int64_t* slots, int64_t n, int64_t* out) {
  return with(session, {slots, out}, [&] { session->argmax(slots, n, out); });
}

EXPORT int32_t tinygpt_truncate(Session* session, int64_t slot, int64_t n) {
  return with(session, {}, [&] { session->truncate(slot, n); });
}

EXPORT int32_t tinygpt_decode(Session* session, const Draws* draws) {
  return with(session, {draws}, [&] {
    check_pointers({draws->slots, draws->sample_indices, draws->drawn, draws->ids, draws->n_ids});
    if (draws->n_stop_ids) check_pointers({draws->stop_ids});
    session->decode(*draws);
  });
}
