// Counts what kernels move, while it is asked for: for every warp-wide access the wavefronts of shared memory
// and the sectors of global memory that it takes, against the fewest that its bytes could take; and for every
// kernel the bytes that it asks for, against those that are different ones.
//
// Lanes run one after another, so which of their accesses are one instruction is put together afterwards: the
// n-th time that each lane passes the same code address between two meetings of its warp. Lanes that pass it
// less often are idle in the rest. Code that the compiler has doubled counts as two instructions.
//
// Shared memory: 32 banks of 4 bytes; a wavefront gives each bank one word, whatever the number of lanes that
// want it. Accesses of 8 and of 16 bytes, rows of ldmatrix and arriving copies go by 16 and by 8 lanes at a
// time, whose words fit one wavefront exactly where no two share a bank (the hardware may take halves with
// equal addresses together, which is not counted). Global memory: sectors of 32 bytes. Neither cache is
// modelled: what is asked for twice counts twice, though the second time may come from L1 or L2. What a
// warpgroup's products read in the background is not counted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace fintune {
namespace simt {

class Executor;
struct Fiber;
struct Warp;

// Wavefronts or sectors: those that were taken, and the fewest.
struct Cost {
  int64_t taken = 0, least = 0;
  void add(Cost other) {
    taken += other.taken;
    least += other.least;
  }
};

struct LineTraffic {
  std::string line;  // "file.cu:12"
  bool shared, write;
  Cost cost;
};

// All launches of a name since counting began.
struct KernelTraffic {
  std::string kernel;
  int64_t launches = 0;
  Cost shared;  // wavefronts
  Cost global;  // sectors
  // Of global memory. Asked for by warps: what several lanes of one instruction want counts once. Different
  // ones: within a launch.
  int64_t bytes_read = 0, bytes_written = 0, different_read = 0, different_written = 0;
  std::vector<LineTraffic> lines;  // where more is taken than the fewest, the worst first
};

class Traffic {
 public:
  explicit Traffic(Executor& executor) : executor_(executor) {}

  void begin_launch();
  void end_launch();
  // One access of one lane.
  void add(const Fiber& f, bool write, const void* p, size_t bytes, const void* site);
  // All lanes of a warp have come to a meeting: their accesses since the last one become instructions.
  void end_segment();
  // The rows that an ldmatrix reads: `count` matrices of 8.
  void add_matrices(const Warp& w, int count);

  // `lines`: by line of the source too, which takes a while for code that is asked about for the first time.
  std::vector<KernelTraffic> report(bool lines) const;

 private:
  // Code address and direction, how often the lane has passed there, and the lane: in order, one instruction
  // lies together.
  struct Access {
    uint64_t order;
    uintptr_t at;
    uint32_t bytes;
    int lane() const { return static_cast<int>(order & 31); }
    uint64_t instruction() const { return order >> 5; }
  };
  struct Passes {
    uint32_t key, lane_run, count;
  };
  struct Line {
    Cost shared, global;
  };
  struct Kernel {
    KernelTraffic totals;
    std::unordered_map<uint32_t, Line> lines;  // by key
  };
  // Bytes of a page of global memory that this launch has touched, a bit each.
  struct Page {
    bool constant;
    std::array<uint64_t, 64> read, written;
  };

  uint32_t& passes(uint32_t key);
  void count(const Access* first, const Access* last, uint32_t key);
  void count_global(const Access* first, const Access* last, bool write, Line& line);
  // False for constants, which are in no buffer.
  bool touch(uintptr_t begin, uintptr_t end, bool write);
  Page& page(uintptr_t number);

  Executor& executor_;
  std::map<std::string, Kernel> kernels_;
  Kernel* kernel_ = nullptr;  // of the launch that runs
  std::vector<Access> segment_;
  const Fiber* lane_ = nullptr;  // whose accesses come in
  uint32_t lane_run_ = 0;
  std::vector<Passes> passes_ = std::vector<Passes>(1024);  // by key, of this lane_run_; a power of two
  size_t passes_used_ = 0;
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  uintptr_t last_number_ = 0;
  Page* last_page_ = nullptr;
};

}  // namespace simt
}  // namespace fintune
