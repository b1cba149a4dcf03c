#include "ops/naive.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"

namespace quern {
namespace {

float get(const void* data, DType dtype, int64_t index) {
  if (dtype == DType::kF32) return static_cast<const float*>(data)[index];
  const uint16_t bits = static_cast<const uint16_t*>(data)[index];
  return dtype == DType::kBf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}
void put(void* data, DType dtype, int64_t index, float value) {
  if (dtype == DType::kF32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<bf16*>(data)[index] = f32_to_bf16(value);
  }
}
float get(const Matrix& m, int64_t row, int64_t col) { return get(m.data, m.dtype, row * m.cols + col); }
void put(const Matrix& m, int64_t row, int64_t col, float value) { put(m.data, m.dtype, row * m.cols + col, value); }

struct NaiveWeight : LinearWeight {
  size_t bytes() const override { return values.size() * sizeof(float); }
  float dot(const Matrix& x, int64_t row, int64_t n) const {
    float sum = 0;
    for (int64_t c = 0; c < in_cols; ++c) sum += get(x, row, c) * values[n * in_cols + c];
    return sum;
  }
  std::vector<float> values;  // [N, C]
};
const NaiveWeight& naive(const LinearWeight& weight) { return static_cast<const NaiveWeight&>(weight); }

/// Where K and V of one head at one position lie in the pages.
int64_t key_at(const KvPages& p, int32_t block, int64_t slot, int64_t head, int64_t i) {
  return block * p.block_elements() + (head * p.head_dim + i) * p.block_tokens + slot;
}
int64_t value_at(const KvPages& p, int32_t block, int64_t slot, int64_t head, int64_t i) {
  return block * p.block_elements() + ((p.heads + head) * p.block_tokens + slot) * p.head_dim + i;
}

/// RMSNorm, then pairs (i, i + d/2) turned by the angle of the position.
std::vector<float> norm_rope(const Matrix& m, int64_t row, int64_t head, const HeadNormRope& rope, int64_t position) {
  const int64_t d = rope.head_dim;
  std::vector<float> x(d);
  float squares = 0;
  for (int64_t i = 0; i < d; ++i) {
    x[i] = get(m, row, head * d + i);
    squares += x[i] * x[i];
  }
  for (int64_t i = 0; i < d; ++i) x[i] *= rope.norm_weight[i] / std::sqrt(squares / static_cast<float>(d) + rope.eps);
  const float* cosine = rope.cos_sin + position * d;
  const float* sine = cosine + d / 2;
  for (int64_t i = 0; i < d / 2; ++i) {
    const float a = x[i];
    const float b = x[d / 2 + i];
    x[i] = a * cosine[i] - b * sine[i];
    x[d / 2 + i] = b * cosine[i] + a * sine[i];
  }
  return x;
}

class NaiveOps : public Ops {
 public:
  std::string_view name() const override { return "naive"; }
  DType preferred_dtype() const override { return DType::kF32; }
  bool supports(DType compute) const override { return compute != DType::kF16; }
  int threads() const override { return 1; }

  std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType compute) override {
    auto weight = std::make_unique<NaiveWeight>();
    weight->in_cols = parts[0].cols;
    for (const ConstMatrix& part : parts) {
      weight->out_cols += part.rows;
      for (int64_t i = 0; i < part.rows * part.cols; ++i) {
        const float value = get(part.data, part.dtype, i);
        weight->values.push_back(compute == DType::kF32 ? value : bf16_to_f32(f32_to_bf16(value)));
      }
    }
    return weight;
  }

  void embed(std::span<const int32_t> ids, const ConstMatrix& table, Matrix out) override {
    for (int64_t t = 0; t < out.rows; ++t)
      for (int64_t i = 0; i < out.cols; ++i) put(out, t, i, get(table.data, table.dtype, ids[t] * table.cols + i));
  }

  void rms_norm(Matrix x, const float* weight, float eps, Matrix out) override {
    for (int64_t t = 0; t < x.rows; ++t) {
      float squares = 0;
      for (int64_t i = 0; i < x.cols; ++i) squares += get(x, t, i) * get(x, t, i);
      const float scale = 1.0f / std::sqrt(squares / static_cast<float>(x.cols) + eps);
      for (int64_t i = 0; i < x.cols; ++i) put(out, t, i, get(x, t, i) * scale * weight[i]);
    }
  }

  void linear(Matrix x, const LinearWeight& weight, Matrix out) override {
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t n = 0; n < out.cols; ++n) put(out, t, n, naive(weight).dot(x, t, n));
  }

