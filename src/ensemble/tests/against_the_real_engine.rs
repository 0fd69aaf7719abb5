//! Holds the simulated engine against the Docker Engine of this machine.
