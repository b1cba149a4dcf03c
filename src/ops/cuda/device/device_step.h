// DeviceStep: a Step on the device. Its arrays stay at one address, so that a captured graph serves every step of the
// same sizes.
//
// Owns the device's arrays and two pinned copies, so that the host writes one step while the copy of the other runs.
// One thread.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "ops/cuda/device/cuda_memory.h"
#include "ops/ops.h"

namespace quern::cuda {

/// A few consecutive rows of one sequence: what one group of threads of the attention takes, once for each K/V head.
struct AttentionTile {
  int32_t row_begin;
  int32_t rows;
  int32_t position_begin;
  int32_t table_begin;  // into StepView::block_ids
};

/// Rows (ops/step.h) on the device.
struct RowsView {
  const int32_t* positions = nullptr;     // [n]
  const int32_t* table_begins = nullptr;  // [n], of the row's sequence
  const uint8_t* ends_span = nullptr;     // [n]: 1 for the last row of its sequence
  const AttentionTile* tiles = nullptr;   // the one that sees most keys first
  const int32_t* tile_count = nullptr;
};

struct StepView {
  const int32_t* token_ids = nullptr;     // [T]
  const int32_t* last_indices = nullptr;  // [B]
  const int32_t* block_ids = nullptr;
  RowsView all, last;
};

class DeviceStep {
 public:
  /// `tile_rows`: the most rows of an AttentionTile.
  DeviceStep(const ModelShape& shape, int32_t tile_rows);

  /// What it takes for such a model, or a little more.
  static size_t bytes_at_most(const ModelShape& shape);

  /// Enqueues the copy of `step`, which may change when this returns.
  void upload(const Step& step, cudaStream_t stream);
  const StepView& view() const { return view_; }

 private:
  struct Slot {
    std::unique_ptr<PinnedMemory> pinned;
    Event copied;
  };
  void place_rows(RowsView& rows, size_t& end, int64_t rows_max);
  void send_rows(const RowsView& to, const Rows& rows, const Step& step, const Slot& slot, cudaStream_t stream);
  template <typename T>
  void send(const T* to, const T* values, size_t count, const Slot& slot, cudaStream_t stream);

  ModelShape shape_;
  int32_t tile_rows_;
  int64_t blocks_max_ = 0;
  std::unique_ptr<DeviceMemory> device_;
  StepView view_;
  Slot slots_[2];
  int next_ = 0;
  // Of the Rows that are being sent.
  std::vector<AttentionTile> tiles_;
  std::vector<int32_t> begins_;
  std::vector<uint8_t> ends_;
};

}  // namespace quern::cuda
