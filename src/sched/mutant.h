// Mutants of the scheduler: single faults that the simulation must find. A test of the test.
//
// Each is compiled into a library of its own (CMakeLists.txt); in the product kMutant is kNone and nothing of them is
// left after compilation.
#pragma once

namespace quern {

enum class Mutant {
  kNone = 0,
  kLastInFirstOut = 1,  // the newest Job goes first
  kLongTakesAll = 2,    // long Jobs take the whole step although short ones wait
  kNoSkipLimit = 3,     // any number of short Jobs is passed over
  kNoSetAside = 4,      // a Job that waits for blocks is overtaken by all that fit
  kNoAgeing = 5,        // the shortest long Job takes all
  kQueriesTakeAll = 6,  // queries take what long Jobs leave of a step although other short ones wait
  kQueriesWait = 7,     // they come behind other short Jobs
  kNeverCut = 8,        // a short Job that does not fit the rest of a small step waits for a large one
};

#ifdef QUERN_SCHED_MUTANT
constexpr Mutant kMutant = static_cast<Mutant>(QUERN_SCHED_MUTANT);
#else
constexpr Mutant kMutant = Mutant::kNone;
#endif

}  // namespace quern
