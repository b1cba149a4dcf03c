// Metrics: the registry that every part of the server adds its families to; app/ owns it and passes it down.
//
// Owns the families; references to them stay good as long as it lives. Any thread may add a counter, also a first time
// while requests are served (the registry locks: keep the reference), count, and ask for the text. Label values come
// from fixed sets, never from a request, so that their number is bounded.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace quern {

class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;
  using Buckets = prometheus::Histogram::BucketBoundaries;

  prometheus::Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry_).Add(labels);
  }
  prometheus::Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {}) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels);
  }
  prometheus::Histogram& histogram(const std::string& name, const std::string& help, const Buckets& buckets,
                                   const Labels& labels = {}) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_).Add(labels, buckets);
  }

  /// Called before each scrape, to set gauges that nobody keeps up to date.
  void on_scrape(std::function<void()> refresh) {
    std::lock_guard lock(mutex_);
    refreshers_.push_back(std::move(refresh));
  }

  /// The Prometheus text format, version 0.0.4.
  std::string text() {
    std::lock_guard lock(mutex_);
    for (const auto& refresh : refreshers_) refresh();
    return prometheus::TextSerializer().Serialize(registry_.Collect());
  }

 private:
  prometheus::Registry registry_{prometheus::Registry::InsertBehavior::Merge};
  std::mutex mutex_;
  std::vector<std::function<void()>> refreshers_;
};

}  // namespace quern
