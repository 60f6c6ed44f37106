// A log's directory for tests, as Python hands it to the writer: an empty first segment with its head, and a mark.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "log/log_writer.h"
#include "log/segment_file.h"
#include "record_checker.h"

namespace check {

class LogDirectory {
 public:
  LogDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "polyglot-log.XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    directory_fd_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mark_fd_ = ::open((path_ / "mark").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    polyglot::write_whole(mark_fd_, std::string(32, '\0'), 0);
    polyglot::append_segment_head(head_, 0, 0, "log_test", "");
  }

  ~LogDirectory() {
    ::close(directory_fd_);
    ::close(mark_fd_);
    std::filesystem::remove_all(path_);
  }

  LogDirectory(const LogDirectory&) = delete;
  LogDirectory& operator=(const LogDirectory&) = delete;

  // For a writer that begins at position 0.
  polyglot::LogOptions options() {
    polyglot::LogOptions options;
    options.directory_fd = directory_fd_;
    options.segment_fd = polyglot::create_segment(directory_fd_, 0, head_);
    options.mark_fd = mark_fd_;
    options.segment_size = options.segment_head_bytes = head_.size();
    options.log_id = "log_test";
    return options;
  }

  std::size_t head_bytes() const { return head_.size(); }

  std::string file(const std::string& name) const {
    std::ifstream in(path_ / name, std::ios::binary);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }

  std::string segment(std::uint64_t first) const { return file(polyglot::segment_name(first)); }

  bool has_segment(std::uint64_t first) const { return std::filesystem::exists(path_ / polyglot::segment_name(first)); }

  // As a reader in another process reads it.
  std::uint64_t mark() const {
    std::uint64_t end = 0;
    return ::pread(mark_fd_, &end, sizeof end, 0) == sizeof end ? end : 0;
  }

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int directory_fd_ = -1;
  int mark_fd_ = -1;
  std::string head_;
};

}  // namespace check
