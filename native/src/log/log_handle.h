// What `plg_log` is behind the C ABI: shared by log_api.cpp, which makes it, and by the driver, which writes to it.
#pragma once

#include "log/log_writer.h"

struct plg_log {
  polyglot::LogWriter writer;
};
