#include "api/call.h"

#include <algorithm>
#include <limits>

#include "api/cors.h"
#include "api/errors.h"
#include "api/output_check.h"
#include "base/ascii.h"
#include "base/clock.h"
#include "http/body_decoding.h"
#include "observe/log.h"

namespace quern {

namespace {

constexpr std::string_view kTimeoutHeader = "x-timeout-ms";

constexpr const char* kFailedToAnswer = "The server failed to answer this request; it can be tried again.";

int64_t bytes_of(size_t token_ids) { return static_cast<int64_t>(token_ids * sizeof(int32_t)); }

// The least number of tokens that an input can have, before it is tokenized.
int64_t tokens_min(const CallInput& input) {
  const auto* ids = std::get_if<std::vector<int32_t>>(&input);
  return ids ? static_cast<int64_t>(ids->size()) : 1;
}

}  // namespace

Call::Call(CallContext& context, RequestRecord record, HttpRequest request, Responder responder, const ApiKey* key,
           std::string path_model)
    : context_(context),
      record_(std::move(record)),
      http_request_(std::move(request)),
      responder_(std::move(responder)),
      key_(key),
      path_model_(std::move(path_model)),
      lease_(context.budget) {
  context_.metrics.count_call(1);
}

Call::~Call() {
  if (!recorded_ && !handed_over_ && !responder_.disconnected()) {
    try {
      responder_.send(make_error(internal_error(kFailedToAnswer)));
    } catch (const std::exception&) {
      // Out of memory twice: the Responder, dying unanswered, still sends a bare 500.
    }
  }
  if (!recorded_) {
    const bool left = handed_over_ ? !making_answer_ : responder_.disconnected();
    record_.error = left ? ErrorCode::kCancelled : ErrorCode::kInternal;
    record(http_status(*record_.error));
  }
  context_.metrics.count_call(-1);
}

void Call::start() {
  // Asked at arrival, of the embedder: while the server drains, what is received is still answered.
  const Embedder& embedder = *context_.models.default_model().embedder;
  if (const auto there = embedder.room(0, 0); !there) return fail(there.error());
  // What a coded body amounts to nobody knows: it is never decoded here.
  if (http_request_.coding != ContentCoding::kIdentity) {
    return take_step(std::numeric_limits<int64_t>::max(), &Call::decode);
  }
  take_step(record_.body_bytes, &Call::read);
}

// `bytes` is how many the step goes through: more than an io thread may be held for are a task of the pool, as is all
// that comes after such a step.
void Call::take_step(int64_t bytes, Result<void> (Call::*step)()) {
  const auto run = [step](Call& self) {
    if (self.responder_.disconnected()) return;
    if (const auto done = (self.*step)(); !done) self.fail(done.error());
  };
  if (on_pool_ || bytes <= context_.config.inline_body_bytes_max) return run(*this);
  on_pool_ = true;
  if (context_.pool.begin([self = shared_from_this(), run] { run(*self); })) return;
  fail(Error{ErrorCode::kOverloaded, "Too many large requests are waiting to be read; try again later.", "", 1});
}

Result<void> Call::decode() {
  auto decoded =
      decode_body(http_request_, context_.config.body_bytes_max, [this] { return responder_.disconnected(); });
  if (!decoded) return decoded;
  record_.body_bytes = static_cast<int64_t>(http_request_.body.size());
  return read();
}

Result<void> Call::read() {
  const int64_t begin_us = now_us();
  auto parsed = codec().parse({http_request_.body, path_model_, context_.models, context_.config, lease_});
  if (!parsed) return parsed.error();
  plan_ = std::move(*parsed);
  record_.inputs = static_cast<int32_t>(plan_.inputs.size());
  if (std::holds_alternative<std::vector<int32_t>>(plan_.inputs.front())) warn_of_token_ids();
  for (const CallInput& input : plan_.inputs) tokens_least_ += tokens_min(input);
  // A full server says so before it tokenizes.
  if (auto room = plan_.model->embedder->room(record_.inputs, tokens_least_); !room) return room;
  const int64_t output_bytes = record_.inputs * int64_t{plan_.model->width} * int64_t{sizeof(float)};
  if (auto reserved = reserve(output_bytes + codec().answer_bytes(plan_)); !reserved) return reserved;
  record_.tokenize_us = now_us() - begin_us;
  // The prompt is tokenized once for each input: a small body can be much work.
  const int64_t prompts_bytes = record_.inputs * static_cast<int64_t>(plan_.prompt.size() + 1);
  take_step(record_.body_bytes + prompts_bytes, &Call::tokenize_and_submit);
  return {};
}

Result<void> Call::tokenize_and_submit() {
  const int64_t begin_us = now_us();
  auto jobs = make_jobs();
  record_.tokenize_us += now_us() - begin_us;
  if (!jobs) return jobs.error();
  for (CallInput& input : plan_.inputs) input = std::string_view();  // they were views into the body
  http_request_ = HttpRequest();                                     // and gives back what it held of the budget
  return submit(std::move(*jobs));
}

// All that a request will hold is set aside before it is admitted: one that was accepted never fails for want of it.
Result<void> Call::reserve(int64_t bytes) {
  if (lease_.grow(bytes)) return {};
  const int64_t all = context_.budget.bytes_max();
  return out_of_budget(all, http_request_.lease.bytes() + lease_.bytes() + bytes, all);
}

void Call::warn_of_token_ids() {
  if (context_.ids_warned[static_cast<size_t>(tenant())].exchange(true)) return;
  log_warn(
      "token ids instead of text: right only when they come from this model's tokenizer",
      {{"user.name", record_.key_name}, {"client.address", record_.client_address}, {"http.request.id", record_.id}});
}

Result<int64_t> Call::timeout_ms() const {
  const std::string_view text = http_request_.header(kTimeoutHeader);
  if (text.empty()) return plan_.timeout_ms == 0 ? context_.config.timeout_ms_default : plan_.timeout_ms;
  const auto value = parse_integer(text, 1, context_.config.timeout_ms_max);
  if (!value) {
    return invalid_argument("The header " + std::string(kTimeoutHeader) + " must be an integer from 1 to " +
                                std::to_string(context_.config.timeout_ms_max) + ".",
                            std::string(kTimeoutHeader));
  }
  return plan_.timeout_ms == 0 ? *value : std::min(*value, plan_.timeout_ms);
}

Result<std::vector<Job>> Call::make_jobs() {
  const auto timeout = timeout_ms();
  if (!timeout) return timeout.error();
  const int64_t deadline_us = *timeout == 0 ? kNoDeadline : record_.received_us + *timeout * 1000;
  const int32_t priority_max = key_ ? key_->priority_max : context_.config.priority_max;
  std::vector<Job> jobs(plan_.inputs.size());
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (responder_.disconnected()) return Error{ErrorCode::kCancelled, "The client has left.", "", 0};
    const int64_t expected = tokens_min(plan_.inputs[i]);
    auto ids = encode_input(i);
    if (!ids) return ids.error();
    // What cannot be taken is not tokenized to its end.
    tokens_least_ += static_cast<int64_t>(ids->size()) - expected;
    if (static_cast<int64_t>(ids->size()) > expected) {
      if (auto room = plan_.model->embedder->room(record_.inputs, tokens_least_); !room) return room.error();
    }
    record_.tokens += static_cast<int64_t>(ids->size());
    Job& job = jobs[i];
    job.token_ids = std::move(*ids);
    job.deadline_us = deadline_us;
    job.priority = std::min(plan_.priority, priority_max);
    job.tenant = tenant();
    job.completion = [self = shared_from_this(), i](Result<Output> outcome, const JobTiming& timing) {
      self->on_job_ended(i, std::move(outcome), timing);
    };
  }
  return jobs;
}

