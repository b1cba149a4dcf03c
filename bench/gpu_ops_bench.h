// The ops of a model's shape on a GPU, alone, against the bytes or operations that they must do; and what gpu_bench.cc
// shares with it. For bench/gpu_bench.cc only.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "ops/cuda/cuda_ops.h"
#include "worker/runner.h"

namespace quern {

constexpr int32_t kBlockTokens = 16;
constexpr int64_t kStepTokens = 8192;
constexpr int64_t kPositions = 32768;

inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Spans one after the other, each with blocks of its own; `begin` positions of each came before.
inline Batch batch_of(const std::vector<std::vector<int32_t>>& sequences, int32_t begin = 0, bool is_last = true) {
  Batch batch;
  int32_t next_block = 0;
  for (const auto& ids : sequences) {
    Span span;
    span.token_begin = static_cast<int32_t>(batch.token_ids.size());
    span.token_count = static_cast<int32_t>(ids.size());
    span.position_begin = begin;
    span.block_begin = static_cast<int32_t>(batch.block_ids.size());
    span.block_count = (begin + span.token_count + kBlockTokens - 1) / kBlockTokens;
    span.is_last = is_last;
    for (int32_t b = 0; b < span.block_count; ++b) batch.block_ids.push_back(next_block++);
    batch.token_ids.insert(batch.token_ids.end(), ids.begin(), ids.end());
    batch.spans.push_back(span);
  }
  return batch;
}

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
inline void must(const Result<void>& result) {
  if (!result) throw std::runtime_error(result.error().message);
}

/// The ops alone, at the largest step.
class OpsBench {
 public:
  OpsBench(const ModelConfig& c, double seconds, const Precision& precision)
      : c_(c), seconds_(seconds), precision_(precision), ops_(must(open_cuda_ops({}))) {
    ModelShape shape{c.hidden_size, c.heads,     c.kv_heads,  c.head_dim, c.intermediate_size,
                     c.vocab_size,  kStepTokens, kStepTokens, kPositions, kStepTokens / kBlockTokens,
                     kBlockTokens};
    shape.sequences_max = 64;
    must(ops_->prepare(shape, precision));
  }

  void run() {
    const int64_t T = kStepTokens, D = c_.hidden_size, F = c_.intermediate_size, d = c_.head_dim;
    const int64_t q_cols = c_.heads * d, kv_cols = 2 * c_.kv_heads * d;
    const DType E = precision_.activations, X = precision_.inputs();
    const int64_t x_bytes = static_cast<int64_t>(dtype_bytes(X));
    const Matrix hidden = random(T, D, DType::kF32), normed = random(T, D, X);
    const Matrix qkv = random(T, q_cols + kv_cols, E), mix = random(T, q_cols, X);
    const Matrix gated = random(T, F, X);
    std::vector<std::unique_ptr<LinearWeight>> w_qkv, w_o, w_gate_up, w_down;
    for (int copy = 0; copy < 3; ++copy) {  // more than L2 holds
      w_qkv.push_back(weight({q_cols, kv_cols / 2, kv_cols / 2}, D));
      w_o.push_back(weight({D}, q_cols));
      w_gate_up.push_back(weight({F, F}, D));
      w_down.push_back(weight({D}, F));
    }
    const Vector norm = make_vector(*ops_, std::vector<float>(static_cast<size_t>(D), 1.0f));
    const Vector head = make_vector(*ops_, std::vector<float>(static_cast<size_t>(d), 1.0f));
    const RopeTable rope = make_rope_table(*ops_, 1e6, d, kPositions);
    const HeadNormRope how{&head, &head, 1e-6f, &rope};
    KvPages pages{nullptr,
                  precision_.kv,
                  static_cast<int32_t>(T / kBlockTokens),
                  kBlockTokens,
                  static_cast<int32_t>(c_.kv_heads),
                  static_cast<int32_t>(d)};
    const auto kv = ops_->allocate(ops_->kv_block_bytes(pages) * static_cast<size_t>(pages.blocks));
    pages.data = kv->data;

    for (const int64_t M : {int64_t{12}, int64_t{32}, int64_t{384}, int64_t{512}, int64_t{2048}, T}) {
      const auto few = [M](Matrix m) { return Matrix{m.data, m.dtype, M, m.cols, m.stride}; };
      const auto products = [&](const char* name, const auto& weights, int64_t extra_bytes, const auto& call) {
        const double flop = 2.0 * static_cast<double>(M * weights[0]->out_cols() * weights[0]->in_cols);
        const double bytes = static_cast<double>(weights[0]->bytes()) + static_cast<double>(M * extra_bytes);
        size_t next = 0;
        time(name + (" M=" + std::to_string(M)), bytes, flop, [&] { call(*weights[next++ % weights.size()]); });
      };
      products("qkv", w_qkv, x_bytes * D + 2 * (q_cols + kv_cols),
               [&](const LinearWeight& w) { ops_->linear(few(normed), w.all(), few(qkv)); });
      products("o", w_o, x_bytes * q_cols + 8 * D,
               [&](const LinearWeight& w) { ops_->linear_add(few(mix), w.all(), few(hidden)); });
      products("gate_up+swiglu", w_gate_up, x_bytes * (D + F),
               [&](const LinearWeight& w) { ops_->linear_swiglu(few(normed), w, few(gated)); });
      products("down", w_down, x_bytes * F + 8 * D,
               [&](const LinearWeight& w) { ops_->linear_add(few(gated), w.all(), few(hidden)); });
    }
    time("rms_norm", static_cast<double>(T * (4 + x_bytes) * D), 0,
         [&] { ops_->rms_norm(hidden, norm, 1e-6f, normed); });
    for (const int64_t length : {int64_t{512}, int64_t{2048}, T}) {
      const Batch batch = batch_of(std::vector<std::vector<int32_t>>(
          static_cast<size_t>(T / length), std::vector<int32_t>(static_cast<size_t>(length), 1)));
      Step step;
      for (const Span& s : batch.spans) {
        step.add(std::span(batch.token_ids).subspan(s.token_begin, s.token_count), 0,
                 std::span(batch.block_ids).subspan(s.block_begin, s.block_count), true);
      }
      ops_->run(step, false, [&] {
        const Matrix q = qkv.columns(0, q_cols), k_v = qkv.columns(q_cols, kv_cols);
        if (length == 512) {
          time("norm_rope_store", static_cast<double>(T * 4 * (q_cols + kv_cols)), 0,
               [&] { ops_->norm_rope_store(q, k_v, step, step.all, how, pages); });
        }
        ops_->norm_rope_store(q, k_v, step, step.all, how, pages);
        // Causal: half of the square.
        const double flop =
            4.0 * static_cast<double>(T) * static_cast<double>(length + 1) / 2 * static_cast<double>(q_cols);
        const double s = time("attention " + std::to_string(length), 0, flop,
                              [&] { ops_->attention(q, step, step.all, pages, mix); });
        std::printf("op attention %lld: %.0fk tokens/s over all layers\n", static_cast<long long>(length),
                    static_cast<double>(T) / s / static_cast<double>(c_.layers) / 1e3);
      });
    }
    time("products of a layer", 0,
         2.0 * static_cast<double>(T) * static_cast<double>(D * (2 * q_cols + kv_cols + 3 * F)), [&] {
           ops_->linear(normed, w_qkv[0]->all(), qkv);
           ops_->linear_add(mix, w_o[0]->all(), hidden);
           ops_->linear_swiglu(normed, *w_gate_up[0], gated);
           ops_->linear_add(gated, w_down[0]->all(), hidden);
         });
  }

