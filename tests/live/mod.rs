//! Against real servers: containers of this machine's Docker Engine, with sshd and an engine of
//! their own. What is missing for that is installed and started.

mod bare_machine;
mod conformance;
mod containers;
mod demo;
mod digitalocean;
mod ec2;
mod ensembles;
mod examples;
mod faults;
mod hetzner;
mod interruptions;
mod keys;
mod machines;
mod ownership;
mod reaching;
mod registries;
mod servers;
mod ssh;
mod stdlib;
mod transfers;
mod trouble;
