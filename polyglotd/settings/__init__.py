"""How settings are found, read and judged; `polyglotd.config` says which there are."""
