#include "api/task_pool.h"

#include <gtest/gtest.h>

#include <future>
#include <stdexcept>
#include <string>

namespace quern {
namespace {

TEST(TaskPool, WhatFinishesGoesBeforeWhatBegins) {
  std::string order;
  {
    std::promise<void> entered;
    std::promise<void> release;
    TaskPool pool(1, 3);  // last: its threads use the promises to the end
    ASSERT_TRUE(pool.begin([&] {
      entered.set_value();
      release.get_future().wait();
    }));
    entered.get_future().wait();
    for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(pool.begin([&order, name] { order += name; }));
    EXPECT_FALSE(pool.begin([] {}));
    for (const char* name : {"1", "2", "3", "4"}) pool.finish([&order, name] { order += name; });
    release.set_value();
  }
  EXPECT_EQ(order, "1234abc");
}

TEST(TaskPool, ATaskThatThrowsIsDroppedWithWhatItOwns) {
  auto owned = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = owned;
  std::promise<void> next;
  TaskPool pool(1, 3);
  ASSERT_TRUE(pool.begin([held = std::move(owned)] { throw std::runtime_error("no memory"); }));
  ASSERT_TRUE(pool.begin([&next] { next.set_value(); }));
  next.get_future().wait();
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace quern
