"""Settings, and where they come from.

- `settings`: every setting with its range and default.
- `loader`: code, environment and file, in that order.
- `reply_forms`: replies that a setting teaches a connector to recognise.
"""
