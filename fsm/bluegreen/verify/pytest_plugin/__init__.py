"""Plugin of pytest: `--bluegreen-verify` checks every table that a project declares."""
