"""Property tests with generated episodes, and long runs that watch memory; see README.md beside this file."""
