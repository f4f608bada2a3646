"""Where trainings run: in this process, or on Ray Train workers."""
