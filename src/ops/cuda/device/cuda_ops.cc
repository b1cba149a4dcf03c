#include "ops/cuda/cuda_ops.h"

#include <cstring>
#include <string>
#include <vector>

#include "ops/cuda/device/cuda_memory.h"
#include "ops/cuda/device/device_step.h"
#include "ops/cuda/device/gemm.h"
#include "ops/cuda/device/graphs.h"
#include "ops/cuda/device/kernels.h"
#include "ops/cuda/device/readback.h"
#include "ops/cuda/device/weights.h"

namespace quern::cuda {
namespace {

constexpr int kCapabilityMin = 80;                // bf16 products
constexpr int64_t kFewRows = 32;                  // that linear_e4m3_few() takes
constexpr size_t kCodeBytes = size_t{128} << 20;  // kernels loaded on first use, captured steps

/// Tokens of an AttentionTile: an even number of them, whose query heads of one K/V head fill it at most.
int32_t tile_rows_of(int64_t heads, int64_t kv_heads) {
  return static_cast<int32_t>(std::max<int64_t>(1, kHopperTileRows / 2 / (heads / kv_heads) * 2));
}

const CudaWeight& of_cuda(const LinearWeight& weight) { return static_cast<const CudaWeight&>(weight); }

/// Every row begins at a multiple of so many bytes.
bool aligned(const Matrix& m, uintptr_t to) {
  return reinterpret_cast<uintptr_t>(m.data) % to == 0 && static_cast<uintptr_t>(m.stride_bytes()) % to == 0;
}

class CudaOps final : public Ops {
 public:
  explicit CudaOps(const CudaOptions& options)
      : options_(options), weights_(stream_), gemm_(stream_, options.workspace_bytes), graphs_(options.graphs_max) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, options.device), "the device's properties");
    name_ = "cuda:" + std::to_string(options.device) + " " + properties.name;
    hopper_ = properties.major == 9 && properties.minor == 0;
    early_starts_ = properties.major >= 9;
    multiprocessors_ = properties.multiProcessorCount;
    check(cudaMemsetAsync(zeros_.data, 0, zeros_.bytes, stream_), "clearing memory");
  }
  ~CudaOps() override {
    cudaSetDevice(options_.device);
    cudaStreamSynchronize(stream_);
  }

  std::string_view name() const override { return name_; }
  std::string bus_id() const override {
    char text[32] = "";
    check(cudaDeviceGetPCIBusId(text, sizeof text, options_.device), "the device's PCI bus id");
    return text;
  }
  Precision preferred(DType stored) const override {
    return Precision::all(stored == DType::kF32 ? DType::kF32 : DType::kBf16);
  }
  Result<void> prepare(const ModelShape& shape, const Precision& precision) override;

  std::unique_ptr<Memory> allocate(size_t bytes) override {
    use_device();
    return std::make_unique<DeviceMemory>(bytes, "weights, activations or K/V pages");
  }
  void upload(const void* from, size_t bytes, Memory& to) override {
    QUERN_CHECK(bytes <= to.bytes, "an upload beyond its memory");
    use_device();
    check(cudaMemcpyAsync(to.data, from, bytes, cudaMemcpyHostToDevice, stream_), "copying to the device");
    check(cudaStreamSynchronize(stream_), "copying to the device");
  }
  std::unique_ptr<LinearWeight> pack(std::span<const ConstMatrix> parts, DType weights) override {
    use_device();
    return weights_.pack(parts, weights);
  }
  size_t kv_block_bytes(const KvPages& shape) const override {
    return static_cast<size_t>(layout(shape).block_elements()) * dtype_bytes(shape.dtype);
  }

  size_t scratch_bytes(const ModelShape& shape, const Precision& precision) const override {
    return kCodeBytes + DeviceStep::bytes_at_most(shape) + product_scratch_bytes(shape, precision) +
           CudaWeights::staging_bytes(shape, precision.weights);
  }
  std::optional<DeviceRoom> room() const override {
    use_device();
    DeviceRoom room;
    check(cudaMemGetInfo(&room.free_bytes, &room.total_bytes), "the device's memory");
    return room;
  }

  void run(const Step& step, bool repeats, const std::function<void()>& body) override;
  std::unique_ptr<Readback> start_read(Matrix x) override;
  void read(Readback& started, std::span<float> out) override;
  bool is_done(const Readback& started) const override {
    return static_cast<const CudaReadback&>(started).copied.is_past();
  }
  /// A sticky error is every call's from then on.
  bool is_lost() const override {
    const cudaError_t status = cudaStreamQuery(stream_);
    if (status != cudaErrorNotReady) (void)cudaGetLastError();
    return status != cudaSuccess && status != cudaErrorNotReady;
  }

  void embed(const Step&, const Table& table, Matrix out) override { cuda::embed(view(), table, out, stream_); }
  void rms_norm(Matrix x, const Vector& weight, float eps, Matrix out) override {
    cuda::rms_norm(x, weight.data(), eps, out, stream_);
  }
  void linear(Matrix x, const WeightColumns& weight, Matrix out) override {
    multiply(ProductEnd::kStore, x, weight, out);
  }
  void linear_add(Matrix x, const WeightColumns& weight, Matrix residual) override {
    multiply(ProductEnd::kAdd, x, weight, residual);
  }
  void linear_swiglu(Matrix x, const LinearWeight& gate_up, Matrix out) override {
    multiply(ProductEnd::kSwiglu, x, gate_up.all(), out);
  }
  void norm_rope_store(Matrix q, Matrix kv, const Step& step, const Rows& rows, const HeadNormRope& how,
                       const KvPages& pages) override {
    cuda::norm_rope_store(q, kv, view(), view_of(step, rows), how, pages, layout(pages), stream_);
  }
  void attention(Matrix q, const Step& step, const Rows& rows, const KvPages& pages, Matrix out) override;
  void gather_last(Matrix x, const Step&, Matrix out) override { cuda::gather_last(x, view(), out, stream_); }
  void l2_normalize(Matrix x) override { cuda::l2_normalize(x, stream_); }

 private:
  void multiply(ProductEnd end, Matrix x, const WeightColumns& weight, Matrix out);
  void multiply_e4m3(ProductEnd end, Matrix x, const WeightColumns& weight, Matrix out);
  bool fast_attention(const KvPages& pages, int64_t heads, int32_t tile_rows) const;
  void use_device() const { check(cudaSetDevice(options_.device), "choosing the device"); }
  size_t product_scratch_bytes(const ModelShape& shape, const Precision& precision) const;
  KvLayout layout(const KvPages& pages) const { return KvLayout::of(pages, hopper_); }
  const StepView& view() const {
    QUERN_CHECK(step_ != nullptr, "an op before prepare()");
    return step_->view();
  }
  const RowsView& view_of(const Step& step, const Rows& rows) const {
    QUERN_CHECK(&rows == &step.all || &rows == &step.last, "rows of another step");
    return &rows == &step.all ? view().all : view().last;
  }

  CudaOptions options_;
  std::string name_;
  bool hopper_ = false;        // what the kernels named so need
  bool early_starts_ = false;  // what launch_early() needs
  int multiprocessors_ = 0;
  int32_t tile_rows_ = 1;
  Stream stream_;
  CudaWeights weights_;
  Gemm gemm_;
  Graphs graphs_;
  DeviceMemory zeros_{kHopperPageBytesMax, "a page of zeros"};
  std::unique_ptr<DeviceStep> step_;
  std::unique_ptr<DeviceMemory> scratch_;  // as product_scratch_bytes() says
  PinnedPool pinned_;
};

