// Weights: tensors found by name, checked, and viewed in place or copied.
#include "model/weights.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "core/arena.h"
#include "core/error.h"
#include "core/philox.h"

namespace fintune {

// A read-only mapping of a whole file.
class Weights::Mapping {
 public:
  Mapping(const FileSource& file, int64_t index) {
    struct stat status {};
    if (fstat(file.fd, &status) != 0) {
      fail(ErrorCode::Io, "weights file ", index, " cannot be examined: ", std::strerror(errno));
    }
    if (status.st_size < file.size) {
      fail(ErrorCode::Weights, "weights file ", index, " has ", static_cast<int64_t>(status.st_size),
           " bytes, expected ", file.size, ": it was cut off");
    }
    size_ = static_cast<size_t>(file.size);
    if (size_ == 0) fail(ErrorCode::Weights, "weights file ", index, " is empty");
    data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      fail(ErrorCode::Io, "weights file ", index, " cannot be mapped: ", std::strerror(errno));
    }
  }
  ~Mapping() {
    if (data_ != nullptr) munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  char* data() const { return static_cast<char*>(data_); }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

namespace {

constexpr int64_t kBlock = 1 << 18;  // elements of one task

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Elements of any alignment: a file may place a tensor at an odd address.
template <typename T>
T element(const char* data, int64_t i) {
  T x;
  std::memcpy(&x, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return x;
}

// True if some element's exponent bits are all set: an infinity or a NaN.
template <typename Bits>
bool any_not_finite(const char* data, int64_t from, int64_t to, Bits exponent) {
  uint32_t found = 0;
  for (int64_t i = from; i < to; ++i) found |= (element<Bits>(data, i) & exponent) == exponent;
  return found != 0;
}

bool any_not_finite(const char* data, DType type, int64_t from, int64_t to) {
  switch (type) {
    case DType::F32:
      return any_not_finite<uint32_t>(data, from, to, 0x7F800000u);
    case DType::BF16:
      return any_not_finite<uint16_t>(data, from, to, 0x7F80u);
    case DType::F16:
      return any_not_finite<uint16_t>(data, from, to, 0x7C00u);
    default:
      return false;
  }
}

float read_element(const char* data, DType type, int64_t i) {
  switch (type) {
    case DType::F32:
      return element<float>(data, i);
    case DType::BF16:
      return to_float(element<bf16>(data, i));
    case DType::F16:
      return to_float(element<f16>(data, i));
    default:
      return 0;
  }
}

// fn(parameter, from, to) over blocks of all parameters, in parallel.
template <typename Fn>
void for_blocks(ThreadPool& threads, const std::vector<ParameterSlot>& slots, Fn&& fn) {
  std::vector<int64_t> first_task(1, 0);
  for (const ParameterSlot& slot : slots)
    first_task.push_back(first_task.back() + (slot.count() + kBlock - 1) / kBlock);
  threads.parallel_for(first_task.back(), [&](int64_t task, int) {
    const auto after = std::upper_bound(first_task.begin(), first_task.end(), task);
    const size_t p = static_cast<size_t>(after - first_task.begin()) - 1;
    const int64_t from = (task - first_task[p]) * kBlock;
    fn(p, from, std::min(from + kBlock, slots[p].count()));
  });
}

void store_element(const View& view, int64_t i, float x) {
  if (view.dtype == DType::F32) {
    view.as<float>()[i] = x;
  } else if (view.dtype == DType::BF16) {
    view.as<bf16>()[i] = to_bf16(x);
  } else {
    view.as<f16>()[i] = from_float<f16>(x);
  }
}

void copy_elements(const View& to, const char* from, DType type, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) store_element(to, i, read_element(from, type, i));
}

}  // namespace

Weights::Weights(const ModelConfig& config, DType compute, bool trainable)
    : config_(config), compute_(compute), trainable_(trainable) {}

DType Weights::kept_dtype(const ParameterSlot& slot, DType file) const {
  if (trainable_ || !slot.is_matrix()) return DType::F32;
  return compute_ == DType::F32 ? file : compute_;
}

void Weights::tie() {
  if (config_.tie_word_embeddings) tensors_.head = tensors_.embed;
}

namespace {

// As 16-bit numbers of that type; empty where one of them is not.
std::vector<uint16_t> exact_bits(const View& values, DType type) {
  std::vector<uint16_t> bits;
  for (int64_t i = 0; i < values.count(); ++i) {
    const float x = values.f32()[i];
    const bool half = type == DType::F16;
    bits.push_back(half ? from_float<f16>(x).bits : to_bf16(x).bits);
    if ((half ? to_float(f16{bits.back()}) : to_float(bf16{bits.back()})) != x) return {};
  }
  return bits;
}

}  // namespace

void Weights::round_biases(Device* device) {
  if (trainable_ || compute_ == DType::F32) return;
  for (LayerTensors& layer : tensors_.layers) {
    for (LinearTensors& linear : layer.linear) {
      if (!linear.bias) continue;
      // Room for it always, so that a plan need not know the numbers.
      const size_t bytes = static_cast<size_t>(linear.bias.count()) * 2;
      bytes_ += bytes;
      if (device == nullptr) continue;
      biases_.emplace_back(bytes, *device);
      const std::vector<uint16_t> bits = exact_bits(linear.bias, compute_);
      if (bits.empty()) continue;
      device->upload(biases_.back().data(), bits.data(), bytes);
      linear.exact_bias = View(biases_.back().data(), compute_, 1, linear.bias.cols);
    }
  }
}

void Weights::move_to(Device& device) {
  if (device.is_host()) return;
  round_biases(&device);
  std::vector<Buffer> moved;
  for (const ParameterSlot& slot : parameters()) {
    View& view = *slot.view;
    moved.emplace_back(view.bytes(), device);
    device.upload(moved.back().data(), view.data, view.bytes());
    view.data = moved.back().data();
  }
  copies_ = std::move(moved);
  mappings_.clear();
}

void Weights::make_room(int64_t layer, Site site, int64_t room, Device& device, const Copy& copy) {
  View& view = tensors_.layers[static_cast<size_t>(layer)].linear[static_cast<int>(site)].weight;
  const size_t size = dtype_size(view.dtype);
  const auto bytes_with = [&](int64_t n) {
    return static_cast<size_t>((view.rows + n) * (view.cols + n)) * size;
  };
  View to(view.data, view.dtype, view.rows, view.cols, view.cols + room);
  bytes_ += bytes_with(room);
  bytes_ -= bytes_with(view.ld - view.cols);
  if (!copies_.empty()) {
    const std::vector<ParameterSlot> slots = parameters();
    const auto own = std::find_if(slots.begin(), slots.end(),
                                  [&](const ParameterSlot& slot) { return slot.view == &view; });
    Buffer buffer(bytes_with(room), device);
    to.data = buffer.data();
    copy(view, to);
    copies_[static_cast<size_t>(own - slots.begin())] = std::move(buffer);
  }
  view = to;
}

Weights Weights::load(const ModelConfig& config, const std::vector<FileSource>& files,
                      const std::vector<TensorSource>& sources, DType compute, bool trainable,
                      ThreadPool& threads, Device& device) {
  Weights w(config, compute, trainable);
  for (size_t i = 0; i < files.size(); ++i) {
    w.mappings_.push_back(std::make_shared<Mapping>(files[i], static_cast<int64_t>(i)));
  }
  std::unordered_map<std::string, const TensorSource*> by_name;
  for (const TensorSource& source : sources) {
    if (source.file < 0 || source.file >= static_cast<int64_t>(files.size())) {
      fail(ErrorCode::Weights, source.name, ": lies in file ", source.file, " of ", files.size());
    }
    int64_t count = 1;
    for (int64_t n : source.shape) {
      if (n < 0)
        fail(ErrorCode::Weights, source.name, ": shape ", shape_text(source.shape), " has a negative size");
      if (n != 0 && count > INT64_MAX / 8 / n) {
        fail(ErrorCode::Weights, source.name, ": shape ", shape_text(source.shape), " is too large");
      }
      count *= n;
    }
    const int64_t bytes = count * static_cast<int64_t>(dtype_size(source.dtype));
    const int64_t size = files[static_cast<size_t>(source.file)].size;
    if (source.begin < 0 || source.end > size || source.end - source.begin != bytes) {
      fail(ErrorCode::Weights, source.name, ": expected ", bytes, " bytes for ", dtype_name(source.dtype),
           " ", shape_text(source.shape), " within the file's ", size, ", found bytes ", source.begin, " to ",
           source.end);
    }
    if (!by_name.emplace(source.name, &source).second)
      fail(ErrorCode::Weights, source.name, ": there are two of this name");
  }
  const auto bytes_of = [&](const TensorSource& s) {
    return w.mappings_[static_cast<size_t>(s.file)]->data() + s.begin;
  };

  std::vector<ParameterSlot> slots = w.parameters();
  std::vector<const TensorSource*> found;
  for (const ParameterSlot& slot : slots) {
    const auto at = by_name.find(slot.name);
    if (at == by_name.end()) {
      fail(ErrorCode::Weights, slot.name, ": missing, expected a tensor of shape ", shape_text(slot.shape));
    }
    if (at->second->shape != slot.shape) {
      fail(ErrorCode::Weights, slot.name, ": expected shape ", shape_text(slot.shape), ", found ",
           shape_text(at->second->shape));
    }
    found.push_back(at->second);
    by_name.erase(at);
  }
  if (config.tie_word_embeddings) {
    const auto head = by_name.find("lm_head.weight");
    if (head != by_name.end()) {
      const TensorSource& a = *head->second;
      const TensorSource& b = *found.front();
      if (a.dtype != b.dtype || a.shape != b.shape ||
          std::memcmp(bytes_of(a), bytes_of(b), static_cast<size_t>(b.end - b.begin)) != 0) {
        fail(ErrorCode::Weights, "lm_head.weight: differs from ", slots.front().name,
             ", although tie_word_embeddings says that they are one");
      }
      by_name.erase(head);
    }
  }
  // In the order of the file, so that the same file always names the same tensor.
  for (const TensorSource& source : sources) {
    if (by_name.count(source.name) != 0 && !ends_with(source.name, "rotary_emb.inv_freq")) {
      fail(ErrorCode::Weights, source.name, ": shape ", shape_text(source.shape),
           " does not belong to a model of this config (family ", config.family, ")");
    }
  }

  std::vector<std::atomic<int64_t>> bad_block(slots.size());
  for (auto& b : bad_block) b.store(INT64_MAX);
  std::vector<bool> copied(slots.size());
  for (size_t p = 0; p < slots.size(); ++p) {
    const TensorSource& source = *found[p];
    const DType type = w.kept_dtype(slots[p], source.dtype);
    const size_t size = static_cast<size_t>(slots[p].count()) * dtype_size(type);
    char* data = bytes_of(source);
    // A tensor at an address that its type may not have is copied.
    const bool aligned = reinterpret_cast<uintptr_t>(data) % dtype_size(source.dtype) == 0;
    copied[p] = type != source.dtype || trainable || !slots[p].is_matrix() || !aligned;
    if (copied[p]) {
      w.copies_.emplace_back(size);
      data = w.copies_.back().data();
    }
    *slots[p].view = View(data, type, slots[p].rows(), slots[p].cols());
    w.bytes_ += size;
  }
  for_blocks(threads, slots, [&](size_t p, int64_t from, int64_t to) {
    const TensorSource& source = *found[p];
    const char* data = bytes_of(source);
    if (any_not_finite(data, source.dtype, from, to)) {
      int64_t lowest = bad_block[p].load();
      while (from < lowest && !bad_block[p].compare_exchange_weak(lowest, from)) {
      }
      return;
    }
    if (!copied[p]) return;
    if (slots[p].view->dtype == source.dtype) {
      const size_t size = dtype_size(source.dtype);
      std::memcpy(slots[p].view->as<char>() + static_cast<size_t>(from) * size,
                  data + static_cast<size_t>(from) * size, static_cast<size_t>(to - from) * size);
    } else {
      copy_elements(*slots[p].view, data, source.dtype, from, to);
    }
  });
  for (size_t p = 0; p < slots.size(); ++p) {
    int64_t i = bad_block[p].load();
    if (i == INT64_MAX) continue;
    const char* data = bytes_of(*found[p]);
    while (std::isfinite(read_element(data, found[p]->dtype, i))) ++i;
    fail(ErrorCode::Weights, slots[p].name, ": element ", i, " is ", read_element(data, found[p]->dtype, i),
         ", expected finite numbers");
  }
  w.move_to(device);
  w.tie();
  return w;
}

Weights Weights::random(const ModelConfig& config, uint64_t seed, float std, DType compute, bool trainable,
                        ThreadPool& threads, Device& device) {
  Weights w(config, compute, trainable);
  std::vector<ParameterSlot> slots = w.parameters();
  for (const ParameterSlot& slot : slots) {
    const DType type = w.kept_dtype(slot, compute);
    w.copies_.emplace_back(static_cast<size_t>(slot.count()) * dtype_size(type));
    *slot.view = View(w.copies_.back().data(), type, slot.rows(), slot.cols());
    w.bytes_ += w.copies_.back().bytes();
  }
  const PhiloxWords<2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for_blocks(threads, slots, [&](size_t p, int64_t from, int64_t to) {
    const View& view = *slots[p].view;
    if (!slots[p].is_matrix()) {
      const float value = ends_with(slots[p].name, ".bias") ? 0.0f : 1.0f;
      for (int64_t i = from; i < to; ++i) store_element(view, i, value);
      return;
    }
    for (int64_t i = from; i < to; i += 2) {
      // Box-Muller: two normals from two uniforms, the first in (0, 1].
      const auto r = philox4x32(
          {static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), static_cast<uint32_t>(p), 0}, key);
      const float radius = std * std::sqrt(-2.0f * std::log(1.0f - philox_uniform(r[0])));
      const float angle = static_cast<float>(2 * M_PI) * philox_uniform(r[1]);
      store_element(view, i, radius * std::cos(angle));
      if (i + 1 < to) store_element(view, i + 1, radius * std::sin(angle));
    }
  });
  w.move_to(device);
  w.tie();
  return w;
}

Weights Weights::planned(const ModelConfig& config, DType compute, bool trainable, const Device& device) {
  Weights w(config, compute, trainable);
  for (const ParameterSlot& slot : w.parameters()) {
    const DType type = w.kept_dtype(slot, compute);
    *slot.view = View(reinterpret_cast<void*>(Arena::kAlignment), type, slot.rows(), slot.cols());
    w.bytes_ += static_cast<size_t>(slot.count()) * dtype_size(type);
  }
  if (!device.is_host()) w.round_biases(nullptr);
  w.tie();
  return w;
}

}  // namespace fintune
