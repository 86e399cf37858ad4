// Drives the native engine with random shapes, calls and files, right and wrong ones; compiled with
// sanitizers by tests/inference/test_native_sanitizers.py. Usage: fuzz FOLDER SEED ROUNDS THREADS
//
// It checks what the sanitizers can't: that wrong calls are refused, and that a batch on several
// threads has the bits of one sequence on one thread.

#include "../../native/decode.cpp"

#include <random>

namespace {

std::mt19937_64 rng;

int64_t draw(int64_t low, int64_t high) { return low + int64_t(rng() % uint64_t(high - low + 1)); }

#define REQUIRE(condition)                                                               \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, tinygpt_error()); \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (0)

struct Weights {
  std::vector<std::vector<float>> data;
  std::vector<Tensor> tensors;

  void add(int64_t rows, int64_t columns, bool transposed) {
    data.emplace_back(size_t(rows * columns));
    for (float& x : data.back()) x = float(int64_t(rng() % 2001) - 1000) / 1000.0f;
    if (transposed)
      tensors.push_back({data.back().data(), rows, columns, 1, rows});
    else
      tensors.push_back({data.back().data(), rows, columns, columns, 1});
  }
};

Shape draw_shape() {
  Shape s = {};
  s.n_head = draw(1, 4);
  s.n_embd = s.n_head * draw(1, 33);
  s.vocab_size = draw(0, 4) ? draw(1, 200) : draw(2000, 4000);
  s.n_positions = draw(1, 40) * (draw(0, 7) ? 1 : 10);
  s.n_layer = draw(1, 2);
  s.n_inner = draw(1, 150);
  s.layer_norm_epsilon = 1e-5;
  s.activation = int32_t(draw(0, N_ACTIVATIONS - 1));
  s.tied = int32_t(draw(0, 1));
  s.precision = int32_t(draw(0, N_PRECISIONS - 1));
  return s;
}

Weights draw_weights(const Shape& s) {
  Weights w;
  const int64_t c = s.n_embd;
  w.add(s.vocab_size, c, false);
  w.add(s.n_positions, c, false);
  for (int64_t i = 0; i < s.n_layer; ++i) {
    w.add(1, c, false), w.add(1, c, false);
    w.add(3 * c, c, draw(0, 1)), w.add(1, 3 * c, false);
    w.add(c, c, draw(0, 1)), w.add(1, c, false);
    w.add(1, c, false), w.add(1, c, false);
    w.add(s.n_inner, c, draw(0, 1)), w.add(1, s.n_inner, false);
    w.add(c, s.n_inner, draw(0, 1)), w.add(1, c, false);
  }
  w.add(1, c, false), w.add(1, c, false);
  if (!s.tied) w.add(s.vocab_size, c, false);
  return w;
}

// A damaged or cut copy never opens; one whose checksums a liar has mended may, and must not crash.
void try_damaged(const std::string& path) {
  File file(std::fopen(path.c_str(), "rb"));
  std::vector<char> whole(size_t(seek_end(file.get())));
  std::rewind(file.get());
  REQUIRE(std::fread(whole.data(), 1, whole.size(), file.get()) == whole.size());
  for (int i = 0; i < 6; ++i) {
    std::vector<char> bytes = whole;
    const bool lie = i % 2;
    if (lie) {
      Header header;
      std::memcpy(&header, bytes.data(), sizeof header);
      reinterpret_cast<char*>(&header)[draw(8, 103)] ^= char(1 << draw(0, 7));
      header.header_sum = checksum(header);
      std::memcpy(bytes.data(), &header, sizeof header);
    } else if (i == 0) {
      bytes.resize(size_t(draw(0, int64_t(bytes.size()) - 1)));
    } else {
      bytes[size_t(draw(PAYLOAD_AT, int64_t(bytes.size()) - 1))] ^= char(1 << draw(0, 7));
    }
    const std::string aside = path + ".damaged";
    File out(std::fopen(aside.c_str(), "wb"));
    std::fwrite(bytes.data(), 1, bytes.size(), out.get());
    out.reset();
    Model* model = nullptr;
    const int32_t code = tinygpt_open(aside.c_str(), 2, &model);
    REQUIRE(lie || code == DAMAGED);
    if (code == OK) tinygpt_close(model);
  }
}

void try_decode(Session* session, const Shape& s, int64_t slot) {
  const int64_t n = draw(1, 30), stop = draw(-3, s.vocab_size);
  std::vector<int64_t> ids(size_t(n), -1);
  std::vector<uint8_t> seen(size_t(s.vocab_size), uint8_t(draw(0, 1)));
  int64_t n_ids = 0;
  const uint64_t index = 3, drawn = rng() % 9;
  Draws d = {};
  d.n_slots = 1, d.n = n, d.slots = &slot, d.ids = ids.data(), d.n_ids = &n_ids;
  d.temperature = double(draw(0, 3)) / 2, d.top_p = draw(0, 1) ? 1 : 0.6,
  d.min_p = draw(0, 1) ? 0 : 0.1;
  d.repetition_penalty = draw(0, 1) ? 1 : 1.4;
  d.seen = d.repetition_penalty == 1 ? nullptr : seen.data();
  d.top_k = draw(0, 1) ? 0 : draw(1, s.vocab_size + 2);
  d.n_stop_ids = 1, d.stop_ids = &stop, d.seed = rng(), d.sample_indices = &index, d.drawn = &drawn;
  REQUIRE(tinygpt_decode(session, &d) == OK);
  REQUIRE(n_ids == n || ids[size_t(n_ids - 1)] == stop);
  for (int64_t i = 0; i < n_ids; ++i) REQUIRE(ids[size_t(i)] >= 0 && ids[size_t(i)] < s.vocab_size);
}

void drive(const Model* model, const Shape& s, int threads) {
  Session *session = nullptr, *alone = nullptr;
  const int64_t n_slots = draw(1, 5);
  REQUIRE(tinygpt_session(model, n_slots, draw(1, threads), &session) == OK);
  REQUIRE(tinygpt_session(model, 1, 1, &alone) == OK);
  std::vector<std::vector<int64_t>> held(static_cast<size_t>(n_slots));
  std::vector<float> row(static_cast<size_t>(s.vocab_size)), expected = row;
  for (int call = 0; call < 25; ++call) {
    const int64_t slot = draw(-1, n_slots), kind = draw(0, 6);
    const bool known = slot >= 0 && slot < n_slots;
    std::vector<int64_t> empty, &own = known ? held[size_t(slot)] : empty;
    const int64_t room = s.n_positions - int64_t(own.size()), n = draw(0, room + 1);
    std::vector<int64_t> ids(size_t(n + 1));
    for (int64_t& id : ids)
      id = draw(0, 40) ? draw(0, s.vocab_size - 1) : draw(-2, s.vocab_size + 1);
    bool good = known && n >= 1 && n <= room;
    for (int64_t i = 0; i < n; ++i)
      good = good && ids[size_t(i)] >= 0 && ids[size_t(i)] < s.vocab_size;
    if (kind < 2) {
      REQUIRE((tinygpt_prefill(session, slot, ids.data(), n) == OK) == good);
      if (good) own.insert(own.end(), ids.begin(), ids.begin() + n);
    } else if (kind == 2) {
      std::vector<float> rows(size_t(std::max<int64_t>(n, 1) * s.vocab_size));
      REQUIRE((tinygpt_verify(session, slot, ids.data(), n, rows.data()) == OK) == good);
      if (good) own.insert(own.end(), ids.begin(), ids.begin() + n);
    } else if (kind == 3) {
      std::vector<int64_t> slots, new_ids;
      for (int64_t i = 0; i < n_slots; ++i)
        if (int64_t(held[size_t(i)].size()) < s.n_positions)
          slots.push_back(i), new_ids.push_back(draw(0, s.vocab_size - 1));
      if (slots.empty()) continue;
      REQUIRE(tinygpt_step(session, slots.data(), new_ids.data(), int64_t(slots.size())) == OK);
      for (size_t i = 0; i < slots.size(); ++i) held[size_t(slots[i])].push_back(new_ids[i]);
    } else if (kind == 4) {
      const int64_t keep = draw(-1, int64_t(own.size()) + 1);
      const bool possible = known && keep >= 0 && keep <= int64_t(own.size());
      REQUIRE((tinygpt_truncate(session, slot, keep) == OK) == possible);
      if (possible) own.resize(size_t(keep));
      continue;
    } else if (kind == 5 && known && tinygpt_logits(session, slot, row.data()) == OK) {
      try_decode(session, s, slot);
      REQUIRE(tinygpt_truncate(session, slot, 0) == OK);
      own.clear();
      continue;
    }
    if (!known || own.empty() || tinygpt_logits(session, slot, row.data()) != OK) continue;
    int64_t best = -1;
    REQUIRE(tinygpt_argmax(session, &slot, 1, &best) == OK);
    REQUIRE(best == std::max_element(row.begin(), row.end()) - row.begin());
    REQUIRE(tinygpt_truncate(alone, 0, 0) == OK);
    REQUIRE(tinygpt_prefill(alone, 0, own.data(), int64_t(own.size())) == OK);
    REQUIRE(tinygpt_logits(alone, 0, expected.data()) == OK);
    REQUIRE(std::memcmp(row.data(), expected.data(), row.size() * 4) == 0);
  }
  tinygpt_end(session);
  tinygpt_end(alone);
}

}  // namespace

int main(int, char** argv) {
  rng.seed(std::strtoull(argv[2], nullptr, 10));
  const std::string path = std::string(argv[1]) + "/packed";
  for (int64_t round = std::atoi(argv[3]); round > 0; --round) {
    const Shape shape = draw_shape();
    Weights weights = draw_weights(shape);
    const int threads = std::atoi(argv[4]);
    REQUIRE(tinygpt_pack(path.c_str(), &shape, weights.tensors.data(),
                         int64_t(weights.tensors.size()), threads) == OK);
    weights.tensors[size_t(draw(0, int64_t(weights.tensors.size()) - 1))].columns += 1;
    REQUIRE(tinygpt_pack((path + ".wrong").c_str(), &shape, weights.tensors.data(),
                         int64_t(weights.tensors.size()), 1) == VALUE);
    try_damaged(path);
    Model* model = nullptr;
    REQUIRE(tinygpt_open(path.c_str(), threads, &model) == OK);
    drive(model, shape, threads);
    tinygpt_close(model);
  }
  std::puts("done");
}
