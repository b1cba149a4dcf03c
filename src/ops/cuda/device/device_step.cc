#include "ops/cuda/device/device_step.h"

#include <algorithm>
#include <cstring>

#include "ops/cuda/device/cuda_error.h"

namespace quern::cuda {
namespace {

constexpr size_t kAlign = 256;
size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

template <typename T>
const T* place(size_t& at, int64_t count) {
  const size_t begin = at;
  at += aligned(static_cast<size_t>(count) * sizeof(T));
  return reinterpret_cast<const T*>(begin);  // an offset, until the memory is there
}

template <typename T>
void move_by(const T*& pointer, const char* base) {
  pointer = reinterpret_cast<const T*>(base + reinterpret_cast<uintptr_t>(pointer));
}

}  // namespace

size_t DeviceStep::bytes_at_most(const ModelShape& shape) {
  constexpr size_t kRowBytes = 2 * (3 * sizeof(int32_t) + sizeof(uint8_t) + sizeof(AttentionTile));
  const int64_t per_sequence = (shape.positions_max + shape.block_tokens - 1) / shape.block_tokens;
  return static_cast<size_t>(per_sequence * shape.sequences_max) * sizeof(int32_t) +
         static_cast<size_t>(shape.tokens_max + shape.sequences_max) * kRowBytes + 16 * kAlign;
}

DeviceStep::DeviceStep(const ModelShape& shape, int32_t tile_rows) : shape_(shape), tile_rows_(tile_rows) {
  const int64_t per_sequence = (shape.positions_max + shape.block_tokens - 1) / shape.block_tokens;
  blocks_max_ = per_sequence * shape.sequences_max;
  size_t end = 0;
  view_.token_ids = place<int32_t>(end, shape.tokens_max);
  view_.last_indices = place<int32_t>(end, shape.sequences_max);
  place_rows(view_.all, end, shape.tokens_max);
  place_rows(view_.last, end, shape.sequences_max);
  view_.block_ids = place<int32_t>(end, blocks_max_);
  device_ = std::make_unique<DeviceMemory>(end, "the tables of a step");
  for (Slot& slot : slots_) slot.pinned = std::make_unique<PinnedMemory>(end);
  const char* base = static_cast<const char*>(device_->data);
  move_by(view_.token_ids, base);
  move_by(view_.last_indices, base);
  move_by(view_.block_ids, base);
  for (RowsView* rows : {&view_.all, &view_.last}) {
    move_by(rows->positions, base);
    move_by(rows->table_begins, base);
    move_by(rows->ends_span, base);
    move_by(rows->tiles, base);
    move_by(rows->tile_count, base);
  }
}

void DeviceStep::place_rows(RowsView& rows, size_t& end, int64_t rows_max) {
  rows.positions = place<int32_t>(end, rows_max);
  rows.table_begins = place<int32_t>(end, rows_max);
  rows.ends_span = place<uint8_t>(end, rows_max);
  // A sequence of r rows has ceil(r / tile_rows) tiles.
  rows.tiles = place<AttentionTile>(end, rows_max / tile_rows_ + std::min(rows_max, shape_.sequences_max));
  rows.tile_count = place<int32_t>(end, 1);
}

void DeviceStep::upload(const Step& step, cudaStream_t stream) {
  QUERN_CHECK(static_cast<int64_t>(step.token_ids.size()) <= shape_.tokens_max &&
                  static_cast<int64_t>(step.table_begins.size()) <= shape_.sequences_max &&
                  static_cast<int64_t>(step.block_ids.size()) <= blocks_max_,
              "a step beyond the sizes that prepare() was told");
  Slot& slot = slots_[next_];
  next_ = 1 - next_;
  slot.copied.wait();
  send(view_.token_ids, step.token_ids.data(), step.token_ids.size(), slot, stream);
  send(view_.last_indices, step.last_indices.data(), step.last_indices.size(), slot, stream);
  send(view_.block_ids, step.block_ids.data(), step.block_ids.size(), slot, stream);
  send_rows(view_.all, step.all, step, slot, stream);
  send_rows(view_.last, step.last, step, slot, stream);
  slot.copied.set(stream);
}

void DeviceStep::send_rows(const RowsView& to, const Rows& rows, const Step& step, const Slot& slot,
                           cudaStream_t stream) {
  tiles_.clear();
  begins_.clear();
  ends_.assign(static_cast<size_t>(rows.count()), 0);
  for (const SequenceRows& s : rows.sequences) {
    const int32_t table_begin = step.table_begins[s.sequence];
    begins_.insert(begins_.end(), static_cast<size_t>(s.row_count), table_begin);
    ends_[s.row_begin + s.row_count - 1] = 1;
    for (int64_t row = 0; row < s.row_count; row += tile_rows_) {
      tiles_.push_back({static_cast<int32_t>(s.row_begin + row),
                        static_cast<int32_t>(std::min<int64_t>(tile_rows_, s.row_count - row)),
                        static_cast<int32_t>(s.position_begin + row), table_begin});
    }
  }
  std::stable_sort(tiles_.begin(), tiles_.end(), [](const AttentionTile& a, const AttentionTile& b) {
    return a.position_begin + a.rows > b.position_begin + b.rows;
  });
  const int32_t count = static_cast<int32_t>(tiles_.size());
  send(to.positions, rows.positions.data(), rows.positions.size(), slot, stream);
  send(to.table_begins, begins_.data(), begins_.size(), slot, stream);
  send(to.ends_span, ends_.data(), ends_.size(), slot, stream);
  send(to.tiles, tiles_.data(), tiles_.size(), slot, stream);
  send(to.tile_count, &count, 1, slot, stream);
}

template <typename T>
void DeviceStep::send(const T* to, const T* values, size_t count, const Slot& slot, cudaStream_t stream) {
  if (count == 0) return;
  char* device = const_cast<char*>(reinterpret_cast<const char*>(to));
  char* pinned = slot.pinned->data() + (device - static_cast<char*>(device_->data));
  std::memcpy(pinned, values, count * sizeof(T));
  check(cudaMemcpyAsync(device, pinned, count * sizeof(T), cudaMemcpyHostToDevice, stream), "copying a step's tables");
}

}  // namespace quern::cuda
