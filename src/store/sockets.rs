//! Sets options on our sessions' sockets, which sqlx 0.9 neither sets nor hands out. The only unsafe code of the store.
//!
//! - Nagle's algorithm off: a COPY would wait 40 ms for the delayed acknowledgement of its data before its end is sent (RFC 896,
//!   RFC 1122 section 4.2.3.2).
//! - Silence of the network ends a session: without that, a lane whose packets vanish would wait a quarter of an hour for its
//!   commit (tcp(7), `TCP_USER_TIMEOUT` and `TCP_KEEPIDLE`). A server that is only slow acknowledges, and is waited for.

/// How long sent data may stay unacknowledged, or a peer silent, before the connection counts as lost.
#[cfg(target_os = "linux")]
const SILENCE_MAX_SECONDS: libc::c_int = 30;
/// Idle for so long, the peer is asked whether it is there, and again at the same pace.
#[cfg(target_os = "linux")]
const PROBE_SECONDS: libc::c_int = 10;

/// Finds this process's connections to the server's port and sets the options on them; connections through a Unix socket have
/// nothing to set. What cannot be set stays slow, so nothing here is an error.
pub(super) fn set(server_port: u16) {
    #[cfg(target_os = "linux")]
    for descriptor in descriptors() {
        if peer_port(descriptor) == Some(server_port) {
            set_options(descriptor);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = server_port;
}

#[cfg(target_os = "linux")]
fn descriptors() -> Vec<libc::c_int> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The port that a TCP socket is connected to.
#[cfg(target_os = "linux")]
fn peer_port(descriptor: libc::c_int) -> Option<u16> {
    // SAFETY: all zeros is a valid `sockaddr_storage`.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `address`. Whatever the number is a descriptor of (it may
    // have been closed, or given out again), the call only looks.
    let found =
        unsafe { libc::getpeername(descriptor, (&raw mut address).cast(), &raw mut length) };
    if found != 0 {
        return None;
    }
    let port = match libc::c_int::from(address.ss_family) {
        // SAFETY: for this family the kernel wrote a `sockaddr_in`, which is smaller than and aligned as `sockaddr_storage`.
        libc::AF_INET => unsafe { (*(&raw const address).cast::<libc::sockaddr_in>()).sin_port },
        // SAFETY: as above, with a `sockaddr_in6`.
        libc::AF_INET6 => unsafe { (*(&raw const address).cast::<libc::sockaddr_in6>()).sin6_port },
        _ => return None,
    };
    Some(u16::from_be(port))
}

#[cfg(target_os = "linux")]
fn set_options(descriptor: libc::c_int) {
    let options = [
        (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, PROBE_SECONDS),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, PROBE_SECONDS),
        (
            libc::IPPROTO_TCP,
            libc::TCP_KEEPCNT,
            SILENCE_MAX_SECONDS / PROBE_SECONDS,
        ),
        (
            libc::IPPROTO_TCP,
            libc::TCP_USER_TIMEOUT,
            SILENCE_MAX_SECONDS * 1_000,
        ),
    ];
    for (level, option, value) in options {
        set_option(descriptor, level, option, value);
    }
}

#[cfg(target_os = "linux")]
fn set_option(
    descriptor: libc::c_int,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) {
    // SAFETY: the kernel reads the `size_of(value)` bytes of `value`. Setting the options on another socket than we meant (the number
    // may have been given out again) changes no more than when its bytes are sent and when its silence is noticed.
    unsafe {
        libc::setsockopt(
            descriptor,
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn a_session_s_socket_notices_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let session = TcpStream::connect(address).unwrap();
        set(address.port());
        let (mut value, mut length): (libc::c_int, libc::socklen_t) = (0, 4);
        // SAFETY: the kernel writes at most `length` bytes into `value`.
        let found = unsafe {
            libc::getsockopt(
                session.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_USER_TIMEOUT,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        assert_eq!((found, value), (0, SILENCE_MAX_SECONDS * 1_000));
    }
}
