//! A client that writes and reads raw frames.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{BOUND, Cache};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The name and value of a field.
pub(super) type Field<'a> = (&'a str, &'a str);

/// Returns the bytes of a frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Returns the bytes of a field block: literals without indexing, names and values as they are (RFC
/// 7541 §6.2.2).
pub(super) fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    let string = |block: &mut Vec<u8>, text: &str| {
        match u8::try_from(text.len()) {
            Ok(short @ 0..127) => block.push(short),
            _ => {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
        }
        block.extend_from_slice(text.as_bytes());
    };
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A connection.
pub(super) struct Client(pub(super) TcpStream);

/// A frame as received.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Client {
    pub(super) fn connect(cache: &Cache) -> Self {
        let mut socket = TcpStream::connect(cache.addr()).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Self(socket)
    }

    /// Sends bytes; false where the other side has ended the connection.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Reads a frame; `None` where the connection has ended.
    pub(super) fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a stream has its response, and tells whether that is a 200; `None` where the
    /// stream was reset or the connection ended.
    pub(super) fn answer(&mut self, stream: u32) -> Option<bool> {
        let mut is_ok = None;
        loop {
            let frame = self.frame()?;
            match frame.kind {
                // The first byte is the indexed field `:status: 200` (RFC 7541 appendix A).
                HEADERS if frame.stream == stream => is_ok = Some(frame.payload.first() == Some(&0x88)),
                RST_STREAM if frame.stream == stream => return is_ok,
                GOAWAY => return is_ok,
                _ => {}
            }
            if frame.stream == stream && frame.kind <= HEADERS && frame.flags & END_STREAM != 0 {
                return is_ok;
            }
        }
    }

    /// Reads until the connection ends. Tells whether the server gave a reason (GOAWAY).
    pub(super) fn ended(&mut self) -> bool {
        let mut said = false;
        while let Some(frame) = self.frame() {
            said |= frame.kind == GOAWAY;
        }
        said
    }
}
