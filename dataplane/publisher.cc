#include "dataplane/publisher.h"

#include <rte_malloc.h>

namespace twinwall {

QuiescentState::QuiescentState(unsigned workers) {
  const size_t size = rte_rcu_qsbr_get_memsize(workers);
  void* const memory = rte_zmalloc("tw_qsbr", size, RTE_CACHE_LINE_SIZE);
  if (memory == nullptr) return;
  variable_ = static_cast<rte_rcu_qsbr*>(memory);
  bool ok = rte_rcu_qsbr_init(variable_, workers) == 0;
  for (unsigned w = 0; ok && w < workers; ++w) ok = rte_rcu_qsbr_thread_register(variable_, w) == 0;
  if (ok) return;
  rte_free(variable_);
  variable_ = nullptr;
}

QuiescentState::~QuiescentState() { rte_free(variable_); }

}  // namespace twinwall
