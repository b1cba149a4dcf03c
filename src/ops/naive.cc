#include "ops/naive.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ops/host_memory.h"

namespace quern {
namespace {

void put(void* data, DType dtype, int64_t index, float value) {
  if (dtype == DType::kF32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<uint16_t*>(data)[index] = dtype == DType::kBf16 ? f32_to_bf16(value) : f32_to_f16(value);
  }
}
void* row_of(const Matrix& m, int64_t row) { return static_cast<char*>(m.data) + row * m.stride_bytes(); }
void put(const Matrix& m, int64_t row, int64_t col, float value) { put(m.data, m.dtype, row * m.stride + col, value); }

std::vector<float> get_row(const Matrix& m, int64_t row) {
  std::vector<float> values(m.cols);
  for (int64_t i = 0; i < m.cols; ++i) values[i] = host_value(m, row, i);
  return values;
}

enum Exponents { kOneEach, kTogether };
/// A whole row: blocks of e4m3 have their exponents each or together.
void put_row(const Matrix& m, int64_t row, const std::vector<float>& values, Exponents exponents = kOneEach) {
  if (m.dtype == DType::kE4m3) return quantise_row(values.data(), m.cols, exponents == kTogether, row_of(m, row));
  for (int64_t i = 0; i < m.cols; ++i) put(m, row, i, values[i]);
}

/// `value` as a weight of that format holds it; of e4m3 `top` is the largest of its row.
float rounded(float value, DType dtype, float top) {
  if (dtype == DType::kF32) return value;
  if (dtype == DType::kBf16) return bf16_to_f32(f32_to_bf16(value));
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(value));
  const WeightScale by = e4m3_weight_scale(top);
  return e4m3_to_f32(f32_to_e4m3(value * by.inverse)) * by.scale;
}

struct NaiveWeight : LinearWeight {
  size_t bytes() const override { return values.size() * sizeof(float); }
  float dot(const std::vector<float>& x, int64_t n) const {
    float sum = 0;
    for (int64_t c = 0; c < in_cols; ++c) sum += x[c] * values[n * in_cols + c];
    return sum;
  }
  std::vector<float> values;  // [N, C]
};
const NaiveWeight& naive(const LinearWeight& weight) { return static_cast<const NaiveWeight&>(weight); }

/// Where K or V of one head at one position begin in the pages, which are [blocks, block_tokens, 2, K, d].
enum KeyOrValue { kKey, kValue };
int64_t kv_at(const KvPages& p, const int32_t* table, int64_t position, KeyOrValue which, int64_t head) {
  const int64_t slot = table[position / p.block_tokens] * int64_t{p.block_tokens} + position % p.block_tokens;
  return ((slot * 2 + which) * p.heads + head) * p.head_dim;
}

/// One head: RMSNorm, then pairs (i, i + d/2) turned by the angle of the position.
std::vector<float> norm_rope(const Matrix& m, int64_t row, int64_t head, const Vector& norm, const HeadNormRope& how,
                             int64_t position) {
  const int64_t d = how.rope->head_dim;
  std::vector<float> x(d);
  float squares = 0;
  for (int64_t i = 0; i < d; ++i) {
    x[i] = host_value(m, row, head * d + i);
    squares += x[i] * x[i];
  }
  for (int64_t i = 0; i < d; ++i) x[i] *= norm.data()[i] / std::sqrt(squares / static_cast<float>(d) + how.eps);
  const float* cosine = how.rope->data() + position * d;
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
  Precision preferred(DType) const override { return {}; }
  Result<void> prepare(const ModelShape& shape, const Precision& precision) override {
    for (const DType dtype : {precision.activations, precision.kv})
      if (dtype == DType::kE4m3) return invalid_argument("the oracle has fp8 for weights alone", "--dtype");
    if (shape.head_dim % 2 != 0) return invalid_argument("head_dim: expected an even number");
    return {};
  }

  std::unique_ptr<Memory> allocate(size_t bytes) override { return std::make_unique<HostMemory>(bytes); }
  void upload(const void* from, size_t bytes, Memory& to) override { upload_to_host(from, bytes, to); }
  std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType weights) override {
    auto weight = std::make_unique<NaiveWeight>();
    weight->in_cols = parts[0].cols;
    weight->part_begins = {0};
    for (const ConstMatrix& part : parts) {
      weight->part_begins.push_back(weight->out_cols() + part.rows);
      for (int64_t begin = 0; begin < part.rows * part.cols; begin += part.cols) {
        float top = 0;
        for (int64_t i = 0; i < part.cols; ++i) top = std::max(top, std::abs(stored_value(part, begin + i)));
        for (int64_t i = 0; i < part.cols; ++i)
          weight->values.push_back(rounded(stored_value(part, begin + i), weights, top));
      }
    }
    return weight;
  }
  size_t kv_block_bytes(const KvPages& shape) const override {
    return size_t{2} * shape.block_tokens * shape.heads * shape.head_dim * dtype_bytes(shape.dtype);
  }

  void run(const Step&, bool, const std::function<void()>& body) override { body(); }
  std::unique_ptr<Readback> start_read(Matrix x) override { return std::make_unique<HostReadback>(x); }
  void read(Readback& started, std::span<float> out) override { static_cast<HostReadback&>(started).copy_to(out); }

  void embed(const Step& step, const Table& table, Matrix out) override {
    for (int64_t t = 0; t < out.rows; ++t)
      for (int64_t i = 0; i < out.cols; ++i)
        put(out, t, i,
            stored_value({table.memory->data, table.dtype, table.rows, table.cols},
                         step.token_ids[t] * table.cols + i));
  }

