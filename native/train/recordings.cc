// Recordings by key.
#include "train/recordings.h"

#include <algorithm>

namespace fintune {

void Recordings::run(Device& device, const Key& key, const std::function<void()>& work) {
  if (refused_) return work();
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  if (found == entries_.end()) {
    work();
    entries_.push_front(Entry{key, nullptr});
    if (entries_.size() > kRemembered) entries_.pop_back();
    return;
  }
  entries_.splice(entries_.begin(), entries_, found);
  Entry& entry = entries_.front();
  if (entry.recording != nullptr) {
    entry.recording->replay();
    ++replayed_;
    return;
  }
  // Room first: recordings hold memory of the device.
  size_t kept = 0;
  for (Entry& other : entries_) {
    if (other.recording != nullptr && ++kept >= kKept) other.recording = nullptr;
  }
  entry.recording = device.record(work);
  refused_ = entry.recording == nullptr;
}

}  // namespace fintune
