"""What several assets share: materializing, the accelerator's lease, the pool and previews."""