  void linear_add(Matrix x, const LinearWeight& weight, Matrix residual) override {
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t n = 0; n < residual.cols; ++n) put(residual, t, n, get(residual, t, n) + naive(weight).dot(x, t, n));
  }

  void linear_swiglu(Matrix x, const LinearWeight& gate, const LinearWeight& up, Matrix out) override {
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t n = 0; n < out.cols; ++n) {
        const float g = naive(gate).dot(x, t, n);
        put(out, t, n, g / (1.0f + std::exp(-g)) * naive(up).dot(x, t, n));
      }
    }
  }

  void norm_rope_q(Matrix q, std::span<const SequenceRows> rows, const HeadNormRope& rope) override {
    for (const SequenceRows& s : rows) {
      for (int64_t r = 0; r < s.row_count; ++r) {
        for (int64_t h = 0; h < q.cols / rope.head_dim; ++h) {
          const auto x = norm_rope(q, s.row_begin + r, h, rope, s.position_begin + r);
          for (int64_t i = 0; i < rope.head_dim; ++i) put(q, s.row_begin + r, h * rope.head_dim + i, x[i]);
        }
      }
    }
  }

  void norm_rope_store_kv(Matrix kv, std::span<const SequenceRows> rows, const HeadNormRope& rope,
                          const KvPages& pages) override {
    const int64_t d = rope.head_dim;
    for (const SequenceRows& s : rows) {
      for (int64_t r = 0; r < s.row_count; ++r) {
        const int64_t position = s.position_begin + r;
        const int32_t block = s.blocks[position / pages.block_tokens];
        const int64_t slot = position % pages.block_tokens;
        for (int64_t k = 0; k < pages.heads; ++k) {
          const auto key = norm_rope(kv, s.row_begin + r, k, rope, position);
          for (int64_t i = 0; i < d; ++i) {
            put(pages.data, pages.dtype, key_at(pages, block, slot, k, i), key[i]);
            put(pages.data, pages.dtype, value_at(pages, block, slot, k, i),
                get(kv, s.row_begin + r, (pages.heads + k) * d + i));
          }
        }
      }
    }
  }

  void attention(Matrix q, std::span<const SequenceRows> rows, const KvPages& pages, Matrix out) override {
    const int64_t heads = q.cols / pages.head_dim;
    for (const SequenceRows& s : rows)
      for (int64_t r = 0; r < s.row_count; ++r)
        for (int64_t h = 0; h < heads; ++h) attend(q, s, r, h, h * pages.heads / heads, pages, out);
  }

  void gather_rows(Matrix x, std::span<const int64_t> indices, Matrix out) override {
    for (int64_t b = 0; b < out.rows; ++b)
      for (int64_t i = 0; i < x.cols; ++i) put(out, b, i, get(x, indices[b], i));
  }

  void l2_normalize(Matrix x) override {
    for (int64_t b = 0; b < x.rows; ++b) {
      double squares = 0;
      for (int64_t i = 0; i < x.cols; ++i) squares += double{get(x, b, i)} * get(x, b, i);
      if (!(squares > 0) || !std::isfinite(squares)) continue;
      for (int64_t i = 0; i < x.cols; ++i) put(x, b, i, static_cast<float>(get(x, b, i) / std::sqrt(squares)));
    }
  }

 private:
  /// softmax(q K^T / sqrt(d)) V for one row and head, over positions 0..p.
  static void attend(const Matrix& q, const SequenceRows& s, int64_t r, int64_t h, int64_t k, const KvPages& pages,
                     const Matrix& out) {
    const int64_t d = pages.head_dim;
    const int64_t seen = s.position_begin + r + 1;
    std::vector<float> weights(seen);
    float top = -INFINITY;
    for (int64_t p = 0; p < seen; ++p) {
      float score = 0;
      for (int64_t i = 0; i < d; ++i) {
        const int64_t at = key_at(pages, s.blocks[p / pages.block_tokens], p % pages.block_tokens, k, i);
        score += get(q, s.row_begin + r, h * d + i) * get(pages.data, pages.dtype, at);
      }
      weights[p] = score / std::sqrt(static_cast<float>(d));
      top = std::max(top, weights[p]);
    }
    float total = 0;
    for (float& weight : weights) total += weight = std::exp(weight - top);
    for (int64_t i = 0; i < d; ++i) {
      float mix = 0;
      for (int64_t p = 0; p < seen; ++p) {
        const int64_t at = value_at(pages, s.blocks[p / pages.block_tokens], p % pages.block_tokens, k, i);
        mix += weights[p] / total * get(pages.data, pages.dtype, at);
      }
      put(out, s.row_begin + r, h * d + i, mix);
    }
  }
};

}  // namespace

std::unique_ptr<Ops> make_naive_ops() { return std::make_unique<NaiveOps>(); }

}  // namespace quern
