"""What the nemesis does: each fault a small object that begins and ends.

fault        what they have in common
processes    killed, stopped, paused
connections  cut, delayed, lost, half-closed, used up
machines     full disks, clocks that jump, a primary that is lost
all          every kind there is
"""
