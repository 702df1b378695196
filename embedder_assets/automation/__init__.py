"""What starts runs without a hand: jobs, schedules and sensors. All are off until they are switched on."""
