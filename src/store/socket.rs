//! Options of our sessions' sockets, which sqlx 0.9 neither sets nor hands out.
//! - Nagle's algorithm off: a COPY would wait 40 ms for the delayed acknowledgement of its data before its end is sent (RFC 896,
//!   RFC 1122 section 4.2.3.2).
//! - Keep-alive and a limit on unacknowledged bytes: a server that vanished without a word is noticed within half a minute, where
//!   a lane would wait for its answer for ever.
//!
//! The only unsafe code of the store.

/// Finds this process's connections to the server's port and sets the options on them; connections through a Unix socket have
/// nothing to set. What cannot be set stays as it was, so nothing here is an error.
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
const OPTIONS: [(libc::c_int, libc::c_int, libc::c_int); 6] = [
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 10),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 5),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
    // Milliseconds that sent bytes may stay unacknowledged.
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 30_000),
];

#[cfg(target_os = "linux")]
fn set_options(descriptor: libc::c_int) {
    for (level, name, value) in OPTIONS {
        // SAFETY: the kernel reads the `size_of(value)` bytes of `value`. Setting the options on another socket than we meant changes no
        // more than when its bytes are sent and when a peer that is gone is noticed.
        unsafe {
            libc::setsockopt(
                descriptor,
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
}