Result<void> CudaOps::prepare(const ModelShape& shape, const Precision& precision) {
  const DType E = precision.activations;
  const bool e4m3 = precision.weights == DType::kE4m3;
  if (E == DType::kE4m3 || precision.kv != E || (e4m3 ? E != DType::kBf16 : precision.weights != E))
    return invalid_argument("precision: a CUDA device computes in f32, bf16 or f16, or in bf16 with fp8 products",
                            "--dtype");
  if (shape.head_dim < 2 || shape.head_dim > 1024 || shape.head_dim % 2 != 0)
    return invalid_argument("head_dim: expected an even number of 2..1024 on a CUDA device, found " +
                            std::to_string(shape.head_dim));
  if (shape.kv_heads < 1 || shape.heads % shape.kv_heads != 0)
    return invalid_argument("num_attention_heads must be a multiple of num_key_value_heads");
  use_device();
  tile_rows_ = tile_rows_of(shape.heads, shape.kv_heads);
  graphs_.clear();
  step_ = std::make_unique<DeviceStep>(shape, tile_rows_);
  scratch_ = std::make_unique<DeviceMemory>(product_scratch_bytes(shape, precision), "activations");
  return {};
}

void CudaOps::run(const Step& step, bool repeats, const std::function<void()>& body) {
  QUERN_CHECK(step_ != nullptr, "run() before prepare()");
  use_device();
  step_->upload(step, stream_);
  const int64_t T = static_cast<int64_t>(step.token_ids.size());
  if (repeats && T <= options_.graph_tokens_max) {
    graphs_.run({T, step.last.count()}, stream_, body);
  } else {
    body();
  }
}

