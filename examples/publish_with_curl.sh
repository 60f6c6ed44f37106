#!/usr/bin/env bash
# Publish an event with curl, read it back, and see who is there. Start the server first: make run
set -euo pipefail

url=${POLYGLOT_URL:-http://localhost:4000}
key=${POLYGLOT_API_KEY:-valid_key_chat-app}
channel="$url/apps/${POLYGLOT_APP:-chat-app}/channels/${1:-room:lobby}"

curl --fail-with-body -sS -X POST "$channel/publish" \
  -H "Content-Type: application/json" -H "X-API-Key: $key" -H "Idempotency-Key: curl-$(date +%s)-$$" \
  -d '{"type": "message", "data": {"text": "Hello from curl"}}'
echo
curl --fail-with-body -sS -H "X-API-Key: $key" "$channel/history?limit=3"
echo
curl --fail-with-body -sS -H "X-API-Key: $key" "$channel/presence"
echo
