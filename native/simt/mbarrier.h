// Barriers in shared memory that count phases (mbarriers), copies of boxes by TMA, which tell them of their
// bytes, and the registers that warpgroups hand to each other.
//
// A copy lands, and later tells its mbarrier, at random points (AsyncMode): at its issue at the earliest, and
// at the latest when no warp can go on without it. Until it lands its bytes are poisoned. Faults are:
// mbarriers that nobody, or somebody with no sync between, has initialised; more arrivals than a phase
// counts; copies of more bytes than were announced; copies that nobody waits for; writes of threads with no
// fence before a copy; and what the detector sees. Warps that wait for a phase which never ends, because of a
// wrong parity or a missing arrival, are listed with what each mbarrier lacks.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "simt/detector.h"
#include "simt/executor.h"
#include "simt/tma_runtime.h"

namespace fintune {
namespace simt {

class Mbarriers {
 public:
  explicit Mbarriers(Executor& executor) : executor_(executor) {}

  void begin_block();
  // By the last thread of a block.
  void end_block(const Fiber& f);

  // Of one thread.
  void init(const Fiber& f, const void* at, int warps, Where where, const void* site);
  void copy(const Fiber& f, char* to, const BoxMap& map, int column, int row, const void* barrier,
            Where where, const void* site);
  // Meetings of a warp. A warp that has to wait is no longer runnable.
  void arrive(Warp& w);
  void wait(Warp& w);
  void set_registers(Warp& w);

  void run_one_at_random();
  // Lets some copy under way end; false: there is none.
  bool end_one();
  // What the warp waits for.
  void describe_wait(std::ostream& out, const Warp& w) const;

 private:
  static constexpr int kMostBytes = (1 << 20) - 1;
  struct Barrier {
    uintptr_t at;
    int warps;   // that a phase counts
    Stamp made;  // the write that initialised it
    int64_t phase = 0;
    int pending;                     // arrivals that the phase lacks
    int announced = 0;               // bytes, without those of copies under way
    int coming = 0;                  // bytes of the phase that it lacks
    bool copies = false;             // the phase has had some
    int64_t copied = 0, waited = 0;  // phases up to the last with copies, and up to the last waited for
    Past arrived, ended;  // what lies before the phase's arrivals; before the end of all phases so far
    std::vector<Warp*> waiting;
  };
  struct Copy {
    char* to;
    BoxMap map;
    int column, row, barrier;
    Where where;
    bool landed = false;
    int bytes() const { return 2 * map.box_rows * map.box_columns; }
    // The 16 bytes of shared memory of a line's chunk, and where they come from.
    char* place(uintptr_t window, int line, int chunk) const;
    int chunks() const { return map.box_columns / 8; }
  };

  uintptr_t window() const;
  // The mbarrier of a request or copy, which the thread may use.
  Barrier& find(const Fiber& f, uintptr_t at, Where where, bool by_copy);
  void end_phase_if_due(Barrier& b);
  // The warp has waited for the phases that have ended.
  void pass(Warp& w, Barrier& b);
  void land(Copy& c);
  void end(size_t index);

  Executor& executor_;
  std::vector<Barrier> barriers_;
  std::deque<Copy> queue_;
  std::array<int, kMaxWarps> registers_{};  // 0: as launched
};

}  // namespace simt
}  // namespace fintune
