#include "core/window.h"

#include <algorithm>
#include <utility>

namespace polyglot {

void Window::begin(std::uint64_t last, std::int64_t history_events, std::int64_t history_s) {
  history_events_ = history_events;
  history_us_ = history_s * 1'000'000;
  clear(last);
}

void Window::rebound(std::int64_t history_events, std::int64_t history_s) {
  // What was too old may be young enough now, where something else still has it.
  if (history_s * 1'000'000 > history_us_) floor_ = 1;
  history_events_ = history_events;
  history_us_ = history_s * 1'000'000;
  fit();
}

void Window::clear(std::uint64_t last) {
  held_.clear();
  bytes_ = 0;
  floor_ = 1;
  first_ = last + 1;
  last_ = last;
}

void Window::append(KeptEvent event) {
  ++last_;
  bytes_ += event.size;
  held_.push_back(std::move(event));
  fit();
}

void Window::replace(std::uint64_t seq, KeptEvent event) {
  KeptEvent& held = held_[seq - first_];
  bytes_ += event.size;
  bytes_ -= held.size;
  held = std::move(event);
  fit();
}

void Window::expire(std::int64_t now_us) {
  const std::int64_t oldest_us = now_us - history_us_;
  while (!held_.empty() && held_.front().ts_us < oldest_us) {
    evict();
    floor_ = first_;
  }
}

std::uint64_t Window::oldest(bool kept_elsewhere) const {
  if (!kept_elsewhere) return first_;
  const auto reach = static_cast<std::uint64_t>(history_events_);
  return std::max(floor_, last_ >= reach ? last_ - reach + 1 : 1);
}

Window::Page Window::after(std::uint64_t after, std::uint64_t before, std::size_t limit, std::size_t bytes_max) const {
  const std::uint64_t end = std::min(std::max(before, first_), last_ + 1);
  Page page;
  page.first = std::max(after + 1, first_);
  page.end = page.first;
  std::size_t size = 0;
  while (page.end < end && page.end - page.first < limit) {
    size += at(page.end).size;
    if (size > bytes_max && page.end > page.first) break;
    ++page.end;
  }
  page.more = page.end < end;
  return page;
}

Window::Page Window::newest(std::optional<std::uint64_t> before, std::size_t limit, std::size_t bytes_max,
                            std::uint64_t oldest) const {
  Page page;
  page.end = before ? std::min(std::max(*before, first_), last_ + 1) : last_ + 1;
  page.first = page.end;
  std::size_t size = 0;
  while (page.first > first_ && page.end - page.first < limit) {
    size += at(page.first - 1).size;
    if (size > bytes_max && page.first < page.end) break;
    --page.first;
  }
  const std::uint64_t top = before ? std::min(*before, last_ + 1) : last_ + 1;  // may lie below the window
  page.more = std::min(page.first, top) > std::max<std::uint64_t>(1, oldest);
  return page;
}

void Window::fit() {
  while (!held_.empty() && (held_.size() > static_cast<std::size_t>(history_events_) || bytes_ > kBytesMax)) evict();
}

void Window::evict() {
  bytes_ -= held_.front().size;
  held_.pop_front();
  ++first_;
}

}  // namespace polyglot