std::unique_ptr<Readback> CudaOps::start_read(Matrix x) {
  use_device();
  auto readback = std::make_unique<CudaReadback>(pinned_);
  readback->dtype = x.dtype;
  readback->values = x.rows * x.cols;
  readback->cols = x.cols;
  const size_t row_bytes = matrix_bytes(x.dtype, 1, x.cols);
  const size_t bytes = static_cast<size_t>(x.rows) * row_bytes;
  if (!pinned_.empty()) {
    readback->memory = std::move(pinned_.back());
    pinned_.pop_back();
  }
  if (readback->memory == nullptr || readback->memory->bytes() < bytes)
    readback->memory = std::make_unique<PinnedMemory>(bytes);
  if (bytes > 0) {
    check(cudaMemcpy2DAsync(readback->memory->data(), row_bytes, x.data, static_cast<size_t>(x.stride_bytes()),
                            row_bytes, static_cast<size_t>(x.rows), cudaMemcpyDeviceToHost, stream_),
          "copying to the host");
  }
  readback->copied.set(stream_);
  return readback;
}

void CudaOps::read(Readback& started, std::span<float> out) {
  auto& readback = static_cast<CudaReadback&>(started);
  QUERN_CHECK(static_cast<int64_t>(out.size()) == readback.values, "a read of another size than was started");
  readback.copied.wait();
  const ConstMatrix values{readback.memory->data(), readback.dtype, 1, readback.values};
  if (readback.dtype == DType::kF32) {
    std::memcpy(out.data(), values.data, out.size_bytes());
  } else if (readback.dtype == DType::kE4m3) {
    for (int64_t i = 0; i < readback.values; ++i) {
      const char* row = readback.memory->data() + i / readback.cols * e4m3_stride(readback.cols);
      out[i] = quantised_value(row, readback.cols, i % readback.cols);
    }
  } else {
    for (int64_t i = 0; i < readback.values; ++i) out[i] = stored_value(values, i);
  }
}

/// E [rows, 2 F], rows of the largest step for which multiply() takes SwiGLU as a pass of its own; for e4m3 the f32
/// values that are quantised by a pass of their own: SwiGLU's of few rows, or attention's where no kernel writes e4m3.
size_t CudaOps::product_scratch_bytes(const ModelShape& shape, const Precision& precision) const {
  if (precision.weights == DType::kE4m3) {
    const KvPages pages{nullptr,
                        precision.kv,
                        shape.kv_blocks,
                        shape.block_tokens,
                        static_cast<int32_t>(shape.kv_heads),
                        static_cast<int32_t>(shape.head_dim)};
    const bool fast = fast_attention(pages, shape.heads, tile_rows_of(shape.heads, shape.kv_heads));
    const int64_t mix = fast ? 0 : shape.tokens_max * shape.heads * shape.head_dim;
    return static_cast<size_t>(std::max(mix, kFewRows * shape.intermediate_size)) * sizeof(float);
  }
  const DType E = precision.activations;
  int64_t rows = shape.tokens_max;
  while (rows > 0 && hopper_ &&
         linear_swiglu_hopper_takes({nullptr, E, rows, shape.hidden_size}, {nullptr, E, rows, shape.intermediate_size},
                                    multiprocessors_))
    --rows;
  return static_cast<size_t>(rows * 2 * shape.intermediate_size) * dtype_bytes(E);
}

