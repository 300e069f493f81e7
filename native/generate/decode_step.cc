// DecodeStep: recording and replaying.
#include "generate/decode_step.h"

#include <algorithm>

#include "model/decoder_parts.h"

namespace fintune {

View head_logits(Exec& exec, const OpTable& ops, const Decoder& decoder, const View& hidden) {
  LinearForward head;
  head.x = hidden;
  head.weight = decoder.head();
  head.y = exec.arena->matrix(DType::F32, hidden.rows, head.weight.rows, MemoryKind::Logits);
  exec.rowwise = true;
  ops.linear_forward(exec, head);
  return head.y;
}

DecodeStep::DecodeStep(Model& model, const Decoder& decoder, const KvCacheView& cache, int64_t max_rows,
                       bool record)
    : model_(model),
      decoder_(decoder),
      cache_(cache),
      max_rows_(max_rows),
      record_(record && !model.device().is_host()) {}

// The kernels take rows by eights, and few of them as they are.
int64_t DecodeStep::rounded_up(int64_t rows) const {
  int64_t room = 1;
  while (room < rows && room < 8) room *= 2;
  return std::min(room < rows ? (rows + 7) / 8 * 8 : room, max_rows_);
}

void DecodeStep::upload(Exec& exec, const std::vector<Row>& rows, int64_t room, void* to) {
  // In the order of staged(). A dead row looks at the first token of page 0.
  inputs_.assign(static_cast<size_t>(ints(room)), 0);
  int32_t *const ids = inputs_.data(), *const positions = ids + room, *const store_rows = positions + room,
                 *const lengths = store_rows + room, *const table = lengths + room;
  std::fill_n(store_rows, room, -1);
  std::fill_n(lengths, room, 1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const int64_t pages = static_cast<int64_t>(row.pages->size()), page = row.position / cache_.page_tokens;
    require(page < pages && pages <= cache_.max_pages, "the cache of sequence ", i, " holds ",
            pages * cache_.page_tokens, " tokens, found position ", row.position);
    ids[i] = row.token;
    positions[i] = row.position;
    store_rows[i] = static_cast<int32_t>((*row.pages)[static_cast<size_t>(page)] * cache_.page_tokens +
                                         row.position % cache_.page_tokens);
    lengths[i] = row.position + 1;
    std::copy(row.pages->begin(), row.pages->end(), table + static_cast<int64_t>(i) * cache_.max_pages);
  }
  exec.device->upload(to, inputs_.data(), inputs_.size() * sizeof(int32_t));
}

StagedBatch DecodeStep::staged(const void* inputs, int64_t room) const {
  StagedBatch on;
  on.ids = static_cast<const int32_t*>(inputs);
  on.positions = on.ids + room;
  on.store_rows = on.positions + room;
  on.lengths = on.store_rows + room;
  on.page_table = on.lengths + room;
  return on;
}

View DecodeStep::logits(Exec& exec, const std::vector<Row>& rows) {
  decoder::check_abort(exec);
  Arena& arena = *exec.arena;
  Device& device = *exec.device;
  const int64_t count = static_cast<int64_t>(rows.size()), room = record_ ? rounded_up(count) : count;
  const int64_t before = device.launches();
  const Arena::Mark mark = arena.mark();
  Size& size = sizes_[room];
  if (size.recording != nullptr) {
    char* const base = static_cast<char*>(arena.alloc(size.bytes, MemoryKind::Activations));
    if (exec.dry || base == size.base) {
      if (!exec.dry) {
        upload(exec, rows, room, base);
        size.recording->replay();
        ++steps_;
        ++replayed_;
        launches_ += device.launches() - before;
      }
      return View(base + size.logits_at, DType::F32, count, decoder_.head().rows);
    }
    arena.release(mark);
  }
  const size_t bytes = static_cast<size_t>(ints(room)) * sizeof(int32_t);
  char* const inputs = static_cast<char*>(arena.alloc(bytes, MemoryKind::Workspace));
  View logits;
  const auto compute = [&] {
    const View hidden = decoder_.decode(exec, staged(inputs, room), room, cache_);
    logits = head_logits(exec, model_.ops(), decoder_, hidden);
  };
  if (exec.dry) {
    compute();
    return logits.slice(0, count);
  }
  upload(exec, rows, room, inputs);
  if (record_) {
    size.recording = device.record(compute);
    record_ = size.recording != nullptr;
    size.base = inputs;
    size.bytes = arena.used() - mark.used;
    size.logits_at = static_cast<size_t>(logits.as<char>() - inputs);
  } else {
    compute();
  }
  ++steps_;
  launches_ += device.launches() - before;
  return logits.slice(0, count);
}

}  // namespace fintune
