"""Tests that need Ray and a cluster."""
