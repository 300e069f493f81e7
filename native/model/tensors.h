// The parameters of a decoder as one structure of views. Weights and their gradients have the same shape.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"
#include "model/config.h"

namespace fintune {

// The linears of a layer, in the order in which they run. Only these can carry an adapter.
enum class Site { Q, K, V, O, Gate, Up, Down };
constexpr int kSites = 7;
constexpr Site kAllSites[kSites] = {Site::Q, Site::K, Site::V, Site::O, Site::Gate, Site::Up, Site::Down};

struct SiteShape {
  int64_t out, in;
};
SiteShape site_shape(const ModelConfig& config, Site site);
// As transformers names it: "self_attn.q_proj", "mlp.down_proj".
const char* site_name(Site site);
// "model.layers.<layer>.<site_name>"
std::string module_name(int64_t layer, Site site);

struct LinearTensors {
  View weight;  // [OUT, IN]
  View bias;    // [1, OUT], empty where the linear has none
  // The bias in the weight's type, where weights lie on a GPU in 16 bits and it holds all elements.
  View exact_bias;
};

struct LayerTensors {
  LinearTensors linear[kSites];
  View q_norm, k_norm;                   // [1, K], empty without q/k norm
  View input_norm, post_attention_norm;  // [1, D]

  const LinearTensors& at(Site site) const { return linear[static_cast<int>(site)]; }
};

struct ModelTensors {
  View embed;  // [V, D]
  std::vector<LayerTensors> layers;
  View norm;  // [1, D]
  View head;  // [V, D]; the same memory as embed where they are tied
};

// One parameter of a model: its name in the file, its place in a ModelTensors, its shape ([n] or [rows,
// cols]).
struct ParameterSlot {
  std::string name;
  View* view;
  std::vector<int64_t> shape;

  bool is_matrix() const { return shape.size() == 2; }
  int64_t rows() const { return is_matrix() ? shape[0] : 1; }
  int64_t cols() const { return shape.back(); }
  int64_t count() const { return rows() * cols(); }
};

// Every parameter that the architecture has, in a fixed order. Sizes tensors.layers; a tied head has no slot
// of its own.
std::vector<ParameterSlot> parameter_slots(const ModelConfig& config, ModelTensors& tensors);

}  // namespace fintune
