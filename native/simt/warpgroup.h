// Products of warpgroups (wgmma): queued once all four warps have come to them, carried out in order, at a
// random point until they are waited for (AsyncMode), and written to the registers of a warp when it waits or
// sooner. Shared memory is read when a product is carried out, by what its descriptors say.
//
// Registers of a product are poisoned until its result is written. Faults are: registers that were changed
// since the last fence or while a product is under way, operands that differ between threads, descriptors
// that mean no layout, results that nobody waits for, and what the detector sees in shared memory.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "simt/executor.h"

namespace fintune {
namespace simt {

class Warpgroups {
 public:
  static constexpr int kWarps = 4, kThreads = kWarps * kLanes, kRows = 64, kDepth = 16;

  explicit Warpgroups(Executor& executor) : executor_(executor) {}

  void begin_block();
  // Meetings of a warp.
  void fence(Warp& w);
  void commit(Warp& w);
  void wait(Warp& w, int groups);
  // The product whose request all lanes of the four warps from `four` on have brought.
  void issue(Warp* four);
  void run_one_at_random();
  // A thread that ends has waited for all.
  void leave(const Fiber& f);

 private:
  // Results that are on their way into registers.
  struct Accumulator {
    std::array<float*, kThreads> registers;
    int columns;
    std::vector<float> values;          // [64, columns]
    int queued = 0;                     // products that were not carried out
    std::array<bool, kWarps> poisoned;  // whose registers wait for the values
  };
  struct Product {
    ProductShape shape;
    bool a_across;  // lines of a descriptor's a are those of the depth
    Where where;
    uint64_t a_descriptor, b_descriptor;
    std::array<const uint32_t*, kThreads> a_registers;
    std::array<std::array<uint32_t, 4>, kThreads> a;  // what they held
    std::shared_ptr<Accumulator> accumulator;
    std::vector<uintptr_t> chunks;      // of 16 bytes, that it reads
    std::array<int64_t, kWarps> group;  // committed groups before it
    std::array<bool, kWarps> waited{};
    bool done = false;
  };
  struct Group {
    Warp* four = nullptr;
    std::deque<Product> queue;  // until all four warps have waited
    std::array<int64_t, kWarps> committed{};
  };
  // Registers that products took, as of the last fence or as a product left them.
  struct Known {
    const void* registers;
    std::vector<uint32_t> held;
  };
  struct Thread {
    bool fenced = false;
    std::vector<Known> known;
  };

  Group& group_of(const Warp& w) { return groups_[w.index / kWarps]; }
  Known& known(const Fiber& f, const void* registers, int count);
  void check_fenced(const Fiber& f, const void* registers, int count, const char* what);
  void check_same(Warp* four) const;
  void check_a(const Product& p, const Warp& w) const;
  std::vector<uintptr_t> chunks_of(const Product& p, const Fiber& f) const;
  void take_accumulator(Group& group, Product& p, Warp* four);
  void run(Product& p);
  void write_back(Accumulator& a, const Warp& w, Where where);
  void write_back_all(const Group& group, const Product& p);

  Executor& executor_;
  std::array<Group, kMaxWarps / kWarps> groups_;
  std::vector<Thread> threads_;
  int64_t queued_ = 0;  // products in all queues
};

}  // namespace simt
}  // namespace fintune
