// Work shared among threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

// Call work(0), ..., work(count - 1), on this thread and up to `threads` - 1 others. Who calls which is left to chance.
template <class Work> void share(int64_t count, int64_t threads, const Work& work) {
  std::atomic<int64_t> next{0};
  auto run = [&] {
    for (int64_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < std::min(threads, count); i++) others.emplace_back(run);
  run();
  for (auto& other : others) other.join();
}

}  // namespace
