// Segment files as the writer makes them: a name, a head. The same as polyglotd/log/segment_files.py, which also reads
// and lists them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace polyglot {

// `00000000000000067097.seg`: the position of its first byte in 20 digits.
std::string segment_name(std::uint64_t first);

// Begins the segment with this head; its descriptor, for writing. Below 0, with no file left behind: see errno. A file
// of that name can only be one that was begun and never written to, so it is begun anew.
int create_segment(int directory_fd, std::uint64_t first, std::string_view head);

// One pwrite of all the bytes. False: the kernel refused or took a part only (ENOSPC then); see errno.
bool write_whole(int fd, std::string_view bytes, std::uint64_t offset);

}  // namespace polyglot
