//! The end of a byte stream: a TCP port or a Unix socket.

use std::{fmt, str::FromStr};

/// A TCP port or Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or address, and a port.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(String),
}

impl FromStr for Endpoint {
    type Err = String;

    /// Parses `PORT`, `HOST:PORT` or `/PATH`. The host is 127.0.0.1 by default.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Endpoint::Unix(text.to_owned()));
        }
        let wrong = || format!("invalid endpoint `{text}`: expected PORT, HOST:PORT or /PATH");
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        Ok(Endpoint::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp(host, port) => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_endpoints() {
        let parse = |text: &str| text.parse::<Endpoint>().map(|e| e.to_string());
        assert_eq!(parse("80").unwrap(), "127.0.0.1:80");
        assert_eq!(parse("db:5432").unwrap(), "db:5432");
        assert_eq!(parse("[::1]:80").unwrap(), "[::1]:80");
        assert_eq!(parse("/run/x.sock").unwrap(), "/run/x.sock");
        for bad in ["", "x", "db:", "a b:1", "70000"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
