//! Limits of an engine's responses, applied while they are received.
//!
//! bollard buffers a response until it is complete, a JSON message of a stream until its end, and a frame
//! of output as far as its header says, which may be 4 GiB. None of that has a limit, so the parts of a
//! response are measured on their way to bollard (HTTP/1.1: RFC 9112). They are not changed.

use std::io;

/// The largest response that is kept as a whole, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The longest message of a stream of JSON, in bytes. Engines send some KiB, and labels. bollard parses an
/// incomplete message again with each part of it, so that a much longer one would also take long.
const MAX_MESSAGE: usize = 1024 * 1024;
/// The longest line of a terminal's log, in bytes. A program that only moves the cursor writes no other.
const MAX_LINE: usize = 4 * 1024 * 1024;
/// The largest frame of a container's output, in bytes. Engines send 32 KiB at most.
const MAX_FRAME: usize = 1024 * 1024;
/// The longest head of a response, in bytes. hyper's limit is of the same size.
const MAX_HEAD: usize = 64 * 1024;

/// Measures the responses on a connection.
#[derive(Default)]
pub(super) struct AnswerLimit {
    place: Place,
    content: Content,
    /// The request has the method HEAD, so that the response has no body.
    is_head: bool,
}

/// What comes next on the connection.
#[derive(Default)]
enum Place {
    /// Nothing: no request was sent.
    #[default]
    Idle,
    /// The head of the response, of which these bytes were received.
    Head(Vec<u8>),
    Body(Body),
    /// Anything: the connection does not speak HTTP any more (status 101).
    Upgraded,
}

/// What comes next in a body.
enum Body {
    /// So many bytes.
    Fixed(u64),
    /// All bytes until the connection is closed.
    UntilClose,
    /// The line with the size of a chunk, as far as it was received.
    Size { size: u64, is_over: bool },
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// The lines after the last chunk; whether nothing was received of this one.
    Trailers { is_empty: bool },
}

/// How bollard reads a body, and what it has buffered of it.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// As a whole. So much was received, and may be.
    Whole(usize, usize),
    /// Bit by bit.
    Raw,
    Messages(Message),
    Frames(Frame),
}

impl Default for Content {
    fn default() -> Self {
        Content::Whole(0, MAX_ANSWER)
    }
}

/// The JSON message that is being received.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    length: usize,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

/// The frame of output that is being received (`ContainerAttach` in the engine's API).
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// Its header, which has eight bytes.
    Header(Vec<u8>),
    /// So many bytes of its payload.
    Payload(usize),
    /// Instead of frames, a line of a terminal's log. It has so many bytes so far.
    Line(usize),
}

impl AnswerLimit {
    /// Notes what is sent on the connection.
    pub fn sent(&mut self, bytes: &[u8]) {
        // Everything else is the body of a request, or the input of a program.
        if let (Place::Idle, Some((method, content))) = (&self.place, read_request(bytes)) {
            self.place = Place::Head(Vec::new());
            self.content = content;
            self.is_head = method == b"HEAD ";
        }
    }

    /// Measures what was received. Returns how much of it to pass on before the rest is measured. After an
    /// upgrade, bollard reads a terminal's output as it comes, so its reads must be the same as ours.
    ///
    /// # Errors
    /// Says which limit is exceeded.
    pub fn received(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match &mut self.place {
                // hyper refuses it.
                Place::Idle => return Ok(bytes.len()),
                Place::Upgraded => {
                    self.content.add(rest, true)?;
                    return Ok(bytes.len());
                }
                Place::Head(head) => {
                    let line = rest.iter().position(|byte| *byte == b'\n');
                    let length = line.map_or(rest.len(), |end| end + 1);
                    head.extend_from_slice(&rest[..length]);
                    at += length;
                    if head.len() > MAX_HEAD {
                        return Err(too_large("the head of the answer", MAX_HEAD));
                    }
                    if head.iter().all(|byte| b"\r\n".contains(byte)) {
                        // hyper skips empty lines before the head.
                        head.clear();
                    } else if head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n") {
                        let head = std::mem::take(head);
                        self.begin(&head);
                        if matches!(self.place, Place::Upgraded) {
                            return Ok(at);
                        }
                    }
                }
                Place::Body(body) => {
                    let (length, is_over) = body.take(rest, &mut self.content)?;
                    at += length;
                    if is_over {
                        self.place = Place::Idle;
                    }
                }
            }
        }
        Ok(bytes.len())
    }

    /// Begins with what follows a head.
    fn begin(&mut self, head: &[u8]) {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status: u16 = status.and_then(|code| code.parse().ok()).unwrap_or(0);
        let (mut length, mut is_chunked, mut is_coded) = (None, false, false);
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.trim().to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "transfer-encoding" => {
                    is_coded = true;
                    is_chunked = value.trim().to_ascii_lowercase().ends_with("chunked");
                }
                _ => {}
            }
        }
        if status >= 400 {
            // bollard reads the message of an error as a whole.
            self.content = Content::Whole(0, MAX_MESSAGE);
        }
        self.place = match (status, length) {
            (101, _) => Place::Upgraded,
            (100..200, _) => Place::Head(Vec::new()),
            (204 | 304, _) => Place::Idle,
            _ if self.is_head => Place::Idle,
            _ if is_chunked => Place::Body(Body::SIZE),
            (_, Some(0)) if !is_coded => Place::Idle,
            (_, Some(length)) if !is_coded => Place::Body(Body::Fixed(length)),
            _ => Place::Body(Body::UntilClose),
        };
    }
}

