// One new token for each of the sequences that run: the part of generation that is done again and again.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "model/model.h"

namespace fintune {

// Final hidden states -> logits [rows, V] f32 in the arena, by the rowwise product.
View head_logits(Exec& exec, const OpTable& ops, const Decoder& decoder, const View& hidden);

// On a GPU a step is hundreds of small kernels, whose starting would take longer than they do: the first step
// of a size is recorded (Device::record), those that follow are one call. A size is a number of rows, rounded
// up; rows beyond the sequences are dead: their results are not looked at, and they store no keys. All that
// differs from step to step lies in one block of device memory, uploaded before: token ids, positions, page
// tables, lengths, and where keys and values go. What is drawn from the logits is the caller's.
//
// The recordings hold addresses of the model's arena, which every step cuts alike. Where the arena has moved
// because something else needed a larger one, steps are recorded anew.
class DecodeStep {
 public:
  struct Row {
    int32_t token;
    int32_t position;
    const std::vector<int32_t>* pages;
  };

  // `cache`: its page table is not looked at; max_pages of one sequence, which all steps have. The decoder
  // must hold all positions already. record false: every step is queued kernel by kernel.
  DecodeStep(Model& model, const Decoder& decoder, const KvCacheView& cache, int64_t max_rows, bool record);

  // Logits [rows, V]. At the start of a Model::run, as long as the model's lock is held.
  View logits(Exec& exec, const std::vector<Row>& rows);

  int64_t steps() const { return steps_; }
  int64_t replayed() const { return replayed_; }
  int64_t launches() const { return launches_; }  // kernels that the device counted during the steps

 private:
  struct Size {
    std::unique_ptr<Recording> recording;
    const char* base = nullptr;  // of what was allocated
    size_t bytes = 0;
    size_t logits_at = 0;
  };

  int64_t rounded_up(int64_t rows) const;
  void upload(Exec& exec, const std::vector<Row>& rows, int64_t room, void* to);
  StagedBatch staged(const void* inputs, int64_t room) const;
  int64_t ints(int64_t room) const { return room * (4 + cache_.max_pages); }

  Model& model_;
  const Decoder& decoder_;
  const KvCacheView cache_;
  const int64_t max_rows_;
  bool record_;
  std::map<int64_t, Size> sizes_;
  std::vector<int32_t> inputs_;
  int64_t steps_ = 0, replayed_ = 0, launches_ = 0;
};

}  // namespace fintune
