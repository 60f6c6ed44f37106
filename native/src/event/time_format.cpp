// Times as text; see envelope.h. Not by gmtime and strftime: those cost more than all the rest of an envelope.
#include <cstring>

#include "event/envelope.h"

namespace polyglot {

namespace {

constexpr std::int64_t kMicroseconds = 1'000'000;
constexpr std::int64_t kSecondsADay = 86'400;

char* put_digits(char* out, std::int64_t value, int digits) noexcept {
  for (int i = digits - 1; i >= 0; --i) {
    out[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
  return out + digits;
}

struct Date {
  std::int64_t year, month, day;
};

// Days since 1970-01-01, none of them before, as a date. Years begin in March here, so that the leap day is their last;
// 400 of them (an era) have 146,097 days. http://howardhinnant.github.io/date_algorithms.html#civil_from_days
Date date_of(std::int64_t days) noexcept {
  days += 719'468;  // from 0000-03-01
  const std::int64_t era = days / 146'097;
  const std::int64_t day_of_era = days % 146'097;
  const std::int64_t year_of_era = (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t month_from_march = (5 * day_of_year + 2) / 153;
  const std::int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  return {.year = era * 400 + year_of_era + (month <= 2 ? 1 : 0),
          .month = month,
          .day = day_of_year - (153 * month_from_march + 2) / 5 + 1};
}

}  // namespace

void TimeFormat::append(std::string& out, std::int64_t ts_us) {
  if (ts_us < 0) ts_us = 0;  // a clock that is that wrong
  const std::int64_t second = ts_us / kMicroseconds;
  if (second != second_) {
    second_ = second;
    const Date date = date_of(second / kSecondsADay);
    const std::int64_t of_day = second % kSecondsADay;
    char* at = put_digits(text_, date.year, 4);
    *at++ = '-';
    at = put_digits(at, date.month, 2);
    *at++ = '-';
    at = put_digits(at, date.day, 2);
    *at++ = 'T';
    at = put_digits(at, of_day / 3600, 2);
    *at++ = ':';
    at = put_digits(at, of_day / 60 % 60, 2);
    *at++ = ':';
    put_digits(at, of_day % 60, 2);
  }
  char whole[27];
  std::memcpy(whole, text_, 19);
  whole[19] = '.';
  put_digits(whole + 20, ts_us % kMicroseconds, 6);
  whole[26] = 'Z';
  out.append(whole, sizeof whole);
}

}  // namespace polyglot
