#include "lib/scenario/icmp_names.h"

#include <array>

namespace twinwall::scenario {

namespace {

struct TypeWord {
  Af af;
  uint8_t type;
  std::string_view word;
};
// The first word of a type is the one that is printed.
constexpr TypeWord kTypes[] = {
    {Af::inet, 8, "echoreq"},      {Af::inet, 0, "echorep"},    {Af::inet, 3, "unreach"},
    {Af::inet, 4, "squench"},      {Af::inet, 5, "redir"},      {Af::inet, 11, "timex"},
    {Af::inet, 12, "paramprob"},   {Af::inet, 13, "timereq"},   {Af::inet, 14, "timerep"},
    {Af::inet, 15, "inforeq"},     {Af::inet, 16, "inforep"},   {Af::inet, 17, "maskreq"},
    {Af::inet, 18, "maskrep"},     {Af::inet, 10, "routersol"}, {Af::inet, 9, "routeradv"},
    {Af::inet6, 128, "echoreq"},   {Af::inet6, 129, "echorep"}, {Af::inet6, 1, "unreach"},
    {Af::inet6, 2, "toobig"},      {Af::inet6, 3, "timex"},     {Af::inet6, 4, "paramprob"},
    {Af::inet6, 135, "ns"},        {Af::inet6, 136, "na"},      {Af::inet6, 133, "rs"},
    {Af::inet6, 134, "ra"},        {Af::inet6, 137, "redir"},   {Af::inet6, 133, "routersol"},
    {Af::inet6, 134, "routeradv"},
};

struct CodeWord {
  Af af;
  uint8_t type, code;
  std::string_view word;
};
constexpr CodeWord kCodes[] = {
    {Af::inet, 3, 0, "net"},          {Af::inet, 3, 1, "host"},           {Af::inet, 3, 2, "proto"},
    {Af::inet, 3, 3, "port"},         {Af::inet, 3, 4, "needfrag"},       {Af::inet, 3, 9, "net-prohib"},
    {Af::inet, 3, 10, "host-prohib"}, {Af::inet, 3, 13, "filter-prohib"}, {Af::inet, 11, 0, "transit"},
    {Af::inet, 11, 1, "reassembly"},  {Af::inet6, 1, 0, "noroute"},       {Af::inet6, 1, 1, "admin"},
    {Af::inet6, 1, 3, "addr"},        {Af::inet6, 1, 4, "port"},          {Af::inet6, 3, 0, "transit"},
    {Af::inet6, 3, 1, "reassembly"},
};

}  // namespace

std::optional<uint8_t> icmp_type_of(Af af, std::string_view word) {
  for (const auto& t : kTypes)
    if (t.af == af && t.word == word) return t.type;
  return std::nullopt;
}

std::optional<uint8_t> icmp_code_of(Af af, uint8_t type, std::string_view word) {
  for (const auto& c : kCodes)
    if (c.af == af && c.type == type && c.word == word) return c.code;
  return std::nullopt;
}

std::string icmp_type_word(Af af, uint8_t type) {
  for (const auto& t : kTypes)
    if (t.af == af && t.type == type) return std::string(t.word);
  return std::to_string(type);
}

std::string icmp_code_word(Af af, uint8_t type, uint8_t code) {
  for (const auto& c : kCodes)
    if (c.af == af && c.type == type && c.code == code) return std::string(c.word);
  return std::to_string(code);
}

}  // namespace twinwall::scenario
