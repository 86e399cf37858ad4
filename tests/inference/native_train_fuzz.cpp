// Drives the native training step with random shapes and calls, right and wrong ones; compiled with
// sanitizers by tests/inference/test_native_sanitizers.py. Usage: fuzz FOLDER SEED ROUNDS THREADS
//
// It checks what the sanitizers can't: that a trainer has the bits of a new one whatever it did
// before, that its gradients are the slope of its loss, and that a refused call changes nothing.

#include "../../native/train.cpp"

#include <random>

namespace {

std::atomic<int64_t> allocations_left{-1};  // until one fails, once; below 0 none does
std::mt19937_64 rng;

int64_t draw(int64_t low, int64_t high) { return low + int64_t(rng() % uint64_t(high - low + 1)); }
float draw_weight(float most) { return most * float(int64_t(rng() % 2001) - 1000) / 1000.0f; }

#define REQUIRE(condition)                                                          \
  do {                                                                              \
    if (!(condition)) {                                                             \
      std::fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, last_error); \
      std::exit(1);                                                                 \
    }                                                                               \
  } while (0)

}  // namespace

// Whatever the engine allocates aligned: the trainer, its threads' shares, and memory below 2 MB.
void* operator new(size_t size, std::align_val_t alignment) {
  if (allocations_left.load() >= 0 && allocations_left.fetch_sub(1) == 0) throw std::bad_alloc();
  const size_t to = size_t(alignment);
  if (void* p = std::aligned_alloc(to, (size + to - 1) / to * to)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

// Some arrays, each in memory of exactly its size, and their addresses.
struct Arrays {
  std::vector<std::vector<float>> data;

  explicit Arrays(const std::vector<int64_t>& sizes) {
    for (int64_t size : sizes) data.emplace_back(size_t(size));
  }
  Arrays& fill(float most) {
    for (auto& array : data)
      for (float& x : array) x = draw_weight(most);
    return *this;
  }
  std::vector<float*> at() {
    std::vector<float*> result;
    for (auto& array : data) result.push_back(array.data());
    return result;
  }
  bool operator==(const Arrays& other) const {  // bit by bit
    for (size_t i = 0; i < data.size(); ++i)
      if (std::memcmp(data[i].data(), other.data[i].data(), data[i].size() * 4)) return false;
    return true;
  }
};

double dot(const Arrays& a, const Arrays& b) {
  double sum = 0;
  for (size_t i = 0; i < a.data.size(); ++i)
    for (size_t j = 0; j < a.data[i].size(); ++j) sum += double(a.data[i][j]) * b.data[i][j];
  return sum;
}

bool near(double a, double b, double tolerance) { return std::abs(a - b) <= tolerance; }

struct Batch {
  std::vector<int64_t> ids, targets;
  int64_t n_windows;

  Batch(const Shape& s, int64_t window, int64_t n)
      : ids(size_t(n * window)), targets(ids.size()), n_windows(n) {
    for (int64_t& id : ids) id = draw(0, s.vocab_size - 1);
    for (int64_t& id : targets) id = draw(0, s.vocab_size - 1);
  }
};

Shape draw_shape() {
  Shape s = {};
  s.n_head = draw(1, 4);
  s.n_embd = s.n_head * (draw(0, 3) ? draw(1, 33) : 1);
  s.vocab_size = draw(0, 4) ? draw(1, 200) : draw(1000, 4000);
  s.n_positions = draw(1, 40) * (draw(0, 7) ? 1 : 5);
  s.n_layer = draw(1, 2);
  s.n_inner = draw(1, 150);
  s.layer_norm_epsilon = 1e-5;
  s.activation = int32_t(draw(0, N_ACTIVATIONS - 1));
  s.tied = int32_t(draw(0, 1));
  if (draw(0, 9) == 0) {  // its logits do not fit into the head's buffer at once
    s.vocab_size = 4000, s.n_positions = 300, s.n_embd = s.n_head, s.n_layer = 1;
  }
  return s;
}

Trainer* trainer_of(const Shape& s, int64_t window, int threads) {
  Trainer* trainer = nullptr;
  REQUIRE(tinygpt_trainer(&s, window, threads, &trainer) == OK);
  return trainer;
}

int32_t gradients(Trainer* trainer, Arrays& weights, Arrays& to, const Batch& batch, double scale,
                  bool add, Sums* sums) {
  return tinygpt_gradients(trainer, weights.at().data(), to.at().data(), batch.ids.data(),
                           batch.targets.data(), batch.n_windows, scale, add, sums);
}

void try_wrong_trainers(const Shape& s, int64_t window, int threads) {
  Trainer* none = nullptr;
  for (int64_t wrong : {int64_t(0), int64_t(-1), s.n_positions + 1, int64_t(1) << 62})
    REQUIRE(tinygpt_trainer(&s, wrong, threads, &none) == VALUE);
  for (int32_t wrong : {0, -1, 1025}) REQUIRE(tinygpt_trainer(&s, window, wrong, &none) == VALUE);
  REQUIRE(tinygpt_trainer(nullptr, window, threads, &none) == BUG);
  REQUIRE(tinygpt_trainer(&s, window, threads, nullptr) == BUG);
  for (int64_t Shape::* size : {&Shape::vocab_size, &Shape::n_positions, &Shape::n_embd,
                                &Shape::n_layer, &Shape::n_head, &Shape::n_inner})
    for (int64_t wrong : {int64_t(0), int64_t(-5), int64_t(1) << 31, int64_t(1) << 62}) {
      Shape changed = s;
      changed.*size = wrong;
      REQUIRE(tinygpt_trainer(&changed, window, threads, &none) == VALUE);
    }
  Shape odd = s, unknown = s, flat = s;
  odd.n_head = s.n_embd + 1, unknown.activation = N_ACTIVATIONS, flat.layer_norm_epsilon = NAN;
  for (const Shape& changed : {odd, unknown, flat})
    REQUIRE(tinygpt_trainer(&changed, window, threads, &none) == VALUE);
  allocations_left = draw(0, 3);  // what was made before goes back: the leak checker would tell
  REQUIRE(tinygpt_trainer(&s, window, threads, &none) == MACHINE);
  REQUIRE(none == nullptr && allocations_left == -1);
  tinygpt_dismiss(nullptr);
}

// What is refused leaves gradients and sums as they were.
void try_wrong_gradients(Trainer* trainer, const Shape& s, Arrays& weights, const Arrays& held,
                         Batch batch) {
  Arrays to = held;
  Sums sums{-1, -2};
  const auto refused = [&](Trainer* on, int32_t code) {
    const bool add = draw(0, 1);
    return gradients(on, weights, to, batch, 1, add, &sums) == code && to == held &&
           sums.loss == -1 && sums.square == -2;
  };
  for (auto* ids : {&batch.ids, &batch.targets}) {
    int64_t& id = (*ids)[size_t(draw(0, int64_t(ids->size()) - 1))];
    const int64_t right = id, wrong[] = {-1, s.vocab_size, INT64_MIN, INT64_MAX};
    id = wrong[draw(0, 3)];
    REQUIRE(refused(trainer, VALUE));
    id = right;
  }
  const int64_t n_windows = batch.n_windows;
  for (int64_t wrong : {int64_t(0), int64_t(-1), INT64_MIN}) {
    batch.n_windows = wrong;
    REQUIRE(refused(trainer, VALUE));
  }
  batch.n_windows = n_windows;
  REQUIRE(refused(nullptr, VALUE));
  trainer->busy.test_and_set();
  REQUIRE(refused(trainer, VALUE));
  trainer->busy.clear();
  const auto w = weights.at(), g = to.at();
  for (int null = 0; null < 5; ++null)
    REQUIRE(tinygpt_gradients(trainer, null == 0 ? nullptr : w.data(),
                              null == 1 ? nullptr : g.data(),
                              null == 2 ? nullptr : batch.ids.data(),
                              null == 3 ? nullptr : batch.targets.data(), n_windows, 1, 0,
                              null == 4 ? nullptr : &sums) == BUG);
  REQUIRE(to == held);
}

// Memory ends where a thread needs room for more windows.
void try_little_memory(Trainer* trainer, Arrays& weights, const Arrays& held, const Batch& batch,
                       int threads) {
  Arrays to = held;
  Sums sums{-1, -2};
  allocations_left = draw(0, threads - 1);
  const int32_t code = gradients(trainer, weights, to, batch, 1, true, &sums);
  const bool failed = allocations_left == -1;
  allocations_left = -1;
  REQUIRE(code == (failed ? MACHINE : OK));  // OK: it had enough, or takes it by the 2 MB
  if (failed) REQUIRE(to == held && sums.loss == -1);
}

void try_gradients(const Shape& s, int threads) {
  const int64_t window = draw(0, 3) ? draw(1, s.n_positions) : s.n_positions;
  const std::vector<int64_t> sizes = Layout(s).sizes;
  Arrays weights(sizes), held(sizes);
  weights.fill(0.5f), held.fill(1);
  try_wrong_trainers(s, window, threads);
  Trainer* trainer = trainer_of(s, window, threads);
  const int64_t most = std::max<int64_t>(1, std::min<int64_t>(2 * threads + 2, 300 / window));
  for (int call = 0; call < 4; ++call) {
    const Batch batch(s, window, draw(1, most));
    const double scale = draw(0, 1) ? 1 : 0.25;
    if (draw(0, 1)) try_little_memory(trainer, weights, held, batch, threads);
    if (draw(0, 1)) try_wrong_gradients(trainer, s, weights, held, batch);
    Arrays alone(sizes), again = held;
    Sums first{}, second{}, sums{};
    alone.fill(9);  // all of it is set
    REQUIRE(gradients(trainer, weights, alone, batch, scale, false, &first) == OK);
    REQUIRE(near(first.square, dot(alone, alone), 1e-4 * first.square));
    Trainer* another = trainer_of(s, window, threads);
    REQUIRE(gradients(another, weights, again, batch, scale, false, &second) == OK);
    tinygpt_dismiss(another);
    REQUIRE(alone == again && first.loss == second.loss && first.square == second.square);
    REQUIRE(first.loss > -1e-3 && std::isfinite(first.square));
    Arrays both = held;
    REQUIRE(gradients(trainer, weights, both, batch, scale, true, &sums) == OK);
    REQUIRE(sums.loss == first.loss && near(sums.square, dot(both, both), 1e-4 * sums.square));
    const double size = std::sqrt(sums.square) + std::sqrt(first.square) + 1;
    for (size_t i = 0; i < sizes.size(); ++i)
      for (size_t j = 0; j < both.data[i].size(); ++j)
        REQUIRE(near(both.data[i][j], double(held.data[i][j]) + alone.data[i][j], 1e-5 * size));
    held = alone;
  }
  tinygpt_dismiss(trainer);
}

// The gradient's share in a random direction is the difference of the loss along it.
void try_slope(int threads) {
  Shape s = draw_shape();
  s.n_embd = s.n_head * draw(3, 8) + 12 * s.n_head, s.layer_norm_epsilon = 0.01;
  s.vocab_size = draw(2, 60), s.n_positions = draw(1, 20), s.n_inner = draw(5, 60);
  const std::vector<int64_t> sizes = Layout(s).sizes;
  Arrays weights(sizes), slope(sizes), direction(sizes), ignored(sizes);
  weights.fill(0.4f);
  for (auto& array : direction.data)
    for (float& x : array) x = draw(0, 1) ? 1.0f : -1.0f;
  const int64_t window = draw(1, s.n_positions), n_threads = draw(1, threads);
  const Batch batch(s, window, draw(1, 4));
  Trainer* trainer = trainer_of(s, window, int(n_threads));
  Sums sums{}, ends[2];
  REQUIRE(gradients(trainer, weights, slope, batch, 0.5, false, &sums) == OK);
  const float step = 1e-3f;
  for (int end = 0; end < 2; ++end) {
    Arrays moved = weights;
    for (size_t i = 0; i < sizes.size(); ++i)
      for (size_t j = 0; j < moved.data[i].size(); ++j)
        moved.data[i][j] += (end ? step : -step) * direction.data[i][j];
    REQUIRE(gradients(trainer, moved, ignored, batch, 0.5, false, &ends[end]) == OK);
  }
  const double found = 0.5 * (ends[1].loss - ends[0].loss) / (2 * double(step));
  REQUIRE(near(found, dot(slope, direction), 0.05 * std::sqrt(sums.square) + 0.01));
  tinygpt_dismiss(trainer);
}

void try_wrong_muon(Trainer* trainer, const Muon& right) {
  REQUIRE(tinygpt_muon(nullptr, &right) == VALUE);
  REQUIRE(tinygpt_muon(trainer, nullptr) == BUG);
  trainer->busy.test_and_set();
  REQUIRE(tinygpt_muon(trainer, &right) == VALUE);
  trainer->busy.clear();
  for (int64_t Muon::* size : {&Muon::n, &Muon::rows, &Muon::columns})
    for (int64_t no : {int64_t(0), int64_t(-1), INT64_MIN}) {
      Muon wrong = right;
      wrong.*size = no;
      REQUIRE(tinygpt_muon(trainer, &wrong) == VALUE);
    }
  Muon no_gradients = right, no_momenta = right, no_weights = right, large = right;
  no_gradients.gradients = nullptr, no_momenta.momenta = nullptr, no_weights.weights = nullptr;
  for (const Muon& wrong : {no_gradients, no_momenta, no_weights})
    REQUIRE(tinygpt_muon(trainer, &wrong) == BUG);
  large.rows = int64_t(1) << 40, large.columns = 1;
  REQUIRE(tinygpt_muon(trainer, &large) == MACHINE);
}

void try_muon(int threads) {
  Shape s = {1, 1, 1, 1, 1, 1, 1e-5, 0, 1, 0, 0};
  Trainer *trainer = trainer_of(s, 1, threads), *alone = trainer_of(s, 1, 1);
  for (int call = 0; call < 5; ++call) {
    const int64_t rows = draw(1, draw(0, 1) ? 8 : 90), n = draw(1, 5);
    const int64_t columns = draw(0, 2) ? draw(1, draw(0, 1) ? 8 : 90) : rows;
    const std::vector<int64_t> sizes(size_t(n), rows * columns);
    Arrays gradient(sizes), momenta(sizes), weights(sizes);
    gradient.fill(1), momenta.fill(1), weights.fill(1);
    const Arrays old_momenta = momenta, old_weights = weights;
    Arrays own_momenta = momenta, own_weights = weights;
    const auto g = gradient.at(), m = momenta.at(), w = weights.at();
    const auto own_m = own_momenta.at(), own_w = own_weights.at();
    Muon update{n, rows, columns, g.data(), m.data(), w.data(), 0.9, 0.5, 0.25};
    try_wrong_muon(trainer, update);
    allocations_left = draw(0, threads - 1);
    if (tinygpt_muon(trainer, &update) == MACHINE) {
      REQUIRE(allocations_left == -1 && momenta == old_momenta && weights == old_weights);
      REQUIRE(tinygpt_muon(trainer, &update) == OK);
    }
    allocations_left = -1;
    update.momenta = own_m.data(), update.weights = own_w.data();
    REQUIRE(tinygpt_muon(alone, &update) == OK);
    REQUIRE(momenta == own_momenta && weights == own_weights);  // whatever the number of threads
    for (size_t i = 0; i < size_t(n); ++i) {
      double square = 0, along = 0;
      for (size_t j = 0; j < size_t(rows * columns); ++j) {
        const double slope = gradient.data[i][j], before = old_momenta.data[i][j];
        const double momentum = before + 0.1 * (slope - before);
        REQUIRE(near(momenta.data[i][j], momentum, 1e-6));
        const double ahead = slope + 0.9 * (momentum - slope);
        const double turned = (0.5 * old_weights.data[i][j] - weights.data[i][j]) / 0.25;
        square += turned * turned, along += turned * ahead;
      }
      REQUIRE(along > 0 && square < 4 * double(std::min(rows, columns)));
    }
  }
  tinygpt_dismiss(trainer), tinygpt_dismiss(alone);
}

// Two threads on one trainer: each call is done in full, or refused.
void try_at_once(int threads) {
  Shape s = draw_shape();
  s.vocab_size = 20, s.n_positions = 16, s.n_inner = 30;
  const std::vector<int64_t> sizes = Layout(s).sizes;
  Arrays weights(sizes), expected(sizes);
  weights.fill(0.5f);
  const Batch batch(s, 16, 3);
  Trainer* trainer = trainer_of(s, 16, threads);
  Sums sums{};
  REQUIRE(gradients(trainer, weights, expected, batch, 1, false, &sums) == OK);
  std::atomic<int> done{0};
  const auto call = [&] {
    Arrays own = weights;
    for (int i = 0; i < 10; ++i) {
      Sums found{};
      const int32_t code = gradients(trainer, weights, own, batch, 1, false, &found);
      REQUIRE(code == OK ? own == expected && found.loss == sums.loss : code == VALUE);
      done += code == OK;
    }
  };
  std::thread other(call);
  call();
  other.join();
  REQUIRE(done > 0);
  tinygpt_dismiss(trainer);
}

}  // namespace

int main(int, char** argv) {
  rng.seed(std::strtoull(argv[2], nullptr, 10));
  const int threads = std::atoi(argv[4]);
  for (int64_t round = std::atoi(argv[3]); round > 0; --round) {
    try_gradients(draw_shape(), int(draw(1, threads)));
    try_slope(threads);
    try_muon(int(draw(1, threads)));
    try_at_once(threads);
  }
  std::puts("done");
}
