// For tests: an Ops that hands every call on to another one; what a test changes it overrides.
#pragma once

#include <memory>
#include <utility>

#include "ops/ops.h"

namespace quern {

class ForwardingOps : public Ops {
 public:
  explicit ForwardingOps(std::unique_ptr<Ops> ops) : ops_(std::move(ops)) {}

  std::string_view name() const override { return ops_->name(); }
  std::string bus_id() const override { return ops_->bus_id(); }
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
  size_t scratch_bytes(const ModelShape& shape, const Precision& precision) const override {
    return ops_->scratch_bytes(shape, precision);
  }
  std::optional<DeviceRoom> room() const override { return ops_->room(); }
  void run(const Step& step, bool repeats, const std::function<void()>& body) override {
    ops_->run(step, repeats, body);
  }
  std::unique_ptr<Readback> start_read(Matrix x) override { return ops_->start_read(x); }
  void read(Readback& started, std::span<float> out) override { ops_->read(started, out); }
  bool is_done(const Readback& started) const override { return ops_->is_done(started); }
  bool is_lost() const override { return ops_->is_lost(); }

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

 protected:
  std::unique_ptr<Ops> ops_;
};

}  // namespace quern
