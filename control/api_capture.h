// Frames of one interface as they come and go, for whoever asks the API:
//
//   GET /v1/capture?interface=IF   pcapng without end; direction=in|out, snaplen=BYTES, count=N ends it after N frames.
//                                  A block of statistics comes at least every kStatisticsGap, and is the last.
//
// At most Dataplane::kCaptures at a time: each holds a thread of the API and some memory. A reader that is too slow
// loses frames and is told how many; nobody waits for it.
//
// Threads: answer_capture() and the stream run in a thread of the API; the node is asked in its own.
#pragma once

#include <httplib.h>

#include <atomic>

#include "control/api_answer.h"
#include "control/event_loop.h"
#include "control/node.h"

namespace twinwall {

inline constexpr std::chrono::milliseconds kStatisticsGap{200};

// Fills `response` with the stream, or says what is wrong. Streams end once `stopping` is true; it must outlive them.
[[nodiscard]] std::optional<Answer> answer_capture(EventLoop& loop, const std::atomic<bool>& stopping, Node& node,
                                                   Words words, httplib::Response& response);

}  // namespace twinwall
