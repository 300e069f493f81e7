// A model's parameters as views: of the mapped file where its dtype can be used as it is, else of copies; on
// another device than the host, of that device's memory.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/device.h"
#include "core/threads.h"
#include "model/tensors.h"

namespace fintune {

// An open file. The descriptor is only used while loading; the mapping stays.
struct FileSource {
  int fd;
  int64_t size;
};
// One tensor of a safetensors file, as its header says; begin and end are byte offsets in the file.
struct TensorSource {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  int64_t file;
  int64_t begin, end;
};

class Weights {
 public:
  // How parameters are held:
  //   trainable: all copied to f32.  Else norms and biases are copied to f32, and matrices
  //   compute F32: stay as the file has them (f32, f16, bf16; products widen them exactly),
  //   compute BF16, F16: stay if of that type, else are rounded to a copy of it.
  // Throws Error(Weights), naming the tensor with expected and found, for a missing or surplus tensor, a
  // wrong shape, a value that is not finite, a file shorter than its tensors. Two kinds of surplus are known
  // and harmless: rotary_emb.inv_freq buffers, and an lm_head.weight equal to the embedding byte for byte
  // where the two are tied.
  static Weights load(const ModelConfig& config, const std::vector<FileSource>& files,
                      const std::vector<TensorSource>& sources, DType compute, bool trainable,
                      ThreadPool& threads, Device& device);
  // Matrices normal(0, std), norms 1, biases 0; a value depends on (seed, parameter, element) only (Philox).
  static Weights random(const ModelConfig& config, uint64_t seed, float std, DType compute, bool trainable,
                        ThreadPool& threads, Device& device);
  // Sizes only, for memory plans: the views must not be touched.
  static Weights planned(const ModelConfig& config, DType compute, bool trainable, const Device& device);

  Weights(Weights&&) = default;
  Weights& operator=(Weights&&) = default;

  const ModelTensors& tensors() const { return tensors_; }
  bool trainable() const { return trainable_; }
  // Every parameter with its name in the file; a tied head is not among them.
  std::vector<ParameterSlot> parameters() { return parameter_slots(config_, tensors_); }
  // For weights that do not lie on the host: moves this linear's, by `copy`, so that it has `room` further
  // columns in each row and as many further rows behind it, all zero. Sizes only, where they were planned.
  using Copy = std::function<void(const View& from, const View& to)>;
  void make_room(int64_t layer, Site site, int64_t room, Device& device, const Copy& copy);
  // Bytes of all parameters, mapped or copied.
  size_t bytes() const { return bytes_; }

 private:
  class Mapping;
  Weights(const ModelConfig& config, DType compute, bool trainable);
  // The dtype in which a parameter that the file holds as `file` is kept.
  DType kept_dtype(const ParameterSlot& slot, DType file) const;
  void tie();
  // Where the device is not the host: copies every parameter to it and lets go of the host's.
  void move_to(Device& device);
  // LinearTensors::exact_bias; null: sizes only.
  void round_biases(Device* device);

  ModelConfig config_;
  DType compute_;
  bool trainable_;
  ModelTensors tensors_;
  std::vector<std::shared_ptr<Mapping>> mappings_;
  std::vector<Buffer> copies_;  // on another device than the host: of every parameter, in their order
  std::vector<Buffer> biases_;
  size_t bytes_ = 0;
};

}  // namespace fintune
