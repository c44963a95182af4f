//! TLS to Postgres: what a url that does not insist on it means, and what to say when a certificate is refused. Knows no
//! session and no statement.

use std::net::IpAddr;

use rustls::{CertificateError, Error as TlsError};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The modes `prefer` (which is the default) and `allow` let whoever is in between choose plaintext. To another machine they
/// therefore count as `verify-full`; plaintext has to be asked for by `disable`.
pub(super) fn without_fallback(options: PgConnectOptions) -> PgConnectOptions {
    match options.get_ssl_mode() {
        PgSslMode::Prefer | PgSslMode::Allow if !is_local(&options) => {
            options.ssl_mode(PgSslMode::VerifyFull)
        }
        _ => options,
    }
}

/// What is not verified although the server is another machine; `None`: nothing is left open.
pub(super) fn left_open(options: &PgConnectOptions) -> Option<&'static str> {
    if is_local(options) {
        return None;
    }
    match options.get_ssl_mode() {
        PgSslMode::VerifyFull | PgSslMode::Prefer | PgSslMode::Allow => None,
        PgSslMode::VerifyCa => Some(
            "sslmode=verify-ca takes a certificate of any name from an authority that it trusts",
        ),
        PgSslMode::Require => Some("sslmode=require encrypts, and takes any server's certificate"),
        PgSslMode::Disable => Some("sslmode=disable sends everything as plain text"),
    }
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Why the handshake failed, as far as the settings can mend it: what is wrong, and what to do.
pub(super) fn refusal(error: &std::io::Error) -> Option<(String, &'static str)> {
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    let hint = match error {
        TlsError::InvalidCertificate(reason) => match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "It is of no authority that this machine trusts: name its authority's certificate in the url, \
                 sslrootcert=/path/to/ca.pem"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "Write the host into the url by the name that the certificate has, or give the server a certificate for this one"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "The server needs a new certificate"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "See whether the clocks of both machines are right"
            }
            _ => "The server needs another certificate",
        },
        TlsError::AlertReceived(_) => {
            "The server refuses the handshake: see its log, and whether sslcert and sslkey are what it asks for"
        }
        _ => "See the server's log, and the sslrootcert, sslcert and sslkey of the url",
    };
    Some((error.to_string(), hint))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn mode(url: &str) -> PgSslMode {
        let options = PgConnectOptions::from_str(url).unwrap();
        without_fallback(options).get_ssl_mode()
    }

    #[test]
    fn without_a_mode_another_machine_is_verified_and_this_one_need_not_be() {
        for url in [
            "postgres://u@db.example.com/d",
            "postgres://u@10.0.0.7/d?sslmode=prefer",
            "postgres://u@db/d?sslmode=allow",
            "postgres://u@localhost.example.com/d",
        ] {
            assert!(matches!(mode(url), PgSslMode::VerifyFull), "{url}");
        }
        for url in [
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1/d",
            "postgres://u@[::1]:5432/d",
            "postgres:///d?host=/run/postgresql",
        ] {
            assert!(matches!(mode(url), PgSslMode::Prefer), "{url}");
        }
    }

    #[test]
    fn a_mode_that_is_asked_for_is_kept_and_what_it_leaves_open_is_told() {
        let open = |mode: &str| {
            let url = format!("postgres://u@db/d?sslmode={mode}");
            left_open(&without_fallback(PgConnectOptions::from_str(&url).unwrap()))
        };
        assert!(open("disable").unwrap().contains("plain text"));
        assert!(open("require").unwrap().contains("any server"));
        assert!(open("verify-ca").unwrap().contains("any name"));
        assert_eq!(open("verify-full"), None);
        assert_eq!(open("prefer"), None);
    }
}
