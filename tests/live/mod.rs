//! Against real servers: containers of this machine's Docker Engine, with sshd and an engine of
//! their own. What is missing for that is installed and started.

mod bare_machine;
mod bindings;
mod conformance;
mod container_options;
mod containers;
mod demo;
mod digitalocean;
mod docker_commands;
mod docker_copy;
mod docker_logs;
mod docker_setup;
mod ec2;
mod engine_faults;
mod ensembles;
mod examples;
mod faults;
mod firewall;
mod firewall_kernel;
mod firewall_ufw;
mod hetzner;
mod hostile_values;
mod inside;
mod interruptions;
mod keys;
mod machines;
mod ownership;
mod podman;
mod reaching;
mod registries;
mod servers;
mod shells;
mod ssh;
mod stdlib;
mod transfers;
mod trouble;
