//! `light PORT`: an SSH server that costs next to nothing, for `hitc run bench.ssh`: it admits
//! everybody, and answers without starting a program.

#[path = "../tests/support/played.rs"]
mod played;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let address = ("0.0.0.0", port.unwrap_or(0));
    played::serve(tokio::net::TcpListener::bind(address).await?).await
}
