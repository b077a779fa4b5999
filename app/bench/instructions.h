// Instructions that the calling thread executes, where the processor's counters can be had (perf_event_open(2)): many
// virtual machines give none, and some kernels only to root.
//
// Ownership: one counter a thread. Errors: without a counter available() is false and now() is 0.
#pragma once

#include <cstdint>

namespace twinwall::bench {

class InstructionCounter {
 public:
  InstructionCounter();
  ~InstructionCounter();
  InstructionCounter(const InstructionCounter&) = delete;
  InstructionCounter& operator=(const InstructionCounter&) = delete;

  [[nodiscard]] bool available() const { return file_ >= 0; }
  // So far, in user mode. A system call.
  [[nodiscard]] uint64_t now() const;

 private:
  int file_;
};

}  // namespace twinwall::bench
