// LoRA adapters over a frozen base. They form a stack: all below the top are fixed, the top may be trained.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "model/tensors.h"
#include "ops/linear.h"

namespace fintune {

// One linear's factors as the caller has them: a [r, IN], b [OUT, r], f32, row-major. Null a and b: for a
// plan.
struct LoraModuleSource {
  std::string name;  // "model.layers.0.self_attn.q_proj"
  int64_t r = 0;
  float scale = 0;  // alpha / r, or alpha / sqrt(r)
  const float* a = nullptr;
  int64_t a_count = 0;
  const float* b = nullptr;
  int64_t b_count = 0;
};

class Adapter {
 public:
  struct Module {
    std::string name;
    int64_t layer;
    Site site;
    LoraPair pair;  // views of this adapter's own memory
  };

  // Copies the factors to the device. Throws Error(Adapter), naming the module, for one that the model does
  // not have or that cannot carry an adapter (embeddings, lm_head), for a wrong number of elements, for one
  // given twice, for a value that is not finite, and for an adapter without modules.
  Adapter(const ModelConfig& config, const std::vector<LoraModuleSource>& sources, Device& device);

  const std::vector<Module>& modules() const { return modules_; }  // by layer, then site
  // Null where this linear is not adapted.
  const LoraPair* find(int64_t layer, Site site) const;
  // Says where the copies of this linear's factors lie (LoraPair::beside).
  void set_beside(int64_t layer, Site site, int64_t beside);
  size_t bytes() const { return bytes_; }

 private:
  std::vector<Module> modules_;
  std::vector<int> index_;  // [layers * kSites], -1: none
  Buffer memory_;
  size_t bytes_ = 0;
};

class AdapterStack {
 public:
  // Returns the adapter's place, from the bottom.
  int push(std::shared_ptr<Adapter> adapter);
  void pop();  // throws Argument when empty
  int size() const { return static_cast<int>(adapters_.size()); }
  const std::shared_ptr<Adapter>& at(int i) const { return adapters_.at(static_cast<size_t>(i)); }
  size_t bytes() const;

 private:
  std::vector<std::shared_ptr<Adapter>> adapters_;
};

// Where the backward pass adds, f32. Of the two parts the one that trains is filled.
struct Gradients {
  struct Lora {
    View a, b;  // as the pair's; empty where the trained adapter has no such module
  };
  std::vector<Lora> lora;  // [layers * kSites]
  ModelTensors full;       // layers empty unless all parameters train

  Lora& at(int64_t layer, Site site) {
    return lora[static_cast<size_t>(layer * kSites + static_cast<int>(site))];
  }
};

}  // namespace fintune
