// Arena: a block of a device, or a counter.
#include "core/arena.h"

#include <sys/mman.h>

namespace fintune {

const char* memory_kind_name(MemoryKind kind) {
  static const char* const names[kMemoryKinds] = {"weights",     "adapters", "gradients", "optimizer",
                                                  "activations", "logits",   "workspace", "kv_cache"};
  return names[static_cast<int>(kind)];
}

Arena::~Arena() { give_back(); }

void Arena::give_back() {
  if (base_ != nullptr) device_.release(base_, capacity_);
  base_ = nullptr;
  capacity_ = 0;
}

void Arena::measure() {
  require(base_ == nullptr, "an arena that holds memory cannot measure");
  measuring_ = true;
  used_ = peak_ = 0;
  by_kind_ = {};
  peak_by_kind_ = {};
}

void Arena::reserve(size_t capacity) {
  give_back();
  measuring_ = false;
  used_ = peak_ = 0;
  by_kind_ = {};
  peak_by_kind_ = {};
  const size_t size = capacity == 0 ? kAlignment : capacity;
  base_ = static_cast<char*>(device_.allocate(size));
  capacity_ = size;
#ifdef MADV_HUGEPAGE
  // A wish: fewer page faults, and products that walk far apart rows.
  if (device_.is_host()) madvise(base_, capacity_, MADV_HUGEPAGE);
#endif
}

void* Arena::alloc(size_t bytes, MemoryKind kind) {
  const size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (!measuring_ && used_ + size > capacity_) {
    fail(ErrorCode::OutOfMemory, "the memory plan holds ", capacity_, " bytes, ", used_ + size,
         " were needed");
  }
  // A measuring arena starts at a non-null address, so that "optional" views stay distinguishable.
  char* p = measuring_ ? reinterpret_cast<char*>(kAlignment) + used_ : base_ + used_;
  used_ += size;
  by_kind_[static_cast<int>(kind)] += size;
  if (used_ > peak_) {
    peak_ = used_;
    peak_by_kind_ = by_kind_;
  }
  return p;
}

void Arena::release(const Mark& mark) {
  used_ = mark.used;
  by_kind_ = mark.by_kind;
}

}  // namespace fintune
