// How the copy engine is told of a matrix: bf16, row-major, brought to shared memory in boxes whose rows of 128 bytes
// are swizzled as the matrix units read them. What lies beyond the matrix comes as zeros.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace quern::cuda {

/// `data` and the rows' stride are multiples of 16 bytes; box_cols is 64.
CUtensorMap tensor_map(const void* data, int64_t rows, int64_t cols, int64_t stride, int box_rows, int box_cols);

}  // namespace quern::cuda
