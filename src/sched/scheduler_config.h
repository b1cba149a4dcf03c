// SchedulerConfig: the limits that the scheduler keeps, and what follows from them. Plain numbers; any thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/result.h"
#include "kv/block_pool.h"

namespace quern {

struct SchedulerConfig {
  int32_t batch_tokens_max = 1024;
  int32_t batch_spans_max = 256;
  int32_t batches_in_flight_max = 1;  // of one replica: 1 where it computes at once, 2 where the device has a queue
  int64_t queue_tokens_max = 1'000'000;
  int32_t queue_jobs_max = 100'000;
  int32_t context_tokens_max = 32'768;
  int32_t block_tokens = 16;
  int64_t priority_boost_us = 1'000'000;

  /// K/V for long Jobs beside the one that ranks first; 0: an eighth of the context.
  int32_t long_tokens_spare = 0;
  /// A request of up to so many tokens is a query that somebody waits for. Where brief_batch_tokens_max is not 0, its
  /// Jobs have a share of each Batch of their own, Batches hold at most brief_batch_tokens_max tokens while one waits,
  /// and for brief_hold_us after the last one came, and then they are started one at a time. Promises that speak of
  /// batch_tokens_max hold for the smaller Batch.
  int32_t brief_tokens_max = 64;
  int32_t brief_batch_tokens_max = 0;
  int64_t brief_hold_us = 1'000'000;
  /// How many short Jobs that do not fit the rest of a Batch are passed over in search of one that does. Bounds the
  /// cost of a step; the first one passed over heads the next Batch.
  int32_t skipped_jobs_max = 64;
  /// Over how many long Jobs a Batch's long share is split at most.
  int32_t long_spans_max = 4;

  /// A Job up to this long is short. Half a Batch, so that one short Job always fits beside a long chunk.
  int32_t short_tokens_max() const { return std::max(1, batch_tokens_max / 2); }
  /// Of a Batch while queries come; 0: there are no queries.
  int32_t small_batch_tokens_max() const { return std::min(brief_batch_tokens_max, batch_tokens_max); }
  /// A request of up to so many tokens is a query; 0: none is. It fits the least share that queries have of a Batch.
  int32_t brief_tokens() const { return std::min(brief_tokens_max, small_batch_tokens_max() / 4); }
  /// Of a Batch at least: one of each kind, a short Job and a long one, and a query where there are any.
  int32_t spans_least() const { return brief_batch_tokens_max > 0 ? 3 : 2; }
  /// Of a small Batch of `tokens_max` tokens, what short Jobs that are no queries get at least.
  static int32_t short_share(int32_t tokens_max) { return (tokens_max + 3) / 4; }
  /// Blocks that short Jobs may hold: all that one Batch of them can need; the next one has the same blocks. Each span
  /// wastes less than one block.
  int32_t short_blocks() const { return blocks_for_tokens(batch_tokens_max, block_tokens) + batch_spans_max; }
  /// Blocks for long Jobs that start in order: one Job of the full context.
  int32_t main_blocks() const { return blocks_for_tokens(context_tokens_max, block_tokens); }
  /// Blocks for long Jobs that start before their turn: an eighth of the context, or long_tokens_spare, and at least a
  /// Job just beyond the short ones, so that it does not wait for a Job of the full context.
  int32_t spare_blocks() const {
    const int32_t wanted = long_tokens_spare > 0 ? long_tokens_spare : context_tokens_max / 8;
    return blocks_for_tokens(std::min(context_tokens_max, std::max(short_tokens_max() + block_tokens, wanted)),
                             block_tokens);
  }
  int32_t long_blocks() const { return main_blocks() + spare_blocks(); }
  /// Of one replica.
  int32_t total_blocks() const { return short_blocks() + long_blocks(); }
};

/// Whether steps of these limits have room for a Job of each kind. An Error names the flag at fault.
Result<void> check_steps(const SchedulerConfig& config);

/// Whether the scheduler can keep its promises within these limits, those of check_steps() included.
Result<void> check_config(const SchedulerConfig& config);

/// Whether `jobs` Jobs of `tokens` tokens in all may join a queue that holds the other two numbers. kPayloadTooLarge
/// when an empty queue would not take them either, else kOverloaded; both name the flag.
Result<void> check_room(const SchedulerConfig& config, int64_t queued_jobs, int64_t queued_tokens, int64_t jobs,
                        int64_t tokens);

}  // namespace quern
