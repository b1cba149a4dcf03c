#include "api/embed_call.h"

#include <algorithm>
#include <charconv>

#include "api/embed_response.h"
#include "api/errors.h"
#include "base/clock.h"
#include "observe/log.h"

namespace quern {

namespace {

constexpr std::string_view kTimeoutHeader = "x-timeout-ms";

// Cuts ids that end in EOS to tokens_max, EOS kept.
void truncate_ids(std::vector<int32_t>& ids, int32_t tokens_max, Truncate side) {
  const auto surplus = static_cast<std::ptrdiff_t>(ids.size()) - tokens_max;
  const auto begin = side == Truncate::kLeft ? ids.begin() : ids.end() - 1 - surplus;
  ids.erase(begin, begin + surplus);
}

}  // namespace

EmbedCall::EmbedCall(EmbedContext& context, RequestRecord record, HttpRequest request, Responder responder)
    : context_(context),
      record_(std::move(record)),
      http_request_(std::move(request)),
      responder_(std::move(responder)) {}

EmbedCall::~EmbedCall() {
  if (recorded_) return;
  record_.error_kind = error_kind(ErrorCode::kCancelled);
  const int64_t now = now_us();
  context_.metrics.count(record_, http_status(ErrorCode::kCancelled), now);
  log_request(record_, http_status(ErrorCode::kCancelled), now);
}

void EmbedCall::start() {
  if (record_.body_bytes <= context_.config.inline_body_bytes_max) return run();
  if (context_.pool.try_add([self = shared_from_this()] { self->run(); })) return;
  fail(Error{ErrorCode::kOverloaded, "Too many large requests are waiting to be read; try again later.", "", 1});
}

void EmbedCall::run() {
  if (responder_.disconnected()) return;
  const int64_t begin_us = now_us();
  auto parsed = parse_embed_request(http_request_.body, context_.config);
  if (!parsed) return fail(parsed.error());
  request_ = std::move(*parsed);
  std::string().swap(http_request_.body);
  record_.inputs = static_cast<int32_t>(request_.inputs.size());
  auto jobs = make_jobs();
  record_.tokenize_us = now_us() - begin_us;
  if (!jobs) return fail(jobs.error());
  if (const auto ready = context_.engine.ready(); !ready) return fail(ready.error());
  submit(std::move(*jobs));
}

Result<int64_t> EmbedCall::timeout_ms() const {
  const std::string_view text = http_request_.header(kTimeoutHeader);
  if (text.empty()) return request_.timeout_ms;
  int64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || value < 1 || value > context_.config.timeout_ms_max) {
    return invalid_argument("The header " + std::string(kTimeoutHeader) + " must be an integer from 1 to " +
                                std::to_string(context_.config.timeout_ms_max) + ".",
                            std::string(kTimeoutHeader));
  }
  return request_.timeout_ms == 0 ? value : std::min(value, request_.timeout_ms);
}

Result<std::vector<Job>> EmbedCall::make_jobs() {
  const auto timeout = timeout_ms();
  if (!timeout) return timeout.error();
  const int64_t deadline_us = *timeout == 0 ? kNoDeadline : record_.received_us + *timeout * 1000;
  std::vector<Job> jobs(request_.inputs.size());
  for (size_t i = 0; i < jobs.size(); ++i) {
    auto ids = encode_input(i);
    if (!ids) return ids.error();
    record_.tokens += static_cast<int64_t>(ids->size());
    Job& job = jobs[i];
    job.token_ids = std::move(*ids);
    job.deadline_us = deadline_us;
    job.priority = request_.priority;
    job.tenant = record_.tenant;
    job.completion = [self = shared_from_this(), i](Result<Output> outcome, const JobTiming& timing) {
      self->on_job_ended(i, std::move(outcome), timing);
    };
  }
  return jobs;
}

Result<std::vector<int32_t>> EmbedCall::encode_input(size_t index) {
  EmbedInput& input = request_.inputs[index];
  std::vector<int32_t> ids;
  if (auto* given = std::get_if<std::vector<int32_t>>(&input)) {
    ids = std::move(*given);
  } else {
    std::string text = std::move(std::get<std::string>(input));
    if (!request_.prompt.empty()) text.insert(0, request_.prompt);
    auto encoded = context_.encode(text);
    if (!encoded) {
      Error error = encoded.error();
      error.param = input_name(request_, index);
      return error;
    }
    ids = std::move(*encoded);
  }
  const std::optional<int32_t> eos = context_.config.eos_token_id;
  if (eos && (ids.empty() || ids.back() != *eos)) ids.push_back(*eos);
  if (static_cast<int64_t>(ids.size()) > request_.tokens_max) {
    if (request_.truncate == Truncate::kNone) {
      const std::string name = input_name(request_, index);
      return invalid_argument("'" + name + "' has " + std::to_string(ids.size()) + " tokens, EOS included; at most " +
                                  std::to_string(request_.tokens_max) +
                                  " are allowed. Shorten it, or ask for 'truncate': true.",
                              name);
    }
    truncate_ids(ids, request_.tokens_max, request_.truncate);
  }
  return ids;
}

