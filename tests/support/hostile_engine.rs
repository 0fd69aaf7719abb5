//! A Docker Engine with one container, whose streams of output, events and progress have no end in places
//! where they should. The attack says where.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// The full id of the container `app`, and of the commands in it.
const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What a stream begins with, and what follows without end.
fn stream(attack: &str) -> (&'static [u8], Vec<u8>) {
    let x = || vec![b'x'; 32 * 1024];
    match attack {
        // A frame of 4 GiB of standard output.
        "frame" => (b"\x01\0\0\0\xff\xff\xff\xff", x()),
        // An object with a text, and one over many lines.
        "message" => (b"{\"status\":\"", x()),
        "lines" => (b"{\"status\":[", b"{\n},\n\n".repeat(5000)),
        // A log of a terminal.
        _ => (b"", x()),
    }
}

/// Treats a connection.
pub async fn treat(stream_of_client: impl AsyncRead + AsyncWrite + Unpin, attack: &str) {
    // The client may be gone at any time.
    let _ = answer(BufReader::new(stream_of_client), attack).await;
}

async fn answer(
    mut client: BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    attack: &str,
) -> std::io::Result<()> {
    loop {
        let (mut request, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if client.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
            request.push_str(&line);
        }
        client.read_exact(&mut vec![0; length]).await?;
        let path = request.split(' ').nth(1).unwrap();
        let path = path.split('?').next().unwrap();
        let container = format!(
            "{{\"Id\":\"{ID}\",\"Names\":[\"/app\"],\"Name\":\"/app\",\"Image\":\"x\",\"ImageID\":\"sha256:{ID}\",\
             \"State\":\"running\",\"Status\":\"Up\",\"Created\":1,\"Labels\":{{}}}}"
        );
        let body = match path.rsplit_once('/').unwrap() {
            (_, "_ping") => "OK".to_owned(),
            (_, "version") => "{\"ApiVersion\":\"1.44\"}".to_owned(),
            (parent, "json") if parent.ends_with("/containers") => format!("[{container}]"),
            (_, "json") => format!(
                "{{\"Id\":\"{ID}\",\"Name\":\"/app\",\"Created\":\"2024-01-01T00:00:00Z\",\
                                    \"State\":{{\"Status\":\"running\",\"Running\":true}},\
                                    \"Config\":{{\"Labels\":{{}}}},\"HostConfig\":{{}}}}"
            ),
            (_, "exec") => format!("{{\"Id\":\"{ID}\"}}"),
            (_, last) => {
                let status = match (attack, last) {
                    ("error", _) => "500 Oops\r\nContent-Length: 99999999999",
                    (_, "start" | "attach") => {
                        "101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp"
                    }
                    _ => "200 OK",
                };
                let (first, part) = stream(attack);
                let head = match attack {
                    "head" => "HTTP/1.1 200 OK\r\nA: ".to_owned(),
                    _ => format!("HTTP/1.1 {status}\r\n\r\n"),
                };
                client.write_all(head.as_bytes()).await?;
                client.write_all(first).await?;
                loop {
                    client.write_all(&part).await?;
                }
            }
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await?;
        client.write_all(body.as_bytes()).await?;
        client.flush().await?;
    }
}
