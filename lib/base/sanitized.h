// Whether the code is compiled for a sanitizer: gcc says it by macros of its own, clang by features.
#pragma once

#if defined(__has_feature)
#define TWINWALL_HAS_FEATURE(f) __has_feature(f)
#else
#define TWINWALL_HAS_FEATURE(f) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || TWINWALL_HAS_FEATURE(address_sanitizer)
#define TWINWALL_ADDRESS_SANITIZER 1
#else
#define TWINWALL_ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__) || TWINWALL_HAS_FEATURE(thread_sanitizer)
#define TWINWALL_THREAD_SANITIZER 1
#else
#define TWINWALL_THREAD_SANITIZER 0
#endif
