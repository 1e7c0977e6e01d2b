"""Tests of parts that work together: real servers and processes on the loopback interface."""
