"""The faults that the nemesis injects, each an object with a begin and an end.

fault        the base class
processes    killed, stopped, paused
connections  cut, delayed, lost, half-closed, exhausted
machines     full disks, clocks that jump, a primary that is lost
all          the list of all kinds
"""
