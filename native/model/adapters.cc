// Adapters: names resolved to linears, factors checked and copied.
#include "model/adapters.h"

#include <algorithm>
#include <cmath>

#include "core/arena.h"
#include "core/error.h"

namespace fintune {

namespace {

// Splits "model.layers.<layer>.<site>"; false if it is something else.
bool parse_module(const ModelConfig& config, const std::string& name, int64_t* layer, Site* site) {
  static const std::string prefix = "model.layers.";
  if (name.compare(0, prefix.size(), prefix) != 0) return false;
  const size_t dot = name.find('.', prefix.size());
  if (dot == std::string::npos || dot == prefix.size() || dot - prefix.size() > 9) return false;
  int64_t number = 0;
  for (size_t i = prefix.size(); i < dot; ++i) {
    if (name[i] < '0' || name[i] > '9') return false;
    number = number * 10 + (name[i] - '0');
  }
  if (number >= config.num_layers) return false;
  for (Site s : kAllSites) {
    if (name.compare(dot + 1, std::string::npos, site_name(s)) == 0) {
      *layer = number;
      *site = s;
      return true;
    }
  }
  return false;
}

size_t padded(int64_t floats) {
  const size_t bytes = static_cast<size_t>(floats) * 4;
  return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

void copy_factor(Device& device, float* to, const float* from, int64_t count, const std::string& name) {
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(from[i])) {
      fail(ErrorCode::Adapter, name, ": element ", i, " is ", from[i], ", expected finite numbers");
    }
  }
  device.upload(to, from, static_cast<size_t>(count) * 4);
}

}  // namespace

Adapter::Adapter(const ModelConfig& config, const std::vector<LoraModuleSource>& sources, Device& device) {
  if (sources.empty()) fail(ErrorCode::Adapter, "an adapter needs at least one module, found none");
  index_.assign(static_cast<size_t>(config.num_layers * kSites), -1);
  std::vector<const LoraModuleSource*> by_place(index_.size(), nullptr);
  for (const LoraModuleSource& source : sources) {
    int64_t layer = 0;
    Site site = Site::Q;
    if (!parse_module(config, source.name, &layer, &site)) {
      fail(ErrorCode::Adapter, source.name,
           ": the model has no linear of this name that can carry an adapter, expected ",
           module_name(0, Site::Q), " .. ", module_name(config.num_layers - 1, Site::Down));
    }
    const SiteShape shape = site_shape(config, site);
    if (source.r < 1)
      fail(ErrorCode::Adapter, source.name, ": expected a rank of at least 1, found ", source.r);
    if (!std::isfinite(source.scale)) fail(ErrorCode::Adapter, source.name, ": the scale is ", source.scale);
    if (source.a != nullptr && source.a_count != source.r * shape.in) {
      fail(ErrorCode::Adapter, source.name, ".lora_A: expected [", source.r, ", ", shape.in,
           "] = ", source.r * shape.in, " elements, found ", source.a_count);
    }
    if (source.b != nullptr && source.b_count != source.r * shape.out) {
      fail(ErrorCode::Adapter, source.name, ".lora_B: expected [", shape.out, ", ", source.r,
           "] = ", source.r * shape.out, " elements, found ", source.b_count);
    }
    const LoraModuleSource*& place = by_place[static_cast<size_t>(layer * kSites + static_cast<int>(site))];
    if (place != nullptr) fail(ErrorCode::Adapter, source.name, ": given twice");
    place = &source;
    bytes_ += padded(source.r * shape.in) + padded(source.r * shape.out);
  }
  const bool planned = sources.front().a == nullptr;
  if (!planned) memory_ = Buffer(bytes_, device);
  // A plan's views are not null, as everywhere, and never touched.
  char* next = planned ? reinterpret_cast<char*>(Arena::kAlignment) : memory_.data();
  for (size_t place = 0; place < by_place.size(); ++place) {
    const LoraModuleSource* source = by_place[place];
    if (source == nullptr) continue;
    const int64_t layer = static_cast<int64_t>(place) / kSites;
    const Site site = kAllSites[place % kSites];
    const SiteShape shape = site_shape(config, site);
    LoraPair pair;
    pair.a = View(next, DType::F32, source->r, shape.in);
    next += padded(pair.a.count());
    pair.b = View(next, DType::F32, shape.out, source->r);
    next += padded(pair.b.count());
    pair.scale = source->scale;
    if (!planned) {
      copy_factor(device, pair.a.f32(), source->a, pair.a.count(), source->name + ".lora_A");
      copy_factor(device, pair.b.f32(), source->b, pair.b.count(), source->name + ".lora_B");
    }
    index_[place] = static_cast<int>(modules_.size());
    modules_.push_back({source->name, layer, site, pair});
  }
}

const LoraPair* Adapter::find(int64_t layer, Site site) const {
  const int i = index_[static_cast<size_t>(layer * kSites + static_cast<int>(site))];
  return i < 0 ? nullptr : &modules_[static_cast<size_t>(i)].pair;
}

void Adapter::set_beside(int64_t layer, Site site, int64_t beside) {
  const int i = index_[static_cast<size_t>(layer * kSites + static_cast<int>(site))];
  modules_[static_cast<size_t>(i)].pair.beside = beside;
}

int AdapterStack::push(std::shared_ptr<Adapter> adapter) {
  adapters_.push_back(std::move(adapter));
  return size() - 1;
}

void AdapterStack::pop() {
  require(!adapters_.empty(), "the model has no adapter to remove");
  adapters_.pop_back();
}

size_t AdapterStack::bytes() const {
  size_t sum = 0;
  for (const auto& adapter : adapters_) sum += adapter->bytes();
  return sum;
}

}  // namespace fintune
