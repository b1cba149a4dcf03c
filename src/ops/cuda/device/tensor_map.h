// How the copy engine is told of a matrix: of 2 or 1 bytes a value, row-major, brought to shared memory in boxes whose
// rows of 128 bytes are swizzled as the matrix units read them. What lies beyond the matrix comes as zeros.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace quern::cuda {

/// `data` and the rows' stride are multiples of 16 bytes; a box has box_rows rows of 128 bytes.
CUtensorMap tensor_map(const void* data, int value_bytes, int64_t rows, int64_t cols, int64_t stride, int box_rows);

}  // namespace quern::cuda
