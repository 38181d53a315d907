"""The functions of an event loop that sockets need: readiness, timers, waiting and waking tasks."""