  void rms_norm(Matrix x, const Vector& weight, float eps, Matrix out) override {
    for (int64_t t = 0; t < x.rows; ++t) {
      float squares = 0;
      for (int64_t i = 0; i < x.cols; ++i) squares += host_value(x, t, i) * host_value(x, t, i);
      const float scale = 1.0f / std::sqrt(squares / static_cast<float>(x.cols) + eps);
      std::vector<float> row(x.cols);
      for (int64_t i = 0; i < x.cols; ++i) row[i] = host_value(x, t, i) * scale * weight.data()[i];
      put_row(out, t, row, kTogether);
    }
  }

  void linear(Matrix x, const WeightColumns& w, Matrix out) override {
    for (int64_t t = 0; t < x.rows; ++t) {
      const auto from = get_row(x, t);
      for (int64_t n = 0; n < w.count; ++n) put(out, t, n, naive(*w.weight).dot(from, w.begin + n));
    }
  }

  void linear_add(Matrix x, const WeightColumns& w, Matrix residual) override {
    for (int64_t t = 0; t < x.rows; ++t) {
      const auto from = get_row(x, t);
      for (int64_t n = 0; n < w.count; ++n)
        put(residual, t, n, host_value(residual, t, n) + naive(*w.weight).dot(from, w.begin + n));
    }
  }

  void linear_swiglu(Matrix x, const LinearWeight& gate_up, Matrix out) override {
    const int64_t F = gate_up.part_begins[1];
    for (int64_t t = 0; t < x.rows; ++t) {
      const auto from = get_row(x, t);
      std::vector<float> row(F);
      for (int64_t n = 0; n < F; ++n) {
        const float g = naive(gate_up).dot(from, n);
        row[n] = g / (1.0f + std::exp(-g)) * naive(gate_up).dot(from, F + n);
      }
      put_row(out, t, row);
    }
  }

  void norm_rope_store(Matrix q, Matrix kv, const Step& step, const Rows& rows, const HeadNormRope& how,
                       const KvPages& pages) override {
    const int64_t d = how.rope->head_dim;
    for (int64_t t = 0; t < rows.count(); ++t) {
      const int64_t position = rows.positions[t];
      for (int64_t h = 0; h < q.cols / d; ++h) {
        const auto x = norm_rope(q, t, h, *how.q_norm, how, position);
        for (int64_t i = 0; i < d; ++i) put(q, t, h * d + i, x[i]);
      }
      if (kv.cols == 0) continue;
      for (int64_t k = 0; k < pages.heads; ++k) {
        const int32_t* table = step.table(rows.sequence_of[t]);
        const int64_t key_begin = kv_at(pages, table, position, kKey, k);
        const int64_t value_begin = kv_at(pages, table, position, kValue, k);
        const auto key = norm_rope(kv, t, k, *how.k_norm, how, position);
        for (int64_t i = 0; i < d; ++i) {
          put(pages.data, pages.dtype, key_begin + i, key[i]);
          put(pages.data, pages.dtype, value_begin + i, host_value(kv, t, (pages.heads + k) * d + i));
        }
      }
    }
  }

  void attention(Matrix q, const Step& step, const Rows& rows, const KvPages& pages, Matrix out) override {
    const int64_t heads = q.cols / pages.head_dim;
    for (int64_t t = 0; t < rows.count(); ++t) {
      std::vector<float> row(q.cols);
      for (int64_t h = 0; h < heads; ++h)
        attend(q, t, h, step.table(rows.sequence_of[t]), rows.positions[t], h * pages.heads / heads, pages, row);
      put_row(out, t, row);
    }
  }

  void gather_last(Matrix x, const Step& step, Matrix out) override {
    const size_t bytes = matrix_bytes(x.dtype, 1, x.cols);
    for (int64_t b = 0; b < out.rows; ++b) std::memcpy(row_of(out, b), row_of(x, step.last_indices[b]), bytes);
  }

  void l2_normalize(Matrix x) override {
    for (int64_t b = 0; b < x.rows; ++b) {
      double squares = 0;
      for (int64_t i = 0; i < x.cols; ++i) squares += double{host_value(x, b, i)} * host_value(x, b, i);
      if (!(squares > 0) || !std::isfinite(squares)) continue;
      for (int64_t i = 0; i < x.cols; ++i) put(x, b, i, static_cast<float>(host_value(x, b, i) / std::sqrt(squares)));
    }
  }

 private:
  /// softmax(q K^T / sqrt(d)) V for one row and head, over positions 0..position; k is the head's K/V head.
  static void attend(const Matrix& q, int64_t row, int64_t head, const int32_t* table, int64_t position, int64_t k,
                     const KvPages& pages, std::vector<float>& out) {
    const int64_t d = pages.head_dim;
    std::vector<float> weights(position + 1);
    float top = -INFINITY;
    for (int64_t p = 0; p <= position; ++p) {
      const int64_t key = kv_at(pages, table, p, kKey, k);
      float score = 0;
      for (int64_t i = 0; i < d; ++i)
        score += host_value(q, row, head * d + i) * stored_value({pages.data, pages.dtype}, key + i);
      weights[p] = score / std::sqrt(static_cast<float>(d));
      top = std::max(top, weights[p]);
    }
    float total = 0;
    for (float& weight : weights) total += weight = std::exp(weight - top);
    for (int64_t i = 0; i < d; ++i) {
      float mix = 0;
      for (int64_t p = 0; p <= position; ++p)
        mix += weights[p] / total * stored_value({pages.data, pages.dtype}, kv_at(pages, table, p, kValue, k) + i);
      out[head * d + i] = mix;
    }
  }
};

}  // namespace

std::unique_ptr<Ops> make_naive_ops() { return std::make_unique<NaiveOps>(); }

}  // namespace quern
