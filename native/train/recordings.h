// Micro-batches of the same sizes, queued with one call.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <tuple>

#include "core/device.h"

namespace fintune {

// A step of training starts some thousands of kernels. Where micro-batches of the same sizes come again
// (fixed lengths, several epochs of few batches), their work is recorded (Device::record) and replayed. What
// differs between them must lie in memory that was uploaded before; all addresses must be the same.
//
// A recording costs about what it saves in a few replays, and memory: work is recorded when it comes for the
// second time, and of kKept sizes only, those used last.
class Recordings {
 public:
  // Two runs with equal keys queue the same kernels on the same addresses.
  struct Key {
    int64_t tokens, sequences, rows;
    const void* memory;  // where the arena's part of the work begins
    int64_t positions;   // of the tables of RoPE, which move when they grow
    int64_t adapters;    // Model::placements(): weights move with them
    bool operator==(const Key& o) const {
      return std::tie(tokens, sequences, rows, memory, positions, adapters) ==
             std::tie(o.tokens, o.sequences, o.rows, o.memory, o.positions, o.adapters);
    }
  };

  // Does `work`, which may only queue (Device::record), or what stands for it.
  void run(Device& device, const Key& key, const std::function<void()>& work);

  int64_t replayed() const { return replayed_; }

 private:
  static constexpr size_t kKept = 4, kRemembered = 64;
  struct Entry {
    Key key;
    std::unique_ptr<Recording> recording;  // null: seen once, or let go
  };
  std::list<Entry> entries_;  // the last used first
  bool refused_ = false;      // the device records nothing
  int64_t replayed_ = 0;
};

}  // namespace fintune
