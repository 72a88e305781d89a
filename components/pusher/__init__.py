"""Pusher: publishes a blessed model so that a reader never sees a partial one."""
