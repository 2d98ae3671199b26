//! Tunnels: an upgraded exchange (RFC 9110 §7.8) from its 101 on. Bytes pass both ways uninspected.
//!
//! A tunnel holds a connection to the origin and a permit, so its silence is bounded: in both
//! directions by a limit of its own, and once one side has closed its half, by the time that the
//! other may be silent inside a body. A tunnel does not know when a protocol is over: a side that
//! closes and a side that is gone look the same.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep};

use crate::origin;

/// The longest time between two checks of a tunnel, by which a silence may exceed its limit. Fewer
/// checks are cheaper: ten thousand tunnels make two thousand checks a second.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// The longest silences of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelLimits {
    /// The longest silence in both directions.
    pub idle: Duration,
    /// The longest silence of the client once the origin has closed its half.
    pub client: Duration,
    /// The longest silence of the origin once the client has closed its half.
    pub origin: Duration,
}

impl TunnelLimits {
    /// Returns how long a tunnel may stay in this state.
    fn of(&self, last: &TunnelSnapshot) -> Duration {
        let client = if last.origin_closed { self.client } else { Duration::MAX };
        let origin = if last.client_closed { self.origin } else { Duration::MAX };
        self.idle.min(client).min(origin)
    }

    /// Returns the time between two checks: a quarter of the shortest limit, at most
    /// [`CHECK_INTERVAL_MAX`].
    fn check_interval(&self) -> Duration {
        (self.idle.min(self.client).min(self.origin) / 4).min(CHECK_INTERVAL_MAX)
    }
}

/// Joins the two ends of an upgraded exchange until either fails, both close, or they are silent
/// for too long. Its permit is held as long.
pub(crate) fn open(client: OnUpgrade, origin: OnUpgrade, permit: Option<origin::Permit>, limits: TunnelLimits) {
    tokio::spawn(async move {
        let _permit = permit;
        let counters = TunnelCounters::default();
        let passing = async {
            let (client, origin) = tokio::try_join!(client, origin).map_err(io::Error::other)?;
            pass(TokioIo::new(client), TokioIo::new(origin), &counters).await
        };
        tokio::select! {
            result = passing => if let Err(error) = result {
                tracing::debug!(%error, "an upgraded connection failed");
            },
            limit = silence(&counters, &limits) => {
                tracing::debug!(?limit, "closed a silent upgraded connection");
            }
        }
    });
}

/// Passes bytes both ways until both sides have closed.
async fn pass<C, O>(client: C, origin: O, counters: &TunnelCounters) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = TunnelSide { io: client, moved: &counters.moved, closed: &counters.client_closed };
    let mut origin = TunnelSide { io: origin, moved: &counters.moved, closed: &counters.origin_closed };
    copy_bidirectional(&mut client, &mut origin).await.map(drop)
}

/// Waits until nothing has changed for too long, and returns the limit.
async fn silence(counters: &TunnelCounters, limits: &TunnelLimits) -> Duration {
    let (mut last, mut since) = (counters.snapshot(), Instant::now());
    loop {
        sleep(limits.check_interval()).await;
        let (fresh, now) = (counters.snapshot(), Instant::now());
        let limit = limits.of(&last);
        if fresh != last {
            (last, since) = (fresh, now);
        } else if now.duration_since(since) >= limit {
            return limit;
        }
    }
}

/// Counters that both sides update.
#[derive(Debug, Default)]
struct TunnelCounters {
    /// Reads and writes that moved bytes.
    moved: AtomicU32,
    client_closed: AtomicBool,
    origin_closed: AtomicBool,
}

/// The counters at one time.
#[derive(Debug, PartialEq, Eq)]
struct TunnelSnapshot {
    moved: u32,
    client_closed: bool,
    origin_closed: bool,
}

impl TunnelCounters {
    fn snapshot(&self) -> TunnelSnapshot {
        TunnelSnapshot {
            moved: self.moved.load(Ordering::Relaxed),
            client_closed: self.client_closed.load(Ordering::Relaxed),
            origin_closed: self.origin_closed.load(Ordering::Relaxed),
        }
    }
}

/// One side of a tunnel, which counts reads and writes.
struct TunnelSide<'a, T> {
    io: T,
    moved: &'a AtomicU32,
    closed: &'a AtomicBool,
}

impl<T> TunnelSide<'_, T> {
    fn record(&self, bytes: usize) {
        if bytes > 0 {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TunnelSide<'_, T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        self.record(bytes);
        if bytes == 0 && buf.remaining() > 0 {
            self.closed.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TunnelSide<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.record(bytes);
        Poll::Ready(Ok(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(80);

    /// Opens a tunnel, does `then` with its two far ends, and returns the limit that ended it; zero
    /// if none did.
    fn ended_by(limits: TunnelLimits, then: impl AsyncFnOnce(&mut DuplexStream, &mut DuplexStream)) -> Duration {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let ((mut client, near), (mut origin, far)) = (duplex(64), duplex(64));
            let counters = TunnelCounters::default();
            let acts = async {
                then(&mut client, &mut origin).await;
                std::future::pending().await
            };
            tokio::select! {
                result = pass(near, far, &counters) => result.map(|()| Duration::ZERO).unwrap(),
                limit = silence(&counters, &limits) => limit,
                limit = acts => limit,
            }
        })
    }

    #[test]
    fn silence_in_both_directions_ends_a_tunnel() {
        let limits = TunnelLimits { idle: SHORT, client: LONG, origin: LONG };
        assert_eq!(ended_by(limits, async |_, _| ()), SHORT);
        // Traffic in one direction is enough to keep the tunnel open.
        let began = Instant::now();
        let limit = ended_by(limits, async |client, origin| {
            for _ in 0..12 {
                origin.write_all(b"x").await.unwrap();
                client.read_u8().await.unwrap();
                sleep(SHORT / 4).await;
            }
        });
        assert!(limit == SHORT && began.elapsed() > 3 * SHORT, "{:?}", began.elapsed());
    }

    #[test]
    fn the_side_left_open_has_the_limit_of_a_body() {
        let limits = TunnelLimits { idle: LONG, client: SHORT, origin: 2 * SHORT };
        assert_eq!(ended_by(limits, async |client, _| client.shutdown().await.unwrap()), limits.origin);
        assert_eq!(ended_by(limits, async |_, origin| origin.shutdown().await.unwrap()), limits.client);
        let short = TunnelLimits { idle: SHORT / 2, ..limits };
        assert_eq!(ended_by(short, async |client, _| client.shutdown().await.unwrap()), short.idle);
    }

    #[test]
    fn bytes_after_a_half_close_pass() {
        let limits = TunnelLimits { idle: LONG, client: LONG, origin: LONG };
        let limit = ended_by(limits, async |client, origin| {
            client.shutdown().await.unwrap();
            assert_eq!(origin.read(&mut [0]).await.unwrap(), 0);
            origin.write_all(b"bye").await.unwrap();
            origin.shutdown().await.unwrap();
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).await.unwrap();
            assert_eq!(bytes, b"bye");
        });
        assert_eq!(limit, Duration::ZERO);
    }
}
