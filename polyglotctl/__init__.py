"""polyglotctl"""