 private:
  Matrix random(int64_t rows, int64_t cols, DType dtype) {
    std::vector<float> values(static_cast<size_t>(rows * cols));
    uint32_t state = 1;
    for (float& value : values) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<float>(static_cast<int32_t>(state ^ (state >> 15))) * 0x1p-31f;
    }
    std::vector<char> bytes(matrix_bytes(dtype, rows, cols));
    if (dtype == DType::kF32) {
      std::memcpy(bytes.data(), values.data(), bytes.size());
    } else if (dtype == DType::kE4m3) {
      for (int64_t r = 0; r < rows; ++r)
        quantise_row(&values[static_cast<size_t>(r * cols)], cols, true, &bytes[matrix_bytes(dtype, r, cols)]);
    } else {
      for (size_t i = 0; i < values.size(); ++i) {
        const uint16_t half = dtype == DType::kBf16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
        std::memcpy(&bytes[2 * i], &half, sizeof(half));
      }
    }
    memories_.push_back(ops_->allocate(bytes.size()));
    ops_->upload(bytes.data(), bytes.size(), *memories_.back());
    return memories_.back()->matrix(dtype, rows, cols);
  }
  std::unique_ptr<LinearWeight> weight(const std::vector<int64_t>& parts, int64_t cols) {
    const int64_t rows = std::accumulate(parts.begin(), parts.end(), int64_t{0});
    std::vector<bf16> values(static_cast<size_t>(rows * cols));
    uint32_t state = 3;
    const float scale = 1.0f / std::sqrt(static_cast<float>(cols));
    for (bf16& value : values) {
      state = state * 1664525u + 1013904223u;
      value = f32_to_bf16(static_cast<float>(static_cast<int32_t>(state ^ (state >> 15))) * 0x1p-31f * scale);
    }
    std::vector<ConstMatrix> all;
    const bf16* at = values.data();
    for (const int64_t part : parts) {
      all.push_back({at, DType::kBf16, part, cols});
      at += part * cols;
    }
    return ops_->pack(all, precision_.weights);
  }
  void wait() {
    std::vector<float> one(1);
    if (!probe_) probe_ = ops_->allocate(4);
    ops_->read(*ops_->start_read(probe_->matrix(DType::kF32, 1, 1)), one);
  }
  template <typename F>
  double time(const std::string& name, double bytes, double flop, const F& call) {
    for (int i = 0; i < 3; ++i) call();
    wait();
    int64_t calls = 0;
    const double start = now_s();
    while (now_s() - start < seconds_ / 8) {
      for (int i = 0; i < 20; ++i) call();
      wait();
      calls += 20;
    }
    const double s = (now_s() - start) / static_cast<double>(calls);
    std::printf("op %-24s %9.1f us", name.c_str(), 1e6 * s);
    if (bytes > 0) std::printf("  %6.0f GB/s", bytes / s / 1e9);
    if (flop > 0) std::printf("  %6.0f TFLOP/s", flop / s / 1e12);
    std::printf("\n");
    return s;
  }

  ModelConfig c_;
  double seconds_;
  Precision precision_;
  std::unique_ptr<Ops> ops_;
  std::vector<std::unique_ptr<Memory>> memories_;
  std::unique_ptr<Memory> probe_;
};

}  // namespace quern