Result<std::vector<int32_t>> Call::encode_input(size_t index) {
  if (auto* given = std::get_if<std::vector<int32_t>>(&plan_.inputs[index])) return std::move(*given);
  const std::string_view text = std::get<std::string_view>(plan_.inputs[index]);
  // No token is shorter than a byte; what the ids really take is known afterwards.
  const size_t ids_max = std::min(plan_.prompt.size() + text.size() + 1, static_cast<size_t>(plan_.tokens_max));
  if (auto reserved = reserve(bytes_of(ids_max)); !reserved) return reserved.error();
  auto ids = plan_.model->encode(plan_.prompt, text, plan_.tokens_max, plan_.truncation);
  if (!ids) {
    Error error = ids.error();
    error.param = input_name(plan_, index);
    error.message = "'" + error.param + "': " + error.message;
    if (error.code == ErrorCode::kInvalidArgument && plan_.truncation == Truncation::kNone)
      error.message += ". Shorten it, or ask for 'truncate': true.";
    return error;
  }
  lease_.resize(lease_.bytes() - bytes_of(ids_max) + bytes_of(std::min(ids_max, ids->capacity())));
  return ids;
}

Result<void> Call::submit(std::vector<Job> jobs) {
  outputs_.resize(jobs.size());
  jobs_left_ = jobs.size();
  // The Responder does not hold this Call, which holds it: a Call that nothing works for any more ends, and so answers.
  responder_.on_disconnect([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->cancel_jobs();
  });
  auto submitted = plan_.model->embedder->submit(std::move(jobs));
  if (!submitted) return submitted.error();
  bool cancel = false;
  {
    std::lock_guard lock(mutex_);
    job_ids_ = std::move(*submitted);
    cancel = std::exchange(cancel_wanted_, false);
  }
  if (cancel) cancel_jobs();  // the client left, or a Job failed, before we knew the ids
  return {};
}

