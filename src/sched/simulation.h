// Simulation: the real scheduler on a virtual clock, with replicas that cost a + b x tokens + c x attention.
//
// A seed draws limits, replicas, arrivals, lengths, priorities, deadlines, cancellations and lost replicas; an Oracle
// checks each step. A pure function of its seed; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "sched/oracle.h"

namespace quern {

struct SimulationResult {
  std::string violation;  // empty: everything held
  SimulationProbes probes;
};

SimulationResult simulate(uint64_t seed);

}  // namespace quern
