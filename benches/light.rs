//! `light PORT`: a mock SSH server with negligible CPU time, for `hitc run bench.ssh`. Accepts every
//! login, and answers without starting a program.

#[path = "../tests/support/mock_sshd.rs"]
mod mock_sshd;

#[path = "../tests/support/queue.rs"]
mod queue;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    mock_sshd::serve(queue::listen(port.unwrap_or(0))?).await
}
