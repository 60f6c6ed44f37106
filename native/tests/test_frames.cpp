// What the server says, spelled as bytes.
#include <string>

#include "check.h"
#include "phoenix/frames.h"

namespace {

using namespace polyglot;

constexpr std::string_view kTopic = R"("room:lobby")";

TEST("replies") {
  std::string out;
  append_reply(out, Serializer::v1, "\"1\"", "7", kTopic, true, "{}");
  CHECK_EQ(out, R"({"topic":"room:lobby","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":7})");
  out.clear();
  append_reply(out, Serializer::v2, "\"1\"", "7", kTopic, false, R"({"reason":"forbidden"})");
  CHECK_EQ(out, R"(["1",7,"room:lobby","phx_reply",{"status":"error","response":{"reason":"forbidden"}}])");
}

TEST("pushes to one member and broadcasts") {
  std::string out;
  append_push(out, Serializer::v1, "\"1\"", kTopic, R"("event")", "[1]");
  CHECK_EQ(out, R"({"topic":"room:lobby","event":"event","payload":[1],"ref":null})");
  out.clear();
  append_push(out, Serializer::v2, "\"1\"", kTopic, R"("event")", "[1]");
  CHECK_EQ(out, R"(["1",null,"room:lobby","event",[1]])");
  out.clear();
  append_broadcast(out, Serializer::v2, kTopic, R"("event")", "[1]");
  CHECK_EQ(out, R"([null,null,"room:lobby","event",[1]])");
}

TEST("ends") {
  std::string out;
  append_end(out, Serializer::v1, "\"1\"", kTopic, R"("phx_close")");
  CHECK_EQ(out, R"({"topic":"room:lobby","event":"phx_close","payload":{},"ref":"1"})");
  out.clear();
  append_end(out, Serializer::v2, "\"1\"", kTopic, R"("phx_error")");
  CHECK_EQ(out, R"(["1","1","room:lobby","phx_error",{}])");
}

TEST("frames are put behind what is there") {
  std::string out = "before";
  append_end(out, Serializer::v2, "1", kTopic, R"("phx_close")");
  CHECK_EQ(out, R"(before[1,1,"room:lobby","phx_close",{}])");
}

}  // namespace
