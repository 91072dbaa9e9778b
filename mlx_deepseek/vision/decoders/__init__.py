"""What turns codes, latents and velocities into pixels, and back."""
