#include "ops/cpu/bare_products.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <dnnl.hpp>
#include <map>
#include <random>
#include <thread>
#include <tuple>

#include "ops/cpu/one_thread.h"

namespace quern {
namespace {

constexpr size_t kReadBytes = size_t{1} << 30;  // larger than any cache
constexpr int kReadPasses = 3;

void pin_to_core(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // without the right to pin, it runs where it may
}

/// Runs `work(thread)` on pinned threads that begin together; seconds from the first one's begin to the last one's end.
template <typename Work>
double run_on_cores(int threads, Work work) {
  using Clock = std::chrono::steady_clock;
  std::barrier start(threads);
  std::vector<Clock::time_point> begins(static_cast<size_t>(threads)), ends(begins.size());
  std::vector<std::thread> running;
  running.reserve(begins.size());
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      run_onednn_on_this_thread_only();
      pin_to_core(thread);
      start.arrive_and_wait();
      begins[static_cast<size_t>(thread)] = Clock::now();
      work(thread);
      ends[static_cast<size_t>(thread)] = Clock::now();
    });
  }
  for (std::thread& thread : running) thread.join();
  const auto begin = *std::min_element(begins.begin(), begins.end());
  return std::chrono::duration<double>(*std::max_element(ends.begin(), ends.end()) - begin).count();
}

dnnl::memory::data_type dnnl_type(DType dtype) {
  return dtype == DType::kF32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

}  // namespace

/// One thread's share: its columns of every product, with inputs and outputs of its own.
struct BareProducts::Slice {
  using Key = std::tuple<int64_t, int64_t, int64_t>;  // rows, in, out
  struct Product {
    dnnl::matmul primitive;
    dnnl::memory x, y;
  };
  struct Step {
    const Product* product;
    dnnl::memory weight;
  };

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<Key, Product> products;
  std::map<Key, dnnl::memory::desc> packed;  // layout of the weight that the primitive likes
  std::vector<Step> steps;

  void add(const ProductShape& shape, int64_t out_cols, DType dtype) {
    const Key key{shape.rows, shape.in_cols, out_cols};
    if (products.find(key) == products.end()) make(key, dtype);
    dnnl::memory weight(packed.at(key), engine);
    fill(weight, dtype);
    steps.push_back({&products.at(key), weight});
  }

  void run() {
    for (Step& step : steps) {
      step.product->primitive.execute(
          stream, {{DNNL_ARG_SRC, step.product->x}, {DNNL_ARG_WEIGHTS, step.weight}, {DNNL_ARG_DST, step.product->y}});
    }
    stream.wait();
  }

 private:
  std::mt19937 random_{1};

  void make(const Key& key, DType dtype) {
    const auto [rows, in, out] = key;
    using dnnl::memory;
    const memory::desc x({rows, in}, dnnl_type(dtype), memory::format_tag::ab);
    const memory::desc w({in, out}, dnnl_type(dtype), memory::format_tag::any);
    const memory::desc y({rows, out}, dnnl_type(dtype), memory::format_tag::ab);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(x, w, y), engine);
    packed.emplace(key, description.weights_desc());
    Product product{dnnl::matmul(description), memory(x, engine), memory(y, engine)};
    fill(product.x, dtype);
    products.emplace(key, std::move(product));
  }

  /// Small random numbers: zeros can run faster than real data.
  void fill(dnnl::memory& memory, DType dtype) {
    const size_t count = memory.get_desc().get_size() / dtype_bytes(dtype);
    void* data = memory.get_data_handle();
    uint32_t bits = random_();
    for (size_t i = 0; i < count; ++i) {
      bits = bits * 1664525u + 1013904223u;
      const float value = static_cast<float>(static_cast<int32_t>(bits)) * 0x1p-36f;
      if (dtype == DType::kF32) {
        static_cast<float*>(data)[i] = value;
      } else {
        static_cast<bf16*>(data)[i] = f32_to_bf16(value);
      }
    }
  }
};

BareProducts::BareProducts(const std::vector<std::vector<ProductShape>>& layers, DType dtype, int threads) {
  for (int thread = 0; thread < threads; ++thread) slices_.push_back(std::make_unique<Slice>());
  // Made on the threads that will use them: memory lies near its core, and one-threaded primitives are made with one
  // thread.
  run_on_cores(threads, [&](int thread) {
    for (const auto& layer : layers) {
      for (const ProductShape& shape : layer) {
        const int64_t begin = shape.out_cols * thread / threads, end = shape.out_cols * (thread + 1) / threads;
        if (end > begin) slices_[static_cast<size_t>(thread)]->add(shape, end - begin, dtype);
      }
    }
  });
  for (const auto& layer : layers) {
    for (const ProductShape& shape : layer) flops_ += shape.flops();
  }
}

BareProducts::~BareProducts() = default;

double BareProducts::run_seconds() {
  return run_on_cores(static_cast<int>(slices_.size()),
                      [&](int thread) { slices_[static_cast<size_t>(thread)]->run(); });
}

double read_bytes_per_second(int threads) {
  std::vector<uint64_t> buffer(kReadBytes / sizeof(uint64_t), 1);
  std::atomic<uint64_t> sink{0};
  double best = 0;
  for (int pass = 0; pass < kReadPasses; ++pass) {
    const double seconds = run_on_cores(threads, [&](int thread) {
      const auto size = static_cast<int>(buffer.size() / static_cast<size_t>(threads));
      const uint64_t* begin = buffer.data() + static_cast<size_t>(thread) * static_cast<size_t>(size);
      uint64_t sum = 0;
      for (int i = 0; i < size; ++i) sum += begin[i];
      sink += sum;
    });
    best = std::max(best, static_cast<double>(kReadBytes) / seconds);
  }
  return best;
}

}  // namespace quern
