"""This file's place puts `tests/` on the import path, so that suites can share tables (`transcripts.differences`)."""
