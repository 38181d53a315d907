"""Policies around a transport: plugins are found, policies ordered and compiled into one chain."""
