"""`mlx-deepseek prove --demo`: a Lean to try it with, and a file to prove."""