/// Three ways: a stream of the weight for a few rows, one kernel for SwiGLU of many, cuBLASLt for the rest.
void CudaOps::multiply(ProductEnd end, Matrix x, const WeightColumns& weight, Matrix out) {
  if (x.rows == 0) return;
  if (of_cuda(*weight.weight).dtype == DType::kE4m3) return multiply_e4m3(end, x, weight, out);
  const void* w = of_cuda(*weight.weight).rows_from(weight.begin);
  const bool swiglu = end == ProductEnd::kSwiglu;
  if (early_starts_ && reinterpret_cast<uintptr_t>(w) % 16 == 0 && linear_few_takes(x, out)) {
    linear_few(end, x, w, out, stream_);
  } else if (swiglu && hopper_ && linear_swiglu_hopper_takes(x, out, multiprocessors_)) {
    linear_swiglu_hopper(x, w, multiprocessors_, out, stream_);
  } else if (swiglu) {
    const Matrix both = scratch_->matrix(out.dtype, x.rows, weight.count);
    gemm_.run(x, w, weight.count, both, false);
    cuda::swiglu(both, out, stream_);
  } else {
    gemm_.run(x, w, weight.count, out, end == ProductEnd::kAdd);
  }
}

/// Two fast ways, for few rows and for many, and a plain one.
void CudaOps::multiply_e4m3(ProductEnd end, Matrix x, const WeightColumns& weight, Matrix out) {
  const CudaWeight& whole = of_cuda(*weight.weight);
  const E4m3Weight w{whole.rows_from(weight.begin), whole.scales + weight.begin};
  const bool aligned_weight = reinterpret_cast<uintptr_t>(w.values) % 16 == 0;
  if (early_starts_ && aligned_weight && linear_e4m3_few_takes(x, out)) {
    const bool swiglu = end == ProductEnd::kSwiglu;
    const Matrix to = swiglu ? scratch_->matrix(DType::kF32, x.rows, out.cols) : out;
    linear_e4m3_few(end, x, w, to, stream_);
    if (swiglu) quantise(to, out, true, stream_);
  } else if (hopper_ && aligned_weight && reinterpret_cast<uintptr_t>(w.scales) % 8 == 0 &&
             linear_e4m3_hopper_takes(x, out)) {
    linear_e4m3_hopper(end, x, w, multiprocessors_, out, stream_);
  } else {
    linear_e4m3_any(end, x, w, out, stream_);
  }
}

/// Whether attention_hopper() takes such pages and heads.
bool CudaOps::fast_attention(const KvPages& pages, int64_t heads, int32_t tile_rows) const {
  const int64_t group = heads / pages.heads;
  return layout(pages).tiled && group <= kHopperTileRows / 2 && group * tile_rows <= kHopperTileRows;
}

void CudaOps::attention(Matrix q, const Step& step, const Rows& rows, const KvPages& pages, Matrix out) {
  const auto by_any = [&](Matrix to) {
    attention_any(q, view(), view_of(step, rows), pages, layout(pages), to, stream_);
  };
  if (fast_attention(pages, q.cols / pages.head_dim, tile_rows_) && aligned(q, 16) && aligned(out, 16) &&
      reinterpret_cast<uintptr_t>(pages.data) % 16 == 0) {
    attention_hopper(q, view(), view_of(step, rows), pages, zeros_.data, multiprocessors_, out, stream_);
  } else if (out.dtype == DType::kE4m3) {
    const Matrix mix = scratch_->matrix(DType::kF32, q.rows, q.cols);
    by_any(mix);
    quantise(mix, out, false, stream_);
  } else {
    by_any(out);
  }
}

}  // namespace
}  // namespace quern::cuda

extern "C" __attribute__((visibility("default"))) quern::Ops* quern_make_cuda_ops(const quern::CudaOptions& options,
                                                                                  std::string& failure) {
  using namespace quern;  // NOLINT: the entry of the object
  try {
    int devices = 0;
    cuda::check(cudaGetDeviceCount(&devices), "looking for devices");
    if (options.device < 0 || options.device >= devices) {
      failure =
          "CUDA: there is no device " + std::to_string(options.device) + ": expected 0.." + std::to_string(devices - 1);
      return nullptr;
    }
    cuda::check(cudaSetDevice(options.device), "choosing the device");
    cudaDeviceProp properties{};
    cuda::check(cudaGetDeviceProperties(&properties, options.device), "the device's properties");
    const int capability = 10 * properties.major + properties.minor;
    if (capability < cuda::kCapabilityMin) {
      failure = std::string("CUDA: ") + properties.name + " has compute capability " +
                std::to_string(properties.major) + "." + std::to_string(properties.minor) + "; 8.0 or more is needed";
      return nullptr;
    }
    return std::make_unique<cuda::CudaOps>(options).release();
  } catch (const std::exception& error) {
    failure = error.what();
    return nullptr;
  }
}
