"""Policies around a transport: finds plugins, orders policies and compiles them into one chain."""
