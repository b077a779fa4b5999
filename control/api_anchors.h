// The API's words about anchors: what is in one, and rules put into it at run time (pfctl -a NAME -f FILE).
//
//   GET  /v1/anchor?name=NAME            {anchor, file, in_force, rules: [{place, rule}]}; file is null
//                                        when the configuration has the rules; 404 when there is no such anchor
//   POST /v1/anchor/load?name=NAME&file=PATH   the body is the file's text; answered as a reload is
//   POST /v1/anchor/flush?name=NAME      takes out what was loaded; answered as a reload is
//
// In the control loop's thread.
#pragma once

#include <string>

#include "control/api_answer.h"
#include "control/node.h"

namespace twinwall {

void answer_anchor(const Node& node, Words words, const Respond& reply);
void answer_anchor_load(Node& node, Words words, std::string text, const Respond& reply);
void answer_anchor_flush(Node& node, Words words, const Respond& reply);

}  // namespace twinwall