void EmbedCall::submit(std::vector<Job> jobs) {
  vectors_.resize(jobs.size());
  jobs_left_ = jobs.size();
  responder_.on_disconnect([self = shared_from_this()] { self->on_client_left(); });
  auto submitted = context_.engine.submit(std::move(jobs));
  if (!submitted) return fail(submitted.error());
  bool cancel = false;
  {
    std::lock_guard lock(mutex_);
    job_ids_ = std::move(*submitted);
    cancel = cancel_wanted_;
  }
  // The client left, or a Job failed, before we knew the ids.
  if (cancel) context_.engine.cancel(job_ids_);
}

void EmbedCall::on_client_left() { cancel_jobs(); }

void EmbedCall::cancel_jobs() {
  std::vector<uint64_t> ids;
  {
    std::lock_guard lock(mutex_);
    if (cancel_wanted_) return;
    cancel_wanted_ = true;
    ids = job_ids_;
  }
  if (!ids.empty()) context_.engine.cancel(ids);
}

void EmbedCall::on_job_ended(size_t index, Result<Output> outcome, const JobTiming& timing) {
  bool first_failure = false;
  {
    std::lock_guard lock(mutex_);
    const auto earlier = [](int64_t& kept, int64_t time) {
      if (time != 0 && (kept == 0 || time < kept)) kept = time;
    };
    earlier(submitted_us_, timing.submitted_us);
    earlier(started_us_, timing.started_us);
    finished_us_ = std::max(finished_us_, timing.finished_us);
    if (!outcome && !failed_) {
      first_failure = failed_ = true;
      error_ = outcome.error();
      if (error_.param.empty() && error_.code == ErrorCode::kInvalidArgument)
        error_.param = input_name(request_, index);
    }
  }
  if (outcome) vectors_[index] = std::move(*outcome);
  const bool last = jobs_left_.fetch_sub(1) == 1;
  if (first_failure && !last) cancel_jobs();
  if (last) finish();
}

// All Jobs have ended; on an engine thread, so the writing is done elsewhere.
void EmbedCall::finish() {
  if (responder_.disconnected()) return;  // the destructor records it
  if (embed_response_bytes(request_, vectors_.size()) <= context_.config.inline_response_bytes_max) {
    responder_.send_made([self = shared_from_this()] { return self->make_answer(); });
  } else {
    context_.pool.add([self = shared_from_this()] {
      if (!self->responder_.disconnected()) self->responder_.send(self->make_answer());
    });
  }
}

HttpResponse EmbedCall::make_answer() {
  if (started_us_ != 0) {
    record_.queue_us = started_us_ - submitted_us_;
    record_.compute_us = finished_us_ - started_us_;
  }
  if (failed_) return make_error(error_);
  auto body = make_body();
  if (!body) {
    context_.metrics.count_bad_vector();
    log_error("a vector was stopped before it left",
              {{"error.message", body.error().message}, {"http.request.id", record_.id}});
    return make_error(internal_error("The model produced an invalid vector; the request can be tried again."));
  }
  HttpResponse response;
  response.body = std::move(*body);
  return conclude(std::move(response));
}

Result<std::string> EmbedCall::make_body() {
  for (size_t i = 0; i < vectors_.size(); ++i) {
    const std::string name = input_name(request_, i);
    if (auto checked = check_vector(vectors_[i], context_.config.width, name); !checked) return checked.error();
    if (auto cut = cut_vector(vectors_[i], request_.dimensions, request_.normalize, name); !cut) return cut.error();
  }
  return write_embed_response(request_, vectors_, record_.tokens);
}

HttpResponse EmbedCall::make_error(const Error& error) {
  record_.error_kind = error_kind(error.code);
  record_.error_message = error.message;
  return conclude(error_response(error));
}

// What every answer of this call goes through: its headers, its metrics, its log line.
HttpResponse EmbedCall::conclude(HttpResponse response) {
  const int64_t now = now_us();
  add_record_headers(response, record_, now);
  if (context_.decorate) context_.decorate(response);
  recorded_ = true;
  context_.metrics.count(record_, response.status, now);
  log_request(record_, response.status, now);
  return response;
}

void EmbedCall::fail(const Error& error) {
  if (responder_.disconnected()) return;
  responder_.send(make_error(error));
}

}  // namespace quern
