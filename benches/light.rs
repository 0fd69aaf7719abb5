//! `light PORT`: an SSH server that costs next to nothing, for `hitc run bench.ssh`: it admits
//! everybody, and answers without starting a program.

#[path = "../tests/support/played.rs"]
mod played;

#[path = "../tests/support/queue.rs"]
mod queue;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    played::serve(queue::listen(port.unwrap_or(0))?).await
}
