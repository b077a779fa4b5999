// The API's answer to "what would become of this packet?".
//
//   POST /v1/explain?packet=TEXT[&at=INTERFACE][&rules=all]   {lines: […]}; the packet in the notation of scenarios
//
// Changes nothing. The states are the workers', who are asked for them; so the answer comes later. In the control
// loop's thread.
#pragma once

#include "control/api_answer.h"
#include "control/node.h"

namespace twinwall {

void answer_explain(Node& node, Words words, const Respond& reply);

}  // namespace twinwall
