//! A proxy between workers and Postgres that understands the framing of the protocol's messages: it can cut a connection at its
//! COMMIT, before the server hears of it or before the client hears the answer. It can be cut as a whole, and led to another server.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::lock;

/// The answer to it is one byte, not a message.
const SSL_REQUEST: u32 = 80_877_103;
/// How the transaction of a batch begins; others, as those that take partitions over, begin in another way.
const BATCH_BEGINS: &[u8] = b"begin isolation level read committed; ";
/// Statements of a batch that writes rows, at least: its claim and one more.
const STATEMENTS_MIN: usize = 2;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never hears of the COMMIT.
    BeforeCommit,
    /// The COMMIT has taken effect, and the client never hears of that.
    AfterCommit,
}

/// Ends with the process.
pub struct WireProxy {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    server: Mutex<String>,
    off: AtomicBool,
    /// What becomes of the next COMMIT of a batch.
    armed: Mutex<Option<Cut>>,
    cuts: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// What both directions of a connection share.
#[derive(Default)]
struct Commit {
    /// The answers of the server are for nobody any more; the next one that tells of a COMMIT ends the connection.
    swallows: AtomicBool,
}

impl WireProxy {
    /// Forwards to `server`, a `host:port`.
    pub fn to(server: &str) -> WireProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        server.clone_into(&mut lock(&state.server));
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // What cannot be forwarded is closed.
                let _ = shared.forward(client);
            }
        });
        WireProxy { port, state }
    }

    /// New connections go to another server; those that are open end.
    pub fn redirect(&self, server: &str) {
        server.clone_into(&mut lock(&self.state.server));
        self.end_all();
    }

    /// Ends every connection, and every new one at once.
    pub fn cut(&self) {
        self.state.off.store(true, Ordering::SeqCst);
        self.end_all();
    }

    pub fn mend(&self) {
        self.state.off.store(false, Ordering::SeqCst);
    }

    /// The next batch that is committed is cut there.
    pub fn cut_at_commit(&self, cut: Cut) {
        *lock(&self.state.armed) = Some(cut);
    }

    /// How many connections were cut at their COMMIT.
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }

    fn end_all(&self) {
        for stream in lock(&self.state.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn forward(self: &Arc<State>, client: TcpStream) -> Result<()> {
        let server = lock(&self.server).clone();
        let mut open = lock(&self.open);
        if self.off.load(Ordering::SeqCst) {
            return Ok(());
        }
        let server = TcpStream::connect(server)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let commit = Arc::new(Commit::default());
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        let (state, shared) = (self.clone(), commit.clone());
        thread::spawn(move || {
            let _ = state.requests(&from, &to, &shared);
            end(&from, &to);
        });
        let (from, to) = (server.try_clone()?, client.try_clone()?);
        let state = self.clone();
        thread::spawn(move || {
            let _ = state.answers(&from, &to, &commit);
            end(&from, &to);
        });
        open.extend([client, server]);
        Ok(())
    }

    /// From the client to the server, message by message.
    fn requests(&self, mut from: &TcpStream, mut to: &TcpStream, commit: &Commit) -> Result<()> {
        // Before the first message with a type: requests for encryption, then the start of the session.
        loop {
            let (length, body) = untyped(from)?;
            to.write_all(&[&length[..], &body].concat())?;
            if body.get(..4) != Some(&SSL_REQUEST.to_be_bytes()) {
                break;
            }
        }
        // Since the batch began.
        let mut statements = None;
        loop {
            let (kind, message) = typed(&mut from)?;
            match kind {
                b'E' => statements = statements.map(|count| count + 1),
                b'Q' if message[5..].starts_with(BATCH_BEGINS) => statements = Some(0),
                b'Q' if message[5..].eq_ignore_ascii_case(b"commit\0") => {
                    let cut = (statements.take() >= Some(STATEMENTS_MIN))
                        .then(|| lock(&self.armed).take())
                        .flatten();
                    match cut {
                        Some(Cut::BeforeCommit) => {
                            self.cuts.fetch_add(1, Ordering::SeqCst);
                            return Ok(());
                        }
                        Some(Cut::AfterCommit) => commit.swallows.store(true, Ordering::SeqCst),
                        None => {}
                    }
                }
                _ => {}
            }
            to.write_all(&message)?;
        }
    }

    /// From the server to the client. The answer to a request for encryption comes before all messages, and is `N` here.
    fn answers(&self, mut from: &TcpStream, mut to: &TcpStream, commit: &Commit) -> Result<()> {
        let mut first = [0];
        from.peek(&mut first)?;
        if first[0] == b'N' {
            from.read_exact(&mut first)?;
            to.write_all(&first)?;
        }
        loop {
            let (kind, message) = typed(&mut from)?;
            if !commit.swallows.load(Ordering::SeqCst) {
                to.write_all(&message)?;
            } else if kind == b'C' && message[5..].starts_with(b"COMMIT") {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
        }
    }
}

fn end(one: &TcpStream, other: &TcpStream) {
    for stream in [one, other] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A message without a type: its length, itself included, and what follows.
fn untyped(mut from: &TcpStream) -> Result<([u8; 4], Vec<u8>)> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = vec![0; rest(length)?];
    from.read_exact(&mut body)?;
    Ok((length, body))
}

/// The type, and the whole message.
fn typed(from: &mut &TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let length = [head[1], head[2], head[3], head[4]];
    let mut message = head.to_vec();
    message.resize(5 + rest(length)?, 0);
    from.read_exact(&mut message[5..])?;
    Ok((head[0], message))
}

fn rest(length: [u8; 4]) -> Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    length
        .checked_sub(4)
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, "not the protocol of Postgres"))
}
