// The API's words about the configuration in force.
//
//   POST /v1/reload               {ok, generation, diagnostics: […]}, 422 when it is refused
//     ?confirm=SECONDS            taken back after so long without a confirmation
//     ?dry-run=1                  applies nothing; {…, changes: {rules: […], rules_kept, settings: […]}}
//     ?kill-affected=1            {…, affected: {count, complete, killed, states: […]}}: the states whose rule goes
//     away
//                                 or that the new rules would block; with dry-run only counted
//
//   POST /v1/confirm              {confirmed: true}, 404 when nothing waits for it
//   POST /v1/rollback[?steps=N]   as reload: back to what was in force N changes ago, 1 by default
//
// In the control loop's thread.
#pragma once

#include "control/api_answer.h"
#include "control/node.h"

namespace twinwall {

[[nodiscard]] Answer reload_answer(const Node& node, const ReloadResult& result);
void answer_reload(Node& node, Words words, const Respond& reply);
void answer_confirm(Node& node, const Respond& reply);
void answer_rollback(Node& node, Words words, const Respond& reply);
[[nodiscard]] Json show_history(const Node& node, Time now);

}  // namespace twinwall
