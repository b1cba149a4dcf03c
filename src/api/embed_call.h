// EmbedCall: one POST /v1/embeddings from its bytes to its answer.
//
// Owns the request, its Jobs' results and the Responder until the last Job has ended. Runs on whichever thread has the
// next step: io or pool (parse, tokenize, submit), engine (collect vectors), io or pool (write the answer).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/api_config.h"
#include "api/api_metrics.h"
#include "api/embed_request.h"
#include "api/request_record.h"
#include "api/task_pool.h"
#include "core/job.h"
#include "http/responder.h"

namespace quern {

/// What all calls share; outlives them.
struct EmbedContext {
  const ApiConfig& config;
  const TextEncoder& encode;
  const EngineApi& engine;
  ApiMetrics& metrics;
  TaskPool& pool;
  /// Adds what every answer carries (CORS).
  std::function<void(HttpResponse&)> decorate;
};

class EmbedCall : public std::enable_shared_from_this<EmbedCall> {
 public:
  EmbedCall(EmbedContext& context, RequestRecord record, HttpRequest request, Responder responder);
  /// A call that ends without an answer was left by its client: logged as 499.
  ~EmbedCall();

  /// Goes all the way to submit(), here or on the pool when the body is large.
  void start();

 private:
  void run();
  Result<std::vector<Job>> make_jobs();
  Result<std::vector<int32_t>> encode_input(size_t index);
  Result<int64_t> timeout_ms() const;
  void submit(std::vector<Job> jobs);
  void on_client_left();
  void on_job_ended(size_t index, Result<Output> outcome, const JobTiming& timing);
  void cancel_jobs();
  void finish();
  HttpResponse make_answer();
  Result<std::string> make_body();
  HttpResponse make_error(const Error& error);
  HttpResponse conclude(HttpResponse response);
  void fail(const Error& error);

  EmbedContext& context_;
  RequestRecord record_;
  HttpRequest http_request_;
  Responder responder_;
  EmbedRequest request_;

  std::vector<Output> vectors_;  // [inputs][D]; slot i is written by Job i alone
  std::atomic<size_t> jobs_left_{0};
  std::atomic<bool> recorded_{false};

  std::mutex mutex_;  // guards what follows
  std::vector<uint64_t> job_ids_;
  bool cancel_wanted_ = false;
  Error error_;
  bool failed_ = false;
  int64_t submitted_us_ = 0;
  int64_t started_us_ = 0;
  int64_t finished_us_ = 0;
};

}  // namespace quern
