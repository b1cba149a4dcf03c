// For tests: the naive Ops on a device that dies: from a given step on every call to compute throws, for ever.
#pragma once

#include <memory>
#include <stdexcept>

#include "ops/naive.h"

namespace quern {

class DyingOps : public Ops {
 public:
  explicit DyingOps(int steps) : steps_left_(steps) {}

  std::string_view name() const override { return "dying"; }
  Precision preferred(DType stored) const override { return ops_->preferred(stored); }
  Result<void> prepare(const ModelShape& shape, const Precision& precision) override {
    return ops_->prepare(shape, precision);
  }
  std::unique_ptr<Memory> allocate(size_t bytes) override { return ops_->allocate(bytes); }
  void upload(const void* from, size_t bytes, Memory& to) override { ops_->upload(from, bytes, to); }
  std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType weights) override {
    return ops_->pack(parts, weights);
  }
  size_t kv_block_bytes(const KvPages& shape) const override { return ops_->kv_block_bytes(shape); }
  void run(const Step& step, bool repeats, const std::function<void()>& body) override {
    if (steps_left_-- <= 0) throw std::runtime_error("an illegal memory access was encountered");
    ops_->run(step, repeats, body);
  }
  std::unique_ptr<Readback> start_read(Matrix x) override { return ops_->start_read(x); }
  void read(Readback& started, std::span<float> out) override { ops_->read(started, out); }
  bool is_lost() const override { return steps_left_ < 0; }

  void embed(const Step& step, const Table& table, Matrix out) override { ops_->embed(step, table, out); }
  void rms_norm(Matrix x, const Vector& weight, float eps, Matrix out) override { ops_->rms_norm(x, weight, eps, out); }
  void linear(Matrix x, const WeightColumns& weight, Matrix out) override { ops_->linear(x, weight, out); }
  void linear_add(Matrix x, const WeightColumns& weight, Matrix residual) override {
    ops_->linear_add(x, weight, residual);
  }
  void linear_swiglu(Matrix x, const LinearWeight& gate_up, Matrix out) override {
    ops_->linear_swiglu(x, gate_up, out);
  }
  void norm_rope_store(Matrix q, Matrix kv, const Step& step, const Rows& rows, const HeadNormRope& how,
                       const KvPages& pages) override {
    ops_->norm_rope_store(q, kv, step, rows, how, pages);
  }
  void attention(Matrix q, const Step& step, const Rows& rows, const KvPages& pages, Matrix out) override {
    ops_->attention(q, step, rows, pages, out);
  }
  void gather_last(Matrix x, const Step& step, Matrix out) override { ops_->gather_last(x, step, out); }
  void l2_normalize(Matrix x) override { ops_->l2_normalize(x); }

 private:
  std::unique_ptr<Ops> ops_ = make_naive_ops();
  int steps_left_;
};

}  // namespace quern
