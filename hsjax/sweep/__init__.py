"""Lists of runs: their lines, jobs and launchers, and tables of what they found."""
