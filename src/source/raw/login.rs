//! The token that a client logs in with (SASL OAUTHBEARER). Part of the audited unsafe code.

use std::error::Error;
use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::consumer::ConsumerContext;
use rdkafka_sys as sys;

use super::{Client, code, owned};
use crate::source::token::{self, Token};

impl Client {
    /// Gives the client the token that its file holds now, or tells it why there is none; then it asks again by itself.
    pub fn set_token(&self) {
        let Some(file) = &self.token_file else {
            return;
        };
        let refused = match read(file) {
            Ok(token) => match self.take_token(&token) {
                Ok(()) => return,
                Err(refused) => refused,
            },
            Err(problem) => problem,
        };
        let text = CString::new(refused.replace('\0', " ")).unwrap_or_default();
        // SAFETY: valid client; the text is copied.
        unsafe { sys::rd_kafka_oauthbearer_set_token_failure(self.rk(), text.as_ptr()) };
    }

    fn take_token(&self, token: &Token) -> Result<(), String> {
        let words = (
            CString::new(token.text.as_str()),
            CString::new(token.principal.as_str()),
        );
        let (Ok(text), Ok(principal)) = words else {
            return Err("the token has a NUL".to_owned());
        };
        let mut why: [c_char; 256] = [0; 256];
        // SAFETY: valid client; both texts are copied; no extensions; `why` outlives the call and gets NUL-terminated.
        let set = unsafe {
            sys::rd_kafka_oauthbearer_set_token(
                self.rk(),
                text.as_ptr(),
                token.ends_at_ms,
                principal.as_ptr(),
                ptr::null_mut(),
                0,
                why.as_mut_ptr(),
                why.len(),
            )
        };
        code(set).map_err(|_| owned(why.as_ptr()))
    }
}

/// For clients of rdkafka's own, which read outside of any group's work.
pub(in crate::source) struct Login {
    pub token_file: Option<PathBuf>,
}

impl ClientContext for Login {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let file = self
            .token_file
            .as_ref()
            .ok_or("kafka.token_file is not set")?;
        let token = read(file)?;
        Ok(OAuthToken {
            token: token.text,
            principal_name: token.principal,
            lifetime_ms: token.ends_at_ms,
        })
    }
}

impl ConsumerContext for Login {}

fn read(file: &Path) -> Result<Token, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    token::read(file, now_ms)
}