impl Body {
    const SIZE: Body = Body::Size {
        size: 0,
        is_over: false,
    };

    /// Takes a part of these bytes, of which there is at least one. Returns its length, and whether the body
    /// is over.
    fn take(&mut self, bytes: &[u8], content: &mut Content) -> io::Result<(usize, bool)> {
        let up_to = |left: u64| usize::try_from(left).map_or(bytes.len(), |n| n.min(bytes.len()));
        let first = bytes.first().copied().unwrap_or_default();
        match self {
            Body::UntilClose => {
                content.add(bytes, false)?;
                Ok((bytes.len(), false))
            }
            Body::Fixed(left) | Body::Chunk(left) => {
                let length = up_to(*left);
                content.add(&bytes[..length], false)?;
                *left -= length as u64;
                let is_over = *left == 0;
                if is_over && matches!(self, Body::Chunk(_)) {
                    *self = Body::ChunkEnd;
                    return Ok((length, false));
                }
                Ok((length, is_over))
            }
            Body::Size { size, is_over } => {
                match char::from(first) {
                    '\n' if *size == 0 => *self = Body::Trailers { is_empty: true },
                    '\n' => *self = Body::Chunk(*size),
                    _ if *is_over => {}
                    digit => match digit.to_digit(16) {
                        Some(digit) if *size < 1 << 60 => *size = *size * 16 + u64::from(digit),
                        Some(_) => return Err(io::Error::other("invalid size of a chunk")),
                        // An extension, or spaces.
                        None => *is_over = true,
                    },
                }
                Ok((1, false))
            }
            Body::ChunkEnd => {
                if first == b'\n' {
                    *self = Body::SIZE;
                }
                Ok((1, false))
            }
            Body::Trailers { is_empty } => {
                let is_over = first == b'\n' && *is_empty;
                *is_empty = first == b'\n' || first == b'\r' && *is_empty;
                Ok((1, is_over))
            }
        }
    }
}

impl Content {
    /// Adds bytes that bollard buffers until a part is complete.
    fn add(&mut self, bytes: &[u8], is_upgraded: bool) -> io::Result<()> {
        match self {
            Content::Raw => Ok(()),
            Content::Whole(length, limit) => {
                *length += bytes.len();
                if length > limit {
                    return Err(too_large("the answer", *limit));
                }
                Ok(())
            }
            Content::Messages(message) => bytes.iter().try_for_each(|byte| message.add(*byte)),
            Content::Frames(frame) => frame.add(bytes, is_upgraded),
        }
    }
}

