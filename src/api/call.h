// Call: one request for embeddings from its bytes to its answer, whatever dialect its client speaks.
//
// Owns the request, its Jobs' Outputs, its share of the memory budget and the Responder until the last Job has ended.
// Runs on whichever thread has the next step: io or pool (parse, tokenize, submit), engine (collect Outputs), io or
// pool (write the answer). Never sees JSON: its Codec does. Whatever happens, the client is answered or has left.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/api_metrics.h"
#include "api/codec.h"
#include "api/request_record.h"
#include "api/task_pool.h"
#include "core/job.h"
#include "http/responder.h"

namespace quern {

/// What all Calls share; outlives them.
struct CallContext {
  const ApiConfig& config;
  const Models& models;
  MemoryBudget& budget;
  ApiMetrics& metrics;
  TaskPool& pool;
  /// One for each API key, and one where there are none: its token ids have been warned of.
  std::vector<std::atomic<bool>>& ids_warned;
};

class Call : public std::enable_shared_from_this<Call> {
 public:
  /// `key`: whose request it is; null where there are no keys. `path_model`: see CodecInput.
  Call(CallContext& context, RequestRecord record, HttpRequest request, Responder responder, const ApiKey* key,
       std::string path_model);
  /// A Call that ends without an answer was left by its client, and is logged as 499; or something threw: 500.
  ~Call();

  /// Goes all the way to submit(), here or, where it is much work, on the pool.
  void start();

 private:
  const Codec& codec() const { return *record_.route->codec; }
  int32_t tenant() const { return key_ ? static_cast<int32_t>(key_ - context_.config.api_keys.data()) : 0; }
  void take_step(int64_t bytes, Result<void> (Call::*step)());
  Result<void> decode();
  Result<void> read();
  Result<void> tokenize_and_submit();
  Result<void> reserve(int64_t bytes);
  void warn_of_token_ids();
  Result<std::vector<Job>> make_jobs();
  Result<std::vector<int32_t>> encode_input(size_t index);
  Result<int64_t> timeout_ms() const;
  Result<void> submit(std::vector<Job> jobs);
  void on_job_ended(size_t index, Result<Output> outcome, const JobTiming& timing) noexcept;
  void cancel_jobs() noexcept;
  void finish() noexcept;
  HttpResponse make_answer();
  HttpResponse write_answer();
  Result<std::string> make_body();
  HttpResponse make_error(const Error& error);
  HttpResponse conclude(HttpResponse response);
  void record(int status) noexcept;
  void fail(const Error& error);

  CallContext& context_;
  RequestRecord record_;
  HttpRequest http_request_;
  Responder responder_;
  const ApiKey* const key_;
  const std::string path_model_;
  MemoryBudget::Lease lease_;  // for token ids, Outputs and the answer; the body has its own
  CallPlan plan_;
  int64_t tokens_least_ = 0;  // of all inputs: what is tokenized, and the least that the others can have
  bool on_pool_ = false;      // where the steps up to submit() are taken

  std::vector<Output> outputs_;  // [inputs][D]; slot i is written by Job i alone
  std::atomic<size_t> jobs_left_{0};
  std::atomic<bool> handed_over_{false};    // the io thread is to make the answer, unless the client leaves first
  std::atomic<bool> making_answer_{false};  // and has begun to: the client has not left before that
  std::atomic<bool> recorded_{false};       // counted and logged

  std::mutex mutex_;  // guards what follows
  std::vector<uint64_t> job_ids_;
  bool cancel_wanted_ = false;
  Result<Output> failure_{Output{}};  // the first Job that failed; else a success
  size_t failed_index_ = 0;           // of that Job
  int64_t submitted_us_ = 0;
  int64_t started_us_ = 0;
  int64_t finished_us_ = 0;
};

}  // namespace quern
