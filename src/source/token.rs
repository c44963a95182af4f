//! The token for SASL OAUTHBEARER, as its file holds it now. Knows no client.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// How long a token is used that does not say how long it may be; then its file is read again.
const LIFETIME_MS: i64 = 60_000;
/// A larger one is no token.
const BYTES_MAX: usize = 64 << 10;

pub(super) struct Token {
    pub text: String,
    /// Milliseconds since 1970 at which it ends.
    pub ends_at_ms: i64,
    /// Whom it is about, for librdkafka's own logs.
    pub principal: String,
}

/// Reads the file anew: whoever renews the token (Kubernetes does so by itself) replaces it.
///
/// # Errors
/// What is wrong with the file; never what it holds.
pub(super) fn read(file: &Path, now_ms: i64) -> Result<Token, String> {
    let told = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the token in {told}: {error}"))?;
    let text = text.trim();
    if text.is_empty() || text.len() > BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{told} holds no token"));
    }
    let claims = claims(text);
    let ends_at_ms = match claims["exp"].as_f64() {
        Some(seconds) => (seconds * 1000.0) as i64,
        None => now_ms + LIFETIME_MS,
    };
    if ends_at_ms <= now_ms {
        return Err(format!("the token in {told} has expired: renew it"));
    }
    Ok(Token {
        text: text.to_owned(),
        ends_at_ms,
        principal: claims["sub"].as_str().unwrap_or("consolidator").to_owned(),
    })
}

/// What a JSON Web Token says (RFC 7519, section 7.2); null of any other token. It is the broker that verifies it.
fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1);
    let bytes = middle.and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, now_ms: i64) -> Result<Token, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, text).unwrap();
        read(&file, now_ms)
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_web_token_says_when_it_ends_and_whom_it_is_about() {
        let token = of(&(jwt(r#"{"sub":"worker","exp":100.5}"#) + "\n"), 1_000).unwrap();
        assert_eq!(token.ends_at_ms, 100_500);
        assert_eq!(token.principal, "worker");
        assert!(!token.text.ends_with('\n'));
    }

    #[test]
    fn any_other_token_is_read_again_after_a_minute() {
        assert_eq!(of("opaque", 1_000).unwrap().ends_at_ms, 61_000);
    }

    #[test]
    fn what_is_wrong_with_the_file_is_told_and_never_what_it_holds() {
        let expired = of(&jwt(r#"{"exp":1}"#), 1_000).err().unwrap();
        assert!(expired.contains("has expired") && !expired.contains("e30"));
        assert!(of(" \n", 0).err().unwrap().contains("holds no token"));
        assert!(of("two words", 0).err().unwrap().contains("holds no token"));
        let missing = read(Path::new("/nowhere"), 0).err().unwrap();
        assert!(missing.contains("/nowhere"), "{missing}");
    }
}
