// Runs a kernel on the host: one fiber a thread, one block after another in random order, warps that meet at
// every collective. Lanes run one at a time from one collective to the next, in random order; at each meeting
// a warp that can run is drawn at random. All draws come from a seed, so that a run can be repeated.
//
// What must not happen is an Error(Internal) that names kernel, block, thread and source line: lanes of a
// warp that meet at different collectives, threads that leave while others wait, barriers that can never be
// passed, and what the detector (detector.h) sees.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "simt/fiber.h"
#include "simt/random.h"
#include "simt/runtime.h"

namespace fintune {
namespace simt {

constexpr int kLanes = 32;
constexpr int kMaxWarps = 32;

// When the bytes of cp_async_16 arrive: at once, at the wait, or at a random point between.
enum class AsyncMode : uint8_t { Early, Late, Random };

struct Dim3 {
  int x = 1, y = 1, z = 1;
};

struct KernelRun {
  const char* name;
  Dim3 grid;
  int threads;
  size_t shared_bytes;
  std::function<void()> body;
};

enum class Meeting : uint8_t {
  None,
  Exchange,
  Vote,
  LoadMatrices,
  MultiplyAccumulate,
  WarpSync,
  Barrier,
  NamedBarrier,
  WarpgroupFence,
  WarpgroupCommit,
  WarpgroupWait,
  WarpgroupProduct,
  ProxyFence,
  MbarrierArrive,
  MbarrierWait,
  SetRegisters
};

// What a lane brings to a meeting.
struct Request {
  Meeting meeting = Meeting::None;
  Where where{};
  // Must be equal in all lanes: which exchange, which tile, how many matrices and whether transposed; id and
  // number of threads of a barrier; an mbarrier's byte in shared memory, and bytes or parity.
  int kind = 0, count = 0;
  int operand = 0;     // of an exchange
  uint64_t value = 0;  // in and out
  const void* row = nullptr;
  const void* site = nullptr;  // code address in the kernel
  uint32_t* matrices = nullptr;
  float* c = nullptr;
  const uint32_t* a = nullptr;
  const uint32_t* b = nullptr;
  // Of a warpgroup's product.
  ProductShape product{};
  uint64_t a_descriptor = 0, b_descriptor = 0;
};

struct AsyncCopy {
  char* to;
  const char* from;
  bool valid, landed;
  int64_t group;
  Where where;
};

class Detector;
class Traffic;
class Mbarriers;
class Warpgroups;
struct Warp;

struct Fiber {
  Context context;
  char* stack = nullptr;
  Warp* warp = nullptr;
  int thread = 0;
  bool waiting = false, done = false;
  Request request;
  std::vector<AsyncCopy> copies;  // issued and not waited for
  int64_t groups = 0;             // committed so far
};

struct Warp {
  int index = 0;
  Fiber* lanes = nullptr;
  // The order of the lanes between two meetings: start + i * stride, stride odd.
  int position = 0, start = 0, stride = 1;
  enum class State : uint8_t { Runnable, AtBarrier, Done } state = State::Runnable;
  Fiber& lane_in_order(int i) const { return lanes[(start + i * stride) & (kLanes - 1)]; }
};

class Executor {
 public:
  Executor();
  ~Executor();

  // Starts the sequence of schedules, one a launch, that belongs to the seed.
  void set_seed(uint64_t seed) { draws_ = Random(seed); }
  AsyncMode async_mode = AsyncMode::Random;
  int capability = 80;
  static constexpr int64_t kMaxSteps = int64_t{1} << 28;
  int64_t max_steps = kMaxSteps;

  // Runs all blocks. Throws Internal on the first fault; the executor can be used again.
  void run(const KernelRun& run);

  // Called by the fiber that runs (simt.h).
  // A collective: the request of the fiber, to be completed by what its meeting needs; then the meeting,
  // which returns when all lanes have come.
  Request& request(Meeting meeting, Where where, int kind, int count);
  uint64_t meet();
  void copy_async(void* to, const void* from, bool valid, Where where, const void* site);
  void wait_async(int groups, Where where);

  // Counts what kernels move from now on (traffic.h), afresh, or no longer.
  void count_traffic(bool on);
  Traffic* traffic() const { return traffic_.get(); }  // null where nothing is counted

  // Accesses and meetings since the process began: the work that was done.
  int64_t work() const { return work_ + steps_; }
  Detector& detector() { return *detector_; }
  Mbarriers& mbarriers() { return *mbarriers_; }
  Random& random() { return random_; }
  // Counts accesses and meetings, so that a kernel that never ends does.
  void step(const Fiber& f) {
    if (++steps_ > max_steps) fault(f, "does not end: ", max_steps, " accesses and meetings so far");
  }
  const KernelRun& kernel() const { return *run_; }
  const int* block() const { return block_; }
  char* shared() const { return shared_; }

  // Ends the run: the message is led by kernel, block and thread. Never returns to the fiber.
  template <typename... Parts>
  [[noreturn]] void fault(const Fiber& f, const Parts&... parts) {
    // Nothing that owns memory may live on the fiber's stack when it is abandoned.
    describe_fault(f.thread, parts...);
    abandon();
  }

 private:
  template <typename... Parts>
  void describe_fault(int thread, const Parts&... parts) {
    std::ostringstream text;
    text << "kernel " << run_->name << ", block (" << block_[0] << ", " << block_[1] << ", " << block_[2]
         << "), thread " << thread << ": ";
    (text << ... << parts);
    fault_ = text.str();
  }
  [[noreturn]] void abandon();
  void run_block(int64_t index);
  void fiber_body();
  static void fiber_entry();
  void leave(Fiber& f);
  // Suspends f; goes on with the next lane, or with a warp drawn at random once all lanes have come or left.
  void next(Fiber& f);
  Context& end_of_segment(Warp& w);
  Context& draw_warp(Warp* last);
  int runnable_warps(Warp** runnable);
  void check_meeting(const Warp& w);
  void perform(Warp& w);
  void perform_exchange(Warp& w);
  void reach_barrier(Warp& w);
  void reach_product(Warp& w);
  std::string waiting_list() const;
  void land(AsyncCopy& copy);
  void land_one_at_random();

  std::unique_ptr<Stacks> stacks_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Context main_;
  Random draws_;   // one for each launch
  Random random_;  // of this launch
  std::unique_ptr<Detector> detector_;
  std::unique_ptr<Warpgroups> warpgroups_;
  std::unique_ptr<Traffic> traffic_;
  std::unique_ptr<Mbarriers> mbarriers_;
  int64_t steps_ = 0;  // of this launch
  int64_t work_ = 0;   // of those before

  const KernelRun* run_ = nullptr;
  int block_[3] = {0, 0, 0};
  int live_warps_ = 0;
  int stickiness_ = 0;  // of 16: how often the same warp goes on
  char* shared_ = nullptr;
  std::unique_ptr<char[]> shared_memory_;
  size_t shared_capacity_ = 0;
  std::string fault_;
};

bool same_place(Where a, Where b);
std::ostream& operator<<(std::ostream& out, Where where);

// The executor of the kernel that runs on this host thread, and the fiber that does; null outside of kernels.
// Read at every memory access: a library that is loaded late would call a function for any other kind of
// thread-local variable.
extern __thread Executor* current_executor __attribute__((tls_model("initial-exec")));
extern __thread Fiber* current_fiber __attribute__((tls_model("initial-exec")));

// Fragments (mma.cc): what one warp's lanes brought, all 32 of them.
void multiply_accumulate(Fiber* lanes);
void load_matrices(Fiber* lanes);

}  // namespace simt
}  // namespace fintune
