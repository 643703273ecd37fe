"""The Hub-compatible API, read side: what unmodified clients send, answered as they expect it.

One request passes `doors.py` (who asks, errors become answers), `finding.py` (names to rows), one view, and
leaves through `wire.py` (JSON shapes) or `delivery.py` (bytes).
"""