impl Message {
    /// Adds a byte. Line ends do not end a message: bollard continues with the next line if it is
    /// incomplete.
    fn add(&mut self, byte: u8) -> io::Result<()> {
        self.length += 1;
        if self.length > MAX_MESSAGE {
            return Err(too_large("a message of the answer", MAX_MESSAGE));
        }
        if self.in_text {
            self.in_text = byte != b'"' || self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            return Ok(());
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.length = 0;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Frame {
    fn add(&mut self, mut bytes: &[u8], is_upgraded: bool) -> io::Result<()> {
        while let Some(first) = bytes.first() {
            let taken = match self {
                // A terminal's output has no frames. bollard passes it on at once, or if it is not of an
                // upgraded connection, line by line.
                Frame::Header(header) if header.is_empty() && *first > 2 => {
                    if is_upgraded {
                        return Ok(());
                    }
                    *self = Frame::Line(0);
                    0
                }
                Frame::Header(header) => {
                    header.push(*first);
                    if let [_, _, _, _, a, b, c, d] = header[..] {
                        let length = u32::from_be_bytes([a, b, c, d]) as usize;
                        if length > MAX_FRAME {
                            return Err(too_large("a frame of the output", MAX_FRAME));
                        }
                        *self = Frame::payload(length);
                    }
                    1
                }
                Frame::Payload(left) => {
                    let length = bytes.len().min(*left);
                    *self = Frame::payload(*left - length);
                    length
                }
                Frame::Line(before) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let length = end.map_or(bytes.len(), |end| end + 1);
                    if *before + length > MAX_LINE {
                        return Err(too_large("a line of the output", MAX_LINE));
                    }
                    *self = match end {
                        Some(_) => Frame::Header(Vec::new()),
                        None => Frame::Line(*before + length),
                    };
                    length
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn payload(length: usize) -> Self {
        match length {
            0 => Frame::Header(Vec::new()),
            _ => Frame::Payload(length),
        }
    }
}

fn too_large(what: &str, limit: usize) -> io::Error {
    let limit = match limit / 1024 / 1024 {
        0 => format!("{} KiB", limit / 1024),
        mebibytes => format!("{mebibytes} MiB"),
    };
    io::Error::other(format!("{what} is larger than {limit}"))
}

/// The method of a request with these first bytes, and how bollard reads its response; none if they begin
/// no request.
fn read_request(bytes: &[u8]) -> Option<(&'static [u8], Content)> {
    let methods: [&[u8]; 5] = [b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD "];
    let method = methods
        .into_iter()
        .find(|method| bytes.starts_with(method))?;
    let rest = &bytes[method.len()..];
    let end = rest.iter().position(|byte| b" ?".contains(byte))?;
    let path = std::str::from_utf8(&rest[..end]).ok()?;
    Some((method, content_of(path)))
}

/// How bollard reads the response for a path.
fn content_of(path: &str) -> Content {
    let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    if ends(&["/logs", "/attach"]) || path.contains("/exec/") && path.ends_with("/start") {
        Content::Frames(Frame::payload(0))
    } else if ends(&[
        "/events",
        "/stats",
        "/build",
        "/images/create",
        "/push",
        "/images/load",
    ]) {
        Content::Messages(Message::default())
    } else if ends(&["/archive", "/export", "/get", "/session", "/grpc"]) {
        Content::Raw
    } else {
        Content::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than every limit of a part.
    const ENDLESS: usize = MAX_LINE + MAX_MESSAGE;
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn chunk(bytes: &[u8]) -> Vec<u8> {
        [
            format!("{:x};x=y\r\n", bytes.len()).as_bytes(),
            bytes,
            b"\r\n",
        ]
        .concat()
    }

    /// How a connection ends on which a request is sent, and then receives these bytes and `part` again and
    /// again, in pieces of `size`: how much was received, and the error. Ends after `most` bytes.
    fn received(
        path: &str,
        first: &[u8],
        part: &[u8],
        size: usize,
        most: usize,
    ) -> (usize, String) {
        let mut limit = AnswerLimit::default();
        limit.sent(format!("GET {path}?a=b HTTP/1.1\r\n\r\n").as_bytes());
        let mut count = 0;
        for part in std::iter::once(first).chain(std::iter::repeat(part)) {
            for mut piece in part.chunks(size) {
                while !piece.is_empty() {
                    match limit.received(piece) {
                        Ok(passed) => piece = &piece[passed..],
                        Err(error) => return (count, error.to_string()),
                    }
                }
            }
            count += part.len();
            if count > most {
                break;
            }
        }
        (count, String::new())
    }

    #[test]
    fn what_has_no_end_is_an_error() {
        let x = [b'x'; 4096];
        let one_line = chunk(&x);
        let answer = "the answer is larger than 64 MiB";
        let refusal = "the answer is larger than 1 MiB";
        let message = "a message of the answer is larger than 1 MiB";
        let line = "a line of the output is larger than 4 MiB";
        let frame = "a frame of the output is larger than 1 MiB";
        let huge: &[u8] = b"\x01\0\0\0\xff\xff\xff\xff";
        let begin = |content: &[u8]| [HEAD, &chunk(content)].concat();
        let upgraded = [b"HTTP/1.1 101 UPGRADED\r\n\r\n", huge].concat();
        let failed = b"HTTP/1.1 500 Oops\r\nContent-Length: 99999999999\r\n\r\n";
        let interim = [b"\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", HEAD].concat();
        for (path, first, part, error, at_least) in [
            ("/_ping", HEAD, &*one_line, answer, MAX_ANSWER),
            ("/_ping", &interim, &one_line, answer, MAX_ANSWER),
            ("/events", HEAD, &chunk(b"{\"a\":\n\n"), message, 0),
            ("/events", HEAD, &chunk(b"{\"a\":[]\n"), message, 0),
            ("/events", HEAD, &chunk(b"[{}\n"), message, 0),
            (
                "/events",
                &begin(b"\"\\\""),
                &chunk(b"{}}\\\"\n"),
                message,
                0,
            ),
            ("/events", HEAD, &chunk(b"   \r\n"), message, MAX_MESSAGE),
            ("/images/create", HEAD, &one_line, message, MAX_MESSAGE),
            (
                "/build",
                b"HTTP/1.1 200 OK\r\n\r\n",
                &x,
                message,
                MAX_MESSAGE,
            ),
            ("/containers/a/stats", failed, &x, refusal, MAX_MESSAGE),
            ("/containers/a/logs", HEAD, &one_line, line, MAX_LINE),
            ("/containers/a/logs", &begin(huge), &x, frame, 0),
            ("/containers/a/logs", HEAD, &chunk(huge), frame, 0),
            (
                "/containers/a/logs",
                &begin(b"xyz\n\x01\0"),
                &chunk(&huge[2..]),
                frame,
                0,
            ),
            ("/containers/a/attach", &upgraded, &x, frame, 0),
            ("/exec/a/start", &upgraded, &x, frame, 0),
            // Numbers, lines and heads.
            ("/_ping", HEAD, b"0", "", ENDLESS),
            ("/_ping", HEAD, b"f", "invalid size of a chunk", 0),
            (
                "/_ping",
                b"",
                &x,
                "the head of the answer is larger than 64 KiB",
                MAX_HEAD,
            ),
            // Passed on as they come.
            ("/containers/a/archive", HEAD, &one_line, "", ENDLESS),
            (
                "/events",
                HEAD,
                &chunk(b"{\"a\": [\"]\\\\\"]}\r\n"),
                "",
                ENDLESS,
            ),
            (
                "/exec/a/start",
                b"HTTP/1.1 101 UPGRADED\r\n\r\n",
                &x,
                "",
                ENDLESS,
            ),
            (
                "/containers/a/logs",
                HEAD,
                &chunk(b"\x01\0\0\0\0\0\0\x03a\nb\x02\0\0\0\0\0\0\0"),
                "",
                ENDLESS,
            ),
            (
                "/containers/a/logs",
                HEAD,
                &chunk(b"of a terminal\n"),
                "",
                ENDLESS,
            ),
        ] {
            // An answer of 64 MiB byte by byte takes long.
            for size in [4096, 7] {
                let size = if at_least == MAX_ANSWER { 4096 } else { size };
                // With the heads of small chunks.
                let most = if error.is_empty() {
                    at_least
                } else {
                    6 * at_least.max(MAX_MESSAGE)
                };
                let (count, found) = received(path, first, part, size, most);
                assert_eq!(found, error, "{path} {:?}", part.escape_ascii().to_string());
                assert!(count + 8192 >= at_least, "{path}: {count}");
            }
        }
    }

    /// The end of each response is found, so that the next one has limits of its own.
    #[test]
    fn responses_follow_each_other() {
        let mut limit = AnswerLimit::default();
        for (request, response) in [
            (
                "GET /_ping",
                &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"[..],
            ),
            (
                "HEAD /containers/a/archive",
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            ),
            (
                "POST /x",
                b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
            ),
            ("POST /x", b"HTTP/1.1 304 Not Modified\n\n"),
            ("POST /x", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            ("GET /x", &[HEAD, &*chunk(b"text"), b"0\r\n\r\n"].concat()),
            (
                "GET /x",
                &[HEAD, &*chunk(b"text"), b"0\r\nA: b\r\n\r\n"].concat(),
            ),
        ] {
            for size in [1, 1000] {
                limit.sent(format!("{request} HTTP/1.1\r\n\r\n").as_bytes());
                assert!(matches!(limit.place, Place::Head(_)), "{request}");
                for part in response.chunks(size) {
                    assert_eq!(limit.received(part).unwrap(), part.len());
                }
                assert!(matches!(limit.place, Place::Idle), "{request} {size}");
            }
        }
    }

    /// What looks like a request in the body of one, or in the input of a program, changes no limit.
    #[test]
    fn only_requests_are_requests() {
        let mut limit = AnswerLimit::default();
        limit.sent(b"PUT /containers/a/logs HTTP/1.1\r\n\r\n");
        limit.sent(b"GET /_ping HTTP/1.1");
        assert!(matches!(limit.content, Content::Frames(_)));
        limit.received(b"HTTP/1.1 101 UPGRADED\r\n\r\n").unwrap();
        limit.sent(b"GET /_ping HTTP/1.1");
        assert!(matches!(limit.content, Content::Frames(_)));
        assert!(matches!(limit.place, Place::Upgraded));
    }

    /// bollard reads a terminal's output as it comes: each read may begin with a header.
    #[test]
    fn reads_after_an_upgrade_begin_at_its_head() {
        let mut limit = AnswerLimit::default();
        limit.sent(b"POST /exec/a/start HTTP/1.1\r\n\r\n");
        let head = b"HTTP/1.1 101 UPGRADED\r\n\r\n";
        let bytes = [&head[..], b"x\x01\0\0\0\xff\xff\xff\xff"].concat();
        assert_eq!(limit.received(&bytes).unwrap(), head.len());
        limit.received(&bytes[head.len()..]).unwrap();
        assert!(limit.received(&bytes[head.len() + 1..]).is_err());
    }
}
