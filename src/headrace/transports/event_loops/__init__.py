"""What sockets need of an event loop: readiness, timers, tasks that wait and are woken."""