void Call::cancel_jobs() noexcept {
  std::vector<uint64_t> ids;
  {
    std::lock_guard lock(mutex_);
    if (cancel_wanted_) return;
    cancel_wanted_ = true;
    ids.swap(job_ids_);
  }
  if (ids.empty()) return;
  try {
    plan_.model->embedder->cancel(ids);
  } catch (const std::exception& thrown) {
    log_error("jobs could not be cancelled: they are computed for nobody",
              {{"error.message", thrown.what()}, {"http.request.id", record_.id}});
  }
}

// Nothing here allocates but in finish(): a Job whose end got lost would leave its client waiting for ever.
void Call::on_job_ended(size_t index, Result<Output> outcome, const JobTiming& timing) noexcept {
  bool first_failure = false;
  {
    std::lock_guard lock(mutex_);
    const auto earlier = [](int64_t& kept, int64_t time) {
      if (time != 0 && (kept == 0 || time < kept)) kept = time;
    };
    earlier(submitted_us_, timing.submitted_us);
    earlier(started_us_, timing.started_us);
    finished_us_ = std::max(finished_us_, timing.finished_us);
    if (outcome) {
      outputs_[index] = std::move(*outcome);
    } else if (failure_) {
      first_failure = true;
      failed_index_ = index;
      failure_ = std::move(outcome);
    }
  }
  const bool last = jobs_left_.fetch_sub(1) == 1;
  if (first_failure && !last) cancel_jobs();
  if (last) finish();
}

// All Jobs have ended; on an engine thread, so the writing is done elsewhere.
void Call::finish() noexcept {
  if (responder_.disconnected()) return;  // the destructor records it
  try {
    if (codec().answer_bytes(plan_) <= context_.config.inline_response_bytes_max) {
      std::function<HttpResponse()> make = [self = shared_from_this()] { return self->make_answer(); };
      handed_over_ = true;
      responder_.send_made(std::move(make));
    } else {
      context_.pool.finish([self = shared_from_this()] {
        if (!self->responder_.disconnected()) self->responder_.send(self->make_answer());
      });
    }
  } catch (const std::exception& thrown) {
    // The engine is not to suffer for it; the destructor answers.
    log_error("an answer could not be handed over",
              {{"error.message", thrown.what()}, {"http.request.id", record_.id}});
  }
}

HttpResponse Call::make_answer() {
  making_answer_ = true;
  try {
    return write_answer();
  } catch (const std::exception& thrown) {
    log_error("an answer could not be written", {{"error.message", thrown.what()}, {"http.request.id", record_.id}});
  }
  return make_error(internal_error(kFailedToAnswer));
}

HttpResponse Call::write_answer() {
  if (started_us_ != 0) {
    record_.queue_us = started_us_ - submitted_us_;
    record_.compute_us = finished_us_ - started_us_;
  }
  if (!failure_) {
    Error error = failure_.error();
    if (error.param.empty() && error.code == ErrorCode::kInvalidArgument)
      error.param = input_name(plan_, failed_index_);
    return make_error(error);
  }
  auto body = make_body();
  if (!body) {
    context_.metrics.count_bad_vector();
    log_error("a vector was stopped before it left",
              {{"error.message", body.error().message}, {"http.request.id", record_.id}});
    return make_error(internal_error("The model produced an invalid vector; the request can be tried again."));
  }
  HttpResponse response;
  response.body = std::move(*body);
  // What is left to pay for goes with the answer, until it is written.
  std::vector<Output>().swap(outputs_);
  lease_.resize(std::min(lease_.bytes(), static_cast<int64_t>(response.body.capacity())));
  response.lease = std::move(lease_);
  return conclude(std::move(response));
}

Result<std::string> Call::make_body() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const std::string name = input_name(plan_, i);
    if (auto checked = check_output(outputs_[i], plan_.model->width, name); !checked) return checked.error();
    if (auto done = cut(outputs_[i].values, plan_.dimensions, plan_.normalize); !done)
      return internal_error(done.error().message + " for " + name);
  }
  return codec().write(plan_, outputs_, record_.tokens);
}

HttpResponse Call::make_error(const Error& error) {
  record_.error = error.code;
  record_.error_message = error.message;
  return conclude(codec().error(error));
}

// What every answer of this call goes through: its headers, its metrics, its log line.
HttpResponse Call::conclude(HttpResponse response) {
  add_record_headers(response, record_, now_us());
  add_cors(response, context_.config.cors_origins, record_.cors_origin);
  record(response.status);
  return response;
}

void Call::record(int status) noexcept {
  if (recorded_.exchange(true)) return;
  const int64_t now = now_us();
  context_.metrics.count(record_, status, now);
  log_request(record_, status, now);
}

void Call::fail(const Error& error) {
  if (responder_.disconnected()) return;
  responder_.send(make_error(error));
}

}  // namespace quern
