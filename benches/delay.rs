//! `delay LISTEN-PORT TO-PORT MILLISECONDS`: a proxy with latency, for `hitc run bench.ssh`.

use std::time::Duration;

#[path = "../tests/support/delay.rs"]
mod delay;

#[path = "../tests/support/queue.rs"]
mod queue;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u16>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (port, to, round_trip) = (next(), next(), next());
    delay::delay(
        queue::listen(port)?,
        to,
        Duration::from_millis(round_trip.into()),
    )
    .await
}
