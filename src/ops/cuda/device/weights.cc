#include "ops/cuda/device/weights.h"

#include <algorithm>

#include "ops/cuda/device/kernels.h"

namespace quern::cuda {
namespace {

constexpr size_t kStagingBytes = size_t{16} << 20;  // or one row

}  // namespace

size_t CudaWeights::staging_bytes(const ModelShape& shape, DType format) {
  if (format != DType::kE4m3) return 0;
  const int64_t cols = std::max({shape.hidden_size, shape.intermediate_size, shape.heads * shape.head_dim});
  return std::max(kStagingBytes, static_cast<size_t>(cols) * sizeof(float));
}

std::unique_ptr<CudaWeight> CudaWeights::pack(std::span<const ConstMatrix> parts, DType format) {
  std::vector<int64_t> begins{0};
  for (const ConstMatrix& part : parts) begins.push_back(begins.back() + part.rows);
  const int64_t cols = parts[0].cols;
  auto weight = std::make_unique<CudaWeight>(begins.back(), cols, format);
  weight->in_cols = cols;
  weight->part_begins = begins;
  char* to = static_cast<char*>(weight->memory.data);
  float* scales = weight->scales;
  for (const ConstMatrix& part : parts) {
    if (format == DType::kE4m3) {
      quantise_part(part, to, scales);
      scales += part.rows;
    } else {
      uploader_.send(part, to, format);
    }
    to += static_cast<size_t>(part.rows * cols) * dtype_bytes(format);
  }
  return weight;
}

/// As it is stored to the device, and there to e4m3. The stream orders one piece behind the other.
void CudaWeights::quantise_part(const ConstMatrix& part, char* to, float* scales) {
  const size_t row_bytes = static_cast<size_t>(part.cols) * dtype_bytes(part.dtype);
  const int64_t rows_at_once =
      std::max<int64_t>(1, static_cast<int64_t>(kStagingBytes / std::max<size_t>(row_bytes, 1)));
  const size_t wanted = std::max(kStagingBytes, row_bytes);
  if (staging_ == nullptr || staging_->bytes < wanted)
    staging_ = std::make_unique<DeviceMemory>(wanted, "weights on their way");
  for (int64_t row = 0; row < part.rows; row += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, part.rows - row);
    const char* from = static_cast<const char*>(part.data) + static_cast<size_t>(row) * row_bytes;
    uploader_.send({from, part.dtype, rows, part.cols}, staging_->data, part.dtype);
    quantise_weight(staging_->data, part.dtype, rows, part.cols, to + row * part.cols, scales + row, stream_);
  }
}

}  // namespace quern::cuda
