#include "sched/oracle.h"

#include <algorithm>
#include <limits>

#include "core/job.h"

namespace quern {

namespace {

/// h: tokens of a step that long Jobs get at least.
int32_t long_share(int32_t step_tokens) { return std::max(1, step_tokens / 2); }
/// q: of these, the first by rank.
int32_t first_share(int32_t step_tokens) { return (long_share(step_tokens) + 1) / 2; }

int64_t steps_of(int64_t tokens, int32_t share) { return (tokens + share - 1) / share; }

}  // namespace

Oracle::Oracle(const SchedulerConfig& config, int32_t replica_count)
    : config_(config),
      least_step_(config.brief_batch_tokens_max > 0 ? std::max(2, config.small_batch_tokens_max())
                                                    : config.batch_tokens_max),
      owners_(static_cast<size_t>(replica_count)),
      in_flight_(static_cast<size_t>(replica_count)) {}

void Oracle::require(bool holds, const std::string& what) {
  if (!holds && violation_.empty()) violation_ = "step " + std::to_string(probes_.steps) + ": " + what;
}

std::vector<uint64_t> Oracle::job_ids() const {
  std::vector<uint64_t> ids;
  for (const auto& [id, job] : jobs_) ids.push_back(id);
  return ids;
}

/// Steps that a Job may cost itself or another one of its kind, from now on.
int64_t Oracle::charge(const JobState& job) const {
  if (job.kind == Kind::kLong)
    return steps_of(job.remaining(), first_share(least_step_)) + config_.batches_in_flight_max - 1;
  if (job.kind == Kind::kQuery || config_.brief_batch_tokens_max <= 0) return 1;
  return steps_of(job.remaining(), SchedulerConfig::short_share(least_step_));
}

/// The steps that a Job may wait from now on, if nothing else comes that ranks before it.
void Oracle::set_bound(JobState& job) {
  job.steps = 0;
  job.horizon = job.rank;
  for (const auto& [id, other] : jobs_) {
    if (job.kind == Kind::kLong && other.kind == Kind::kLong && other.replica != kNoReplica)
      job.horizon = std::max(job.horizon, other.rank);
  }
  job.steps_allowed = charge(job);
  for (const auto& [id, other] : jobs_) {
    const bool was_cut = other.kind == Kind::kShort && other.replica != kNoReplica && other.remaining() > 0;
    if (&other != &job && other.kind == job.kind && (other.rank <= job.horizon || was_cut))
      job.steps_allowed += charge(other);
  }
}

void Oracle::on_admitted(const SchedulerJob& job, int64_t now_us) {
  JobState state;
  state.token_ids = *job.token_ids;
  state.rank = {now_us - job.priority * config_.priority_boost_us, job.id};
  state.deadline_us = job.deadline_us;
  state.token_count = static_cast<int32_t>(job.token_ids->size());
  const bool is_short = state.token_count <= config_.short_tokens_max();
  const bool is_query = is_short && job.is_brief && state.token_count <= config_.brief_tokens();
  state.kind = is_query ? Kind::kQuery : is_short ? Kind::kShort : Kind::kLong;
  for (auto& [id, other] : jobs_) {
    if (other.kind == state.kind && state.rank <= other.horizon) other.steps_allowed += charge(state);
  }
  set_bound(jobs_.emplace(job.id, std::move(state)).first->second);
}

void Oracle::on_batch(int32_t replica, const Batch& batch, int32_t tokens_max) {
  ++probes_.steps;
  int64_t short_tokens = 0, long_tokens = 0, long_spans = 0;
  std::set<uint64_t> waiting_before;
  for (const auto& [id, job] : jobs_) {
    if (job.remaining() > 0) waiting_before.insert(id);
  }
  const auto queries = waiting(replica, Kind::kQuery), others = waiting(replica, Kind::kShort);
  for (const auto* jobs : {&queries, &others}) {
    for (const JobState* job : *jobs) short_tokens += job->remaining();
  }
  if (!queries.empty()) tokens_max = std::min(tokens_max, least_step_);
  const bool is_small = tokens_max < config_.batch_tokens_max || !queries.empty();
  probes_.small_steps += is_small;
  Aboard aboard;
  for (const Span& span : batch.spans) {
    require(aboard.emplace(span.job_id, span.token_count).second, "two spans of one job in a batch");
    require(knows(span.job_id), "a job that is not live is aboard");
    if (!violation_.empty()) return;
    const Kind kind = jobs_.at(span.job_id).kind;
    probes_.queries += kind == Kind::kQuery;
    if (kind != Kind::kLong) continue;
    long_tokens += span.token_count;
    ++long_spans;
  }
  const auto left_over = [](int64_t limit, int64_t wanted) { return std::max(limit / 2, limit - wanted); };
  const auto short_jobs = static_cast<int64_t>(queries.size() + others.size());
  require(long_tokens <= left_over(tokens_max, short_tokens), "long jobs took more than half of a step");
  require(long_spans <= left_over(config_.batch_spans_max, short_jobs), "long jobs took more than half of the spans");
  require(long_spans <= config_.long_spans_max, "the long share was split over too many jobs");
  check_in_turn(queries, aboard, tokens_max);
  if (is_small) {
    check_in_turn(others, aboard, SchedulerConfig::short_share(tokens_max));
  } else {
    check_passed_over(others, aboard);
  }
  check_long_order(replica, aboard, long_share(tokens_max));
  check_spans(replica, batch, tokens_max, is_small);
  if (!violation_.empty()) return;
  count_step(replica, waiting_before);
  ++in_flight_[static_cast<size_t>(replica)];
  probes_.several_replicas += std::count_if(in_flight_.begin(), in_flight_.end(), [](int32_t n) { return n > 0; }) > 1;
}

std::vector<const Oracle::JobState*> Oracle::waiting(int32_t replica, Kind kind) const {
  std::vector<const JobState*> turns;
  for (const auto& [id, job] : jobs_) {
    const bool is_here = job.replica == kNoReplica || job.replica == replica;
    if (job.kind == kind && job.remaining() > 0 && is_here) turns.push_back(&job);
  }
  const auto turn = [](const JobState& job) { return std::pair(job.replica == kNoReplica, job.rank); };
  std::sort(turns.begin(), turns.end(), [&](const JobState* a, const JobState* b) { return turn(*a) < turn(*b); });
  return turns;
}

/// None is passed over, the first gets `share` tokens at least, and only the last one may be cut.
void Oracle::check_in_turn(const std::vector<const JobState*>& turns, const Aboard& aboard, int32_t share) {
  bool is_over = false;
  for (const JobState* job : turns) {
    const auto it = aboard.find(job->rank.second);
    const int32_t tokens = it == aboard.end() ? 0 : it->second;
    require(tokens == 0 || !is_over, "a short job went aboard before its turn");
    if (job == turns.front())
      require(tokens >= std::min(job->remaining(), share), "the short job that ranks first got too little");
    is_over |= tokens < job->remaining();
  }
}

/// Of a full step: those that do not fit are passed over, up to a number.
void Oracle::check_passed_over(const std::vector<const JobState*>& turns, const Aboard& aboard) {
  if (turns.empty()) return;
  require(aboard.count(turns.front()->rank.second) != 0, "the short job that ranks first was left behind");
  int64_t passed_over = 0, passed_over_before_last = 0;
  for (const JobState* job : turns) {
    const bool is_aboard = aboard.count(job->rank.second) != 0;
    is_aboard ? passed_over_before_last = passed_over : ++passed_over;
  }
  probes_.skips += passed_over_before_last > 0;
  require(passed_over_before_last <= config_.skipped_jobs_max, "more short jobs were passed over than may be");
}

void Oracle::check_long_order(int32_t replica, const Aboard& aboard, int32_t long_share) {
  const int32_t first_share = (long_share + 1) / 2;
  const JobState *first = nullptr, *shortest = nullptr, *waiting = nullptr;
  int32_t shortest_waiting = std::numeric_limits<int32_t>::max();
  for (const auto& [id, job] : jobs_) {
    if (job.kind != Kind::kLong || job.remaining() == 0) continue;
    if (job.replica == kNoReplica) {
      if (waiting == nullptr || job.rank < waiting->rank) waiting = &job;
      shortest_waiting = std::min(shortest_waiting, job.token_count);
    } else if (job.replica == replica) {
      if (first == nullptr || job.rank < first->rank) first = &job;
    }
  }
  const auto tokens_of = [&](const JobState& job) {
    const auto it = aboard.find(job.rank.second);
    return it == aboard.end() ? 0 : it->second;
  };
  const bool waiting_is_first =
      waiting != nullptr && tokens_of(*waiting) > 0 && (!first || waiting->rank < first->rank);
  if (waiting_is_first) first = waiting;
  if (first == nullptr) return;
  require(tokens_of(*first) >= std::min(first->remaining(), first_share),
          "the long job that ranks first got too little");
  for (const auto& [id, job] : jobs_) {
    if (job.kind != Kind::kLong || job.remaining() == 0 || job.replica != replica || &job == first) continue;
    const auto order = [](const JobState& one) { return std::pair(one.remaining(), one.rank); };
    if (shortest == nullptr || order(job) < order(*shortest)) shortest = &job;
  }
  const bool has_second_span = std::min(config_.batch_spans_max / 2, config_.long_spans_max) >= 2;
  if (shortest == nullptr || !has_second_span || shortest_waiting <= shortest->remaining()) return;
  require(tokens_of(*shortest) >= std::min(shortest->remaining(), long_share - first_share),
          "the shortest long job got too little");
}

void Oracle::check_spans(int32_t replica, const Batch& batch, int32_t tokens_max, bool is_small) {
  const bool is_full = batch.token_ids.size() == static_cast<size_t>(tokens_max);
  require(batch.token_ids.size() <= static_cast<size_t>(tokens_max), "too many tokens in a batch");
  require(batch.spans.size() <= static_cast<size_t>(config_.batch_spans_max), "too many spans in a batch");
  int32_t token_begin = 0, block_begin = 0;
  for (const Span& span : batch.spans) {
    JobState& job = jobs_.at(span.job_id);
    require(span.token_begin == token_begin && span.block_begin == block_begin, "a span leaves a gap");
    require(span.token_count > 0 && span.token_count <= job.remaining(), "a span's length");
    const bool is_cut = job.kind != Kind::kLong && !span.is_last;
    require(!is_cut || (job.kind == Kind::kShort && is_small && is_full), "a short job was cut");
    probes_.cuts += is_cut;
    require(span.position_begin == job.fed_tokens, "a chunk is out of order");
    require(job.replica == kNoReplica || job.replica == replica, "a job changed its replica");
    if (!violation_.empty()) return;
    require(std::equal(batch.token_ids.begin() + token_begin, batch.token_ids.begin() + token_begin + span.token_count,
                       job.token_ids.begin() + job.fed_tokens),
            "a span holds other tokens than its job");
    job.fed_tokens += span.token_count;
    job.replica = replica;
    job.spans_in_flight += 1;
    probes_.chunks += !span.is_last;
    require(span.is_last == (job.remaining() == 0), "is_last is wrong");
    check_table(span, batch, job);
    token_begin += span.token_count;
    block_begin += span.block_count;
  }
  for (const Span& span : batch.spans) {
    if (span.is_last) forget_table(replica, jobs_.at(span.job_id));
  }
  require(static_cast<size_t>(token_begin) == batch.token_ids.size(), "spans do not cover the tokens");
  require(static_cast<size_t>(block_begin) == batch.block_ids.size(), "page tables do not cover the blocks");
}

/// A Job's page table only ever grows, and no two Jobs share a block that have tokens to come or are in one Batch.
void Oracle::check_table(const Span& span, const Batch& batch, JobState& job) {
  require(span.block_count == blocks_for_tokens(job.fed_tokens, config_.block_tokens), "a page table's length");
  require(batch.block_ids.size() >= static_cast<size_t>(span.block_begin) + static_cast<size_t>(span.block_count),
          "a page table's place");
  if (!violation_.empty()) return;
  const auto begin = batch.block_ids.begin() + span.block_begin;
  std::vector<int32_t> table(begin, begin + span.block_count);
  require(job.table.size() <= table.size() && std::equal(job.table.begin(), job.table.end(), table.begin()),
          "a page table changed");
  job.table = std::move(table);
  for (int32_t block : job.table) {
    require(owners_[static_cast<size_t>(job.replica)].emplace(block, span.job_id).first->second == span.job_id,
            "block " + std::to_string(block) + " has two owners");
  }
}

/// A step counts for a Job that could have been in it.
void Oracle::count_step(int32_t replica, const std::set<uint64_t>& waiting_before) {
  const JobState* blocked = nullptr;
  bool started_early = false;
  for (const uint64_t id : waiting_before) {
    JobState& job = jobs_.at(id);
    if (job.replica != kNoReplica && job.replica != replica) continue;
    ++job.steps;
    probes_.longest_wait = std::max(probes_.longest_wait, job.steps);
    require(job.steps <= job.steps_allowed, "job " + std::to_string(id) + " of " + std::to_string(job.token_count) +
                                                " tokens waits for more than " + std::to_string(job.steps_allowed) +
                                                " steps");
    if (job.kind != Kind::kLong || job.replica != kNoReplica) continue;
    if (blocked == nullptr || job.rank < blocked->rank) blocked = &job;
  }
  if (blocked == nullptr) return;
  int32_t used = 0;
  for (const auto& [id, job] : jobs_) {
    if (job.kind != Kind::kLong || job.replica != replica) continue;
    used += blocks_for_tokens(job.token_count, config_.block_tokens);
    started_early |= job.rank > blocked->rank && job.fed_tokens > 0;
  }
  probes_.blocked_starts +=
      used + blocks_for_tokens(blocked->token_count, config_.block_tokens) > config_.long_blocks();
  probes_.early_starts += started_early;
}

void Oracle::on_finished(int32_t replica, const Batch& batch, const std::vector<EndedSpan>& ended) {
  --in_flight_[static_cast<size_t>(replica)];
  require(ended.size() == batch.spans.size(), "not every span of a batch came back");
  for (size_t i = 0; i < ended.size() && violation_.empty(); ++i) {
    const uint64_t id = batch.spans[i].job_id;
    require(ended[i].job_id == id && ended[i].is_last == batch.spans[i].is_last, "a span came back changed");
    require(ended[i].is_live == knows(id), "job " + std::to_string(id) + " ended twice or never");
    auto& jobs = knows(id) ? jobs_ : removed_;
    const auto it = jobs.find(id);
    if (it == jobs.end()) return require(false, "a span of an unknown job");
    const bool is_over = --it->second.spans_in_flight == 0 && (&jobs == &removed_ || ended[i].is_last);
    if (!is_over) continue;
    forget_table(replica, it->second);
    probes_.ended += &jobs == &jobs_;
    jobs.erase(it);
  }
}

void Oracle::on_removed(uint64_t job_id) {
  const auto it = jobs_.find(job_id);
  if (it == jobs_.end()) return require(false, "job " + std::to_string(job_id) + " ended twice");
  if (it->second.replica != kNoReplica) forget_table(it->second.replica, it->second);
  if (it->second.spans_in_flight > 0) {
    ++probes_.removed_aboard;
    removed_.insert(jobs_.extract(it));
    return;
  }
  jobs_.erase(it);
}

void Oracle::on_lost(int32_t replica) {
  std::vector<JobState*> lost;
  for (auto& [id, job] : jobs_) {
    if (job.replica != replica) continue;
    job.deaths += job.spans_in_flight > 0;
    probes_.lost_aboard += job.spans_in_flight > 0;
    job.fed_tokens = job.spans_in_flight = 0;
    job.replica = kNoReplica;
    job.table.clear();
    lost.push_back(&job);
  }
  for (auto& [id, job] : jobs_) {
    for (const JobState* other : lost) {
      if (other->kind == job.kind && other->rank <= job.horizon) job.steps_allowed += charge(*other);
    }
  }
  for (JobState* job : lost) set_bound(*job);
  std::erase_if(removed_, [&](const auto& item) { return item.second.replica == replica; });
  owners_[static_cast<size_t>(replica)].clear();
  in_flight_[static_cast<size_t>(replica)] = 0;
}

void Oracle::forget_table(int32_t replica, JobState& job) {
  for (int32_t block : job.table) owners_[static_cast<size_t>(replica)].erase(block);
  job.table.clear();
}

void Oracle::check(const Scheduler& scheduler, int64_t now_us) {
  int64_t tokens = 0, jobs = 0;
  std::vector<int32_t> blocks(owners_.size());
  const auto count_blocks = [&](const JobState& job) {
    if (job.replica == kNoReplica || job.remaining() == 0) return;  // with its last span it gives them back
    blocks[static_cast<size_t>(job.replica)] += blocks_for_tokens(job.token_count, config_.block_tokens);
  };
  for (const auto& [id, job] : jobs_) {
    tokens += job.remaining();
    jobs += job.remaining() > 0;
    count_blocks(job);
    require(job.deadline_us > now_us, "job " + std::to_string(id) + " outlived its deadline");
    require(scheduler.deaths(id) == job.deaths, "job " + std::to_string(id) + "'s deaths are miscounted");
  }
  require(scheduler.queued_tokens() == tokens && scheduler.queued_jobs() == jobs, "the queue is miscounted");
  require(static_cast<size_t>(scheduler.live_jobs()) == jobs_.size() + removed_.size(), "live jobs are miscounted");
  for (size_t r = 0; r < blocks.size(); ++r) {
    require(scheduler.pool(static_cast<int32_t>(r)).used_count() == blocks[r], "blocks leaked or were lost");
  }
}

}  // namespace quern
